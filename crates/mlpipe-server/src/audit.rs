//! [`Audit`]: who did what and when, one JSON object per line. Paths name entities; queries, bodies and passwords are not written.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;

use serde::Serialize;

/// An open audit log. Lines are appended whole, so several servers may share one file.
#[derive(Debug)]
pub(crate) struct Audit {
    file: File,
}

#[derive(Serialize)]
struct Line<'a> {
    format: &'static str,
    time: String,
    user: Option<&'a str>,
    address: IpAddr,
    method: &'a str,
    path: &'a str,
    status: u16,
}

impl Audit {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: OpenOptions::new().create(true).append(true).open(path)? })
    }

    /// Appends a line. A request is answered even when that fails.
    pub(crate) fn write(&self, address: IpAddr, user: Option<&str>, method: &str, path: &str, status: u16) {
        let time = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        let line = Line { format: "mlpipe.audit/1", time, user, address, method, path, status };
        let mut json = serde_json::to_vec(&line).expect("texts are JSON");
        json.push(b'\n');
        if let Err(error) = (&self.file).write_all(&json) {
            tracing::error!(%error, "a line of the audit log is lost");
        }
    }
}
