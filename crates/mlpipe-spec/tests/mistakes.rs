//! Every mistake is reported once, at its place, with help. In a case `«` marks the place of each mistake in turn.

mod common;

use common::{PIPELINE, Workplace};
use mlpipe_spec::Diagnostics;

/// Returns the text without its marks, and line and column of each.
fn unmarked(text: &str) -> (String, Vec<(usize, usize)>) {
    let mut places = Vec::new();
    let (mut line, mut column) = (1, 1);
    let mut plain = String::new();
    for letter in text.chars() {
        match letter {
            '«' => {
                places.push((line, column));
                continue;
            }
            '\n' => (line, column) = (line + 1, 1),
            _ => column += 1,
        }
        plain.push(letter);
    }
    (plain, places)
}

/// Checks that exactly the marked mistakes were found, each with a message and help that contain the given text.
fn check(case: &str, diagnostics: &Diagnostics, file: &str, places: &[(usize, usize)], expected: &[&str]) {
    let found: Vec<String> = diagnostics.items().iter().map(ToString::to_string).collect();
    let found_places: Vec<(usize, usize)> = diagnostics.items().iter().map(|item| (item.line, item.column)).collect();
    assert_eq!(found_places, places, "{case}\n{}", diagnostics.render(false, 120));
    assert_eq!(found.len(), expected.len(), "{case}\n{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(file), "{case}\n{found}\ndoes not name {file}");
        for part in expected.split(" | ") {
            assert!(found.contains(part), "{case}\n{found}\ndoes not contain\n{part}");
        }
    }
    let rendered = diagnostics.render(false, 200);
    for (line, column) in places {
        assert!(rendered.contains(&format!("{file}:{line}:{column}]")), "{case}\n{rendered}");
    }
}

/// Replacements in the pipeline, made one after the other, and the mistakes they make.
type Case<'t> = (&'t [(&'t str, &'t str)], &'t [&'t str]);

fn rewrites(cases: &[Case]) {
    let workplace = Workplace::new();
    for (replacements, expected) in cases {
        let text = replacements.iter().fold(PIPELINE.to_owned(), |text, (from, to)| {
            assert_eq!(text.matches(from).count(), 1, "`{from}` must be in the pipeline once");
            text.replace(from, to)
        });
        let (text, places) = unmarked(&text);
        let case = format!("{replacements:?}");
        match workplace.load(&text, &[]) {
            Ok(_) => panic!("no mistake was found: {case}"),
            Err(diagnostics) => check(&case, &diagnostics, "pipelines/schmorl.yaml", &places, expected),
        }
    }
}

fn changes(cases: &[(&str, &str, &[&str])]) {
    for (from, to, expected) in cases {
        rewrites(&[(&[(*from, *to)], expected)]);
    }
}

#[test]
fn names_that_do_not_exist_are_reported_with_the_nearest_that_does() {
    changes(&[
        ("defaults:", "«default:", &["a pipeline has no key `default` | did you mean `defaults`?"]),
        ("needs: [report]", "«need: [report]", &["a step has no key `need` | did you mean `needs`?"]),
        ("needs: [report]", "needs: [«reports]", &["there is no step `reports` | did you mean `report`?"]),
        ("{ params.detector }", "{ params.«detektor }", &["no parameter `detektor` | did you mean `detector`?"]),
        ("steps.vertebrae.outputs.boxes", "steps.vertebrae.outputs.«box", &["has no output `box` | mean `boxes`?"]),
        ("steps.vertebrae.outputs.boxes", "steps.«vertebra.outputs.boxes", &["no step `vertebra` | mean `vertebrae`?"]),
        ("spacing_mm: 1}", "«spacing: 1}", &["entry point `main` has no parameter `spacing` | mean `spacing_mm`?"]),
        ("{ item.vertebra }", "{ item.«vertebrae }", &["not a variable of this step | did you mean `vertebra`?"]),
        ("entry_point: summary", "entry_point: «sumary", &["has no entry point `sumary` | did you mean `summary`?"]),
        ("dicom-series,", "«dicom-serie,", &["is not a kind of collection | did you mean `dicom-series`?"]),
        ("{study: inputs.studies}", "{study: inputs.«study}", &["there is no input `study` | did you mean `studies`?"]),
        ("{study: inputs.studies}", "{study: «studies}", &["no step `studies` | did you mean `inputs.studies`?"]),
        ("over='vertebra'", "over=«'vertebre'", &["step `schmorl` has no variable `vertebre` | mean `vertebra`?"]),
        ("reports: steps.report.outputs.report", "reports: steps.report.outputs.«rport", &["no output `rport`"]),
        ("retries: 1", "«retrys: 1", &["has no key `retrys` | did you mean `retries`?"]),
        ("on_item_error: collect", "on_item_error: «colect", &["not `colect` | did you mean `collect`?"]),
        ("{type: float,", "{type: «flaot,", &["not `flaot` | did you mean `float`?"]),
    ]);
}

