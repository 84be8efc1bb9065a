//! Small documents that a server keeps beside its entities: webhooks, users, permissions. What is in them is the
//! server's business.

use crate::{Result, Store};

const COLUMNS: [&str; 3] = ["kind", "key", "text"];

impl Store {
    /// Stores a document, replacing the one of the same kind and key.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn put_document(&self, kind: &str, key: &str, text: &str) -> Result<()> {
        self.write(|transaction| {
            let replace = "ON CONFLICT (kind, key) DO UPDATE SET text = excluded.text";
            let values = [kind.into(), key.into(), text.into()];
            transaction.connection.insert("documents", &COLUMNS, replace, &values).map(drop)
        })
    }

    /// Stores a document unless there is one of the same kind and key; returns whether there was none.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn add_document(&self, kind: &str, key: &str, text: &str) -> Result<bool> {
        self.write(|transaction| {
            let values = [kind.into(), key.into(), text.into()];
            let added = transaction.connection.insert("documents", &COLUMNS, "ON CONFLICT DO NOTHING", &values)?;
            Ok(added == 1)
        })
    }

    /// Returns a document.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn document(&self, kind: &str, key: &str) -> Result<Option<String>> {
        let sql = "SELECT text FROM documents WHERE kind = ?1 AND key = ?2";
        self.read(|connection| connection.first(sql, &[kind.into(), key.into()], |row| row.text(0)))
    }

    /// Returns the documents of a kind with their keys, by key.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn documents(&self, kind: &str) -> Result<Vec<(String, String)>> {
        let sql = "SELECT key, text FROM documents WHERE kind = ?1 ORDER BY key";
        self.read(|connection| connection.query(sql, &[kind.into()], |row| Ok((row.text(0)?, row.text(1)?))))
    }

    /// Removes a document; returns whether there was one.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn delete_document(&self, kind: &str, key: &str) -> Result<bool> {
        let sql = "DELETE FROM documents WHERE kind = ?1 AND key = ?2";
        self.write(|transaction| Ok(transaction.connection.execute(sql, &[kind.into(), key.into()])? > 0))
    }
}
