//! What strace shows of a driver: which calls it makes that can leave something half done.
//!
//! The driver alone is traced, with all its threads; strace lets go of a step's process when it is executed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Calls that change files, and the opening of files.
pub(crate) const CALLS: &str = "fsync,fdatasync,write,pwrite64,openat,rename,renameat,renameat2,link,linkat,unlink,\
                                unlinkat,mkdir,mkdirat,rmdir,symlink,symlinkat,chmod,fchmod,fchmodat,ftruncate";
/// Of those, the ones that may fail for want of space, or because the disk is broken.
pub(crate) const FALLIBLE: [&str; 14] = [
    "fsync",
    "fdatasync",
    "write",
    "pwrite64",
    "openat",
    "rename",
    "renameat",
    "linkat",
    "unlink",
    "unlinkat",
    "mkdir",
    "symlink",
    "chmod",
    "ftruncate",
];

/// A call as strace shows it when it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) thread: i32,
    pub(crate) name: String,
    /// Whether it touches the state directory.
    pub(crate) touches_state: bool,
}

impl Call {
    /// Reads one line; none when it does not show the beginning of a call. `state` is the name of the state directory.
    pub(crate) fn parse(line: &str, state: &str) -> Option<Self> {
        let (thread, rest) = line.split_once(' ')?;
        let (name, arguments) = rest.trim_start().split_once('(')?;
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            return None;
        }
        Some(Self { thread: thread.parse().ok()?, name: name.into(), touches_state: arguments.contains(state) })
    }
}

/// `strace` that traces the driver, to which the program and its arguments are still to be added.
pub(crate) fn strace(output: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-b", "execve", "-s", "8", "-o"]).arg(output);
    command.arg(format!("--trace={CALLS}"));
    command
}

/// Numbers, from 1, of the calls from the first that touches the state directory on.
pub(crate) fn numbers_to_kill_at(calls: &[Call]) -> Vec<usize> {
    let first = calls.iter().position(|call| call.touches_state).unwrap_or(calls.len());
    (first + 1..=calls.len()).collect()
}

/// Name and number of the calls that may be made to fail.
///
/// strace counts per thread. A number is left out when the main thread's call of that number has nothing to do with the
/// state directory: the loading of the program, or a file of the pipeline.
pub(crate) fn calls_to_fail(calls: &[Call]) -> Vec<(String, usize)> {
    let Some(main) = calls.first().map(|call| call.thread) else { return Vec::new() };
    let mut per_thread: BTreeMap<(&str, i32), Vec<bool>> = BTreeMap::new();
    for call in calls {
        per_thread.entry((&call.name, call.thread)).or_default().push(call.touches_state);
    }
    let numbers = FALLIBLE.iter().flat_map(|name| {
        let of_name = per_thread.iter().filter(|((made, _), _)| made == name);
        let most = of_name.map(|(_, touches)| touches.len()).max().unwrap_or(0);
        let of_main = per_thread.get(&(*name, main)).cloned().unwrap_or_default();
        (1..=most).filter(move |number| of_main.get(number - 1).copied().unwrap_or(true)).map(|number| (*name, number))
    });
    numbers.map(|(name, number)| (name.to_owned(), number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(lines: &[&str]) -> Vec<Call> {
        lines.iter().filter_map(|line| Call::parse(line, "/.mlpipe")).collect()
    }

    #[test]
    fn only_beginnings_of_calls_count() {
        let found = calls(&[
            "10 openat(AT_FDCWD</w>, \"/lib/c.so\", O_RDONLY) = 3",
            "10 mkdir(\"/w/.mlpipe/runs\", 0777 <unfinished ...>",
            "11 <... mkdir resumed>) = 0",
            "10 --- SIGCHLD {si_signo=SIGCHLD} ---",
            "10 +++ exited with 0 +++",
            "",
        ]);
        assert_eq!(
            found.iter().map(|call| (call.thread, call.touches_state)).collect::<Vec<_>>(),
            [(10, false), (10, true)]
        );
        assert_eq!(numbers_to_kill_at(&found), [2]);
    }

    #[test]
    fn calls_of_the_main_thread_outside_the_state_directory_are_not_made_to_fail() {
        let found = calls(&[
            "10 openat(3, \"/lib/c.so\"",
            "10 openat(3, \"/w/.mlpipe/store.db\"",
            "10 fsync(4</w/.mlpipe/x>)",
            "11 openat(3, \"/w/.mlpipe/a\"",
            "11 openat(3, \"/w/.mlpipe/b\"",
            "11 openat(3, \"/w/.mlpipe/c\"",
        ]);
        let expected = [("fsync", 1), ("openat", 2), ("openat", 3)].map(|(name, number)| (name.to_owned(), number));
        assert_eq!(calls_to_fail(&found), expected);
    }
}
