//! SQLite: one connection to the file of a store.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};

use super::{Row, Value};
use crate::DatabaseError;

/// How many rows one statement inserts when there are so many.
const ROWS_TOGETHER: usize = 32;

/// An open SQLite file.
pub(crate) struct SqliteConnection(Connection);

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Owned(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

impl SqliteConnection {
    pub(crate) fn new(connection: Connection) -> Self {
        Self(connection)
    }

    pub(crate) fn is_in_transaction(&self) -> bool {
        !self.0.is_autocommit()
    }

    pub(crate) fn run(&mut self, sql: &str) -> Result<(), DatabaseError> {
        Ok(self.0.execute_batch(sql)?)
    }

    pub(crate) fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64, DatabaseError> {
        Ok(self.0.prepare_cached(sql)?.execute(params_from_iter(values))? as u64)
    }

    pub(crate) fn query<T>(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T, DatabaseError>,
    ) -> Result<Vec<T>, DatabaseError> {
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        let mut answer = Vec::new();
        while let Some(row) = rows.next()? {
            answer.push(read(&Row::Sqlite(row))?);
        }
        Ok(answer)
    }

    /// Inserts many rows with each statement: opening a table and its indexes costs as much as inserting a row.
    pub(crate) fn insert(
        &mut self,
        table: &str,
        columns: &[&str],
        conflict: &str,
        values: &[Value<'_>],
    ) -> Result<u64, DatabaseError> {
        let many = values.len() / (columns.len() * ROWS_TOGETHER) * (columns.len() * ROWS_TOGETHER);
        let (many, few) = values.split_at(many);
        let mut changed = 0;
        for (values, rows) in [(many, ROWS_TOGETHER), (few, 1)] {
            if values.is_empty() {
                continue;
            }
            let row = format!("({})", vec!["?"; columns.len()].join(", "));
            let all = vec![row.as_str(); rows].join(", ");
            let sql = format!("INSERT INTO {table} ({}) VALUES {all} {conflict}", columns.join(", "));
            let mut statement = self.0.prepare_cached(&sql)?;
            for values in values.chunks(columns.len() * rows) {
                for (index, value) in values.iter().enumerate() {
                    statement.raw_bind_parameter(index + 1, value)?;
                }
                changed += statement.raw_execute()? as u64;
            }
        }
        Ok(changed)
    }
}
