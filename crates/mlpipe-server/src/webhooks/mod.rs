//! Webhooks: HTTP requests that tell others what happens in the model registry. Shape, headers and signature are MLflow's. What is
//! to be delivered is stored before the operation is answered and removed when it was delivered, so it survives a restart; a
//! receiver may hear of something twice, with the same delivery id.

mod addresses;
mod delivery;
mod secret;
mod signature;

use std::time::{SystemTime, UNIX_EPOCH};

use mlpipe_tracking::Store;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::error::{ApiError, Code};
use crate::random;

pub(crate) use addresses::Reach;
pub(crate) use delivery::Deliveries;
pub(crate) use secret::SecretKey;

const WEBHOOK: &str = "webhook";
/// A webhook whose secret is sealed; those of the first format have it as it is.
const FORMAT: &str = "mlpipe.webhook/2";

/// What something happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Entity {
    RegisteredModel,
    ModelVersion,
    ModelVersionTag,
    ModelVersionAlias,
}

impl Entity {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::RegisteredModel => "REGISTERED_MODEL",
            Self::ModelVersion => "MODEL_VERSION",
            Self::ModelVersionTag => "MODEL_VERSION_TAG",
            Self::ModelVersionAlias => "MODEL_VERSION_ALIAS",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let all = [Self::RegisteredModel, Self::ModelVersion, Self::ModelVersionTag, Self::ModelVersionAlias];
        all.into_iter().find(|entity| entity.as_str() == text)
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Action {
    Created,
    Deleted,
    Set,
}

impl Action {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Deleted => "DELETED",
            Self::Set => "SET",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Created, Self::Deleted, Self::Set].into_iter().find(|action| action.as_str() == text)
    }
}

/// Something that is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) entity: Entity,
    pub(crate) action: Action,
}

impl Event {
    /// Returns whether it ever happens.
    pub(crate) fn is_known(&self) -> bool {
        match self.entity {
            Entity::RegisteredModel | Entity::ModelVersion => self.action == Action::Created,
            Entity::ModelVersionTag => matches!(self.action, Action::Set | Action::Deleted),
            Entity::ModelVersionAlias => matches!(self.action, Action::Created | Action::Deleted),
        }
    }

    /// What a test sends.
    fn example(self) -> Value {
        let (name, tags) = ("example_model", json!({"example_key": "example_value"}));
        match (self.entity, self.action) {
            (Entity::RegisteredModel, _) => {
                json!({"name": name, "tags": tags, "description": "An example registered model"})
            }
            (Entity::ModelVersion, _) => json!({
                "name": name, "version": "1", "source": "models:/123", "run_id": "abcd1234abcd5678", "tags": tags,
                "description": "An example model version",
            }),
            (Entity::ModelVersionTag, Action::Set) => {
                json!({"name": name, "version": "1", "key": "example_key", "value": "example_value"})
            }
            (Entity::ModelVersionTag, _) => json!({"name": name, "version": "1", "key": "example_key"}),
            (Entity::ModelVersionAlias, Action::Created) => {
                json!({"name": name, "alias": "example_alias", "version": "1"})
            }
            (Entity::ModelVersionAlias, _) => json!({"name": name, "alias": "example_alias"}),
        }
    }

    /// The body of a delivery.
    fn body(self, payload: &Value, now: SystemTime) -> String {
        let lower = |text: &str| text.to_ascii_lowercase();
        let body = json!({
            "entity": lower(self.entity.as_str()),
            "action": lower(self.action.as_str()),
            "timestamp": humantime(now),
            "data": payload,
        });
        body.to_string()
    }
}

/// RFC 3339 in UTC.
fn humantime(now: SystemTime) -> String {
    chrono::DateTime::<chrono::Utc>::from(now).format("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}

fn milliseconds(now: SystemTime) -> i64 {
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

/// Somebody who wants to be told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Webhook {
    format: String,
    pub(crate) webhook_id: String,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) url: String,
    pub(crate) events: Vec<Event>,
    /// Signs deliveries; sealed, and never shown.
    secret: Option<String>,
    pub(crate) is_active: bool,
    pub(crate) creation_ms: i64,
    pub(crate) last_updated_ms: i64,
}

/// What is to be set about a webhook; what is none stays.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) name: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) events: Option<Vec<Event>>,
    pub(crate) description: Option<String>,
    pub(crate) secret: Option<String>,
    pub(crate) is_active: Option<bool>,
}

/// The webhooks of a server.
#[derive(Debug)]
pub(crate) struct Webhooks {
    deliveries: Deliveries,
}

impl Webhook {
    /// The secret that signs deliveries; none when there is none.
    fn secret(&self, key: &SecretKey) -> Result<Option<String>, String> {
        let opened = |stored: &String| match self.format.as_str() {
            FORMAT => key.open(&self.webhook_id, stored),
            _ => Ok(stored.clone()),
        };
        self.secret.as_ref().map(opened).transpose()
    }
}

