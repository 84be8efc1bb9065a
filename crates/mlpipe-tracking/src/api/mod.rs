//! The methods of [`Store`](crate::Store) that answer MLflow's REST API, one per operation, by entity.

mod documents;
mod experiments;
mod inputs;
mod logged_models;
mod maintenance;
mod registry;
mod runs;