#[test]
fn values_of_the_wrong_type_or_out_of_bounds_are_reported() {
    changes(&[
        ("name: schmorl\n", "name: «[schmorl]\n", &["`name` must be a single value, not a list"]),
        ("name: schmorl\n", "name: «a/b\n", &["`a/b` cannot be the name of a pipeline"]),
        ("default: 0.5,", "default: «half,", &["default of `threshold`: `half` is not a number"]),
        ("default: 0.5,", "default: «1.5,", &["1.5 is above the maximum 1"]),
        ("default: 0.5,", "default: «.nan,", &["`.nan` is not a number"]),
        ("default: 5}", "default: «5.0}", &["`5.0` is not a whole number"]),
        (
            "default: sagittal",
            "default: «saggital",
            &["not one of the choices | choices: `sagittal`, `coronal`, `axial`"],
        ),
        ("spacing_mm: 1}", "spacing_mm: «wide}", &["parameter `spacing_mm`: `wide` is not a number"]),
        ("spacing_mm: 1}", "spacing_mm: «0.01}", &["0.01 is below the minimum 0.1"]),
        ("spacing_mm: 1}", "spacing_mm: «[1, 2]}", &["`spacing_mm` must be a single value, not a list"]),
        ("spacing_mm: 1}", "spacing_mm: «~}", &["`spacing_mm` has no value"]),
        (
            "spacing_mm: 1}",
            "spacing_mm: «\"${{ item.study }}\"}",
            &["parameter `spacing_mm` is of type float, and items and outputs are paths"],
        ),
        (
            "threshold: \"${{ params.threshold }}\"",
            "threshold: «\"${{ params.instances }}\"",
            &["5 is above the maximum 1 | the value comes from params.instances"],
        ),
        ("retries: 1", "retries: «{on: timeout}", &["`retries` has no `max`"]),
        ("retries: 1", "retries: {max: 1, on: [«crash]}", &["`crash` is not a cause of failure | `exit 75`"]),
        ("retries: 1", "retries: {max: 1, on: «[]}", &["`on` is empty: nothing would be tried again"]),
        ("retries: 1", "retries: {max: 1, backoff: «2}", &["`2` is not a duration | add a unit: 2s"]),
        ("retries: 1", "retries: {max: 1, «backof: 2s}", &["has no key `backof` | did you mean `backoff`?"]),
        ("retries: 1", "retries: «-1", &["`retries` must be a whole number from 0 to 100, not `-1`"]),
        ("timeout: 10m", "timeout: «600", &["`600` is not a duration | add a unit: 600s"]),
        ("timeout: 10m", "timeout: «10 minutes", &["durations are like 90s, 10m, 1h30m"]),
        ("memory: 1GiB", "memory: «1Gi", &["`1Gi` is not an amount of memory"]),
        ("cpu: 1", "cpu: «0", &["`cpu` must be a whole number from 1"]),
        ("cpu: 1", "gpu: «-1", &["`gpu` must be a whole number from 0"]),
        ("cache: false", "cache: «no", &["`cache` must be true or false, not `no`"]),
        ("batch: 32", "batch: «0", &["`batch` must be a whole number from 1"]),
        ("from: \"${{ params.studies }}\"", "from: «\"\"", &["`from` is empty"]),
        ("Rows: 512", "Rows: «1e999", &["does not fit in a 64-bit number"]),
    ]);
}

