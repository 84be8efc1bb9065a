//! [`Store`]: an open store, and the questions that this program itself asks of it. What MLflow's clients ask is in
//! `api`.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::apply::Applier;
use crate::database::{Connection, Value};
use crate::group::{GroupCommit, Transaction};
use crate::limits::check_experiment_name;
use crate::rows::{RUN_COLUMNS, bare_run, complete, metric_value};
use crate::run_id::is_lower_hex;
use crate::schema::{Durability, Purpose, connect, retrying};
use crate::{Error, Experiment, LifecycleStage, Metric, Record, Result, Run, RunId, RunQuery};

/// How many connections for reading are kept.
const MAX_READERS: usize = 8;

/// An open tracking store. It can be shared between threads: they read on connections of their own, and what they write
/// at the same time is committed together. Any number of processes may have the same store open.
#[derive(Debug)]
pub struct Store {
    /// The file, or the URI of the server without its password.
    path: PathBuf,
    place: Place,
    /// Connections that nobody reads from at the moment.
    readers: Mutex<Vec<Connection>>,
    writer: GroupCommit,
}

/// Where a store lies.
#[derive(Debug)]
enum Place {
    File(Durability),
    #[cfg(feature = "postgres")]
    Server(Box<crate::schema::postgres::Server>),
}

