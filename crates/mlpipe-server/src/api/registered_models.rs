//! Registered models, their tags and aliases.

use serde_json::json;

use super::experiments::search_of;
use super::wire::{self, done, one};
use super::{Answer, Call};
use crate::access::Resource;
use crate::webhooks::{Action, Entity};

pub(super) fn create(call: &Call<'_>) -> Answer {
    let message = &call.message;
    let (name, tags) = (message.str("name"), message.pairs("tags"));
    let model = call.store().create_registered_model(name, message.text("description"), &tags)?;
    call.shared.access.own(call.store(), call.caller, Resource::RegisteredModel, name)?;
    let tags: serde_json::Map<_, _> = tags.into_iter().map(|(key, value)| (key, value.into())).collect();
    let payload = json!({"name": name, "tags": tags, "description": message.str("description")});
    call.shared.webhooks.notify(call.store(), Entity::RegisteredModel, Action::Created, payload);
    one("registered_model", wire::registered_model(&model, call.shown()))
}

pub(super) fn get(call: &Call<'_>) -> Answer {
    let model = call.store().registered_model(call.message.str("name"))?;
    one("registered_model", wire::registered_model(&model, call.shown()))
}

pub(super) fn search(call: &Call<'_>) -> Answer {
    let mut page = call.store().search_registered_models(&search_of(&call.message))?;
    let access = &call.shared.access;
    access.retain(call.store(), call.caller, Resource::RegisteredModel, &mut page.items, |model| &model.name)?;
    wire::page("registered_models", &page, |model| wire::registered_model(model, call.shown()))
}

pub(super) fn update(call: &Call<'_>) -> Answer {
    let message = &call.message;
    let model = call.store().update_registered_model(message.str("name"), message.text("description"))?;
    one("registered_model", wire::registered_model(&model, call.shown()))
}

pub(super) fn rename(call: &Call<'_>) -> Answer {
    let (name, new_name) = (call.message.str("name"), call.message.str("new_name"));
    let model = call.store().rename_registered_model(name, new_name)?;
    call.shared.access.renamed(call.store(), name, new_name)?;
    one("registered_model", wire::registered_model(&model, call.shown()))
}

pub(super) fn delete(call: &Call<'_>) -> Answer {
    let name = call.message.str("name");
    call.store().delete_registered_model(name)?;
    // Whoever takes the name next must not inherit what was granted for it.
    call.shared.access.forget(call.store(), Resource::RegisteredModel, name)?;
    done()
}

pub(super) fn set_tag(call: &Call<'_>) -> Answer {
    let message = &call.message;
    call.store().set_registered_model_tag(message.str("name"), message.str("key"), message.str("value"))?;
    done()
}

pub(super) fn delete_tag(call: &Call<'_>) -> Answer {
    call.store().delete_registered_model_tag(call.message.str("name"), call.message.str("key"))?;
    done()
}

pub(super) fn set_alias(call: &Call<'_>) -> Answer {
    let message = &call.message;
    let (name, alias, version) = (message.str("name"), message.str("alias"), message.str("version"));
    call.store().set_registered_model_alias(name, alias, version)?;
    let payload = json!({"name": name, "alias": alias, "version": version});
    call.shared.webhooks.notify(call.store(), Entity::ModelVersionAlias, Action::Created, payload);
    done()
}

pub(super) fn delete_alias(call: &Call<'_>) -> Answer {
    let (name, alias) = (call.message.str("name"), call.message.str("alias"));
    call.store().delete_registered_model_alias(name, alias)?;
    let payload = json!({"name": name, "alias": alias});
    call.shared.webhooks.notify(call.store(), Entity::ModelVersionAlias, Action::Deleted, payload);
    done()
}