#[test]
fn what_is_missing_or_given_twice_is_reported() {
    changes(&[
        ("# yaml-language-server: $schema=../schemas/pipeline.schema.json\nname: schmorl\n", "«", &["has no `name`"]),
        ("    cache: false\n", "    cache: false\n    «cache: true\n", &["`cache` is given twice; first on line 39"]),
        ("outputs: {", "«name: again\noutputs: {", &["`name` is given twice; first on line 2"]),
        ("{type: int, default: 5}", "«5", &["`5` is not a type | {type: ..., default: 5}"]),
    ]);
    rewrites(&[
        (&[("  report:\n    project: ../projects/report\n", "  «report:\n")], &["step `report` has no `project`"]),
        (
            &[("parameters: {series: \"${{ item.study }}\", ", "«parameters: {")],
            &["step `slices`: parameter `series` has no value | it is of type path"],
        ),
        (&[("for_each: {study: inputs.studies}", "«for_each: {}")], &["`for_each` has no variable"]),
        (&[("  instances: {type: int, default: 5}", "  «instances: {type: int}")], &["no value | -P instances=..."]),
        (&[("  instances: {type: int, ", "  «instances: {")], &["parameter `instances` has no `type`"]),
        (&[("  studies: {collection: dicom-series, ", "  «studies: {")], &["input `studies` has no `collection`"]),
    ]);
}

#[test]
fn loops_and_references_that_do_not_fit_together_are_reported() {
    changes(&[
        (
            "{study: slices, vertebra: vertebrae.outputs.vertebrae}",
            "{vertebra: «vertebrae}",
            &["step `vertebrae` has no variable `vertebra` | its collection is `vertebrae.outputs.vertebrae`"],
        ),
        (
            "{study: slices, vertebra: vertebrae.outputs.vertebrae}",
            "{vertebra: vertebrae.outputs.«vertebrae, study: slices}",
            &["`vertebra` needs `study` bound before it | put `study: vertebrae` before `vertebra`"],
        ),
        (
            "vertebra: vertebrae.outputs.vertebrae}",
            "vertebra: vertebrae.outputs.«boxes}",
            &["output `boxes` of step `vertebrae` is not a collection | `type: collection`"],
        ),
        (
            "gather(steps.schmorl.outputs.finding, over='vertebra')",
            "steps.«schmorl.outputs.finding",
            &["step `schmorl` runs once for each `vertebra`, this step does not | \
               gather(steps.schmorl.outputs.finding, over='vertebra')"],
        ),
        (
            "gather(steps.report.outputs.report, over='study')",
            "gather(steps.«schmorl.outputs.finding, over='vertebra')",
            &["step `schmorl` runs once for each `study` too | add `study: schmorl` to for_each"],
        ),
        (
            "gather(steps.schmorl.outputs.finding, over='vertebra')",
            "gather(steps.vertebrae.outputs.boxes, over=«'study')",
            &["this step runs once for each `study`: nothing is to be gathered"],
        ),
        (
            "{study: inputs.studies}",
            "{study: inputs.studies, «again: inputs.studies}",
            &["`again` and `study` range over the same items | not supported yet"],
        ),
        (
            "    needs: [report]\n",
            "    batch: ««2\n",
            &["`batch` is for steps with `for_each`", "`batch` needs a `batch_command`, and entry point `summary`"],
        ),
        ("{ item.study }", "{ inputs.«studies }", &["an input is used by iterating over it"]),
        ("{study: slices, vertebra", "{study: inputs.«nowhere, vertebra", &["there is no input `nowhere`"]),
        ("{ params.studies }", "{ item.«study }", &["only `params` can be used in `from`"]),
        ("needs: [report]", "needs: [«summary]", &["steps wait for each other: summary -> summary"]),
    ]);
    rewrites(&[(
        &[("    batch: 32\n", "    needs: [report]\n"), ("gather(steps.schmorl", "gather(steps.«schmorl")],
        &["steps wait for each other: report -> schmorl -> report | `schmorl` uses `report` on line 32"],
    )]);
}

#[test]
fn what_is_not_supported_yet_is_refused_and_never_ignored() {
    changes(&[
        ("{ item.vertebra }", "{ «item.vertebra.key }", &["attributes of an item are not supported yet"]),
        ("default: ../testdata/studies", "default: «s3://bucket/studies", &["`s3:` URIs are not supported yet"]),
        (
            "default: ../projects/vertebrae/model",
            "default: «gs://bucket/detector",
            &["`gs:` URIs are not supported yet"],
        ),
        ("\"${{ params.detector }}\"", "«dicomweb://pacs/model", &["`dicomweb:` URIs are not supported yet"]),
    ]);
}

