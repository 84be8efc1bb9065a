//! Care of a store: a consistency check, a backup, and removal of what is deleted.

use std::path::Path;
use std::time::Duration;

use crate::database::{Connection, Dialect, Value};
use crate::schema::Purpose;
use crate::store::now_ms;
use crate::{Error, Purged, Result, Store};

/// How many runs are removed by one transaction.
const PURGE_AT_ONCE: i64 = 500;

/// What no store may hold, and how it is called.
const INVARIANTS: [(&str, &str); 9] = [
    (
        "SELECT 1 FROM params p WHERE NOT EXISTS (SELECT 1 FROM runs r WHERE r.run_key = p.run_key)",
        "params belong to no run",
    ),
    (
        "SELECT 1 FROM tags p WHERE NOT EXISTS (SELECT 1 FROM runs r WHERE r.run_key = p.run_key)",
        "tags belong to no run",
    ),
    (
        "SELECT 1 FROM metrics p WHERE NOT EXISTS (SELECT 1 FROM runs r WHERE r.run_key = p.run_key)",
        "values of metrics belong to no run",
    ),
    (
        "SELECT 1 FROM latest_metrics l WHERE NOT EXISTS (
             SELECT 1 FROM runs r WHERE r.run_key = l.run_key AND r.experiment_id = l.experiment_id)",
        "latest values of metrics belong to no run of their experiment",
    ),
    (
        "SELECT 1 FROM (SELECT key_id FROM params UNION SELECT key_id FROM tags UNION SELECT key_id FROM metrics) used
         WHERE NOT EXISTS (SELECT 1 FROM keys k WHERE k.key_id = used.key_id)",
        "keys have no name",
    ),
    (
        "SELECT 1 FROM latest_metrics l WHERE NOT EXISTS (
             SELECT 1 FROM metrics m WHERE m.run_key = l.run_key AND m.key_id = l.key_id AND m.timestamp = l.timestamp
                 AND m.step = l.step AND m.is_nan = l.is_nan AND m.value = l.value)",
        "latest values of metrics are not in the history",
    ),
    (
        "SELECT 1 FROM metrics m LEFT JOIN latest_metrics l ON l.run_key = m.run_key AND l.key_id = m.key_id
         WHERE l.run_key IS NULL OR (m.step, m.timestamp, -m.is_nan, m.value) > (l.step, l.timestamp, -l.is_nan, l.value)",
        "values of metrics come after the latest one",
    ),
    (
        "SELECT 1 FROM runs r WHERE coalesce(r.parent_run_id, '') <> coalesce((
             SELECT t.value FROM tags t JOIN keys k ON k.key_id = t.key_id
             WHERE t.run_key = r.run_key AND k.name = 'mlflow.parentRunId'), '')",
        "runs have another parent than their tag says",
    ),
    (
        "SELECT 1 FROM model_versions v JOIN registered_models m ON m.registered_key = v.registered_key
         WHERE v.version > m.last_version",
        "model versions come after the last one given out",
    ),
];

impl Store {
    /// Returns what is wrong with the store, one line each; nothing when all is well.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn check(&self) -> Result<Vec<String>> {
        self.read(|connection| {
            let mut problems = integrity(connection)?;
            for (sql, what) in INVARIANTS {
                let count = connection.number(&format!("SELECT count(*) FROM ({sql}) strays"), &[])?.unwrap_or(0);
                if count > 0 {
                    problems.push(format!("{count} {what}"));
                }
            }
            Ok(problems)
        })
    }

    /// Copies the store to a new file while it is in use.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database); on PostgreSQL, which has `pg_dump`,
    /// [`Error::Refused`](crate::Error::Refused).
    pub fn backup(&self, to: &Path) -> Result<()> {
        if !self.is_file() {
            return Err(Error::invalid("a store in PostgreSQL is backed up with pg_dump"));
        }
        if to.exists() {
            return Err(Error::invalid(format!("{} exists already; a backup goes to a new file", to.display())));
        }
        let mut connection = self.connect(Purpose::Read)?;
        // One transaction that reads: writers go on meanwhile.
        let target = to.display().to_string();
        connection.execute("VACUUM INTO ?1", &[target.as_str().into()]).map(drop)
    }

    /// Removes for good what was deleted longer ago than `age`: runs, logged models, experiments with all that is in
    /// them. Artifacts are not touched.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn purge_deleted(&self, age: Duration) -> Result<Purged> {
        let before = now_ms().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let mut purged = Purged::default();
        loop {
            // Some at a time: others write in between.
            let part = self.write(|transaction| purge_part(transaction.connection, before))?;
            purged.experiments += part.experiments;
            purged.runs += part.runs;
            purged.logged_models += part.logged_models;
            if part == Purged::default() {
                return Ok(purged);
            }
        }
    }
}

/// Returns what the database itself finds wrong.
fn integrity(connection: &mut Connection) -> Result<Vec<String>> {
    if connection.dialect() != Dialect::Sqlite {
        return Ok(Vec::new());
    }
    let mut problems = connection.query("PRAGMA integrity_check", &[], |row| row.text(0))?;
    problems.retain(|line| line != "ok");
    let strays = connection.query("PRAGMA foreign_key_check", &[], |row| row.text(0))?;
    problems.extend(strays.iter().map(|table| format!("a row of {table} refers to nothing")));
    Ok(problems)
}

/// Removes some of what was deleted before `before`.
fn purge_part(connection: &mut Connection, before: i64) -> Result<Purged> {
    // The runs of an experiment are deleted with it, but their time may be a later one.
    let sql = "SELECT run_key FROM runs r WHERE r.lifecycle_stage = 'deleted' AND (r.deleted_time <= ?1 OR EXISTS (
                   SELECT 1 FROM experiments e WHERE e.experiment_id = r.experiment_id
                       AND e.lifecycle_stage = 'deleted' AND e.last_update_time <= ?1)) LIMIT ?2";
    let runs = connection.query(sql, &[before.into(), PURGE_AT_ONCE.into()], |row| row.integer(0))?;
    if !runs.is_empty() {
        let dialect = connection.dialect();
        let list = [Value::Owned(dialect.numbers(runs.iter().copied()))];
        for table in ["params", "tags", "metrics", "latest_metrics", "runs"] {
            let of_these = dialect.is_one_of("run_key", "?1");
            connection.execute(&format!("DELETE FROM {table} WHERE {of_these}"), &list)?;
        }
        return Ok(Purged { runs: runs.len() as u64, ..Purged::default() });
    }
    let gone = "SELECT experiment_id FROM experiments WHERE lifecycle_stage = 'deleted' AND last_update_time <= ?1
                    AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.experiment_id = experiments.experiment_id)";
    let sql = format!(
        "DELETE FROM logged_models WHERE (lifecycle_stage = 'deleted' AND deleted_time <= ?1) OR experiment_id IN ({gone})"
    );
    let logged_models = connection.execute(&sql, &[before.into()])?;
    let sql = format!("DELETE FROM experiments WHERE experiment_id IN ({gone})");
    let experiments = connection.execute(&sql, &[before.into()])?;
    Ok(Purged { experiments, runs: 0, logged_models })
}
