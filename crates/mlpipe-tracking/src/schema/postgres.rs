//! The schema in PostgreSQL: made when the database has none of our tables, checked otherwise.

use std::sync::Arc;

use super::{TABLES, VERSION};
use crate::database::{Connection, Dialect, PostgresConnection};
use crate::{DatabaseError, Durability, Error, Result};

/// Taken while the schema is made, so that two servers that start at once do not make it twice. "mlpt" in ASCII.
const LOCK: i64 = 0x6d6c_7074;

/// A PostgreSQL database, and its name for messages: the URI without its password.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) config: ::postgres::Config,
    pub(crate) label: Arc<str>,
    pub(crate) durability: Durability,
}

impl Server {
    /// Opens a connection.
    pub(crate) fn connect(&self) -> Result<Connection> {
        let connection = PostgresConnection::connect(&self.config, self.durability)
            .map_err(|source| Error::Database { store: self.label.to_string(), source })?;
        Ok(Connection::postgres(self.label.clone(), connection))
    }

    /// Opens a connection, and makes the tables if there are none.
    pub(crate) fn connect_and_migrate(&self) -> Result<Connection> {
        let mut connection = self.connect()?;
        connection.run("BEGIN")?;
        connection.query("SELECT pg_advisory_xact_lock(?1)", &[LOCK.into()], |_| Ok(()))?;
        match version(&mut connection)? {
            Some(VERSION) => {}
            Some(found) if found > VERSION => {
                return Err(Error::SchemaTooNew { store: self.label.to_string(), found, supported: VERSION });
            }
            Some(found) => {
                let message = format!("no version {found} of the schema was ever published for PostgreSQL");
                return Err(connection.error(DatabaseError::damaged(message)));
            }
            None => self.create(&mut connection)?,
        }
        connection.run("COMMIT")?;
        Ok(connection)
    }

    fn create(&self, connection: &mut Connection) -> Result<()> {
        // MLflow's own tables have this name too.
        if connection.number("SELECT to_regclass('experiments') IS NOT NULL", &[])? == Some(1) {
            return Err(Error::NotAStore { store: self.label.to_string() });
        }
        connection.run(&Dialect::postgres_definition(TABLES))?;
        connection.run("CREATE TABLE mlpipe_schema (version BIGINT NOT NULL)")?;
        connection.execute("INSERT INTO mlpipe_schema (version) VALUES (?1)", &[VERSION.into()])?;
        Ok(())
    }
}

/// Returns the version of the schema; none when there is none of ours.
fn version(connection: &mut Connection) -> Result<Option<i64>> {
    let exists = "SELECT to_regclass('mlpipe_schema') IS NOT NULL";
    if connection.number(exists, &[])? != Some(1) {
        return Ok(None);
    }
    connection.number("SELECT version FROM mlpipe_schema", &[])
}

/// Returns the version of the schema at a URI; none when there is none of ours.
pub(super) fn version_at(uri: &str) -> Result<Option<i64>> {
    let config = crate::database::parse_uri(uri)?;
    let label = Arc::from("postgresql");
    version(&mut Server { config, label, durability: Durability::default() }.connect()?)
}