#[test]
fn malformed_expressions_are_reported_where_they_break() {
    changes(&[
        ("${{ params.threshold }}", "«${{ params.threshold", &["`${{` without `}}`"]),
        ("${{ params.threshold }}", "${{ «param.threshold }}", &["is not a reference | did you mean `params`?"]),
        ("${{ params.threshold }}", "${{ params. «}}", &["expected a name after `.`"]),
        ("${{ params.threshold }}", "${{ «}}", &["expected a reference"]),
        ("${{ params.threshold }}", "${{ params.threshold «x }}", &["the expression should have ended here"]),
        ("${{ item.vertebra }}", "${{ «steps.vertebrae.boxes }}", &["write steps.vertebrae.outputs.boxes"]),
        ("over='vertebra')", "«by='vertebra')", &["gather() has no argument `by`"]),
        ("over='vertebra')", "over=«vertebra)", &["must be in quotes"]),
        (", over='vertebra')", "«)", &["expected `,` | write gather("]),
        ("reports: steps.report.outputs.report", "reports: «inputs.studies", &["is not an output of a step"]),
    ]);
}

#[test]
fn an_unquoted_expression_in_a_flow_mapping_is_explained() {
    changes(&[("series: \"${{ item.study }}\"", "series: «${{ item.study }}", &["not valid YAML | must be quoted"])]);
}

#[test]
fn all_mistakes_of_a_pipeline_are_reported_together() {
    let workplace = Workplace::new();
    let text = PIPELINE
        .replace("default: 0.5,", "default: «2,")
        .replace("dicom-series,", "«dicom,")
        .replace("steps.vertebrae.outputs.boxes", "steps.vertebrae.outputs.«box")
        .replace("cache: false", "«cahe: false")
        .replace("outputs: {reports", "«output: {reports");
    let (text, places) = unmarked(&text);
    let diagnostics = workplace.load(&text, &[]).expect_err("five mistakes");
    let expected = ["above the maximum", "kind of collection", "no output `box`", "mean `cache`?", "mean `outputs`?"];
    check("all", &diagnostics, "pipelines/schmorl.yaml", &places, &expected);
}

#[test]
fn mistakes_in_overrides_are_reported_at_the_declaration() {
    let workplace = Workplace::new();
    let (text, places) =
        unmarked(&PIPELINE.replace("  threshold:", "  «threshold:").replace("params:\n", "«params:\n"));
    let overrides = [("threshold", "2"), ("treshold", "1")];
    let diagnostics = workplace.load(&text, &overrides).expect_err("two mistakes");
    let expected = ["-P treshold: | did you mean `threshold`?", "-P threshold=2: 2 is above the maximum 1"];
    check("overrides", &diagnostics, "pipelines/schmorl.yaml", &places, &expected);
    let twice = workplace.load(PIPELINE, &[("threshold", "1"), ("threshold", "0")]).expect_err("given twice");
    assert!(twice.to_string().contains("-P threshold is given twice"), "{twice}");
}

