//! The schema: what the tables look like, how an old store becomes a new one, and how a connection is set up.
//!
//! The version of an SQLite file is its `user_version`: how many of [`MIGRATIONS`] it has seen. `application_id` tells
//! our files from those of other programs. PostgreSQL has both in the table `mlpipe_schema`.
//!
//! SQLite's journal is a write-ahead log: readers and the one writer do not wait for each other. Writers take the lock
//! when they begin (`BEGIN IMMEDIATE`) and wait for it up to [`LOCK_TIMEOUT`].

#[cfg(feature = "postgres")]
pub(crate) mod postgres;

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::database::{self, SqliteConnection};
use crate::{Error, Result};

/// How long to wait for another process. A transaction lasts milliseconds: whoever holds the lock for this long hangs.
const LOCK_TIMEOUT: Duration = Duration::from_secs(120);
/// Pause before trying again in the few situations that SQLite does not wait for by itself.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
/// "mlpt" in ASCII.
const APPLICATION_ID: i64 = 0x6d6c_7074;
/// Prepared statements kept.
const STATEMENT_CACHE: usize = 128;
/// Memory for pages of the connection that writes, in KiB; used when there is so much to keep. Random run ids change
/// pages all over their index, and a page that was dropped must be read again.
const WRITER_CACHE_KIB: i64 = 48 << 10;
/// Memory for pages of a connection that reads, in KiB.
const READER_CACHE_KIB: i64 = 8 << 10;
/// Pages in the log before they are copied to their places: a page that changes often is copied once.
const CHECKPOINT_PAGES: i64 = 4000;
/// The newest version of the schema that this program knows.
pub(crate) const VERSION: i64 = MIGRATIONS.len() as i64;
/// The tables of the newest version.
const TABLES: &str = include_str!("version_2.sql");

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

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Questions.
    Read,
    /// Writing, and questions.
    Write,
}

/// What brings a store from one version to the next; the position is the version it starts from. Entries are never
/// changed, only added.
const MIGRATIONS: [&[&str]; 2] = [
    &[include_str!("version_1.sql")],
    &[
        "ALTER TABLE experiments RENAME TO old_experiments;
         ALTER TABLE experiment_tags RENAME TO old_experiment_tags;
         ALTER TABLE runs RENAME TO old_runs;
         ALTER TABLE params RENAME TO old_params;
         ALTER TABLE tags RENAME TO old_tags;
         ALTER TABLE metrics RENAME TO old_metrics;
         ALTER TABLE latest_metrics RENAME TO old_latest_metrics;
         DROP INDEX runs_by_start;
         DROP INDEX runs_by_experiment;
         DROP INDEX runs_by_parent;",
        TABLES,
        include_str!("from_1_to_2.sql"),
    ],
];

/// Opens a connection to the store at `path`, making the file or bringing its schema up to date when needed.
pub(crate) fn connect(path: &Path, durability: Durability, purpose: Purpose) -> Result<database::Connection> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)
            .map_err(|source| Error::CreateDirectory { path: directory.to_owned(), source })?;
    }
    let mut connection = retrying(|| configured(path, durability, purpose))?;
    retrying(|| migrate(&mut connection, path))?;
    let label = Arc::from(path.display().to_string());
    Ok(database::Connection::sqlite(label, SqliteConnection::new(connection)))
}

/// The schema version of a store, and that of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaVersion {
    /// The version of the store; none when there is no store yet.
    pub found: Option<i64>,
    /// The newest version that this program knows, to which it brings every store that it opens.
    pub supported: i64,
}

impl SchemaVersion {
    /// Returns the versions for the store of a URI, which is not changed; see
    /// [`Store::open_uri`](crate::Store::open_uri).
    ///
    /// # Errors
    /// [`Error::NotAStore`], [`Error::Database`].
    pub fn of(uri: &str) -> Result<Self> {
        let found = match uri.split_once(':') {
            #[cfg(feature = "postgres")]
            Some(("postgresql" | "postgres", _)) => postgres::version_at(uri)?,
            _ => version_of(Path::new(uri.strip_prefix("sqlite:///").unwrap_or(uri)))?,
        };
        Ok(Self { found, supported: VERSION })
    }
}

fn version_of(path: &Path) -> Result<Option<i64>> {
    if !path.exists() {
        return Ok(None);
    }
    let connection = Connection::open(path).map_err(sqlite(path))?;
    connection.busy_timeout(LOCK_TIMEOUT).map_err(sqlite(path))?;
    refuse_foreign(&connection, path)?;
    Ok(Some(number(&connection, "PRAGMA user_version", path)?).filter(|version| *version > 0))
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
fn begin<'a>(connection: &'a mut Connection, path: &Path) -> Result<Transaction<'a>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite(path))
}

/// Returns a closure for `map_err` that says which store an error of SQLite is about.
fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> Error {
    |source| Error::Database { store: path.display().to_string(), source: source.into() }
}

