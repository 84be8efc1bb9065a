//! The `mlpipe` command: reads the command line, calls the libraries, prints, and picks the exit code.

mod commands;
mod comparators;
mod environment;
mod failure;
mod junit;
mod logging;
mod progress;
mod sources;
mod state;
mod text;

use std::process::ExitCode;

use clap::Parser;

use commands::Command;

/// Runs multi-step radiology pipelines over DICOM studies: never repeats finished work, records every step.
#[derive(Debug, Parser)]
#[command(name = "mlpipe", version, propagate_version = true, after_help = EXIT_CODES)]
struct Arguments {
    /// Say more (-v) or much more (-vv) on stderr; MLPIPE_LOG=debug does the same
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,

    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 ok, 1 a step failed, 2 usage, 3 pipeline invalid, 4 bad input, 5 reproducibility mismatch, \
6 store unavailable, 130/143 interrupted.";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    logging::start(arguments.verbose);
    match arguments.command.run() {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report().into(),
    }
}
