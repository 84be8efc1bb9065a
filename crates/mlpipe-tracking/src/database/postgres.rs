//! PostgreSQL: one connection to the database of a store.
//!
//! Every statement costs a round trip, so rows are inserted many at a time.

use std::collections::HashMap;
use std::error::Error as _;
use std::fmt::Write as _;

use postgres::error::SqlState;
use postgres::types::{FromSql, IsNull, ToSql, Type, accepts, private::BytesMut, to_sql_checked};
use postgres::{Client, Config, NoTls, Statement};

use super::{Row, Value};
use crate::{DatabaseError, DatabaseErrorKind, Durability, Error, Result};

/// Rows per statement: PostgreSQL takes 65,535 parameters at most.
const MAX_PARAMETERS: usize = 30_000;
/// Rows per statement, so that few different statements are prepared.
const MAX_ROWS: usize = 1000;
/// Prepared statements kept.
const MAX_STATEMENTS: usize = 256;

/// An open connection to a PostgreSQL server.
pub(crate) struct PostgresConnection {
    client: Client,
    statements: HashMap<String, Statement>,
}

/// Parses a URI, and refuses what this program has not been built to do: encryption.
pub(crate) fn parse_uri(uri: &str) -> Result<Config> {
    let config: Config = uri.parse().map_err(|error: postgres::Error| {
        Error::invalid(format!("the URI of the PostgreSQL store is not valid: {}", text(&error)))
    })?;
    match config.get_ssl_mode() {
        postgres::config::SslMode::Disable | postgres::config::SslMode::Prefer => Ok(config),
        _ => Err(Error::invalid(
            "encrypted connections to PostgreSQL are not supported: use sslmode=disable or sslmode=prefer on a trusted \
             network, or a local proxy that encrypts",
        )),
    }
}

impl PostgresConnection {
    pub(crate) fn connect(config: &Config, durability: Durability) -> Result<Self, DatabaseError> {
        let mut client = config.connect(NoTls)?;
        client.batch_execute("SET client_min_messages = warning")?;
        if durability == Durability::PowerLoss {
            // Otherwise as the server is set up; it waits for the disk unless someone has changed that.
            client.batch_execute("SET synchronous_commit = on")?;
        }
        Ok(Self { client, statements: HashMap::new() })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    pub(crate) fn run(&mut self, sql: &str) -> Result<(), DatabaseError> {
        Ok(self.client.batch_execute(sql)?)
    }

    pub(crate) fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64, DatabaseError> {
        let statement = self.statement(sql)?;
        Ok(self.client.execute(&statement, &parameters(values))?)
    }

    pub(crate) fn query<T>(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T, DatabaseError>,
    ) -> Result<Vec<T>, DatabaseError> {
        let statement = self.statement(sql)?;
        let rows = self.client.query(&statement, &parameters(values))?;
        rows.iter().map(|row| read(&Row::Postgres(row))).collect()
    }

    pub(crate) fn insert(
        &mut self,
        table: &str,
        columns: &[&str],
        conflict: &str,
        values: &[Value<'_>],
    ) -> Result<u64, DatabaseError> {
        let rows = MAX_ROWS.min(MAX_PARAMETERS / columns.len());
        let mut changed = 0;
        for chunk in values.chunks(rows * columns.len()) {
            let sql = multi_row(table, columns, conflict, chunk.len() / columns.len());
            changed += self.execute(&sql, chunk)?;
        }
        Ok(changed)
    }

    fn statement(&mut self, sql: &str) -> Result<Statement, DatabaseError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        if self.statements.len() >= MAX_STATEMENTS {
            self.statements.clear();
        }
        let statement = self.client.prepare(&numbered(sql))?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

/// Writes `?1` as PostgreSQL's `$1`. No statement of ours has a question mark elsewhere.
fn numbered(sql: &str) -> String {
    sql.replace('?', "$")
}

fn multi_row(table: &str, columns: &[&str], conflict: &str, rows: usize) -> String {
    let mut sql = format!("INSERT INTO {table} ({}) VALUES ", columns.join(", "));
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..columns.len() {
            let comma = if column == 0 { "" } else { ", " };
            let _ = write!(sql, "{comma}?{}", row * columns.len() + column + 1);
        }
        sql.push(')');
    }
    sql.push(' ');
    sql.push_str(conflict);
    sql
}

fn parameters<'a>(values: &'a [Value<'a>]) -> Vec<&'a (dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

impl ToSql for Value<'_> {
    #[expect(clippy::cast_precision_loss, reason = "the column is a double")]
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(number) if *of == Type::INT4 => i32::try_from(*number)?.to_sql(of, out),
            Self::Integer(number) if *of == Type::FLOAT8 => (*number as f64).to_sql(of, out),
            Self::Integer(number) => number.to_sql(of, out),
            Self::Real(number) => number.to_sql(of, out),
            Self::Text(text) => text.to_sql(of, out),
            Self::Owned(text) => text.as_str().to_sql(of, out),
        }
    }

    accepts!(INT8, INT4, FLOAT8, TEXT, VARCHAR);

    to_sql_checked!();
}

/// Reads a whole number: a column, a count, or the outcome of a comparison.
pub(super) fn integer(row: &postgres::Row, column: usize) -> Result<Option<i64>, DatabaseError> {
    struct Integer(i64);
    impl FromSql<'_> for Integer {
        fn from_sql(of: &Type, raw: &[u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
            Ok(Self(match *of {
                Type::INT4 => i32::from_sql(of, raw)?.into(),
                Type::BOOL => bool::from_sql(of, raw)?.into(),
                _ => i64::from_sql(of, raw)?,
            }))
        }

        accepts!(INT8, INT4, BOOL);
    }
    Ok(row.try_get::<_, Option<Integer>>(column)?.map(|integer| integer.0))
}

impl From<postgres::Error> for DatabaseError {
    fn from(error: postgres::Error) -> Self {
        let full = [SqlState::DISK_FULL, SqlState::OUT_OF_MEMORY];
        let busy = [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::UNIQUE_VIOLATION,
            SqlState::LOCK_NOT_AVAILABLE,
        ];
        let kind = match error.code() {
            Some(code) if full.contains(code) => DatabaseErrorKind::Full,
            // What was not there a moment ago has been inserted by another process: it is there the next time.
            Some(code) if busy.contains(code) => DatabaseErrorKind::Busy,
            Some(code) if matches!(&code.code()[..2], "08" | "53" | "57" | "25") => DatabaseErrorKind::Unavailable,
            Some(_) => DatabaseErrorKind::Other,
            // Not an answer of the server: the connection is the matter.
            None => DatabaseErrorKind::Unavailable,
        };
        Self { kind, message: text(&error) }
    }
}

/// Returns the message with its cause, where the server's words are.
fn text(error: &postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(answer), _) => answer.message().to_owned(),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_inserted_by_one_statement() {
        let sql = multi_row("tags", &["run_key", "value"], "ON CONFLICT DO NOTHING", 2);
        assert_eq!(
            numbered(&sql),
            "INSERT INTO tags (run_key, value) VALUES ($1, $2), ($3, $4) ON CONFLICT DO NOTHING"
        );
    }

    #[test]
    fn encryption_is_refused_and_not_left_out() {
        assert!(parse_uri("postgresql://a@127.0.0.1/b?sslmode=disable").is_ok());
        assert!(parse_uri("postgresql://a@127.0.0.1/b").is_ok());
        let error = parse_uri("postgresql://a@127.0.0.1/b?sslmode=require").expect_err("refused");
        assert!(error.to_string().contains("sslmode=disable"), "{error}");
    }
}
