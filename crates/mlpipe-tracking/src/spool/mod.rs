//! The spool: runs on their way to a tracking server.
//!
//! Whatever is recorded of a pipeline run is appended to `spool/RUN.ndjson` before it goes into the local store, and delivered
//! from there, in order, by a [`Forwarder`] in the background. A server that is away, slow or killed costs the run nothing;
//! what is not delivered when the run ends is delivered by [`deliver`], later. What the server has is noted in
//! `spool/RUN.ack`; a spool is removed when it has everything.
//!
//! **Nothing is lost**: a line is written (not flushed to the disk, like the rest of the state directory) before the local
//! store has the record, and [`deliver`] closes the runs that a dead driver left open, as the local store says. **Nothing is
//! doubled**: params, tags, statuses, metrics, inputs and files may be sent twice; a run that may have been made already is
//! looked up by its tag [`crate::tags::LOCAL_RUN_ID`] before it is made.
//!
//! Lines: see `docs/formats.md`.

mod actions;
mod courier;
mod entry;
mod file;
mod forward;
mod leftover;

pub use entry::{Entry, SPOOL_FORMAT};
pub use forward::{Forwarder, Outcome, RemoteId};
pub use leftover::{Delivered, Waiting, deliver, waiting};
