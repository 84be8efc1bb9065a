//! The databases a store may lie in, behind the few things the store asks of one: run a statement, read rows, insert
//! many rows.
//!
//! Statements are written once, in the SQL that SQLite and PostgreSQL have in common, with parameters `?1`, `?2`, ...
//! [`Dialect`] spells out where they differ. What the statements mean is not decided here.

mod dialect;
#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;

use std::sync::Arc;

pub(crate) use dialect::Dialect;
#[cfg(feature = "postgres")]
pub(crate) use postgres::PostgresConnection;
#[cfg(feature = "postgres")]
pub(crate) use postgres::parse_uri;
pub(crate) use sqlite::SqliteConnection;

use crate::{DatabaseError, Error, Result};

/// A value that goes into a statement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// No value.
    Null,
    /// A whole number.
    Integer(i64),
    /// A number.
    Real(f64),
    /// Text.
    Text(&'a str),
    /// Text that was made for the statement.
    Owned(String),
}

impl Value<'_> {
    /// Returns the text of a value that is text.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Owned(text) => Some(text),
            _ => None,
        }
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<f64> for Value<'_> {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// One row of an answer.
pub(crate) enum Row<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    #[cfg(feature = "postgres")]
    Postgres(&'a ::postgres::Row),
}

impl Row<'_> {
    /// Returns the whole number in a column.
    pub(crate) fn integer(&self, column: usize) -> Result<i64, DatabaseError> {
        self.optional_integer(column)?.ok_or_else(|| absent(column))
    }

    /// Returns the whole number in a column that may be empty.
    pub(crate) fn optional_integer(&self, column: usize) -> Result<Option<i64>, DatabaseError> {
        match self {
            Self::Sqlite(row) => Ok(row.get(column)?),
            #[cfg(feature = "postgres")]
            Self::Postgres(row) => postgres::integer(row, column),
        }
    }

    /// Returns the number in a column.
    pub(crate) fn real(&self, column: usize) -> Result<f64, DatabaseError> {
        match self {
            Self::Sqlite(row) => Ok(row.get(column)?),
            #[cfg(feature = "postgres")]
            Self::Postgres(row) => Ok(row.try_get(column)?),
        }
    }

    /// Returns the text in a column.
    pub(crate) fn text(&self, column: usize) -> Result<String, DatabaseError> {
        self.optional_text(column)?.ok_or_else(|| absent(column))
    }

    /// Returns the text in a column that may be empty.
    pub(crate) fn optional_text(&self, column: usize) -> Result<Option<String>, DatabaseError> {
        match self {
            Self::Sqlite(row) => Ok(row.get(column)?),
            #[cfg(feature = "postgres")]
            Self::Postgres(row) => Ok(row.try_get(column)?),
        }
    }
}

fn absent(column: usize) -> DatabaseError {
    DatabaseError::damaged(format!("column {column} is empty"))
}

/// A connection to the database of a store.
pub(crate) struct Connection {
    /// The store, for messages.
    label: Arc<str>,
    driver: Driver,
}

enum Driver {
    Sqlite(SqliteConnection),
    #[cfg(feature = "postgres")]
    Postgres(Box<PostgresConnection>),
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Connection").field("label", &self.label).finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) fn sqlite(label: Arc<str>, connection: SqliteConnection) -> Self {
        Self { label, driver: Driver::Sqlite(connection) }
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn postgres(label: Arc<str>, connection: PostgresConnection) -> Self {
        Self { label, driver: Driver::Postgres(Box::new(connection)) }
    }

    /// Returns how this database's SQL differs.
    pub(crate) fn dialect(&self) -> Dialect {
        match &self.driver {
            Driver::Sqlite(_) => Dialect::Sqlite,
            #[cfg(feature = "postgres")]
            Driver::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Returns whether the connection can not be used any more.
    pub(crate) fn is_closed(&self) -> bool {
        match &self.driver {
            Driver::Sqlite(_) => false,
            #[cfg(feature = "postgres")]
            Driver::Postgres(connection) => connection.is_closed(),
        }
    }

    /// Returns whether a transaction is open: a database may end one by itself when it fails.
    pub(crate) fn is_in_transaction(&self) -> bool {
        match &self.driver {
            Driver::Sqlite(connection) => connection.is_in_transaction(),
            #[cfg(feature = "postgres")]
            Driver::Postgres(connection) => !connection.is_closed(),
        }
    }

    /// Runs statements without parameters and without an answer.
    pub(crate) fn run(&mut self, sql: &str) -> Result<()> {
        let outcome = match &mut self.driver {
            Driver::Sqlite(connection) => connection.run(sql),
            #[cfg(feature = "postgres")]
            Driver::Postgres(connection) => connection.run(sql),
        };
        outcome.map_err(|error| self.error(error))
    }

    /// Runs a statement; returns how many rows it has changed.
    pub(crate) fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64> {
        let outcome = match &mut self.driver {
            Driver::Sqlite(connection) => connection.execute(sql, values),
            #[cfg(feature = "postgres")]
            Driver::Postgres(connection) => connection.execute(sql, values),
        };
        outcome.map_err(|error| self.error(error))
    }

    /// Runs a statement and reads the rows of its answer.
    pub(crate) fn query<T>(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnMut(&Row<'_>) -> Result<T, DatabaseError>,
    ) -> Result<Vec<T>> {
        let outcome = match &mut self.driver {
            Driver::Sqlite(connection) => connection.query(sql, values, read),
            #[cfg(feature = "postgres")]
            Driver::Postgres(connection) => connection.query(sql, values, read),
        };
        outcome.map_err(|error| self.error(error))
    }

    /// Runs a statement and reads the first row of its answer, if there is one.
    pub(crate) fn first<T>(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnMut(&Row<'_>) -> Result<T, DatabaseError>,
    ) -> Result<Option<T>> {
        Ok(self.query(sql, values, read)?.into_iter().next())
    }

    /// Returns the number that a statement answers with.
    pub(crate) fn number(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Option<i64>> {
        Ok(self.first(sql, values, |row| row.optional_integer(0))?.flatten())
    }

    /// Inserts rows, given one after the other in `values`, `columns` being the list of columns and `conflict` what is to
    /// happen to rows that are there already (may be empty). No two rows may be in conflict with each other. Returns how
    /// many rows were changed.
    pub(crate) fn insert(
        &mut self,
        table: &str,
        columns: &[&str],
        conflict: &str,
        values: &[Value<'_>],
    ) -> Result<u64> {
        if values.is_empty() {
            return Ok(0);
        }
        let outcome = match &mut self.driver {
            Driver::Sqlite(connection) => connection.insert(table, columns, conflict, values),
            #[cfg(feature = "postgres")]
            Driver::Postgres(connection) => connection.insert(table, columns, conflict, values),
        };
        outcome.map_err(|error| self.error(error))
    }

    /// Returns the error of the store that an error of its database is.
    pub(crate) fn error(&self, source: DatabaseError) -> Error {
        Error::Database { store: self.label.to_string(), source }
    }
}
