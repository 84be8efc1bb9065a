//! The database: how a connection is set up, and what the tables look like.
//!
//! The schema version is SQLite's `user_version`: how many of [`MIGRATIONS`] the file has seen. `application_id` tells
//! our files from those of other programs. Child tables refer to a run by `run_key`, a small number in order of
//! creation, so that rows are appended and not scattered as random run ids would have them.
//!
//! The journal is a write-ahead log: readers and the one writer do not wait for each other. Writers take the lock when
//! they begin (`BEGIN IMMEDIATE`) and wait for it up to [`LOCK_TIMEOUT`].

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::{Error, Result};

/// How long to wait for another process. A transaction lasts milliseconds: whoever holds the lock for this long hangs.
const LOCK_TIMEOUT: Duration = Duration::from_secs(120);
/// Pause before trying again in the few situations that SQLite does not wait for by itself.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
/// "mlpt" in ASCII.
const APPLICATION_ID: i64 = 0x6d6c_7074;
/// Prepared statements kept; the store has fewer.
const STATEMENT_CACHE: usize = 64;

/// When a commit counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When the program may die (`synchronous = NORMAL`). A power cut may take the latest commits, and leaves the store
    /// intact. The default: what the store holds can be replayed from the engine's journals, and a commit takes a
    /// fraction of a millisecond instead of several.
    #[default]
    ProgramCrash,
    /// When the power may fail (`synchronous = FULL`): every commit waits for the disk.
    PowerLoss,
}

/// What brings a store from one version to the next; the position is the version it starts from. Entries are never
/// changed, only added.
const MIGRATIONS: [&str; 1] = ["
CREATE TABLE experiments (
    experiment_id     INTEGER PRIMARY KEY,
    name              TEXT NOT NULL UNIQUE,
    artifact_location TEXT NOT NULL,
    lifecycle_stage   TEXT NOT NULL DEFAULT 'active' CHECK (lifecycle_stage IN ('active', 'deleted')),
    creation_time     INTEGER NOT NULL,
    last_update_time  INTEGER NOT NULL
) STRICT;
CREATE TABLE experiment_tags (
    experiment_id INTEGER NOT NULL REFERENCES experiments ON DELETE CASCADE,
    key           TEXT NOT NULL,
    value         TEXT NOT NULL,
    PRIMARY KEY (experiment_id, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE runs (
    run_key         INTEGER PRIMARY KEY,
    run_id          TEXT NOT NULL UNIQUE,
    experiment_id   INTEGER NOT NULL REFERENCES experiments ON DELETE CASCADE,
    name            TEXT NOT NULL,
    user_id         TEXT,
    status          TEXT NOT NULL CHECK (status IN ('RUNNING', 'SCHEDULED', 'FINISHED', 'FAILED', 'KILLED')),
    start_time      INTEGER NOT NULL,
    end_time        INTEGER,
    artifact_uri    TEXT NOT NULL,
    lifecycle_stage TEXT NOT NULL DEFAULT 'active' CHECK (lifecycle_stage IN ('active', 'deleted')),
    deleted_time    INTEGER,
    -- Equal to the tag mlflow.parentRunId: runs of nobody, and those of one run, are found in order without a search.
    parent_run_id   TEXT
) STRICT;
-- Each ends with run_key, as every index does: read backwards they give the newest first, the last created of one
-- millisecond before the others, and new runs are appended.
CREATE INDEX runs_by_start ON runs (start_time);
CREATE INDEX runs_by_experiment ON runs (experiment_id, start_time);
CREATE INDEX runs_by_parent ON runs (parent_run_id, start_time);
CREATE TABLE params (
    run_key INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    key     TEXT NOT NULL,
    value   TEXT NOT NULL,
    PRIMARY KEY (run_key, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE tags (
    run_key INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    key     TEXT NOT NULL,
    value   TEXT NOT NULL,
    PRIMARY KEY (run_key, key)
) STRICT, WITHOUT ROWID;
-- SQLite has no NaN: is_nan is 1 and value 0 then.
CREATE TABLE metrics (
    run_key   INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    key       TEXT NOT NULL,
    step      INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    is_nan    INTEGER NOT NULL DEFAULT 0 CHECK (is_nan IN (0, 1)),
    value     REAL NOT NULL,
    PRIMARY KEY (run_key, key, step, timestamp, is_nan, value)
) STRICT, WITHOUT ROWID;
CREATE TABLE latest_metrics (
    run_key   INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    key       TEXT NOT NULL,
    step      INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    is_nan    INTEGER NOT NULL DEFAULT 0 CHECK (is_nan IN (0, 1)),
    value     REAL NOT NULL,
    PRIMARY KEY (run_key, key)
) STRICT, WITHOUT ROWID;
"];

/// Opens a connection to the store at `path`, making the file or bringing its schema up to date when needed.
pub(crate) fn connect(path: &Path, durability: Durability) -> Result<Connection> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)
            .map_err(|source| Error::CreateDirectory { path: directory.to_owned(), source })?;
    }
    let mut connection = retrying(|| configured(path, durability))?;
    retrying(|| migrate(&mut connection, path))?;
    Ok(connection)
}

/// Calls `operation` again, for up to [`LOCK_TIMEOUT`], while the database is busy. SQLite waits for ordinary locks by
/// itself, but not when a journal mode is changed, or a log recovered or removed, by another process at the same time.
/// So `operation` must have no effect when it fails.
pub(crate) fn retrying<T>(mut operation: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match operation() {
            Err(error) if error.is_busy() && Instant::now() < deadline => thread::sleep(RETRY_PAUSE),
            outcome => return outcome,
        }
    }
}

/// Begins a transaction that may write.
pub(crate) fn begin<'a>(connection: &'a mut Connection, path: &Path) -> Result<Transaction<'a>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite(path))
}

