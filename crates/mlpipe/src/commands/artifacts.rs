//! `mlpipe artifacts`: files of runs and models, listed, fetched and stored.

use std::fs;
use std::path::{Path, PathBuf};

use mlpipe_tracking::rest::{Client, FileInfo};

use crate::commands::place::{Place, resolve};
use crate::commands::tracked::Tracked;
use crate::commands::tracking::TrackingArguments;
use crate::failure::{Exit, Failure, Outcome};
use crate::text;

/// Subcommands of `mlpipe artifacts`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List what lies at a URI: runs:/RUN/path, models:/NAME/VERSION, models:/NAME@ALIAS, mlflow-artifacts:/path or a path
    List(ListArguments),
    /// Fetch a file or folder
    Get(GetArguments),
    /// Store a file or folder with a run
    Put(PutArguments),
}

/// Arguments of `mlpipe artifacts list`.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArguments {
    /// Where to look
    uri: String,

    #[command(flatten)]
    tracking: TrackingArguments,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Arguments of `mlpipe artifacts get`.
#[derive(Debug, clap::Args)]
pub(crate) struct GetArguments {
    /// What to fetch
    uri: String,

    /// Where to write it; must not exist
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,

    #[command(flatten)]
    tracking: TrackingArguments,
}

/// Arguments of `mlpipe artifacts put`.
#[derive(Debug, clap::Args)]
pub(crate) struct PutArguments {
    /// A file or folder
    path: PathBuf,

    /// Where to store it, as in runs:/RUN/folder; it keeps its name
    uri: String,

    #[command(flatten)]
    tracking: TrackingArguments,
}

pub(crate) fn run(command: &Command) -> Outcome {
    match command {
        Command::List(arguments) => list(arguments),
        Command::Get(arguments) => {
            let count = fetch(&Tracked::open(&arguments.tracking)?, &arguments.uri, &arguments.output)?;
            text::line(&format!("{}: {count} files", arguments.output.display()));
            Ok(Exit::Ok)
        }
        Command::Put(arguments) => {
            let count = store(&Tracked::open(&arguments.tracking)?, &arguments.path, &arguments.uri)?;
            text::error_line(&format!("{count} files stored"));
            Ok(Exit::Ok)
        }
    }
}

fn list(arguments: &ListArguments) -> Outcome {
    let tracked = Tracked::open(&arguments.tracking)?;
    let files = match resolve(&tracked, &arguments.uri)? {
        Place::Local(path) => entries(&path)?,
        Place::Proxied(uri) => client(&tracked).list_folder(&uri)?,
    };
    if arguments.json {
        text::json(&serde_json::json!({ "files": files }));
        return Ok(Exit::Ok);
    }
    let row = |file: &FileInfo| {
        let size = u64::try_from(file.file_size).unwrap_or(0);
        match file.is_dir {
            true => vec![format!("{}/", file.path), String::new()],
            false => vec![file.path.clone(), text::bytes(size)],
        }
    };
    text::line(&text::table(&files.iter().map(row).collect::<Vec<_>>()));
    Ok(Exit::Ok)
}

/// Copies what a URI names to a local path that does not exist; returns how many files.
pub(crate) fn fetch(tracked: &Tracked, uri: &str, to: &Path) -> Result<usize, Failure> {
    if to.exists() {
        return Err(Failure::bad_input(format!("`{}` exists", to.display())).hint("name a path that does not"));
    }
    match resolve(tracked, uri)? {
        Place::Local(from) => copy(&from, to),
        Place::Proxied(uri) => {
            let client = client(tracked);
            // Only what lies in a folder can be listed: a file has no entries.
            if client.list_folder(&uri)?.is_empty() {
                client.download(&uri, "", to)?;
                return Ok(1);
            }
            Ok(client.download_folder(&uri, to)?)
        }
    }
}

/// Copies a local file or folder into what a URI names; returns how many files.
pub(crate) fn store(tracked: &Tracked, path: &Path, uri: &str) -> Result<usize, Failure> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| Failure::bad_input(format!("`{}` has no name that a text can hold", path.display())))?;
    match resolve(tracked, uri)? {
        Place::Local(folder) => {
            fs::create_dir_all(&folder).map_err(unusable(&folder))?;
            copy(path, &folder.join(name))
        }
        Place::Proxied(root) => upload(client(tracked), path, &root, name),
    }
}

/// Uploads a file or folder under this name; returns how many files.
pub(crate) fn upload(client: &Client, path: &Path, root: &str, name: &str) -> Result<usize, Failure> {
    if !path.is_dir() {
        client.upload(root, name, path)?;
        return Ok(1);
    }
    let mut count = 0;
    for entry in entries(path)? {
        count += upload(client, &path.join(&entry.path), root, &format!("{name}/{}", entry.path))?;
    }
    Ok(count)
}

/// Copies a file or folder; returns how many files.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<usize, Failure> {
    if !from.is_dir() {
        fs::copy(from, to).map_err(unusable(from))?;
        return Ok(1);
    }
    fs::create_dir_all(to).map_err(unusable(to))?;
    let mut count = 0;
    for entry in entries(from)? {
        count += copy(&from.join(&entry.path), &to.join(&entry.path))?;
    }
    Ok(count)
}

/// The entries of a folder, by name; a file is its own only entry.
fn entries(path: &Path) -> Result<Vec<FileInfo>, Failure> {
    let info = |path: &Path| -> Result<FileInfo, Failure> {
        let metadata = path.metadata().map_err(unusable(path))?;
        let name = path.file_name().unwrap_or_default().to_str().map(str::to_owned);
        Ok(FileInfo {
            path: name.ok_or_else(|| Failure::bad_input(format!("`{}`: its name is not UTF-8", path.display())))?,
            is_dir: metadata.is_dir(),
            file_size: if metadata.is_dir() { 0 } else { i64::try_from(metadata.len()).unwrap_or(i64::MAX) },
        })
    };
    if !path.is_dir() {
        return Ok(vec![info(path)?]);
    }
    let found = path.read_dir().map_err(unusable(path))?;
    let paths = found.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>();
    let mut files = paths.map_err(unusable(path))?.iter().map(|path| info(path)).collect::<Result<Vec<_>, _>>()?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn client(tracked: &Tracked) -> &Client {
    match tracked {
        Tracked::Server(client) => client,
        Tracked::Local(..) => unreachable!("only a server has proxied places"),
    }
}

fn unusable(path: &Path) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure::bad_input(format!("`{}`: {error}", path.display()))
}