fn configured(path: &Path, durability: Durability, purpose: Purpose) -> Result<Connection> {
    let synchronous = match durability {
        Durability::ProgramCrash => "NORMAL",
        Durability::PowerLoss => "FULL",
    };
    let cache_kib = match purpose {
        Purpose::Read => READER_CACHE_KIB,
        Purpose::Write => WRITER_CACHE_KIB,
    };
    let connection = Connection::open(path).map_err(sqlite(path))?;
    let configure = || {
        connection.busy_timeout(LOCK_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.pragma_update(None, "cache_size", -cache_kib)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
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
        Err(Error::NotAStore { store: path.display().to_string() })
    }
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<()> {
    if pending(connection, path)?.is_empty() {
        return Ok(());
    }
    let transaction = begin(connection, path)?;
    // Another process may have migrated while this one waited for the lock.
    for (version, scripts) in pending(&transaction, path)? {
        let apply = || {
            scripts.iter().try_for_each(|statements| transaction.execute_batch(statements))?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", version)
        };
        apply().map_err(sqlite(path))?;
        tracing::debug!(version, "tracking store migrated");
    }
    transaction.commit().map_err(sqlite(path))
}

/// Returns the migrations that the store has not seen, with the version each leads to.
fn pending(connection: &Connection, path: &Path) -> Result<Vec<(i64, &'static [&'static str])>> {
    let found = number(connection, "PRAGMA user_version", path)?;
    if found > VERSION {
        return Err(Error::SchemaTooNew { store: path.display().to_string(), found, supported: VERSION });
    }
    Ok((1..).zip(MIGRATIONS).filter(|(version, _)| *version > found).collect())
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
        drop(connect(&path, Durability::default(), Purpose::Write).expect("opened"));
        let connection = configured(&path, Durability::default(), Purpose::Write).expect("opened again");
        assert_eq!(number(&connection, "PRAGMA user_version", &path).expect("read"), MIGRATIONS.len() as i64);
        assert_eq!(number(&connection, "PRAGMA synchronous", &path).expect("read"), 1);
        let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).expect("read");
        assert_eq!(mode, "wal");
        let connection = configured(&path, Durability::PowerLoss, Purpose::Read).expect("opened again");
        assert_eq!(number(&connection, "PRAGMA synchronous", &path).expect("read"), 2);
    }

    #[test]
    fn store_of_version_1_keeps_all_it_holds() {
        let (_directory, path) = file();
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        let old = Connection::open(&path).expect("opened");
        old.execute_batch(MIGRATIONS[0][0]).expect("made");
        old.execute_batch(&format!(
            "PRAGMA application_id = {APPLICATION_ID};
             PRAGMA user_version = 1;
             INSERT INTO experiments VALUES (1, 'spine', 'here', 'active', 5, 6);
             INSERT INTO experiment_tags VALUES (1, 'organ', 'spine');
             INSERT INTO runs VALUES (7, '0123456789abcdef0123456789abcdef', 1, 'n', NULL, 'FINISHED', 8, 9, 'there', 'active', NULL, NULL);
             INSERT INTO params VALUES (7, 'lr', '0.1');
             INSERT INTO tags VALUES (7, 'mlflow.runName', 'n');
             INSERT INTO metrics VALUES (7, 'loss', 0, 1, 0, 0.5), (7, 'loss', 1, 2, 1, 0);
             INSERT INTO latest_metrics VALUES (7, 'loss', 1, 2, 1, 0);"
        ))
        .expect("filled");
        drop(old);
        let store = crate::Store::open(&path).expect("opened");
        let run = store.get_run("0123456789abcdef0123456789abcdef").expect("read");
        assert_eq!((run.params["lr"].as_str(), run.tags["mlflow.runName"].as_str()), ("0.1", "n"));
        assert!(run.metric("loss").expect("a metric").is_nan());
        assert_eq!(store.experiment("1").expect("read").tags["organ"], "spine");
        assert_eq!(store.metric_history(&run.run_id, "loss").expect("read").len(), 2);
        assert_eq!(store.check().expect("checked"), Vec::<String>::new());
        assert_eq!(version_of(&path).expect("read"), Some(VERSION));
    }

    #[test]
    fn newer_schema_is_refused_with_both_versions() {
        let (_directory, path) = file();
        let mut connection = connect(&path, Durability::default(), Purpose::Write).expect("opened");
        connection.run("PRAGMA user_version = 99").expect("set");
        let error = connect(&path, Durability::default(), Purpose::Write).expect_err("refused");
        assert!(matches!(error, Error::SchemaTooNew { found: 99, .. }), "{error}");
        assert!(error.to_string().contains("schema version 99"), "{error}");
    }

    #[test]
    fn database_of_another_program_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("mlflow.db");
        Connection::open(&path).and_then(|other| other.execute_batch("CREATE TABLE runs (x)")).expect("made");
        let before = std::fs::read(&path).expect("read");
        assert!(matches!(connect(&path, Durability::default(), Purpose::Write), Err(Error::NotAStore { .. })));
        assert_eq!(std::fs::read(&path).expect("read"), before);
    }

    #[test]
    fn file_that_is_no_database_is_refused() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("store.db");
        std::fs::write(&path, "text that is longer than a header ".repeat(40)).expect("written");
        let error = connect(&path, Durability::default(), Purpose::Write).expect_err("refused");
        assert!(error.is_store_unavailable() && !error.is_busy(), "{error}");
    }

    #[test]
    fn many_threads_may_make_the_same_store() {
        let (_directory, path) = file();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| connect(&path, Durability::default(), Purpose::Write).expect("opened"));
            }
        });
    }
}
