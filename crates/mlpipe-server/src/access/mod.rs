//! Who may do what. Without users (the default, on the loopback) everybody may do everything. With them, each request bears a
//! password or a token, and what it may do is decided per experiment and per registered model, with MLflow's words and rules: READ,
//! EDIT, MANAGE; who makes something may manage it; where nothing was granted, the default permission holds; administrators may all.

mod accounts;
mod attempts;
mod credentials;

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use mlpipe_tracking::Store;
use serde::{Deserialize, Serialize};

use crate::api::error::ApiError;
use crate::api::message::Message;
use crate::artifacts::ArtifactPath;

pub use accounts::{Accounts, NewToken, TokenInfo, User};
pub(crate) use credentials::Login;

/// What somebody may do with an experiment or a registered model; each includes the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Permission {
    /// Nothing.
    NoPermissions,
    /// Look at it.
    Read,
    /// Change it.
    Edit,
    /// Delete it, and grant permissions.
    Manage,
}

impl Permission {
    const ALL: [Self; 4] = [Self::NoPermissions, Self::Read, Self::Edit, Self::Manage];

    /// Returns MLflow's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoPermissions => "NO_PERMISSIONS",
            Self::Read => "READ",
            Self::Edit => "EDIT",
            Self::Manage => "MANAGE",
        }
    }
}

impl FromStr for Permission {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|permission| permission.as_str() == text);
        found.ok_or_else(|| {
            format!("Invalid permission '{text}'. Valid permissions are: READ, EDIT, MANAGE, NO_PERMISSIONS")
        })
    }
}

/// What a permission is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Resource {
    Experiment,
    RegisteredModel,
}

impl Resource {
    /// MLflow's word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Experiment => "experiment",
            Self::RegisteredModel => "registered_model",
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        let found = [Self::Experiment, Self::RegisteredModel].into_iter().find(|resource| resource.as_str() == text);
        found.ok_or_else(|| {
            ApiError::invalid(format!("Invalid resource type '{text}'. Use 'experiment' or 'registered_model'."))
        })
    }
}

