//! A working directory of its own for one point: started from a copy, looked at afterwards, gone in the end.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::processes::{self, MARK_VARIABLE};
use crate::scenario::COUNTER_VARIABLE;

/// A command that takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(1);
/// Size of the small file system.
pub(crate) const SMALL_KIB: u64 = 4096;

/// Contents of a pipeline's outputs, by output, item and path.
pub(crate) type Outputs = BTreeMap<String, Vec<u8>>;

/// A working directory with its own state directory.
#[derive(Debug)]
pub(crate) struct Place {
    folder: TempDir,
    is_mounted: bool,
}

/// What a command did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ran {
    /// None when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// It had to be ended after a minute.
    pub(crate) hung: bool,
}

impl Ran {
    pub(crate) fn json(&self) -> Result<Value, String> {
        serde_json::from_str(&self.stdout).map_err(|error| format!("not JSON: {error}: {}", self.stdout))
    }
}

/// A command that was started.
#[derive(Debug)]
pub(crate) struct Started {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Started {
    pub(crate) fn process(&self) -> i32 {
        rustix::process::Pid::from_child(&self.child).as_raw_nonzero().get()
    }
}

impl Place {
    pub(crate) fn copy_of(start: &Path, below: &Path) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("point-").tempdir_in(below).map_err(|error| error.to_string())?;
        copy(start, &folder.path().join("work"))?;
        Ok(Self { folder, is_mounted: false })
    }

    /// Copies the working directory, to start others from it.
    pub(crate) fn save_to(&self, target: &Path) -> Result<(), String> {
        copy(&self.work(), target)
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// A file beside the working directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.work().join(".mlpipe")
    }

    pub(crate) fn state_text(&self) -> String {
        self.state().display().to_string()
    }

    pub(crate) fn mark(&self) -> String {
        self.folder.path().display().to_string()
    }

    /// Ids of the runs whose commands have completed so far, in order.
    pub(crate) fn completed(&self) -> Vec<String> {
        let text = fs::read_to_string(self.file("counter")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    // ---- commands

    pub(crate) fn mlpipe(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments);
        command
    }

    /// The same program below another one, such as strace.
    pub(crate) fn below(&self, mut outer: Command, program: &Path, arguments: &[&str]) -> Command {
        outer.arg(program).args(arguments);
        outer
    }

    /// Starts a command here; what it prints goes to files named after `label`.
    pub(crate) fn start(&self, mut command: Command, label: &str) -> Result<Started, String> {
        let (stdout, stderr) = (self.file(&format!("{label}.out")), self.file(&format!("{label}.err")));
        let file = |path: &Path| File::create(path).map(Stdio::from).map_err(|error| error.to_string());
        command
            .current_dir(self.work())
            .env(MARK_VARIABLE, self.mark())
            .env(COUNTER_VARIABLE, self.file("counter"))
            .env("NO_COLOR", "1")
            .env("CI", "1")
            .env_remove("MLPIPE_LOG")
            .env_remove("MLPIPE_OUTPUT_DIR")
            .stdin(Stdio::null())
            .stdout(file(&stdout)?)
            .stderr(file(&stderr)?);
        let child = command.spawn().map_err(|error| format!("cannot start {command:?}: {error}"))?;
        Ok(Started { child, stdout, stderr })
    }

    /// Waits for a command, at most a minute; then everything that runs here is ended.
    pub(crate) fn wait(&self, mut started: Started) -> Result<Ran, String> {
        let deadline = Instant::now() + LIMIT;
        let mut hung = false;
        let status = loop {
            match started.child.try_wait().map_err(|error| error.to_string())? {
                Some(status) => break status,
                None if !hung && Instant::now() > deadline => {
                    hung = true;
                    processes::end_all(&self.mark());
                }
                None => sleep(POLL),
            }
        };
        let text = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let text = |path: &Path| text(path).map_err(|error| error.to_string());
        Ok(Ran { code: status.code(), stdout: text(&started.stdout)?, stderr: text(&started.stderr)?, hung })
    }

    pub(crate) fn wait_for(&self, command: Command, label: &str) -> Result<Ran, String> {
        self.wait(self.start(command, label)?)
    }

    // ---- looking

    /// Reads the outputs that a run document names.
    pub(crate) fn outputs(&self, document: &Value) -> Result<Outputs, String> {
        let mut found = Outputs::new();
        for (name, paths) in document["outputs"].as_object().ok_or("the run document has no outputs")? {
            match paths {
                Value::String(path) => read_all(Path::new(path), name, &mut found)?,
                Value::Object(by_key) => {
                    for (key, path) in by_key {
                        read_all(Path::new(path.as_str().unwrap_or_default()), &format!("{name}[{key}]"), &mut found)?;
                    }
                }
                _ => return Err(format!("output `{name}` is neither a path nor a map of paths")),
            }
        }
        Ok(found)
    }

    /// Files in the state directory that belong to nothing: what is in `tmp`, and unfinished files elsewhere.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.state()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let is_unfinished = name.starts_with(".tmp-") || name.starts_with(".mlpipe-");
                if is_unfinished || folder.ends_with(".mlpipe/tmp") {
                    found.push(entry.path().strip_prefix(self.state()).unwrap_or(&entry.path()).display().to_string());
                } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(entry.path());
                }
            }
        }
        found.sort();
        found
    }

    // ---- the small file system

    /// Puts the state directory on a file system of 4 MB.
    pub(crate) fn mount_small(&mut self) -> Result<(), String> {
        fs::create_dir_all(self.state()).map_err(|error| error.to_string())?;
        let size = format!("size={SMALL_KIB}k");
        run_tool(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(self.state()))?;
        self.is_mounted = true;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        processes::end_all(&self.mark());
        if self.is_mounted {
            let _ = run_tool(Command::new("umount").arg(self.state()));
        }
    }
}

/// Copies a folder with times, modes and hard links.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    run_tool(Command::new("cp").arg("-a").arg(from).arg(to))
}

fn run_tool(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn read_all(path: &Path, label: &str, found: &mut Outputs) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    if !path.is_dir() {
        found.insert(label.to_owned(), fs::read(path).map_err(failed)?);
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        read_all(&entry.path(), &format!("{label}/{}", entry.file_name().to_string_lossy()), found)?;
    }
    Ok(())
}