impl Store {
    /// Opens the store at `path`, a file, making it and its directory when they are missing.
    ///
    /// # Errors
    /// [`Error::SchemaTooNew`] for a store of a newer program, [`Error::NotAStore`] for another program's database,
    /// [`Error::CreateDirectory`], and [`Error::Database`] for a file that cannot be used.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, Durability::default())
    }

    /// Opens the store at `path` with another durability than [`Durability::ProgramCrash`].
    ///
    /// # Errors
    /// As for [`Store::open`].
    pub fn open_with(path: &Path, durability: Durability) -> Result<Self> {
        let connection = connect(path, durability, Purpose::Write)?;
        Ok(Self {
            path: path.to_owned(),
            place: Place::File(durability),
            readers: Mutex::default(),
            writer: GroupCommit::new(Some(connection)),
        })
    }

    /// Opens the store that a URI names: `sqlite:///relative/path.db`, `sqlite:////absolute/path.db`, the path of a file,
    /// or with the feature `postgres` `postgresql://user:password@host:port/database`.
    ///
    /// # Errors
    /// As for [`Store::open`]; code `InvalidParameterValue` for other URIs.
    pub fn open_uri(uri: &str, durability: Durability) -> Result<Self> {
        if uri.starts_with("postgresql:") || uri.starts_with("postgres:") {
            return Self::open_server(uri, durability);
        }
        if let Some(path) = uri.strip_prefix("sqlite:///") {
            return Self::open_with(Path::new(path), durability);
        }
        match uri.split_once(':') {
            // A drive of Windows has one letter.
            Some((scheme, _))
                if scheme.len() > 1 && scheme.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '+') =>
            {
                Err(Error::invalid(format!(
                    "a store cannot be opened by a URI that begins with `{scheme}:`: use a path, sqlite:/// or postgresql://"
                )))
            }
            _ => Self::open_with(Path::new(uri), durability),
        }
    }

    #[cfg(feature = "postgres")]
    fn open_server(uri: &str, durability: Durability) -> Result<Self> {
        let config = crate::database::parse_uri(uri)?;
        let label = without_password(uri);
        let server = crate::schema::postgres::Server { config, label: label.as_str().into(), durability };
        let connection = server.connect_and_migrate()?;
        Ok(Self {
            path: PathBuf::from(label),
            place: Place::Server(Box::new(server)),
            readers: Mutex::default(),
            writer: GroupCommit::new(Some(connection)),
        })
    }

    #[cfg(not(feature = "postgres"))]
    fn open_server(_: &str, _: Durability) -> Result<Self> {
        Err(Error::invalid("this program was built without PostgreSQL (cargo feature `postgres`)"))
    }

    /// Returns the path of the database file; for a store on a server its URI without the password.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the store is a file.
    pub fn is_file(&self) -> bool {
        matches!(self.place, Place::File(_))
    }

    /// Returns the experiment called `name`, making it when there is none. Artifacts of a new one lie below
    /// `<artifact_root>/<experiment_id>`; an existing one stays as it is.
    ///
    /// # Errors
    /// [`Error::InvalidExperimentName`], [`Error::ExperimentDeleted`], [`Error::Database`].
    pub fn ensure_experiment(&self, name: &str, artifact_root: &str) -> Result<Experiment> {
        check_experiment_name(name)?;
        let find =
            |connection: &mut Connection| crate::api::experiments::find(connection, "name = ?1", &[Value::Text(name)]);
        let experiment = match self.read(find)? {
            Some(found) => found,
            None => self.write(|transaction| {
                if let Some(found) = find(transaction.connection)? {
                    return Ok(found);
                }
                crate::api::experiments::insert(transaction, name, None, artifact_root)?;
                find(transaction.connection)?.ok_or_else(|| Error::ExperimentNotFound { experiment: name.to_owned() })
            })?,
        };
        match experiment.lifecycle_stage {
            LifecycleStage::Active => Ok(experiment),
            LifecycleStage::Deleted => Err(Error::ExperimentDeleted { name: name.to_owned() }),
        }
    }

    /// Returns the experiments in use, by id.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn experiments(&self) -> Result<Vec<Experiment>> {
        self.read(|connection| {
            crate::api::experiments::select(connection, "WHERE lifecycle_stage = 'active' ORDER BY experiment_id", &[])
        })
    }

    /// Applies records in order, all of them or, when one is refused, none.
    ///
    /// # Errors
    /// [`Error::RunNotFound`], [`Error::RunDeleted`], [`Error::RunExists`], [`Error::ExperimentNotFound`],
    /// [`Error::ParamChanged`], [`Error::InvalidKey`], [`Error::Database`].
    pub fn apply(&self, records: &[Record]) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        self.write(|transaction| Applier::new(transaction).apply_all(records))
    }

    /// Returns a run with its params, tags and latest metrics, also when it is deleted.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn run(&self, id: &RunId) -> Result<Option<Run>> {
        self.read(|connection| run_of(connection, id.as_str()))
    }

    /// Returns the runs that meet every condition of `query`, newest first, of those of the same time the last created first.
    ///
    /// # Errors
    /// [`Error::ExperimentNotFound`], [`Error::Database`].
    pub fn runs(&self, query: &RunQuery) -> Result<Vec<Run>> {
        self.read(|connection| {
            let (sql, values) = selection(connection, query)?;
            runs_of(connection, &sql, &values)
        })
    }

    /// Returns the one run whose id is `prefix` or begins with it; deleted runs count only by their full id.
    ///
    /// # Errors
    /// [`Error::RunNotFound`], also when `prefix` is empty or has other characters than lower-case hexadecimal digits;
    /// [`Error::RunAmbiguous`]; [`Error::Database`].
    pub fn find_run(&self, prefix: &str) -> Result<Run> {
        let not_found = || Error::RunNotFound { run_id: prefix.to_owned() };
        if prefix.is_empty() || !is_lower_hex(prefix) {
            return Err(not_found());
        }
        // 'g' comes after every hexadecimal digit.
        let sql = format!(
            "SELECT {RUN_COLUMNS} FROM runs r WHERE run_id >= ?1 AND run_id < ?2
             AND (lifecycle_stage = 'active' OR run_id = ?1) ORDER BY run_id LIMIT 2"
        );
        let end = format!("{prefix}g");
        let values = [prefix.into(), (&end).into()];
        let mut found = self.read(|connection| runs_of(connection, &sql, &values))?;
        if found.len() > 1 {
            let candidates = found.into_iter().map(|run| run.run_id).collect();
            return Err(Error::RunAmbiguous { prefix: prefix.to_owned(), candidates });
        }
        found.pop().ok_or_else(not_found)
    }

    /// Returns all values of a metric, by step, then timestamp; NaN comes before the other values of the same two.
    /// Empty for a run or a metric that does not exist.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn metric_history(&self, run_id: &RunId, key: &str) -> Result<Vec<Metric>> {
        let sql = "SELECT value, is_nan, timestamp, step FROM metrics
                   WHERE run_key = (SELECT run_key FROM runs WHERE run_id = ?1)
                     AND key_id = (SELECT key_id FROM keys WHERE name = ?2)
                   ORDER BY step, timestamp, is_nan DESC, value";
        self.read(|connection| {
            connection.query(sql, &[run_id.as_str().into(), key.into()], |row| {
                Ok(Metric {
                    key: key.to_owned(),
                    value: metric_value(row, 0, 1)?,
                    timestamp_ms: row.integer(2)?,
                    step: row.integer(3)?,
                })
            })
        })
    }

    /// Asks questions within one transaction, so that all parts of an answer are of the same moment.
    pub(crate) fn read<T>(&self, read: impl Fn(&mut Connection) -> Result<T>) -> Result<T> {
        let mut connection = self.reader()?;
        let begin = connection.dialect().begin_reading();
        let outcome = retrying(|| {
            connection.run(begin)?;
            let outcome = read(&mut connection);
            connection.run("ROLLBACK").and(outcome)
        });
        if !connection.is_closed() {
            let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
            if readers.len() < MAX_READERS {
                readers.push(connection);
            }
        }
        outcome
    }

    /// Writes, all of it or nothing; see [`GroupCommit::write`].
    pub(crate) fn write<T>(&self, write: impl Fn(&mut Transaction<'_>) -> Result<T>) -> Result<T> {
        self.writer.write(|| self.connect(Purpose::Write), write)
    }

    fn reader(&self) -> Result<Connection> {
        loop {
            let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match idle {
                None => return self.connect(Purpose::Read),
                Some(connection) if connection.is_closed() => {}
                Some(connection) => return Ok(connection),
            }
        }
    }

    /// Opens one more connection.
    pub(crate) fn connect(&self, purpose: Purpose) -> Result<Connection> {
        match &self.place {
            Place::File(durability) => connect(&self.path, *durability, purpose),
            #[cfg(feature = "postgres")]
            Place::Server(server) => server.connect(),
        }
    }
}

