//! The committed schemas are those that the tables of keys give, and the committed files fit them.
//!
//! `MLPIPE_WRITE_SCHEMAS=1 cargo test -p mlpipe-spec schema` writes them after a change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::diagnostics::Collector;
use crate::fields::Reader;
use crate::source::SourceFile;
use crate::yaml;

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn check_committed(name: &str, schema: &Value) {
    let path = repository().join("schemas").join(name);
    let made = format!("{}\n", serde_json::to_string_pretty(schema).expect("a schema has string keys"));
    if std::env::var_os("MLPIPE_WRITE_SCHEMAS").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("the folder can be made");
        fs::write(&path, &made).expect("the schema can be written");
    }
    let committed = fs::read_to_string(&path).expect("the schema is committed");
    assert_eq!(committed, made, "schemas/{name}: run MLPIPE_WRITE_SCHEMAS=1 cargo test -p mlpipe-spec schema");
}

/// Files with this name or ending below a folder.
fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).expect("readable");
    let source = Arc::new(SourceFile::new(path.to_owned(), text));
    let tree = yaml::parse(&source).expect("valid YAML");
    let mut out = Collector::default();
    Reader { source, out: &mut out }.json(&tree).expect("a value")
}

/// Returns what does not fit, for the words that our schemas use.
fn misfits(value: &Value, schema: &Value, place: &str) -> Vec<String> {
    if let Some(Value::Array(choices)) = schema.get("anyOf") {
        let fits = choices.iter().any(|choice| misfits(value, choice, place).is_empty());
        return if fits { Vec::new() } else { vec![format!("{place}: {value} fits none of the forms")] };
    }
    let mut found = Vec::new();
    let kind = match value {
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::Null => "null",
    };
    let is = |wanted: &Value| wanted == kind || (wanted == "number" && kind == "integer");
    let fits = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(is),
        Some(wanted) => is(wanted),
        None => true,
    };
    if !fits || schema.get("enum").and_then(Value::as_array).is_some_and(|words| !words.contains(value)) {
        found.push(format!("{place}: {value}"));
    }
    if let Value::Object(entries) = value {
        for required in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            if !entries.contains_key(required.as_str().expect("a name")) {
                found.push(format!("{place}: {required} is missing"));
            }
        }
        for (key, value) in entries {
            let place = format!("{place}.{key}");
            match (&schema["properties"][key], &schema["additionalProperties"]) {
                (Value::Null, Value::Bool(false)) => found.push(format!("{place}: there is no such key")),
                (Value::Null, Value::Null) => {}
                (Value::Null, other) => found.extend(misfits(value, other, &place)),
                (known, _) => found.extend(misfits(value, known, &place)),
            }
        }
    }
    if let (Value::Array(items), Some(schema)) = (value, schema.get("items")) {
        found.extend(items.iter().flat_map(|item| misfits(item, schema, place)));
    }
    found
}

#[test]
fn committed_schemas_are_those_that_the_keys_give() {
    check_committed("pipeline.schema.json", &pipeline_schema());
    check_committed("mlproject.schema.json", &project_schema());
}

#[test]
fn every_committed_pipeline_and_project_fits_its_schema() {
    let (mut pipelines, mut projects) = (Vec::new(), Vec::new());
    files(&repository().join("pipelines"), ".yaml", &mut pipelines);
    files(&repository().join("pipelines"), "MLproject", &mut projects);
    files(&repository().join("projects"), "MLproject", &mut projects);
    assert!(pipelines.len() > 1 && projects.len() > 5, "{} pipelines, {} projects", pipelines.len(), projects.len());
    for (files, schema) in [(pipelines, pipeline_schema()), (projects, project_schema())] {
        for file in files {
            let found = misfits(&read(&file), &schema, "");
            assert!(found.is_empty(), "{}: {found:#?}", file.display());
        }
    }
}

#[test]
fn what_is_not_known_does_not_fit() {
    let schema = pipeline_schema();
    let step = |key: &str, value: Value| json!({"name": "a", "steps": {"s": {"project": "p", key: value}}});
    assert_eq!(misfits(&step("always", json!(true)), &schema, ""), Vec::<String>::new());
    for (key, value) in [("alway", json!(true)), ("always", json!("yes")), ("retries", json!({"on": "timeout"}))] {
        assert_eq!(misfits(&step(key, value), &schema, "").len(), 1, "{key}");
    }
    assert_eq!(misfits(&json!({"steps": {}}), &schema, ""), [": \"name\" is missing"]);
}
