//! The OpenAPI 3.1 document, made from the table of operations: it cannot differ from what is answered.

use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use crate::api::ROUTES;
use crate::api::message::{Field, Kind};

/// Returns the document.
pub(crate) fn document() -> &'static str {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    DOCUMENT.get_or_init(|| build().to_string())
}

fn build() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = format!("/api/{}{}", route.since, route.path);
        let in_path: Vec<_> =
            route.fields.iter().filter(|field| path.contains(&format!("{{{}}}", field.name))).collect();
        let others: Vec<_> =
            route.fields.iter().filter(|field| !in_path.iter().any(|own| own.name == field.name)).collect();
        let mut parameters: Vec<_> = in_path.iter().map(|field| parameter(field, "path")).collect();
        let mut operation =
            Map::from_iter([("operationId".to_owned(), json!(operation_id(route.method.as_str(), route.name)))]);
        if route.method == axum::http::Method::GET {
            parameters.extend(others.iter().map(|field| parameter(field, "query")));
        } else {
            let is_required = others.iter().any(|field| field.is_required);
            let schema = object(others.into_iter());
            operation.insert(
                "requestBody".to_owned(),
                json!({"required": is_required, "content": {"application/json": {"schema": schema}}}),
            );
        }
        operation.insert("parameters".to_owned(), parameters.into());
        operation.insert("responses".to_owned(), responses());
        let methods = paths.entry(path).or_insert_with(|| json!({}));
        methods[route.method.as_str().to_ascii_lowercase()] = Value::Object(operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "mlpipe server: MLflow's REST API", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {"schemas": {"Error": error_schema()}},
    })
}

/// An operation that has two methods is one operation in MLflow, and two in OpenAPI.
fn operation_id(method: &str, name: &str) -> String {
    let is_twice = ROUTES.iter().filter(|route| route.name == name).count() > 1;
    if is_twice { format!("{name}_{}", method.to_ascii_lowercase()) } else { name.to_owned() }
}

fn parameter(field: &Field, place: &str) -> Value {
    json!({"name": field.name, "in": place, "required": field.is_required, "schema": schema(field)})
}

fn schema(field: &Field) -> Value {
    match field.kind {
        Kind::Text if field.is_required => json!({"type": "string", "minLength": 1}),
        Kind::Text => json!({"type": "string"}),
        Kind::Integer => json!({"type": "integer", "format": "int64", "minimum": i64::MIN, "maximum": i64::MAX}),
        Kind::Number => json!({"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}),
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Name(names) => json!({"enum": names.iter().map(|(name, _)| *name).collect::<Vec<_>>()}),
        Kind::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Kind::Message(fields) => object(fields.iter()),
        Kind::Messages(fields) => json!({"type": "array", "items": object(fields.iter())}),
    }
}

fn object<'a>(fields: impl Iterator<Item = &'a Field> + Clone) -> Value {
    let properties: Map<_, _> = fields.clone().map(|field| (field.name.to_owned(), property(field))).collect();
    let required: Vec<_> = fields.filter(|field| field.is_required).map(|field| field.name).collect();
    json!({"type": "object", "properties": properties, "required": required})
}

/// In a body, null is a field that is not set.
fn property(field: &Field) -> Value {
    if field.is_required { schema(field) } else { json!({"anyOf": [schema(field), {"type": "null"}]}) }
}

fn responses() -> Value {
    let error = |text: &str| json!({"description": text, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}});
    json!({
        "200": {"description": "done", "content": {"application/json": {"schema": {"type": "object"}}}},
        "400": error("something in the request cannot be right"),
        "401": error("credentials are missing or wrong"),
        "403": error("not permitted"),
        "404": error("there is no such entity"),
        "409": error("the state does not allow it"),
        "413": error("the body is too large"),
        "429": error("too many attempts"),
        "503": error("the store cannot do it now; try again"),
    })
}

fn error_schema() -> Value {
    let text = json!({"type": "string"});
    json!({
        "type": "object",
        "properties": {"error_code": text, "message": text, "sqlstate": text, "error_class": text},
        "required": ["error_code", "message"],
    })
}
