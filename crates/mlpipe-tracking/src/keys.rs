//! [`Keys`]: the numbers that stand for the names of params, tags and metrics in the tables.

use std::collections::HashMap;

use crate::Result;
use crate::database::{Connection, Value};

/// How many names are kept in memory; a store has far fewer, unless someone puts numbers into keys.
const MAX_KEPT: usize = 100_000;

/// Numbers of names that have been looked up.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    committed: HashMap<String, i64>,
    /// Given out in the open transaction, which may be rolled back.
    uncommitted: HashMap<String, i64>,
}

impl Keys {
    /// Returns the number of a name, giving it one when it has none.
    pub(crate) fn number(&mut self, connection: &mut Connection, name: &str) -> Result<i64> {
        if let Some(number) = self.committed.get(name).or_else(|| self.uncommitted.get(name)) {
            return Ok(*number);
        }
        let number = match find(connection, name)? {
            Some(number) => number,
            None => {
                connection.insert("keys", &["name"], "ON CONFLICT (name) DO NOTHING", &[name.into()])?;

                let damaged = crate::DatabaseError::damaged("a key has no number".to_owned());
                find(connection, name)?.ok_or_else(|| connection.error(damaged))?
            }
        };
        self.uncommitted.insert(name.to_owned(), number);
        Ok(number)
    }

    /// The transaction was committed.
    pub(crate) fn remember(&mut self) {
        if self.committed.len() > MAX_KEPT {
            self.committed.clear();
        }
        self.committed.extend(self.uncommitted.drain());
    }

    /// A part of the transaction was rolled back.
    pub(crate) fn forget_uncommitted(&mut self) {
        self.uncommitted.clear();
    }
}

/// Returns the number of a name, if it has one.
pub(crate) fn find(connection: &mut Connection, name: &str) -> Result<Option<i64>> {
    connection.number("SELECT key_id FROM keys WHERE name = ?1", &[Value::Text(name)])
}
