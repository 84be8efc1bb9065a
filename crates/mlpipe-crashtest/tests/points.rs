//! A few points for real, with the mlpipe that lies beside the harness.

#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::path::Path;
use std::process::Command;

#[test]
fn points_that_need_no_tools_have_no_violations() {
    let harness = Path::new(env!("CARGO_BIN_EXE_mlpipe-crashtest"));
    let mlpipe = harness.with_file_name("mlpipe");
    if !mlpipe.is_file() {
        eprintln!("skipped: {} is absent; `cargo build -p mlpipe` makes it", mlpipe.display());
        return;
    }
    let mut command = Command::new(harness);
    command.args(["replay", "moment:1", "moment:3", "pair:1"]).arg("--mlpipe").arg(&mlpipe);
    let output = command.output().expect("the harness starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("3 points, 0 violations"), "{text}");
}

#[test]
fn text_that_is_no_point_is_refused_with_an_example() {
    let output = Command::new(env!("CARGO_BIN_EXE_mlpipe-crashtest")).args(["replay", "kill:cold:1"]).output();
    let output = output.expect("the harness starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("kill:fresh:311"));
}
