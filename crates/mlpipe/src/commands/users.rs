//! `mlpipe users` and `mlpipe tokens`: who may use a server that was started with `--auth`. They work on the store, also while a
//! server runs on it.

use std::io::{BufRead, IsTerminal};
use std::time::{SystemTime, UNIX_EPOCH};

use mlpipe_server::Accounts;
use mlpipe_tracking::{Durability, Store};

use crate::failure::{Exit, Failure, Outcome};
use crate::{state, text};

/// Which store the users are in.
#[derive(Debug, clap::Args)]
pub(crate) struct StoreArguments {
    /// Tracking store of the server; else store.db in the state directory
    #[arg(long, value_name = "URI", env = "MLFLOW_BACKEND_STORE_URI")]
    backend_store_uri: Option<String>,
}

/// Subcommands of `mlpipe users`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum UsersCommand {
    /// Add a user; the password is the first line of stdin
    Add {
        /// Name to sign in with
        name: String,
        /// Let it do everything
        #[arg(long)]
        admin: bool,
        #[command(flatten)]
        store: StoreArguments,
    },
    /// List the users
    List {
        #[command(flatten)]
        store: StoreArguments,
    },
    /// Remove a user, with its tokens and permissions
    Remove {
        /// Name of the user
        name: String,
        #[command(flatten)]
        store: StoreArguments,
    },
    /// Give a user another password, the first line of stdin
    Passwd {
        /// Name of the user
        name: String,
        #[command(flatten)]
        store: StoreArguments,
    },
}

/// Subcommands of `mlpipe tokens`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum TokensCommand {
    /// Make a token, which is shown once: MLFLOW_TRACKING_TOKEN for MLflow's clients
    Create {
        /// User whose permissions it has
        user: String,
        /// What it is for
        #[arg(long, default_value = "")]
        name: String,
        #[command(flatten)]
        store: StoreArguments,
    },
    /// List the tokens, without their secrets
    List {
        #[command(flatten)]
        store: StoreArguments,
    },
    /// Make a token worthless
    Revoke {
        /// Id of the token, as `list` shows it
        id: String,
        #[command(flatten)]
        store: StoreArguments,
    },
}

fn open(arguments: &StoreArguments) -> Result<Store, Failure> {
    let own = || Ok::<_, Failure>(state::open()?.root().join("store.db").display().to_string());
    let uri = arguments.backend_store_uri.clone().map_or_else(own, Ok)?;
    Ok(Store::open_uri(&uri, Durability::default())?)
}

fn password() -> Result<String, Failure> {
    if std::io::stdin().is_terminal() {
        text::error_line("password (it is shown while you type; pipe it in to avoid that):");
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

pub(crate) fn run_users(command: &UsersCommand) -> Outcome {
    match command {
        UsersCommand::Add { name, admin, store } => {
            Accounts::new(&open(store)?).add_user(name, &password()?, *admin).map_err(Failure::bad_input)?;
        }
        UsersCommand::List { store } => {
            let users = Accounts::new(&open(store)?).list_users().map_err(Failure::bad_input)?;
            let kind = |is_admin| if is_admin { "administrator" } else { "user" }.to_owned();
            let rows: Vec<_> = users.into_iter().map(|user| vec![user.username, kind(user.is_admin)]).collect();
            text::line(&text::table(&rows));
        }
        UsersCommand::Remove { name, store } => {
            Accounts::new(&open(store)?).remove_user(name).map_err(Failure::bad_input)?;
        }
        UsersCommand::Passwd { name, store } => {
            Accounts::new(&open(store)?).change_password(name, &password()?).map_err(Failure::bad_input)?;
        }
    }
    Ok(Exit::Ok)
}

pub(crate) fn run_tokens(command: &TokensCommand) -> Outcome {
    match command {
        TokensCommand::Create { user, name, store } => {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now_ms = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
            let token = Accounts::new(&open(store)?).create_token(user, name, now_ms).map_err(Failure::bad_input)?;
            text::line(&token.text);
        }
        TokensCommand::List { store } => {
            let tokens = Accounts::new(&open(store)?).list_tokens().map_err(Failure::bad_input)?;
            let row = |token: mlpipe_server::TokenInfo| {
                vec![token.id, token.username, text::local_time(token.created_ms), token.name]
            };
            text::line(&text::table(&tokens.into_iter().map(row).collect::<Vec<_>>()));
        }
        TokensCommand::Revoke { id, store } => {
            Accounts::new(&open(store)?).remove_token(id).map_err(Failure::bad_input)?;
        }
    }
    Ok(Exit::Ok)
}