/// Returns a closure for `map_err` that says which store an error of SQLite is about.
pub(crate) fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> Error {
    |source| Error::Database { store: path.display().to_string(), source: source.into() }
}

fn configured(path: &Path, durability: Durability) -> Result<Connection> {
    let synchronous = match durability {
        Durability::ProgramCrash => "NORMAL",
        Durability::PowerLoss => "FULL",
    };
    let connection = Connection::open(path).map_err(sqlite(path))?;
    let configure = || {
        connection.busy_timeout(LOCK_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.pragma_update(None, "foreign_keys", true)
    };
    refuse_foreign(&connection, path)?;
    configure().map_err(sqlite(path))?;
    Ok(connection)
}

/// Refuses a database that another program has made, before anything in it is changed.
fn refuse_foreign(connection: &Connection, path: &Path) -> Result<()> {
    let tables = "SELECT count(*) FROM sqlite_schema";
    let ours = number(connection, "PRAGMA application_id", path)? == APPLICATION_ID;
    if ours || number(connection, tables, path)? == 0 {
        Ok(())
    } else {
        Err(Error::NotAStore { path: path.to_owned() })
    }
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<()> {
    if pending(connection, path)?.is_empty() {
        return Ok(());
    }
    let transaction = begin(connection, path)?;
    // Another process may have migrated while this one waited for the lock.
    for (version, statements) in pending(&transaction, path)? {
        let apply = || {
            transaction.execute_batch(statements)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", version)
        };
        apply().map_err(sqlite(path))?;
        tracing::debug!(version, "tracking store migrated");
    }
    transaction.commit().map_err(sqlite(path))
}

/// Returns the migrations that the store has not seen, with the version each leads to.
fn pending(connection: &Connection, path: &Path) -> Result<Vec<(i64, &'static str)>> {
    let found = number(connection, "PRAGMA user_version", path)?;
    let all = || (1..).zip(MIGRATIONS);
    let supported = all().map(|(version, _)| version).max().unwrap_or(0);
    if found > supported {
        return Err(Error::SchemaTooNew { path: path.to_owned(), found, supported });
    }
    Ok(all().filter(|(version, _)| *version > found).collect())
}

fn number(connection: &Connection, sql: &str, path: &Path) -> Result<i64> {
    connection.query_row(sql, [], |row| row.get(0)).map_err(sqlite(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("new/store.db");
        (directory, path)
    }

    #[test]
    fn new_store_has_the_newest_schema_and_a_write_ahead_log() {
        let (_directory, path) = file();
        let connection = connect(&path, Durability::default()).expect("opened");
        assert_eq!(number(&connection, "PRAGMA user_version", &path).expect("read"), MIGRATIONS.len() as i64);
        assert_eq!(number(&connection, "PRAGMA synchronous", &path).expect("read"), 1);
        let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).expect("read");
        assert_eq!(mode, "wal");
        let connection = connect(&path, Durability::PowerLoss).expect("opened again");
        assert_eq!(number(&connection, "PRAGMA synchronous", &path).expect("read"), 2);
    }

    #[test]
    fn newer_schema_is_refused_with_both_versions() {
        let (_directory, path) = file();
        connect(&path, Durability::default()).expect("opened").pragma_update(None, "user_version", 99).expect("set");
        let error = connect(&path, Durability::default()).expect_err("refused");
        assert!(matches!(error, Error::SchemaTooNew { found: 99, .. }), "{error}");
        assert!(error.to_string().contains("schema version 99"), "{error}");
    }

    #[test]
    fn database_of_another_program_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("mlflow.db");
        Connection::open(&path).and_then(|other| other.execute_batch("CREATE TABLE runs (x)")).expect("made");
        let before = std::fs::read(&path).expect("read");
        assert!(matches!(connect(&path, Durability::default()), Err(Error::NotAStore { .. })));
        assert_eq!(std::fs::read(&path).expect("read"), before);
    }

    #[test]
    fn file_that_is_no_database_is_refused() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("store.db");
        std::fs::write(&path, "text that is longer than a header ".repeat(40)).expect("written");
        let error = connect(&path, Durability::default()).expect_err("refused");
        assert!(error.is_store_unavailable() && !error.is_busy(), "{error}");
    }

    #[test]
    fn many_threads_may_make_the_same_store() {
        let (_directory, path) = file();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| connect(&path, Durability::default()).expect("opened"));
            }
        });
    }
}
