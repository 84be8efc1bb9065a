//! Care of a store: a consistency check, a backup, and removal of what is deleted.

use std::path::Path;
use std::time::Duration;

use crate::{Purged, Result, Store};

impl Store {
    /// Returns what is wrong with the store, one line each; nothing when all is well.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn check(&self) -> Result<Vec<String>> {
        todo!()
    }

    /// Copies the store to a new file while it is in use.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database); on PostgreSQL, which has `pg_dump`,
    /// [`Error::Refused`](crate::Error::Refused).
    pub fn backup(&self, to: &Path) -> Result<()> {
        todo!("{}", to.display())
    }

    /// Removes for good what was deleted longer ago than `age`: runs, logged models, experiments with all that is in
    /// them. Artifacts are not touched.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn purge_deleted(&self, age: Duration) -> Result<Purged> {
        todo!("{age:?}")
    }
}
