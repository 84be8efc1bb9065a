//! `mlpipe db`: care of the tracking store.

use std::path::PathBuf;

use mlpipe_tracking::{Durability, SchemaVersion, Store};
use serde::Serialize;

use crate::failure::{Exit, Failure, Outcome};
use crate::{state, text};

/// Subcommands of `mlpipe db`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Bring the tracking store to the schema of this mlpipe, as every command that writes to it does by itself
    Migrate(Arguments),
    /// Look for damage and for records that contradict each other
    Check(Arguments),
    /// Copy the tracking store to a new file, also while it is in use
    Backup(BackupArguments),
}

/// Arguments of `mlpipe db migrate` and `check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The store: a file, sqlite:/// or postgresql:// [default: that of the state directory]
    #[arg(long, value_name = "URI")]
    store: Option<String>,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Arguments of `mlpipe db backup`.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupArguments {
    /// The file to write; it must not exist
    to: PathBuf,

    #[command(flatten)]
    common: Arguments,
}

#[derive(Debug, Serialize)]
struct Migrated {
    store: String,
    from_version: Option<i64>,
    version: i64,
}

#[derive(Debug, Serialize)]
struct Checked {
    store: String,
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct BackedUp {
    store: String,
    backup: String,
    bytes: u64,
}

pub(crate) fn run(command: &Command) -> Outcome {
    match command {
        Command::Migrate(arguments) => migrate(arguments),
        Command::Check(arguments) => check(arguments),
        Command::Backup(arguments) => backup(arguments),
    }
}

impl Arguments {
    fn uri(&self) -> Result<String, Failure> {
        match &self.store {
            Some(uri) => Ok(uri.clone()),
            None => Ok(state::directory()?.join("store.db").display().to_string()),
        }
    }

    /// Opens a store that must be there.
    fn open(&self) -> Result<Store, Failure> {
        let uri = self.uri()?;
        if SchemaVersion::of(&uri)?.found.is_none() {
            return Err(Failure::new(Exit::StoreUnavailable, format!("there is no tracking store at {uri}")));
        }
        Ok(Store::open_uri(&uri, Durability::default())?)
    }
}

fn migrate(arguments: &Arguments) -> Outcome {
    let uri = arguments.uri()?;
    let before = SchemaVersion::of(&uri)?;
    let store = Store::open_uri(&uri, Durability::default())?;
    let document =
        Migrated { store: store.path().display().to_string(), from_version: before.found, version: before.supported };
    if arguments.json {
        text::json(&document);
        return Ok(Exit::Ok);
    }
    let version = document.version;
    text::line(&match document.from_version {
        None => format!("{}: made, schema version {version}", document.store),
        Some(from) if from == version => format!("{}: schema version {version} already", document.store),
        Some(from) => format!("{}: schema version {from} is now {version}", document.store),
    });
    Ok(Exit::Ok)
}

fn check(arguments: &Arguments) -> Outcome {
    let store = arguments.open()?;
    let document = Checked { store: store.path().display().to_string(), problems: store.check()? };
    let exit = if document.problems.is_empty() { Exit::Ok } else { Exit::StoreUnavailable };
    if arguments.json {
        text::json(&document);
        return Ok(exit);
    }
    document.problems.iter().for_each(|problem| text::line(&format!("{}: {problem}", document.store)));
    if document.problems.is_empty() {
        text::line(&format!("{}: no problems", document.store));
    }
    Ok(exit)
}

fn backup(arguments: &BackupArguments) -> Outcome {
    let store = arguments.common.open()?;
    store.backup(&arguments.to)?;
    let bytes = std::fs::metadata(&arguments.to)?.len();
    let document =
        BackedUp { store: store.path().display().to_string(), backup: arguments.to.display().to_string(), bytes };
    if arguments.common.json {
        text::json(&document);
        return Ok(Exit::Ok);
    }
    text::line(&format!("{}: copied to {}, {}", document.store, document.backup, text::bytes(bytes)));
    Ok(Exit::Ok)
}
