//! The subcommands, one file each.

mod artifacts;
mod cancel;
mod db;
mod deid;
mod dicom;
mod doctor;
mod gc;
mod lock;
mod logs;
mod models;
mod phantom;
mod place;
mod plan;
mod references;
mod reproduce;
mod request;
mod run;
mod runs;
mod server;
mod step;
mod task;
mod tracked;
mod tracking;
mod users;
mod why;

use crate::failure::Outcome;

/// A subcommand and its arguments.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Run a pipeline; finished work is reused
    Run(run::Arguments),
    /// Show what a run would do, and why; runs nothing
    Plan(plan::Arguments),
    /// Say all about one task: what identifies its work, what changed, who made its result, how it ended last
    Why(why::Arguments),
    /// Show what a step's process printed
    Logs(logs::Arguments),
    /// Stop a run from another terminal
    Cancel(cancel::Arguments),
    /// Remove what nothing refers to from the state directory, and say what takes space
    Gc(gc::Arguments),
    /// Pin down what a finished pipeline depends on, and its results, in a lock file
    Lock(lock::Arguments),
    /// Do a run again from nothing and compare every output
    Reproduce(reproduce::Arguments),
    /// Tracked runs: list, show, compare, delete, restore, export, import
    #[command(subcommand)]
    Runs(runs::Command),
    /// Migrate, check and back up the tracking store
    #[command(subcommand)]
    Db(db::Command),
    /// The model registry: versions, aliases, stages
    #[command(subcommand)]
    Models(models::Command),
    /// Files of runs and models
    #[command(subcommand)]
    Artifacts(artifacts::Command),
    /// Say what waits for a tracking server, and deliver it
    #[command(subcommand)]
    Tracking(tracking::Command),
    /// Run one built-in radiology step by hand, as pipelines do
    #[command(subcommand)]
    Step(step::Command),
    /// Look at DICOM files and turn series into volumes
    #[command(subcommand)]
    Dicom(dicom::Command),
    /// Write a synthetic lumbar spine MR study with known Schmorl's nodes
    Phantom(phantom::Arguments),
    /// Serve runs, models and artifacts to MLflow's clients, and finished work to other machines
    Server(server::Arguments),
    /// Users of a server with --auth
    #[command(subcommand)]
    Users(users::UsersCommand),
    /// API tokens of users
    #[command(subcommand)]
    Tokens(users::TokensCommand),
    /// Check what mlpipe finds on this machine
    Doctor(doctor::Arguments),
}

impl Command {
    pub(crate) fn run(self) -> Outcome {
        match self {
            Self::Run(arguments) => run::run(&arguments),
            Self::Plan(arguments) => plan::run(&arguments),
            Self::Why(arguments) => why::run(&arguments),
            Self::Logs(arguments) => logs::run(&arguments),
            Self::Cancel(arguments) => cancel::run(&arguments),
            Self::Gc(arguments) => gc::run(&arguments),
            Self::Lock(arguments) => lock::run(&arguments),
            Self::Reproduce(arguments) => reproduce::run(&arguments),
            Self::Runs(command) => runs::run(&command),
            Self::Db(command) => db::run(&command),
            Self::Models(command) => models::run(&command),
            Self::Artifacts(command) => artifacts::run(&command),
            Self::Tracking(command) => tracking::run(&command),
            Self::Step(command) => step::run(&command),
            Self::Dicom(command) => dicom::run(&command),
            Self::Phantom(arguments) => phantom::run(&arguments),
            Self::Server(arguments) => server::run(&arguments),
            Self::Users(command) => users::run_users(&command),
            Self::Tokens(command) => users::run_tokens(&command),
            Self::Doctor(arguments) => doctor::run(&arguments),
        }
    }
}
