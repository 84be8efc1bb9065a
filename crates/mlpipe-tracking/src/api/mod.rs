//! The methods of [`Store`](crate::Store) that answer MLflow's REST API, one per operation, by entity.

mod documents;
pub(crate) mod experiments;
mod histories;
pub(crate) mod inputs;
mod lineage;
mod logged_models;
mod maintenance;
mod registry;
mod registry_rows;
mod runs;
mod runs_search;
