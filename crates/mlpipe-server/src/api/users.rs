//! Users and what they may do, as MLflow's `AuthServiceClient` asks. Only where users are on.

use serde_json::{Value, json};

use super::error::{ApiError, Code};
use super::wire::{answer, done, one};
use super::{Answer, Call};
use crate::access::{Accounts, Caller, Permission, Resource, User};

fn accounts<'a>(call: &'a Call<'_>) -> Result<Accounts<'a>, ApiError> {
    if call.shared.access.is_on() {
        return Ok(Accounts::new(call.store()));
    }
    Err(ApiError::new(Code::EndpointNotFound, "this server has no users; start it with --auth"))
}

fn shown(user: &User) -> Value {
    json!({"id": user.id, "username": user.username, "is_admin": user.is_admin})
}

/// Users may look at and change themselves, administrators everybody.
fn check_self(call: &Call<'_>, username: &str) -> Result<(), ApiError> {
    match call.caller {
        Caller::User { username: own, is_admin } if *is_admin || own == username => Ok(()),
        _ => Err(ApiError::denied()),
    }
}

pub(super) fn create(call: &Call<'_>) -> Answer {
    let user = accounts(call)?.add(call.message.str("username"), call.message.str("password"), false)?;
    one("user", shown(&user))
}

pub(super) fn get(call: &Call<'_>) -> Answer {
    let (accounts, username) = (accounts(call)?, call.message.str("username"));
    check_self(call, username)?;
    one("user", shown(&accounts.user(username)?))
}

pub(super) fn current(call: &Call<'_>) -> Answer {
    let user = accounts(call)?.user(call.caller.name().unwrap_or_default())?;
    answer(&json!({"user": shown(&user), "is_basic_auth": true}))
}

pub(super) fn list(call: &Call<'_>) -> Answer {
    let users = accounts(call)?.users()?;
    one("users", users.iter().map(shown).collect::<Vec<_>>())
}

pub(super) fn update_password(call: &Call<'_>) -> Answer {
    let (accounts, username) = (accounts(call)?, call.message.str("username"));
    check_self(call, username)?;
    accounts.set_password(username, call.message.str("password"))?;
    done()
}

pub(super) fn update_admin(call: &Call<'_>) -> Answer {
    accounts(call)?.set_admin(call.message.str("username"), call.message.flag("is_admin"))?;
    done()
}

pub(super) fn delete(call: &Call<'_>) -> Answer {
    accounts(call)?.remove(call.message.str("username"))?;
    done()
}

/// The resource of a request about permissions, which its caller must be allowed to manage.
fn managed<'a>(call: &'a Call<'_>) -> Result<(Resource, &'a str), ApiError> {
    let resource = Resource::parse(call.message.str("resource_type"))?;
    let id = call.message.str("resource_id");
    let access = &call.shared.access;
    match (resource, id) {
        (_, "*") if !matches!(call.caller, Caller::User { is_admin: true, .. }) => return Err(ApiError::denied()),
        (_, "*") => {}
        (Resource::Experiment, id) => {
            call.store().experiment(id)?;
            access.check_experiment(call.store(), call.caller, id, Permission::Manage)?;
        }
        (Resource::RegisteredModel, name) => {
            call.store().registered_model(name)?;
            access.check_model(call.store(), call.caller, name, Permission::Manage)?;
        }
    }
    Ok((resource, id))
}

pub(super) fn grant(call: &Call<'_>) -> Answer {
    let (accounts, username) = (accounts(call)?, call.message.str("username"));
    let (resource, id) = managed(call)?;
    let permission: Permission = call.message.str("permission").parse().map_err(ApiError::invalid)?;
    accounts.user(username)?;
    accounts.grant(username, resource, id, permission)?;
    done()
}

pub(super) fn revoke(call: &Call<'_>) -> Answer {
    let (accounts, username) = (accounts(call)?, call.message.str("username"));
    let (resource, id) = managed(call)?;
    if !accounts.revoke(username, resource, id)? {
        return Err(ApiError::missing(format!(
            "{username} has no permission of its own for this {}",
            resource.as_str()
        )));
    }
    done()
}

pub(super) fn permission(call: &Call<'_>) -> Answer {
    let (accounts, username) = (accounts(call)?, call.message.str("username"));
    check_self(call, username)?;
    let resource = Resource::parse(call.message.str("resource_type"))?;
    let user = accounts.user(username)?;
    let permission = match user.is_admin {
        true => Permission::Manage,
        false => call.shared.access.permission(call.store(), username, resource, call.message.str("resource_id"))?,
    };
    answer(&json!({"allowed": permission >= Permission::Read, "permission": permission.as_str()}))
}