impl Webhooks {
    pub(crate) fn new(deliveries: Deliveries) -> Self {
        Self { deliveries }
    }

    /// Returns all webhooks.
    pub(crate) fn all(&self, store: &Store) -> Result<Vec<Webhook>, ApiError> {
        store.documents(WEBHOOK)?.iter().map(|(_, text)| parse(text)).collect()
    }

    /// Returns one.
    pub(crate) fn get(&self, store: &Store, id: &str) -> Result<Webhook, ApiError> {
        let text = store.document(WEBHOOK, id)?;
        text.map_or_else(|| Err(ApiError::missing(format!("Webhook with ID {id} not found."))), |text| parse(&text))
    }

    /// Makes one.
    pub(crate) fn create(&self, store: &Store, change: Change) -> Result<Webhook, ApiError> {
        let now = milliseconds(SystemTime::now());
        let webhook = Webhook {
            format: FORMAT.to_owned(),
            webhook_id: random::hex128(),
            name: String::new(),
            description: None,
            url: String::new(),
            events: Vec::new(),
            secret: None,
            is_active: true,
            creation_ms: now,
            last_updated_ms: now,
        };
        self.changed(store, webhook, change)
    }

    /// Changes one.
    pub(crate) fn update(&self, store: &Store, id: &str, change: Change) -> Result<Webhook, ApiError> {
        let webhook = self.get(store, id)?;
        self.changed(store, Webhook { last_updated_ms: milliseconds(SystemTime::now()), ..webhook }, change)
    }

    fn changed(&self, store: &Store, webhook: Webhook, change: Change) -> Result<Webhook, ApiError> {
        let unusable = |message| ApiError::new(Code::TemporarilyUnavailable, message);
        let key = self.deliveries.key();
        let secret = match change.secret {
            Some(secret) => Some(secret),
            None => webhook.secret(key).map_err(unusable)?,
        };
        let sealed = |secret: String| key.seal(&webhook.webhook_id, &secret).map_err(unusable);
        let secret = secret.filter(|text| !text.is_empty()).map(sealed).transpose()?;
        let webhook = Webhook {
            format: FORMAT.to_owned(),
            name: change.name.unwrap_or(webhook.name),
            url: change.url.unwrap_or(webhook.url),
            events: change.events.unwrap_or(webhook.events),
            description: change.description.or(webhook.description).filter(|text| !text.is_empty()),
            secret,
            is_active: change.is_active.unwrap_or(webhook.is_active),
            ..webhook
        };
        check_name(&webhook.name)?;
        if webhook.events.is_empty() {
            return Err(ApiError::invalid("Webhook events must be a non-empty list of WebhookEvent objects: []."));
        }
        self.deliveries.check_url(&webhook.url)?;
        let text = serde_json::to_string(&webhook).expect("webhooks have text keys");
        store.put_document(WEBHOOK, &webhook.webhook_id, &text)?;
        Ok(webhook)
    }

    /// Removes one.
    pub(crate) fn delete(&self, store: &Store, id: &str) -> Result<(), ApiError> {
        if store.delete_document(WEBHOOK, id)? {
            Ok(())
        } else {
            Err(ApiError::missing(format!("Webhook with ID {id} not found.")))
        }
    }

    /// Tells all that want to hear of an event. The operation has been done: a failure here is only logged.
    pub(crate) fn notify(&self, store: &Store, entity: Entity, action: Action, payload: Value) {
        let event = Event { entity, action };
        let told = self.all(store).and_then(|webhooks| {
            let wanting = webhooks.iter().filter(|webhook| webhook.is_active && webhook.events.contains(&event));
            wanting
                .map(|webhook| webhook.webhook_id.as_str())
                .try_for_each(|id| self.deliveries.begin(store, id, event.body(&payload, SystemTime::now())))
        });
        if let Err(error) = told {
            tracing::error!(error = error.message, entity = entity.as_str(), "a webhook is not told");
        }
    }

    /// Sends an example now; returns status and body of the answer, or what went wrong.
    pub(crate) fn test(
        &self,
        store: &Store,
        id: &str,
        event: Option<Event>,
    ) -> Result<Result<(u16, String), String>, ApiError> {
        let webhook = self.get(store, id)?;
        let event = event.unwrap_or(webhook.events[0]);
        let body = event.body(&event.example(), SystemTime::now());
        Ok(self.deliveries.send(&webhook, &random::uuid(), &body))
    }
}

fn parse(text: &str) -> Result<Webhook, ApiError> {
    serde_json::from_str(text)
        .map_err(|error| ApiError::new(Code::InternalError, format!("a stored webhook is damaged: {error}")))
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let is_edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    if name.len() <= 63 && is_edge(bytes.first()) && is_edge(bytes.last()) && bytes.iter().all(is_inner) {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "Webhook name '{}' is invalid. It must start and end with a letter or digit, have at most 63 characters, and \
         contain only letters, digits, dots (.), underscores (_), and hyphens (-).",
        name.escape_default()
    )))
}
