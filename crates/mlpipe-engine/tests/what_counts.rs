//! What makes which tasks run again, as a table: each row changes one thing after a finished run. The plan names the change, the
//! run does exactly that work, and after it there is nothing to do.

use std::fs;
use std::time::SystemTime;

use lines::{Bench, done, files, without_digests};

mod lines;

const NOTHING: &[&str] = &[];
const ALL: &[&str] = &["clean[one]", "clean[two]", "report", "score[one]", "score[two]"];
const SCORES: &[&str] = &["score[one]", "score[two]"];
const SCORES_AND_REPORT: &[&str] = &["report", "score[one]", "score[two]"];

type Parameters = &'static [(&'static str, &'static str)];

struct Row {
    what: &'static str,
    /// Changes something in the folder or around it.
    change: fn(&mut Bench),
    /// Parameters given from now on.
    given: Parameters,
    /// How the first line of the plan begins; digests are `#`.
    planned: &'static str,
    /// Exactly these do work.
    done: &'static [&'static str],
}

fn row(what: &'static str, change: fn(&mut Bench), planned: &'static str, done: &'static [&'static str]) -> Row {
    Row { what, change, given: &[], planned, done }
}

#[test]
fn exactly_what_a_change_can_alter_runs_again_and_the_plan_names_it() {
    let rows = [
        Row {
            what: "a parameter",
            change: |_| {},
            given: &[("least", "3")],
            planned: "score[one]: changed: parameter least: int 2 -> int 3",
            done: SCORES_AND_REPORT,
        },
        row(
            "an input byte",
            |bench| bench.write("texts/one", "Ac\n"),
            "clean[one]: changed: parameter text: path # -> path #",
            &["clean[one]", "report", "score[one]"],
        ),
        row(
            "an input byte that makes no difference to the first step",
            |bench| bench.write("texts/one", "AA\n"),
            "clean[one]: changed: parameter text: path # -> path #",
            &["clean[one]"],
        ),
        row(
            "a line of a project's code",
            |bench| bench.replace("score/score.sh", "echo \"$3\"", "echo \"least $3\""),
            "score[one]: changed: project file score.sh: # -> #",
            SCORES_AND_REPORT,
        ),
        row(
            "a comment in a project's code, with the same results",
            |bench| bench.replace("score/score.sh", "echo", "# says it\necho"),
            "score[one]: changed: project file score.sh: # -> #",
            SCORES,
        ),
        row(
            "a new file of a project",
            |bench| bench.write("score/table.txt", "1"),
            "score[one]: changed: project file table.txt: new (#)",
            SCORES,
        ),
        row(
            "the model",
            |bench| bench.write("model/weights", "w2\n"),
            "score[one]: changed: parameter model: content # -> content #",
            SCORES_AND_REPORT,
        ),
        row(
            "the version of the tool",
            |bench| _ = bench.environment.insert("mlpipe".into(), "2".into()),
            "clean[one]: changed: environment mlpipe: 1 -> 2",
            &["clean[one]", "clean[two]", "report", "score[one]", "score[two]"],
        ),
        row(
            "a variable of a step",
            |bench| bench.replace("pipeline.yaml", "    project: score\n", "    project: score\n    env: {LANG: C}\n"),
            "score[one]: changed: env LANG: new (C)",
            SCORES,
        ),
        row(
            "the command of a project",
            |bench| bench.replace("score/MLproject", "sh score.sh", "sh ./score.sh"),
            "score[one]: changed: command: sh score.sh {text} {model} {least} -> sh ./score.sh {text} {model} {least}; project file MLproject: # -> #",
            SCORES,
        ),
    ];
    check(&rows);
}

#[test]
fn names_places_times_and_how_it_is_run_do_not_count() {
    let nothing = |what, change| row(what, change, "", NOTHING);
    let rows = [
        nothing("nothing at all", |_| {}),
        nothing("a renamed step", |bench| {
            bench.replace("pipeline.yaml", "  score:", "  grade:");
            bench.replace("pipeline.yaml", "steps.score", "steps.grade");
        }),
        nothing("a moved folder", Bench::move_folder),
        nothing("a renamed project and a moved model", |bench| {
            fs::rename(bench.path("score"), bench.path("grading")).expect("renamed");
            fs::rename(bench.path("model"), bench.path("weights")).expect("renamed");
            bench.replace("pipeline.yaml", "project: score", "project: grading");
            bench.replace("pipeline.yaml", "default: model", "default: weights");
        }),
        nothing("touched files", |bench| {
            for folder in ["texts", "clean", "score", "report", "model"] {
                for path in files(&bench.path(folder)) {
                    let file = fs::File::options().append(true).open(path).expect("there");
                    file.set_modified(SystemTime::UNIX_EPOCH).expect("touched");
                }
            }
        }),
        nothing("files that were written again with the same bytes", |bench| {
            for path in files(&bench.path("score")) {
                let bytes = fs::read(&path).expect("read");
                fs::remove_file(&path).expect("removed");
                fs::write(&path, bytes).expect("written");
            }
        }),
        nothing("retries, time limits, resources and what a failure means", |bench| {
            let settings = "defaults: {retries: {max: 3, on: [timeout], backoff: 1s}, timeout: 1m, resources: {cpu: 2, memory: 2GiB}, on_item_error: collect}\nsteps:\n";
            bench.replace("pipeline.yaml", "steps:\n", settings);
        }),
        nothing("cores to run on", |bench| bench.cpu = 7),
        nothing("a condition that holds", |bench| {
            bench.replace("pipeline.yaml", "    project: score\n", "    project: score\n    if: params.least > 1\n");
        }),
        nothing("the pipeline's name in the file and comments", |bench| {
            bench.replace("pipeline.yaml", "name: lines\n", "# about lines\nname: rows\n");
        }),
        nothing("what tools leave behind in a project", |bench| bench.write("score/__pycache__/x.pyc", "x")),
    ];
    check(&rows);
}

fn check(rows: &[Row]) {
    for Row { what, change, given, planned, done: expected } in rows {
        let mut bench = Bench::new();
        assert_eq!(done(&bench.run(&[])), ALL, "{what}");
        change(&mut bench);
        let lines: Vec<String> = bench.plan(given).iter().map(|line| without_digests(line)).collect();
        assert_eq!(lines.first().map_or("", String::as_str), *planned, "{what}: {lines:?}");
        assert_eq!(done(&bench.run(given)), *expected, "{what}");
        assert_eq!(bench.plan(given), NOTHING, "{what}: all is done now");
        assert_eq!(done(&bench.run(given)), NOTHING, "{what}: all is done now");
    }
}
