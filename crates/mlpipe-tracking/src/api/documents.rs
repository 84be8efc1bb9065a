//! Small documents that a server keeps beside its entities: webhooks, users, permissions. What is in them is the
//! server's business.

use crate::{Result, Store};

impl Store {
    /// Stores a document, replacing the one of the same kind and key.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn put_document(&self, kind: &str, key: &str, text: &str) -> Result<()> {
        todo!("{kind} {key} {text}")
    }

    /// Stores a document unless there is one of the same kind and key; returns whether there was none.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn add_document(&self, kind: &str, key: &str, text: &str) -> Result<bool> {
        todo!("{kind} {key} {text}")
    }

    /// Returns a document.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn document(&self, kind: &str, key: &str) -> Result<Option<String>> {
        todo!("{kind} {key}")
    }

    /// Returns the documents of a kind with their keys, by key.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn documents(&self, kind: &str) -> Result<Vec<(String, String)>> {
        todo!("{kind}")
    }

    /// Removes a document; returns whether there was one.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn delete_document(&self, kind: &str, key: &str) -> Result<bool> {
        todo!("{kind} {key}")
    }
}
