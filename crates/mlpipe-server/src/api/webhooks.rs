//! Webhooks: who is told of what happens in the registry.

use mlpipe_tracking::Page;
use serde::Serialize;

use super::error::ApiError;
use super::message::Message;
use super::wire::{self, done, one};
use super::{Answer, Call};
use crate::webhooks::{Action, Change, Entity, Event, Webhook};

/// MLflow's numbers of entities; only those of the registry have events here.
pub(super) const ENTITIES: &[(&str, i64)] = &[
    ("REGISTERED_MODEL", 1),
    ("MODEL_VERSION", 2),
    ("MODEL_VERSION_TAG", 3),
    ("MODEL_VERSION_ALIAS", 4),
    ("PROMPT", 5),
    ("PROMPT_VERSION", 6),
    ("PROMPT_TAG", 7),
    ("PROMPT_VERSION_TAG", 8),
    ("PROMPT_ALIAS", 9),
    ("BUDGET_POLICY", 10),
];
/// MLflow's numbers of actions.
pub(super) const ACTIONS: &[(&str, i64)] =
    &[("CREATED", 1), ("UPDATED", 2), ("DELETED", 3), ("SET", 4), ("EXCEEDED", 5)];

/// MLflow's default and most.
const DEFAULT_RESULTS: i64 = 100;
const MAX_RESULTS: i64 = 1000;

#[derive(Serialize)]
struct EventMessage {
    entity: &'static str,
    action: &'static str,
}

#[derive(Serialize)]
struct WebhookMessage<'a> {
    webhook_id: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    url: &'a str,
    events: Vec<EventMessage>,
    status: &'static str,
    creation_timestamp: i64,
    last_updated_timestamp: i64,
}

/// The secret is never shown.
fn shown(webhook: &Webhook) -> WebhookMessage<'_> {
    let event = |event: &Event| EventMessage { entity: event.entity.as_str(), action: event.action.as_str() };
    WebhookMessage {
        webhook_id: &webhook.webhook_id,
        name: &webhook.name,
        description: webhook.description.as_deref(),
        url: &webhook.url,
        events: webhook.events.iter().map(event).collect(),
        status: if webhook.is_active { "ACTIVE" } else { "DISABLED" },
        creation_timestamp: webhook.creation_ms,
        last_updated_timestamp: webhook.last_updated_ms,
    }
}

fn event(message: &Message) -> Result<Event, ApiError> {
    let (entity, action) = (message.str("entity"), message.str("action"));
    let event = Entity::parse(entity).zip(Action::parse(action)).map(|(entity, action)| Event { entity, action });
    event.filter(Event::is_known).ok_or_else(|| ApiError::invalid(format!("Invalid webhook event: {entity} {action}")))
}

fn events(message: &Message) -> Result<Vec<Event>, ApiError> {
    message.messages("events").iter().map(event).collect()
}

fn change(message: &Message) -> Result<Change, ApiError> {
    let owned = |name| message.text(name).map(str::to_owned);
    Ok(Change {
        name: message.nonempty("name").map(str::to_owned),
        url: message.nonempty("url").map(str::to_owned),
        events: message.has("events").then(|| events(message)).transpose()?,
        description: owned("description"),
        secret: owned("secret"),
        is_active: message.text("status").map(|status| status == "ACTIVE"),
    })
}

pub(super) fn create(call: &Call<'_>) -> Answer {
    let webhook = call.shared.webhooks.create(call.store(), change(&call.message)?)?;
    one("webhook", shown(&webhook))
}

pub(super) fn get(call: &Call<'_>) -> Answer {
    let webhook = call.shared.webhooks.get(call.store(), call.message.str("webhook_id"))?;
    one("webhook", shown(&webhook))
}

pub(super) fn list(call: &Call<'_>) -> Answer {
    let most = call.message.integer("max_results").unwrap_or(DEFAULT_RESULTS);
    if !(1..=MAX_RESULTS).contains(&most) {
        return Err(ApiError::invalid(format!("max_results must be between 1 and {MAX_RESULTS}")));
    }
    let after = call.message.nonempty("page_token");
    let mut items = call.shared.webhooks.all(call.store())?;
    items.sort_by(|a, b| a.webhook_id.cmp(&b.webhook_id));
    items.retain(|webhook| after.is_none_or(|after| webhook.webhook_id.as_str() > after));
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let next_page_token = (items.len() > most).then(|| items[most - 1].webhook_id.clone());
    items.truncate(most);
    wire::page("webhooks", &Page { items, next_page_token }, shown)
}

pub(super) fn update(call: &Call<'_>) -> Answer {
    let webhook = call.shared.webhooks.update(call.store(), call.message.str("webhook_id"), change(&call.message)?)?;
    one("webhook", shown(&webhook))
}

pub(super) fn delete(call: &Call<'_>) -> Answer {
    call.shared.webhooks.delete(call.store(), call.message.str("webhook_id"))?;
    done()
}

#[derive(Serialize)]
struct TestResult {
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
}

pub(super) fn test(call: &Call<'_>) -> Answer {
    let asked = call.message.message("event").map(event).transpose()?;
    let result = match call.shared.webhooks.test(call.store(), call.message.str("webhook_id"), asked)? {
        Ok((status, body)) => TestResult {
            success: status < 400,
            response_status: Some(status),
            response_body: Some(body),
            error_message: None,
        },
        Err(error) => TestResult {
            success: false,
            response_status: None,
            response_body: None,
            error_message: Some(format!("Failed to test webhook: {error}")),
        },
    };
    one("result", result)
}