#[test]
fn mistakes_in_an_mlproject_are_reported_in_that_file() {
    let project = "name: schmorl
entry_points:
  main:
    parameters:
      volume: path
      vertebra: path
    command: nodes {volume} {vertebra}
    batch_command: nodes {batch}
    outputs:
      finding: {path: finding.json, type: json}
";
    let cases: &[(&str, &str, &[&str])] = &[
        ("name: schmorl", "«nam: schmorl", &["an MLproject has no key `nam` | did you mean `name`?"]),
        ("name: schmorl", "«docker_env: {image: x}", &["`docker_env` is not supported yet"]),
        ("name: schmorl", "conda_env: «conda.yaml", &["there is no file `conda.yaml` in the project"]),
        ("{vertebra}", "«{vertebrae}", &["uses `{vertebrae}`, which is not a parameter | did you mean `vertebra`?"]),
        ("command: nodes {volume}", "command: nodes «{volume", &["the command uses `{volume {vertebra}`"]),
        ("{batch}", "«{volume}", &["only `{batch}` can be used"]),
        ("nodes {batch}", "«nodes", &["does not use `{batch}`"]),
        ("volume: path", "volume: «pth", &["`pth` is not a type | did you mean `path`?"]),
        ("volume: path", "«volume: {type: choice}", &["parameter `volume` has no `choices`"]),
        ("volume: path", "volume: {type: path, «min: 1}", &["`min` is for types int and float, not path"]),
        ("type: json", "type: «jsn", &["not `jsn` | did you mean `json`?"]),
        ("path: finding.json", "path: «../finding.json", &["must lie in the output directory"]),
        ("path: finding.json", "path: «/finding.json", &["must lie in the output directory"]),
        ("finding: {path: finding.json, type: json}", "«finding: {type: json}", &["output `finding` has no `path`"]),
        ("finding: {path: finding.json, type: json}", "finding: «finding.json", &["must be a mapping"]),
        ("type: json}", "type: json, compare: «byte}", &["`compare` must be `bytes` or a mapping"]),
        ("type: json}", "type: json, compare: {«jsn: {}}}", &["there is no comparator `jsn` | did you mean `json`?"]),
        (
            "type: json}",
            "type: json, compare: {json: {«rtoll: 1}}}",
            &["the comparator `json` has no key `rtoll` | did you mean `rtol`?"],
        ),
        ("type: json}", "type: json, compare: {rtol: «-1}}", &["`rtol` must be a number from 0"]),
        ("type: json}", "type: json, compare: {array: {atol: «.nan}}}", &["`atol` must be a number from 0"]),
        ("type: json}", "type: json, compare: {«text: {}}}", &["needs `ignore_lines`"]),
        (
            "type: json}",
            "type: json, compare: {text: {ignore_lines: [«\"\"]}}}",
            &["an entry of `ignore_lines` is empty"],
        ),
        ("type: json}", "type: json, compare: {json: {}, «array: {}}}", &["a file is compared in one way"]),
        ("type: json}", "type: json, compare: {dicom: «[]}}", &["the settings of `dicom` must be a mapping"]),
        ("type: json}", "type: json, compare: {dicom: «{bad: 1}}}", &["comparator `dicom`: `bad` is bad"]),
        (
            "type: json}",
            "type: file, compare: {«rtol: 1}}",
            &["needs the name of a comparator around it | compare: {array: {rtol: ...}}"],
        ),
        ("command: nodes {volume} {vertebra}", "command: «nodes \"{volume} {vertebra}", &["quoted text has no end"]),
        (
            "command: nodes {volume} {vertebra}",
            "command: «bash -c \"nodes {volume} {vertebra}\"",
            &["cannot be quoted in a script for another shell"],
        ),
    ];
    let workplace = Workplace::new();
    for (from, to, expected) in cases {
        let (text, places) = unmarked(&project.replace(from, to));
        workplace.write("projects/schmorl/MLproject", &text);
        let diagnostics = workplace.load(PIPELINE, &[]).expect_err(to);
        check(to, &diagnostics, "projects/schmorl/MLproject", &places, expected);
    }
}

#[test]
fn a_directory_without_mlproject_is_reported_at_each_step_that_names_it() {
    let workplace = Workplace::new();
    workplace.write("projects/empty/readme", "");
    let text = PIPELINE
        .replace("project: ../projects/vertebrae\n", "project: «../projects/empty\n")
        .replace("project: ../projects/schmorl\n", "project: «../projects/nowhere\n");
    let (text, places) = unmarked(&text);
    let diagnostics = workplace.load(&text, &[]).expect_err("two mistakes");
    let expected = ["has no MLproject file", "there is no directory"];
    check("projects", &diagnostics, "pipelines/schmorl.yaml", &places, &expected);
}

#[test]
fn nothing_but_mistakes_is_found_in_files_that_are_no_pipeline() {
    let workplace = Workplace::new();
    for text in
        ["", "[]", "x", "name: a", "a: [", "steps:\n  - a\n", "name: x\nsteps: {a: }", "\u{feff}name: é\n", "&a [*a]"]
    {
        let diagnostics = workplace.load(text, &[]).expect_err(text);
        assert!(!diagnostics.render(true, 80).is_empty(), "{text}");
    }
}

/// Loads a damaged pipeline: whatever the damage, it is a pipeline or has mistakes that can be shown.
fn survive(workplace: &Workplace, text: &str) {
    if let Err(diagnostics) = workplace.load(text, &[]) {
        let rendered = diagnostics.render(false, 80);
        assert!(!diagnostics.items().is_empty() && !rendered.contains("fault of mlpipe"), "{text}\n{rendered}");
    }
}

#[test]
fn damaged_pipelines_have_mistakes_that_can_be_shown() {
    let workplace = Workplace::new();
    let lines: Vec<&str> = PIPELINE.lines().collect();
    for left_out in 0..lines.len() {
        let kept: Vec<&str> = (0..lines.len()).filter(|line| *line != left_out).map(|line| lines[line]).collect();
        survive(&workplace, &kept.join("\n"));
    }
    for end in (0..PIPELINE.len()).step_by(23) {
        survive(&workplace, &PIPELINE[..end]);
    }
    let words: Vec<&str> = PIPELINE.split_inclusive(|c: char| !c.is_alphanumeric()).collect();
    for (index, word) in words.iter().enumerate().filter(|(_, word)| word.len() > 1) {
        for instead in ["é", "[]"] {
            let end = &word[word.len() - 1..];
            let text = [&words[..index], &[instead, end], &words[index + 1..]].concat().concat();
            survive(&workplace, &text);
        }
    }
}

