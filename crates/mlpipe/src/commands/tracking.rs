//! Which tracking server a command is about, and `mlpipe tracking`: what waits for one.

use mlpipe_engine::{SpoolRow, sync_spools, waiting_spools};
use mlpipe_tracking::rest::{Client, Credentials, Retries, TrackingUri};

use crate::failure::{Exit, Failure, Outcome};
use crate::{state, text};

/// MLflow's variable for the address of the server.
const VARIABLE: &str = "MLFLOW_TRACKING_URI";

/// The tracking server of a command.
#[derive(Debug, clap::Args)]
pub(crate) struct TrackingArguments {
    /// Tracking server, mlpipe's or MLflow's, as in http://host:5000; `local` for none
    /// [default: MLFLOW_TRACKING_URI, when that is a server]
    #[arg(long, value_name = "URL")]
    tracking_uri: Option<String>,
}

impl TrackingArguments {
    /// Returns a client of the server that is given, else of the one that `MLFLOW_TRACKING_URI` names; a folder or a database
    /// there is MLflow's own business.
    pub(crate) fn client(&self) -> Result<Option<Client>, Failure> {
        let text = match &self.tracking_uri {
            Some(given) if given == "local" => return Ok(None),
            Some(given) => given.clone(),
            None => match std::env::var(VARIABLE).ok().filter(|text| TrackingUri::is_server(text)) {
                Some(text) => text,
                None => return Ok(None),
            },
        };
        let uri = TrackingUri::parse(&text).map_err(|error| Failure::new(Exit::Usage, error))?;
        Ok(Some(client(uri)))
    }
}

/// Returns a client of a server, with the credentials of the environment.
pub(crate) fn client(uri: TrackingUri) -> Client {
    Client::new(uri, Credentials::from_environment(), Retries::default())
}

/// Subcommands of `mlpipe tracking`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Say what waits to be delivered to tracking servers
    Status(Arguments),
    /// Deliver what waits, each run to its server
    Sync(Arguments),
}

/// Arguments of `mlpipe tracking`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &Command) -> Outcome {
    let workspace = state::open()?;
    let (rows, arguments) = match command {
        Command::Status(arguments) => (waiting_spools(&workspace)?, arguments),
        Command::Sync(arguments) => (sync_spools(&workspace, client)?, arguments),
    };
    if arguments.json {
        text::json(&serde_json::json!({ "spools": rows }));
    } else {
        print(&rows);
    }
    let failed = rows.iter().any(|row| row.error.is_some());
    Ok(if failed { Exit::StoreUnavailable } else { Exit::Ok })
}

fn print(rows: &[SpoolRow]) {
    if rows.is_empty() {
        text::error_line("nothing waits");
        return;
    }
    let header = ["run", "records", "status", "server"].map(str::to_owned).to_vec();
    let cells = |row: &SpoolRow| {
        let run = text::short_run(row.run_id.as_str()).to_owned();
        vec![run, row.records.to_string(), row.status.to_owned(), row.uri.clone()]
    };
    let rows_of_cells: Vec<Vec<String>> = [header].into_iter().chain(rows.iter().map(cells)).collect();
    text::line(&text::table(&rows_of_cells));
    for row in rows {
        if let Some(error) = &row.error {
            text::error_line(&format!("{}: {error}", text::short_run(row.run_id.as_str())));
        }
    }
}