/// What an operation needs; the text names the field of the request that says of what.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Needs {
    /// A caller that is known.
    SignedIn,
    /// An administrator.
    Administrator,
    Experiment(&'static str, Permission),
    ExperimentName(&'static str, Permission),
    Experiments(&'static str, Permission),
    Run(&'static str, Permission),
    /// As `Run`; a run that does not exist needs nothing.
    KnownRun(&'static str, Permission),
    Runs(&'static str, Permission),
    LoggedModel(&'static str, Permission),
    RegisteredModel(&'static str, Permission),
}

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// There are no users here, or the path is open to all.
    Anybody,
    User {
        username: String,
        is_admin: bool,
    },
}

impl Caller {
    /// The name for the audit log.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Anybody => None,
            Self::User { username, .. } => Some(username),
        }
    }
}

/// Most runs whose experiment is remembered; it never changes.
const MAX_REMEMBERED: usize = 100_000;

/// Decides who may do what.
#[derive(Debug)]
pub(crate) struct Access {
    is_on: bool,
    default_permission: Permission,
    pub(crate) login: Login,
    /// Experiments by run or logged model.
    experiments: Mutex<HashMap<String, String>>,
}

impl Access {
    pub(crate) fn new(is_on: bool, default_permission: Permission) -> Self {
        Self { is_on, default_permission, login: Login::default(), experiments: Mutex::default() }
    }

    /// Returns whether requests need a user.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    fn ordinary<'a>(&self, caller: &'a Caller) -> Option<&'a str> {
        match caller {
            Caller::User { username, is_admin: false } if self.is_on => Some(username),
            _ => None,
        }
    }

    /// Refuses a caller that lacks what an operation needs.
    pub(crate) fn check(
        &self,
        needs: &Needs,
        message: &Message,
        store: &Store,
        caller: &Caller,
    ) -> Result<(), ApiError> {
        let Some(_) = self.ordinary(caller) else { return Ok(()) };
        let experiment = |id: &str, needed| self.check_experiment(store, caller, id, needed);
        let all = |ids: &[String], needed, of: &dyn Fn(&str) -> Result<Option<String>, ApiError>| {
            ids.iter().try_for_each(|id| of(id)?.map_or(Ok(()), |id| experiment(&id, needed)))
        };
        match *needs {
            Needs::SignedIn => Ok(()),
            Needs::Administrator => Err(ApiError::denied()),
            Needs::Experiment(field, needed) => experiment(message.nonempty(field).unwrap_or("0"), needed),
            Needs::ExperimentName(field, needed) => {
                experiment(&store.experiment_by_name(message.str(field))?.experiment_id, needed)
            }
            Needs::Experiments(field, needed) => all(message.texts(field), needed, &|id| Ok(Some(id.to_owned()))),
            Needs::Run(field, needed) => {
                experiment(&self.experiment_of(message.str(field), |id| Ok(store.get_run(id)?.experiment_id))?, needed)
            }
            Needs::KnownRun(field, needed) => {
                all(&[message.str(field).to_owned()], needed, &|id| self.experiment_of_known(store, id))
            }
            Needs::Runs(field, needed) => all(message.texts(field), needed, &|id| self.experiment_of_known(store, id)),
            Needs::LoggedModel(field, needed) => experiment(
                &self.experiment_of(message.str(field), |id| Ok(store.logged_model(id)?.experiment_id))?,
                needed,
            ),
            Needs::RegisteredModel(field, needed) => self.check_model(store, caller, message.str(field), needed),
        }
    }

    fn experiment_of_known(&self, store: &Store, run_id: &str) -> Result<Option<String>, ApiError> {
        use crate::api::error::Code;
        match self.experiment_of(run_id, |id| Ok(store.get_run(id)?.experiment_id)) {
            Ok(experiment_id) => Ok(Some(experiment_id)),
            Err(error) if error.code == Code::ResourceDoesNotExist => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn experiment_of(&self, id: &str, find: impl Fn(&str) -> Result<String, ApiError>) -> Result<String, ApiError> {
        if let Some(known) = self.experiments.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
            return Ok(known.clone());
        }
        let found = find(id)?;
        let mut experiments = self.experiments.lock().unwrap_or_else(PoisonError::into_inner);
        if experiments.len() >= MAX_REMEMBERED {
            experiments.clear();
        }
        experiments.insert(id.to_owned(), found.clone());
        Ok(found)
    }

    fn check_resource(
        &self,
        store: &Store,
        caller: &Caller,
        (resource, id): (Resource, &str),
        needed: Permission,
    ) -> Result<(), ApiError> {
        let Some(username) = self.ordinary(caller) else { return Ok(()) };
        if self.permission(store, username, resource, id)? >= needed { Ok(()) } else { Err(ApiError::denied()) }
    }

    /// Refuses a caller that may not do this with an experiment.
    pub(crate) fn check_experiment(
        &self,
        store: &Store,
        caller: &Caller,
        id: &str,
        needed: Permission,
    ) -> Result<(), ApiError> {
        self.check_resource(store, caller, (Resource::Experiment, id), needed)
    }

    /// Refuses a caller that may not do this with a registered model.
    pub(crate) fn check_model(
        &self,
        store: &Store,
        caller: &Caller,
        name: &str,
        needed: Permission,
    ) -> Result<(), ApiError> {
        self.check_resource(store, caller, (Resource::RegisteredModel, name), needed)
    }

    /// Refuses a caller that may not do this with an artifact. The first name of a path is its experiment; where it is not, as
    /// below a location of the user's own, the default permission holds. The root shows all experiments and is for administrators.
    pub(crate) fn check_artifact(
        &self,
        store: &Store,
        caller: &Caller,
        path: &ArtifactPath,
        needed: Permission,
    ) -> Result<(), ApiError> {
        if self.ordinary(caller).is_none() {
            return Ok(());
        }
        match path.names().next() {
            Some(first) if first.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.check_experiment(store, caller, first, needed)
            }
            Some(_) if self.default_permission >= needed => Ok(()),
            _ => Err(ApiError::denied()),
        }
    }

    /// Returns what a user may do: what was granted for it, else for all of its kind, else the default.
    pub(crate) fn permission(
        &self,
        store: &Store,
        username: &str,
        resource: Resource,
        id: &str,
    ) -> Result<Permission, ApiError> {
        let accounts = Accounts::new(store);
        let granted = match accounts.grant_of(username, resource, id)? {
            None => accounts.grant_of(username, resource, "*")?,
            granted => granted,
        };
        Ok(granted.unwrap_or(self.default_permission))
    }

    /// Keeps what the caller may read.
    pub(crate) fn retain<T>(
        &self,
        store: &Store,
        caller: &Caller,
        resource: Resource,
        items: &mut Vec<T>,
        id: impl Fn(&T) -> &str,
    ) -> Result<(), ApiError> {
        let Some(username) = self.ordinary(caller) else { return Ok(()) };
        let mut kept = Vec::with_capacity(items.len());
        for item in items.drain(..) {
            if self.permission(store, username, resource, id(&item))? >= Permission::Read {
                kept.push(item);
            }
        }
        *items = kept;
        Ok(())
    }

    /// Lets the caller manage what it has just made.
    pub(crate) fn own(&self, store: &Store, caller: &Caller, resource: Resource, id: &str) -> Result<(), ApiError> {
        match caller.name() {
            Some(username) if self.is_on => Accounts::new(store).grant(username, resource, id, Permission::Manage),
            _ => Ok(()),
        }
    }

    /// Takes back all that was granted for something that is gone.
    pub(crate) fn forget(&self, store: &Store, resource: Resource, id: &str) -> Result<(), ApiError> {
        if self.is_on { Accounts::new(store).forget(resource, id).map(|_| ()) } else { Ok(()) }
    }

    /// Moves what was granted for a registered model to its new name.
    pub(crate) fn renamed(&self, store: &Store, name: &str, new_name: &str) -> Result<(), ApiError> {
        if !self.is_on {
            return Ok(());
        }
        let accounts = Accounts::new(store);
        accounts.forget(Resource::RegisteredModel, name)?.into_iter().try_for_each(|(username, permission)| {
            accounts.grant(&username, Resource::RegisteredModel, new_name, permission)
        })
    }
}
