//! JSON Schemas of the pipeline file and of MLproject, for editors.
//!
//! Made from the same tables of keys that the checks use: a key there is without a line here is a fault that a test finds.
//! A schema knows the form alone; whether names exist and values fit is for the checks.

use serde_json::{Map, Value, json};

use crate::check::PIPELINE;
use crate::check::inputs::{FORMS, INPUT};
use crate::check::matrix::MATRIX_SETTINGS;
use crate::check::settings::{DEFAULTS, ITEM_ERRORS, MOST_RETRIES, RESOURCES, RETRIES};
use crate::check::steps::STEP;
use crate::declaration;
use crate::fields::Keys;
use crate::params::ParameterKind;
use crate::project_file::{ENTRY_POINT, OUTPUT, OUTPUT_KINDS, PROJECT};

/// The drafts that editors understand all include this one.
const DRAFT: &str = "http://json-schema.org/draft-07/schema#";

const NAME: &str = "^[A-Za-z_][A-Za-z0-9_-]*$";
const DURATION: &str = r"^(\d+d)?(\d+h)?(\d+m)?(\d+s)?$";
const MEMORY: &str = r"^\d+ ?([KMGT]i?)?B$";

/// Returns the JSON Schema of a pipeline file.
pub fn pipeline_schema() -> Value {
    let schema = object(&PIPELINE, &["name", "steps"], pipeline_key);
    titled("mlpipe pipeline", schema)
}

/// Returns the JSON Schema of an MLproject file.
pub fn project_schema() -> Value {
    titled("MLproject", object(&PROJECT, &["entry_points"], project_key))
}

fn titled(title: &str, schema: Value) -> Value {
    let mut whole = Map::from_iter([("$schema".to_owned(), json!(DRAFT)), ("title".to_owned(), json!(title))]);
    if let Value::Object(entries) = schema {
        whole.extend(entries);
    }
    Value::Object(whole)
}

fn pipeline_key(key: &str) -> Value {
    match key {
        "name" => text("The pipeline's name; tracked runs are grouped by it."),
        "description" => text("What the pipeline does."),
        "params" => named("Typed parameters, set with -P name=value.", parameter(true)),
        "inputs" => {
            named("Collections of items from outside the pipeline.", object(&INPUT, &["collection", "from"], input_key))
        }
        "defaults" => described("Settings of steps that say nothing themselves.", object(&DEFAULTS, &[], step_key)),
        "steps" => {
            let mut step = object(&STEP, &[], step_key);
            step["oneOf"] = json!([{"required": ["project"]}, {"required": ["pipeline"]}]);
            let mut steps = named("The steps by name.", step);
            steps["propertyNames"] = json!({"pattern": "^[a-z][a-z0-9_-]*$"});
            steps["minProperties"] = json!(1);
            steps
        }
        "outputs" => {
            named("What the pipeline hands back: steps.<step>.outputs.<output>.", text("steps.<step>.outputs.<output>"))
        }
        _ => unreachable!("`{key}` of a pipeline has no schema"),
    }
}

fn input_key(key: &str) -> Value {
    match key {
        "collection" => {
            described("The kind of source.", json!({"type": "string", "examples": ["dicom-series", "files"]}))
        }
        "from" => text("Folder or file that holds the items."),
        "select" => described("Rules that choose items; dicom-series takes DICOM keywords.", json!({"type": "object"})),
        "as" => described("How an item reaches a step.", words(FORMS.iter().map(|(word, _)| *word))),
        "description" => text("What the items are."),
        _ => unreachable!("`{key}` of an input has no schema"),
    }
}

fn step_key(key: &str) -> Value {
    match key {
        "project" => text("Path of an MLproject directory."),
        "pipeline" => text("Path of another pipeline file, whose steps run in place of this one."),
        "inputs" => named(
            "For a step with `pipeline`: what stands for its inputs.",
            text("inputs.<input> or <step>.outputs.<output>"),
        ),
        "entry_point" => text("Entry point of the project; main without it."),
        "for_each" => named(
            "Runs the step once per item: variable and inputs.<input>, <step> or <step>.outputs.<output>.",
            text("inputs.<input>, <step> or <step>.outputs.<output>"),
        ),
        "matrix" => matrix(),
        "parameters" => named("Values for the entry point's parameters.", scalar()),
        "needs" => described("Steps that must have ended before, beside those whose outputs are used.", texts()),
        "if" => described(
            "Runs the step only where this is true.",
            json!({"type": ["string", "boolean"], "examples": ["params.plane == 'sagittal'", "count(inputs.studies) > 1"]}),
        ),
        "always" => truth("Runs the step when what it waits for has ended, however it ended."),
        "batch" => described("Most items that share one process.", json!({"type": "integer", "minimum": 1})),
        "retries" => described(
            "How often a failed attempt is repeated.",
            json!({"anyOf": [whole(MOST_RETRIES), object(&RETRIES, &["max"], retries_key)]}),
        ),
        "timeout" => described("How long an attempt may take, such as 90s, 10m, 1h30m.", duration()),
        "resources" => described("What an attempt needs of the machine.", object(&RESOURCES, &[], resource_key)),
        "on_item_error" => {
            described("What a failed item means for the others.", words(ITEM_ERRORS.iter().map(|(word, _)| *word)))
        }
        "cache" => truth("Whether results may be reused."),
        "env" => named_by("^[A-Za-z_][A-Za-z0-9_]*$", "Environment variables of the step.", scalar()),
        "secrets" => described("Environment variables passed on by name; their values are recorded nowhere.", texts()),
        "description" => text("What the step does."),
        _ => unreachable!("`{key}` of a step has no schema"),
    }
}

