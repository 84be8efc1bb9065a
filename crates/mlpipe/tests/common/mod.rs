//! Runs the built command in a folder of its own.

#![allow(dead_code, reason = "each test program uses some of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A working directory with its own state directory.
pub(crate) struct Place {
    folder: TempDir,
}

/// What a command did.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    /// The command, to be run here; colours and environment do not depend on who runs the tests.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mlpipe"));
        command.args(arguments).current_dir(self.folder.path());
        command
            .env_remove("MLPIPE_LOG")
            .env_remove("MLPIPE_OUTPUT_DIR")
            .env_remove("MLFLOW_TRACKING_URI")
            .env("NO_COLOR", "1")
            .env("CI", "1");
        command
    }

    pub(crate) fn mlpipe(&self, arguments: &[&str]) -> Ran {
        ran(self.command(arguments).output().expect("the command starts"))
    }

    /// Whether the state directory holds an attempt that was not cleaned up.
    pub(crate) fn has_leftovers(&self) -> bool {
        let attempts = self.path(".mlpipe/tmp");
        attempts.exists() && fs::read_dir(attempts).expect("readable").next().is_some()
    }

    /// Copies the phantom study and returns the folder.
    pub(crate) fn copy_of_phantom(&self) -> PathBuf {
        let copy = self.path("study");
        fs::create_dir_all(&copy).expect("a folder");
        for entry in fs::read_dir(phantom()).expect("the phantom study is committed") {
            let path = entry.expect("an entry").path();
            fs::copy(&path, copy.join(path.file_name().expect("a name"))).expect("copied");
        }
        copy
    }
}

impl Ran {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{}\n{}", self.stdout, self.stderr))
    }

    /// Asserts the exit code and that stderr holds each text.
    pub(crate) fn expect(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, code, "{}\n{}", self.stdout, self.stderr);
        for text in texts {
            assert!(self.stderr.contains(text), "`{text}` is missing in:\n{}", self.stderr);
        }
        let lines = self.stderr.lines().count();
        assert!(lines <= 40, "more than one screen ({lines} lines):\n{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

pub(crate) fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

pub(crate) fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The main pipeline.
pub(crate) fn pipeline() -> String {
    text(&repository().join("pipelines/schmorl.yaml"))
}

pub(crate) fn phantom() -> PathBuf {
    repository().join("testdata/studies/phantom-1")
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}