/// Returns a run, if there is one of this id.
pub(crate) fn run_of(connection: &mut Connection, run_id: &str) -> Result<Option<Run>> {
    let sql = format!("SELECT {RUN_COLUMNS} FROM runs r WHERE run_id = ?1");
    Ok(runs_of(connection, &sql, &[run_id.into()])?.pop())
}

/// Returns the runs that a statement on [`RUN_COLUMNS`] selects, complete.
pub(crate) fn runs_of(connection: &mut Connection, sql: &str, values: &[Value<'_>]) -> Result<Vec<Run>> {
    let bare = connection.query(sql, values, bare_run)?;
    complete(connection, bare)
}

/// Returns the statement for a query, and its values.
fn selection(connection: &mut Connection, query: &RunQuery) -> Result<(String, Vec<Value<'static>>)> {
    let mut sql = format!("SELECT {RUN_COLUMNS} FROM runs r WHERE lifecycle_stage = 'active'");
    let mut values = Vec::new();
    let mut condition = |text: &str, value: Value<'static>| {
        values.push(value);
        sql += &format!(" AND {text} ?{}", values.len());
    };
    if let Some(experiment) = &query.experiment {
        condition("experiment_id =", experiment_key(connection, experiment)?.into());
    }
    if let Some(status) = query.status {
        condition("status =", status.as_str().into());
    }
    if let Some(parent) = &query.parent {
        condition("parent_run_id =", Value::Owned(parent.to_string()));
    }
    if query.top_level_only {
        sql += " AND parent_run_id IS NULL";
    }
    sql += " ORDER BY start_time DESC, run_key DESC";
    if query.limit > 0 {
        values.push(i64::try_from(query.limit).unwrap_or(i64::MAX).into());
        sql += &format!(" LIMIT ?{}", values.len());
    }
    Ok((sql, values))
}

fn experiment_key(connection: &mut Connection, experiment: &str) -> Result<i64> {
    let by_name = "SELECT experiment_id FROM experiments WHERE name = ?1";
    let by_id = "SELECT experiment_id FROM experiments WHERE experiment_id = ?1";
    let found = match connection.number(by_name, &[experiment.into()])? {
        Some(found) => Some(found),
        None => connection.number(by_id, &[experiment.parse::<i64>().ok().into()])?,
    };
    found.ok_or_else(|| Error::ExperimentNotFound { experiment: experiment.to_owned() })
}

/// Returns the time in milliseconds since 1970-01-01 UTC; 0 on a clock that is before that.
pub(crate) fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

/// Returns a URI without the password in it.
#[cfg(feature = "postgres")]
fn without_password(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else { return "postgresql:...".to_owned() };
    let rest = rest.split('?').next().unwrap_or(rest);
    match rest.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or(user);
            format!("{scheme}://{user}@{host}")
        }
        None => format!("{scheme}://{rest}"),
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
