//! What happens to a store when its disk is full, its program is killed, or two programs use it at once.

#![expect(clippy::print_stderr, reason = "a skipped test must be visible")]

use std::path::Path;
use std::process::{Command, Stdio};

use mlpipe_tracking::{ErrorCode, Metric, NewRun, SchemaVersion, Store};

/// The variable by which a test starts its own program again as a writer on the store of that path.
const WRITER: &str = "MLPIPE_TEST_WRITER";

fn store(directory: &Path) -> Store {
    let store = Store::open(&directory.join("store.db")).expect("opened");
    store.ensure_default_experiment("artifacts").expect("made");
    store
}

fn run(store: &Store) -> mlpipe_tracking::Result<String> {
    let new = NewRun { experiment_id: "0".to_owned(), ..NewRun::default() };
    store.create_run(&new).map(|run| run.run_id.to_string())
}

/// Writes as another program would: prints the id of each run when it is stored. Does nothing in an ordinary test run.
#[test]
fn writer_for_the_other_tests() {
    use std::io::Write as _;
    let Ok(path) = std::env::var(WRITER) else { return };
    let store = Store::open(Path::new(&path)).expect("opened");
    let mut out = std::io::stdout();
    for _ in 0..100_000 {
        let run_id = run(&store).expect("made");
        writeln!(out, "stored {run_id}").expect("printed");
        out.flush().expect("printed");
    }
}

fn writer(directory: &Path) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "writer_for_the_other_tests", "--nocapture"]).stdout(Stdio::piped());
    command.env(WRITER, directory.join("store.db")).spawn().expect("started")
}

/// Kills a writer once it has stored some runs; returns those it said it had stored.
fn stored_until_killed(mut writer: std::process::Child) -> Vec<String> {
    use std::io::{BufRead as _, BufReader};
    let mut lines = BufReader::new(writer.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let id = |line: String| line.split("stored ").nth(1).map(str::to_owned).filter(|id| id.len() == 32);
    let mut stored: Vec<String> = lines.by_ref().filter_map(id).take(40).collect();
    writer.kill().expect("killed");
    writer.wait().expect("ended");
    stored.extend(lines.filter_map(id));
    stored
}

#[test]
fn what_was_acknowledged_survives_a_kill_and_two_programs_share_a_store() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let reader = store(directory.path());
    let (one, two) = (writer(directory.path()), writer(directory.path()));
    let mine: Vec<String> = (0..20).map(|_| run(&reader).expect("made")).collect();
    let stored = [mine, stored_until_killed(one), stored_until_killed(two)].concat();
    assert!(stored.len() >= 100, "{}", stored.len());
    for run_id in &stored {
        reader.get_run(run_id).expect("acknowledged, so there");
    }
    assert_eq!(reader.check().expect("checked"), Vec::<String>::new());
}

#[test]
fn full_disk_refuses_writes_answers_reads_and_needs_no_restart() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let Some(disk) = SmallDisk::mount(directory.path()) else {
        eprintln!("skipped: a small file system cannot be mounted here (root on Linux can)");
        return;
    };
    let store = store(&disk.path);
    let first = run(&store).expect("there is room");
    let filler = disk.path.join("filler");
    std::fs::write(&filler, vec![7; 512 << 10]).expect("written");
    let value = "x".repeat(6000);
    let mut stored = 0;
    let error = loop {
        match store.log_param(&first, &format!("p{stored}"), &value) {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 10_000, "the disk is never full");
    };
    assert_eq!(error.code(), ErrorCode::TemporarilyUnavailable, "{error}");
    assert_eq!(store.get_run(&first).expect("read").params.len(), stored);
    assert_eq!(run(&store).expect_err("still full").code(), ErrorCode::TemporarilyUnavailable);
    std::fs::remove_file(&filler).expect("removed");
    let later = run(&store).expect("there is room again");
    let metric = Metric { key: "m".to_owned(), value: 1.0, timestamp_ms: 1, step: 0 };
    store.log_metric(&later, &metric.into()).expect("logged");
    assert_eq!(store.get_run(&first).expect("read").params.len(), stored);
    assert_eq!(store.check().expect("checked"), Vec::<String>::new());
}

/// A file system of 2 MB in memory.
struct SmallDisk {
    path: std::path::PathBuf,
}

impl SmallDisk {
    fn mount(directory: &Path) -> Option<Self> {
        let path = directory.join("disk");
        std::fs::create_dir(&path).ok()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&path).stderr(Stdio::null());
        mount.status().ok()?.success().then_some(Self { path })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

#[test]
fn backup_is_a_store_with_all_that_was_committed() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let original = store(directory.path());
    let run_id = run(&original).expect("made");
    let copy = directory.path().join("copy.db");
    original.backup(&copy).expect("copied");
    assert!(original.backup(&copy).is_err(), "a file that exists is not overwritten");
    run(&original).expect("made");
    let versions = SchemaVersion::of(&copy.display().to_string()).expect("read");
    assert_eq!(versions.found, Some(versions.supported));
    let copy = Store::open(&copy).expect("opened");
    copy.get_run(&run_id).expect("copied");
    assert_eq!(copy.check().expect("checked"), Vec::<String>::new());
}
