//! The subcommands, one file each.

mod dicom;
mod doctor;
mod phantom;
mod plan;
mod request;
mod run;
mod runs;
mod step;

use crate::failure::Outcome;

/// A subcommand and its arguments.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Run a pipeline; finished work is reused
    Run(run::Arguments),
    /// Show what a run would do, and why; runs nothing
    Plan(plan::Arguments),
    /// List and show tracked runs
    #[command(subcommand)]
    Runs(runs::Command),
    /// Run one built-in radiology step by hand, as pipelines do
    #[command(subcommand)]
    Step(step::Command),
    /// Look at DICOM files and turn series into volumes
    #[command(subcommand)]
    Dicom(dicom::Command),
    /// Write a synthetic lumbar spine MR study with known Schmorl's nodes
    Phantom(phantom::Arguments),
    /// Check what mlpipe finds on this machine
    Doctor(doctor::Arguments),
}

impl Command {
    pub(crate) fn run(self) -> Outcome {
        match self {
            Self::Run(arguments) => run::run(&arguments),
            Self::Plan(arguments) => plan::run(&arguments),
            Self::Runs(command) => runs::run(&command),
            Self::Step(command) => step::run(&command),
            Self::Dicom(command) => dicom::run(&command),
            Self::Phantom(arguments) => phantom::run(&arguments),
            Self::Doctor(arguments) => doctor::run(&arguments),
        }
    }
}