fn matrix() -> Value {
    let mut schema = named("Runs the step once per combination of these values.", list_or_one(scalar()));
    let settings = MATRIX_SETTINGS.iter().map(|key| ((*key).to_owned(), matrix_key(key)));
    schema["properties"] = Value::Object(settings.collect());
    schema
}

fn matrix_key(key: &str) -> Value {
    match key {
        "exclude" => described(
            "Combinations to leave out, each by some of its values.",
            json!({"type": "array", "items": {"type": "object", "minProperties": 1}}),
        ),
        "max_parallel" => described("Most processes of the step at a time.", json!({"type": "integer", "minimum": 1})),
        "fail_fast" => truth("Whether a failure keeps the other combinations from starting."),
        _ => unreachable!("`{key}` of a matrix has no schema"),
    }
}

fn retries_key(key: &str) -> Value {
    match key {
        "max" => described("How often a failed attempt is repeated.", whole(MOST_RETRIES)),
        "on" => described(
            "The failures after which it is; all without it.",
            list_or_one(json!({"type": "string", "pattern": r"^(timeout|signal|exit( \d+)?)$"})),
        ),
        "backoff" => described("How long before the first repetition; doubled before each further one.", duration()),
        _ => unreachable!("`{key}` of retries has no schema"),
    }
}

fn resource_key(key: &str) -> Value {
    match key {
        "cpu" => described("Processor cores.", json!({"type": "integer", "minimum": 1})),
        "gpu" => described("GPUs that nobody else uses meanwhile.", json!({"type": "integer", "minimum": 0})),
        "memory" => described("Memory, such as 512MiB.", json!({"type": "string", "pattern": MEMORY})),
        _ => unreachable!("`{key}` of resources has no schema"),
    }
}

fn project_key(key: &str) -> Value {
    match key {
        "name" => text("The project's name."),
        "python_env" => text("File that describes a Python environment; mlpipe does not build it."),
        "conda_env" => text("File that describes a conda environment; mlpipe does not build it."),
        "entry_points" => {
            named("What can be run; `main` without another name.", object(&ENTRY_POINT, &["command"], entry_point_key))
        }
        "description" => text("What the project does."),
        _ => unreachable!("`{key}` of an MLproject has no schema"),
    }
}

fn entry_point_key(key: &str) -> Value {
    match key {
        "parameters" => named("Parameters of the command.", parameter(false)),
        "command" => text("The command; {name} stands for the value of a parameter, {{ and }} for braces."),
        "batch_command" => text("The command for several items in one process; {batch} is the path of their list."),
        "outputs" => named("What the command writes.", object(&OUTPUT, &["path"], output_key)),
        "description" => text("What the entry point does."),
        _ => unreachable!("`{key}` of an entry point has no schema"),
    }
}

fn output_key(key: &str) -> Value {
    match key {
        "path" => text("Path below MLPIPE_OUTPUT_DIR."),
        "type" => described("What lies there.", words(OUTPUT_KINDS.iter().map(|(word, _)| *word))),
        "compare" => described("How two results are compared.", json!({"type": ["string", "object"]})),
        "description" => text("What the output is."),
        _ => unreachable!("`{key}` of an output has no schema"),
    }
}

/// A parameter's type, or a mapping with its type, default and bounds.
fn parameter(type_required: bool) -> Value {
    let required: &[&str] = if type_required { &["type"] } else { &[] };
    let short = words(ParameterKind::NAMES.iter().map(|(name, _)| *name).filter(|name| *name != "choice"));
    json!({"anyOf": [short, object(&declaration::KEYS, required, parameter_key)]})
}

fn parameter_key(key: &str) -> Value {
    match key {
        "type" => described("The type of the value.", words(ParameterKind::NAMES.iter().map(|(name, _)| *name))),
        "default" => described("The value when none is given.", scalar()),
        "choices" => described("The allowed texts of type choice.", list_or_one(scalar())),
        "min" => described("The smallest allowed number.", json!({"type": "number"})),
        "max" => described("The largest allowed number.", json!({"type": "number"})),
        "description" => text("What the parameter means."),
        _ => unreachable!("`{key}` of a parameter has no schema"),
    }
}

// ---- pieces

fn object(keys: &Keys, required: &[&str], schema_of: impl Fn(&str) -> Value) -> Value {
    let properties: Map<String, Value> = keys.known.iter().map(|key| ((*key).to_owned(), schema_of(key))).collect();
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// A mapping from names to values of one form.
fn named(description: &str, value: Value) -> Value {
    named_by(NAME, description, value)
}

fn named_by(pattern: &str, description: &str, value: Value) -> Value {
    json!({
        "description": description,
        "type": "object",
        "propertyNames": {"pattern": pattern},
        "additionalProperties": value,
    })
}

fn described(description: &str, mut schema: Value) -> Value {
    schema["description"] = json!(description);
    schema
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn truth(description: &str) -> Value {
    json!({"type": "boolean", "description": description})
}

fn scalar() -> Value {
    json!({"type": ["string", "number", "boolean"]})
}

fn whole(most: u32) -> Value {
    json!({"type": "integer", "minimum": 0, "maximum": most})
}

fn duration() -> Value {
    json!({"type": "string", "pattern": DURATION})
}

fn texts() -> Value {
    list_or_one(json!({"type": "string"}))
}

fn list_or_one(item: Value) -> Value {
    json!({"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]})
}

fn words<'w>(words: impl Iterator<Item = &'w str>) -> Value {
    json!({"type": "string", "enum": words.collect::<Vec<_>>()})
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
