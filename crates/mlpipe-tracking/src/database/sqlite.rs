//! SQLite: one connection to the file of a store.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};

use super::{Row, Value};
use crate::DatabaseError;

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

    /// Runs one statement per row: SQLite has no round trips to save.
    pub(crate) fn insert(
        &mut self,
        table: &str,
        columns: &[&str],
        conflict: &str,
        values: &[Value<'_>],
    ) -> Result<u64, DatabaseError> {
        let parameters = (1..=columns.len()).map(|number| format!("?{number}")).collect::<Vec<_>>().join(", ");
        let sql = format!("INSERT INTO {table} ({}) VALUES ({parameters}) {conflict}", columns.join(", "));
        let mut statement = self.0.prepare_cached(&sql)?;
        let mut changed = 0;
        for row in values.chunks(columns.len()) {
            for (index, value) in row.iter().enumerate() {
                statement.raw_bind_parameter(index + 1, value)?;
            }
            changed += statement.raw_execute()? as u64;
        }
        Ok(changed)
    }
}