/// Loads these bytes and returns all mistakes, one line each, without the name of the file.
fn mistakes_in(workplace: &Workplace, bytes: &[u8]) -> Vec<String> {
    let path = workplace.path().join("pipelines/hostile.yaml");
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(&path, bytes).expect("a new file");
    match mlpipe_spec::load_pipeline(&path, &mlpipe_spec::LoadOptions::default()) {
        Err(mlpipe_spec::LoadError::Invalid(found)) => {
            assert!(!found.render(false, 80).is_empty());
            let place = format!("{}:", path.display());
            found.items().iter().map(|item| item.to_string().replace(&place, "")).collect()
        }
        Err(error) => vec![error.to_string()],
        Ok(_) => Vec::new(),
    }
}

#[test]
fn files_that_are_hardly_yaml_have_one_mistake_with_its_place() {
    let workplace = Workplace::new();
    let with = |line: &str| {
        format!(
            "name: x\nsteps:\n  a:\n    project: ../projects/report\n    entry_point: summary\n    parameters: {{reports: r}}\n{line}\n"
        )
    };
    let laughs = |first: &str, more: &dyn Fn(usize) -> String| {
        let lines: String = (1..12).map(more).collect();
        format!("name: x\n{first}\n{lines}steps: {{}}\n")
    };
    let nested = |number: usize| {
        let before = vec![format!("*a{}", number - 1); 10].join(",");
        format!("a{number}: &a{number} [{before}]\n")
    };
    let merged = |number: usize| {
        let before = vec![format!("*a{}", number - 1); 10].join(",");
        format!("a{number}: &a{number} {{<<: [{before}]}}\n")
    };
    let cases: [(Vec<u8>, &str); 18] = [
        (b"".to_vec(), "1:1: the file is empty"),
        (b"# nothing\n---\n".to_vec(), "the file is empty"),
        (b"- a\n".to_vec(), "1:1: a pipeline must be a mapping"),
        (b"text\n".to_vec(), "1:1: a pipeline must be a mapping"),
        (b"name: x\nsteps:\n\ta: {}\n".to_vec(), "3:2: not valid YAML: tabs"),
        (b"name: caf\xe9\n".to_vec(), "1:10: not valid UTF-8"),
        (b"\xef\xbb\xbfname: caf\xe9\n".to_vec(), "1:10: not valid UTF-8"),
        (b"\xff\xfen\0a\0".to_vec(), "1:1: not valid UTF-8"),
        (b"name: x\0y\n".to_vec(), "1:8: not valid YAML"),
        (with("    needs: *nobody").into(), "7:12: not valid YAML"),
        (format!("{0}---\n{0}", with("")).into(), "a second one begins"),
        (with("  a: {}").into(), "7:3: `a` is given twice; first on line 3"),
        (with("    ? [a]\n    : b").into(), "7:7: not valid YAML"),
        (format!("name: {}\n", "[".repeat(100_000)).into(), "not valid YAML: "),
        ((0..500).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect::<String>().into(), "nested too deep"),
        (laughs("a0: &a0 [x, x, x]", &nested).into(), "aliases and merges stand for too many values"),
        (laughs("a0: &a0 {x: 1}", &merged).into(), "aliases and merges stand for too many values"),
        (with(&format!("    retries: {}", "9".repeat(60))).into(), "7:14: `retries` must be a whole number"),
    ];
    let mut wrong = Vec::new();
    for (bytes, expected) in cases {
        let found = mistakes_in(&workplace, &bytes);
        if !matches!(found.as_slice(), [one] if one.contains(expected)) {
            let case = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
            wrong.push(format!("{case}\n{expected}\n{found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn marks_line_ends_anchors_and_merges_change_no_place() {
    let workplace = Workplace::new();
    let pipeline = "name: x\nsteps:\n  a: &a\n    project: ../projects/vertebrae\n    parameters: &p {volume: v}\n  b:\n    <<: *a\n    cache: false\n  c: *a\noutputs: {o: steps.b.outputs.boxs}\n";
    let ends = pipeline.replace('\n', "\r\n");
    for text in [pipeline.to_owned(), ends.clone(), format!("\u{feff}{ends}")] {
        let found = mistakes_in(&workplace, text.as_bytes());
        assert!(
            matches!(found.as_slice(), [one] if one.starts_with("10:30: step `b` has no output `boxs`")),
            "{found:?}"
        );
        assert_eq!(mistakes_in(&workplace, text.replace("boxs", "boxes").as_bytes()), Vec::<String>::new());
    }
}

#[test]
fn file_with_twenty_thousand_steps_is_read_and_so_are_all_its_mistakes() {
    let workplace = Workplace::new();
    let steps = |more: &str| {
        let step = |number: usize| {
            let needs = if number > 0 { format!("{more}: [s{}]", number - 1) } else { "cache: true".to_owned() };
            format!("  s{number}: {{project: ../projects/sagittal, parameters: {{series: x}}, {needs}}}\n")
        };
        format!("name: x\nsteps:\n{}", (0..20_000).map(step).collect::<String>())
    };
    assert_eq!(mistakes_in(&workplace, steps("needs").as_bytes()), Vec::<String>::new());
    assert_eq!(mistakes_in(&workplace, steps("nedes").as_bytes()).len(), 19_999);
}

#[test]
fn pipelines_that_multiply_come_to_an_end() {
    let workplace = Workplace::new();
    for level in 0..14 {
        let step = |number: usize| format!("  s{number}: {{pipeline: level{}.yaml}}\n", level + 1);
        let steps: String = (0..10).map(step).collect();
        workplace.write(&format!("pipelines/level{level}.yaml"), &format!("name: x\nsteps:\n{steps}"));
    }
    let found = mistakes_in(&workplace, b"name: x\nsteps: {a: {pipeline: level11.yaml}}\n");
    assert!(found.iter().all(|one| one.contains("cannot read") && one.contains("level14.yaml")), "{found:?}");
    workplace.write(
        "pipelines/level14.yaml",
        "name: x\nsteps: {a: {project: ../projects/vertebrae, parameters: {volume: v}}}\n",
    );
    let found = mistakes_in(&workplace, b"name: x\nsteps: {a: {pipeline: level0.yaml}}\n");
    assert!(matches!(found.as_slice(), [one] if one.contains("more than 50000 steps")), "{found:?}");
}

#[test]
fn conditions_that_are_not_true_or_false_are_reported() {
    changes(&[
        ("    cache: false\n", "    if: «params.plane\n", &["`if` takes true or false, and this is a text | `==`"]),
        (
            "    cache: false\n",
            "    if: params.plane == «axial\n",
            &["`axial` is not a reference | in quotes: 'axial'"],
        ),
        ("    cache: false\n", "    if: «params.instances == '5'\n", &["one side is a number, the other a text"]),
        ("    cache: false\n", "    if: «params.plane < 'b'\n", &["only numbers can be ordered, and this is a text"]),
        ("    cache: false\n", "    if: \"!«params.instances\"\n", &["`!` takes true or false, and this is a number"]),
        ("    cache: false\n", "    if: params.«plan == 'axial'\n", &["no parameter `plan` | did you mean `plane`?"]),
        ("    cache: false\n", "    if: params.plane «= 'axial'\n", &["`=` does not compare | write `==`"]),
        ("    cache: false\n", "    if: params.instances «+ 1 > 2\n", &["no arithmetic in expressions"]),
        ("    cache: false\n", "    if: «max(1) == 1\n", &["`max()` is not a function | `count`"]),
        ("    cache: false\n", "    if: count(«params.plane) > 1\n", &["`count()` takes a collection"]),
        ("    cache: false\n", "    if: count(inputs.«study) > 1\n", &["no input `study` | did you mean `studies`?"]),
        ("    cache: false\n", "    if: \"item.«study == 'a'\"\n", &["`study` is not a variable of this step"]),
        ("    cache: false\n", "    if: (true«\n    cache: false\n", &["expected `)`"]),
    ]);
    rewrites(&[(
        &[("    batch: 32\n", "    if: count(steps.vertebrae.outputs.«boxes) > 0\n")],
        &["output `boxes` of step `vertebrae` is not a collection"],
    )]);
    let deep = format!("    if: {}true\n", "(".repeat(500));
    let workplace = Workplace::new();
    let text = PIPELINE.replace("    cache: false\n", &deep);
    let diagnostics = workplace.load(&text, &[]).expect_err("it is too deep");
    assert!(diagnostics.items()[0].message.contains("nested more than"), "{diagnostics}");
}

#[test]
fn what_a_step_that_always_runs_may_miss_is_reported() {
    changes(&[("    cache: false\n", "    always: «perhaps\n", &["`always` must be true or false"])]);
    rewrites(&[(
        &[
            ("    batch: 32\n", "    always: true\n"),
            ("steps.slices.outputs.volume }}\", vertebra:", "steps.«slices.outputs.volume }}\", vertebra:"),
        ],
        &["runs even when `slices` has failed and `volume` is missing | default(steps.slices.outputs.volume, '')"],
    )]);
}

#[test]
fn matrices_that_do_not_fit_are_reported() {
    let cases: &[(&str, &[&str])] = &[
        ("matrix: «{}", &["`matrix` has no axis"]),
        ("matrix: {depth: «[]}", &["`depth` has no values"]),
        ("matrix: {depth: [1, «1]}", &["`1` is given twice"]),
        ("matrix: {depth: «[1, a]}", &["the values of `depth` are not of one type"]),
        ("matrix: {depth: [1, 2], exclude: [{«dept: 1}]}", &["no axis `dept` | did you mean `depth`?"]),
        ("matrix: {depth: [1, 2], exclude: [{depth: «3}]}", &["`3` is not a value of `depth` | values: `1`, `2`"]),
        ("matrix: «{depth: [1], exclude: [{depth: 1}]}", &["`exclude` leaves no combination"]),
        ("matrix: {depth: [1], max_parallel: «0}", &["`max_parallel` must be a whole number from 1"]),
        ("matrix: {depth: [1], fail_fast: «maybe}", &["`fail_fast` must be true or false"]),
        ("for_each: {«matrix: inputs.studies}", &["`matrix` is the variable of the combinations of a matrix"]),
    ];
    for (matrix, expected) in cases {
        let with = format!("    cache: false\n    {matrix}\n");
        rewrites(&[(&[("    cache: false\n", &with)], expected)]);
    }
    rewrites(&[
        (
            &[
                ("    cache: false\n", "    matrix: {title: [1]}\n"),
                ("over='study') }}\"}", "over='study') }}\", title: \"${{ matrix.«titel }}\"}"),
            ],
            &["the matrix has no axis `titel` | did you mean `title`?"],
        ),
        (
            &[("over='study') }}\"}", "over='study') }}\", title: \"${{ matrix.«title }}\"}")],
            &["this step has no matrix | add matrix:"],
        ),
    ]);
    let text = PIPELINE
        .replace("{study: inputs.studies}\n", "{study: inputs.studies}\n    matrix: {s: [0.5, 0.01]}\n")
        .replace("spacing_mm: 1}", "spacing_mm: \"${{ matrix.s }}\"}");
    let diagnostics = Workplace::new().load(&text, &[]).expect_err("one value is too small").to_string();
    assert!(diagnostics.contains("parameter `spacing_mm`: 0.01 is below the minimum 0.1"), "{diagnostics}");
    assert!(diagnostics.contains("add `matrix: slices` to for_each"), "{diagnostics}");
}

#[test]
fn secrets_that_are_not_set_are_reported() {
    changes(&[
        (
            "    cache: false\n",
            "    secrets: [«MLPIPE_TEST_NO_SUCH_SECRET]\n",
            &["the secret `MLPIPE_TEST_NO_SUCH_SECRET` is not set | export MLPIPE_TEST_NO_SUCH_SECRET"],
        ),
        ("    cache: false\n", "    secrets: [«a-b]\n", &["`a-b` cannot be the name of an environment variable"]),
        ("    cache: false\n", "    secrets: [«MLFLOW_RUN_ID]\n", &["`MLFLOW_RUN_ID` is set by mlpipe"]),
        ("    cache: false\n", "    env: {PATH: x}\n    secrets: [«PATH]\n", &["`PATH` is both in `env` and a secret"]),
        ("{ params.threshold }", "{ «secrets.token }", &["it reaches the step in its environment | secrets: [token]"]),
    ]);
}

#[test]
fn values_that_are_known_too_late_are_reported() {
    changes(&[
        (
            "threshold: \"${{ params.threshold }}\"",
            "threshold: «\"${{ count(inputs.studies) }}\"",
            &["this value is known only when the step runs"],
        ),
        (
            "threshold: \"${{ params.threshold }}\"",
            "threshold: «\"${{ params.instances >= 1 }}\"",
            &["parameter `threshold`: `true` is not a number"],
        ),
        (
            "gather(steps.schmorl.outputs.finding, over='vertebra')",
            "«default(gather(steps.schmorl.outputs.finding, over='vertebra'), '')",
            &["gather() is never missing"],
        ),
    ]);
}
