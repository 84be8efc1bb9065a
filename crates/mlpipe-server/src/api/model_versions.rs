//! Versions of registered models.

use std::borrow::Cow;

use mlpipe_tracking::{NewModelVersion, Page, Stage};
use serde_json::json;

use super::error::ApiError;
use super::experiments::search_of;
use super::wire::{self, done, one};
use super::{Answer, Call};
use crate::access::Resource;
use crate::webhooks::{Action, Entity};

/// MLflow's order of versions, unless another one is asked for.
const LAST_CHANGED_FIRST: [&str; 3] = ["last_updated_timestamp DESC", "name ASC", "version_number DESC"];

/// The source as it is stored: a run or model that was recorded on this machine has a local path, see [`crate::artifacts::Shown`].
fn stored_source<'a>(call: &'a Call<'_>) -> Result<Cow<'a, str>, ApiError> {
    let (message, source) = (&call.message, call.message.str("source"));
    if let Some(model_id) = message.nonempty("model_id") {
        return Ok(call.shown().stored(source, &call.store().logged_model(model_id)?.artifact_uri));
    }
    // A run that is not here may be one of another server; the store decides what it may be the source of.
    match message.nonempty("run_id").and_then(|run_id| call.store().get_run(run_id).ok()) {
        Some(run) => Ok(Cow::Owned(call.shown().stored(source, &run.artifact_uri).into_owned())),
        None => Ok(Cow::Borrowed(source)),
    }
}

pub(super) fn create(call: &Call<'_>) -> Answer {
    let message = &call.message;
    let owned = |name| message.nonempty(name).map(str::to_owned);
    let (name, tags) = (message.str("name"), message.pairs("tags"));
    // An unknown model is the better message than a bad source.
    call.store().registered_model(name)?;
    let new = NewModelVersion {
        name: name.to_owned(),
        source: stored_source(call)?.into_owned(),
        run_id: owned("run_id"),
        run_link: owned("run_link"),
        description: owned("description"),
        model_id: owned("model_id"),
        tags: tags.clone(),
    };
    let version = call.store().create_model_version(&new)?;
    let tags: serde_json::Map<_, _> = tags.into_iter().map(|(key, value)| (key, value.into())).collect();
    let payload = json!({
        "name": name, "version": version.version.to_string(), "source": message.str("source"), "run_id": message.nonempty("run_id"),
        "tags": tags, "description": message.nonempty("description"),
    });
    call.shared.webhooks.notify(call.store(), Entity::ModelVersion, Action::Created, payload);
    one("model_version", wire::model_version(&version, call.shown()))
}

pub(super) fn get(call: &Call<'_>) -> Answer {
    let version = call.store().model_version(call.message.str("name"), call.message.str("version"))?;
    one("model_version", wire::model_version(&version, call.shown()))
}

pub(super) fn get_by_alias(call: &Call<'_>) -> Answer {
    let version = call.store().model_version_by_alias(call.message.str("name"), call.message.str("alias"))?;
    one("model_version", wire::model_version(&version, call.shown()))
}

pub(super) fn latest(call: &Call<'_>) -> Answer {
    let versions = call.store().latest_versions(call.message.str("name"), call.message.texts("stages"))?;
    let page = Page { items: versions, next_page_token: None };
    wire::page("model_versions", &page, |version| wire::model_version(version, call.shown()))
}

pub(super) fn search(call: &Call<'_>) -> Answer {
    let mut search = search_of(&call.message);
    if search.order_by.is_empty() {
        search.order_by = LAST_CHANGED_FIRST.map(str::to_owned).into();
    }
    let mut page = call.store().search_model_versions(&search)?;
    let access = &call.shared.access;
    access.retain(call.store(), call.caller, Resource::RegisteredModel, &mut page.items, |version| &version.name)?;
    wire::page("model_versions", &page, |version| wire::model_version(version, call.shown()))
}

pub(super) fn download_uri(call: &Call<'_>) -> Answer {
    let uri = call.store().model_version_download_uri(call.message.str("name"), call.message.str("version"))?;
    one("artifact_uri", call.shown().uri(&uri))
}

pub(super) fn update(call: &Call<'_>) -> Answer {
    let message = &call.message;
    let description = message.text("description");
    let version = call.store().update_model_version(message.str("name"), message.str("version"), description)?;
    one("model_version", wire::model_version(&version, call.shown()))
}

pub(super) fn delete(call: &Call<'_>) -> Answer {
    call.store().delete_model_version(call.message.str("name"), call.message.str("version"))?;
    done()
}

pub(super) fn transition(call: &Call<'_>) -> Answer {
    let message = &call.message;
    let stage: Stage = message.str("stage").parse()?;
    let (name, version) = (message.str("name"), message.str("version"));
    let archive = message.flag("archive_existing_versions");
    let version = call.store().transition_model_version_stage(name, version, stage, archive)?;
    one("model_version", wire::model_version(&version, call.shown()))
}

pub(super) fn set_tag(call: &Call<'_>) -> Answer {
    let message = &call.message;
    let (name, version, key, value) =
        (message.str("name"), message.str("version"), message.str("key"), message.str("value"));
    call.store().set_model_version_tag(name, version, key, value)?;
    let payload = json!({"name": name, "version": version, "key": key, "value": value});
    call.shared.webhooks.notify(call.store(), Entity::ModelVersionTag, Action::Set, payload);
    done()
}

pub(super) fn delete_tag(call: &Call<'_>) -> Answer {
    let message = &call.message;
    let (name, version, key) = (message.str("name"), message.str("version"), message.str("key"));
    call.store().delete_model_version_tag(name, version, key)?;
    let payload = json!({"name": name, "version": version, "key": key});
    call.shared.webhooks.notify(call.store(), Entity::ModelVersionTag, Action::Deleted, payload);
    done()
}
