//! Which versions of registered models a logged model has become: MLflow keeps the list as JSON in a tag of the logged model.

use std::io;

use serde::Serialize;
use serde_json::ser::Formatter;
use serde_json::{Serializer, Value, json};

use super::logged_models;
use crate::Result;
use crate::database::Connection;

const TAG: &str = "mlflow.modelVersions";

/// Adds a version to the list of the logged model that it was made from.
pub(super) fn note(connection: &mut Connection, model_id: &str, name: &str, version: i64) -> Result<()> {
    let model = logged_models::get(connection, model_id)?;
    let list = with_version(model.tags.get(TAG).map(String::as_str), name, version);
    logged_models::set_tag(connection, model_id, TAG, &list)
}

/// Returns the list with one more entry; what is no list is replaced.
fn with_version(list: Option<&str>, name: &str, version: i64) -> String {
    let mut entries: Vec<Value> = list.and_then(|list| serde_json::from_str(list).ok()).unwrap_or_default();
    let entry = json!({"name": name, "version": version});
    if !entries.contains(&entry) {
        entries.push(entry);
    }
    let mut text = Vec::new();
    entries.serialize(&mut Serializer::with_formatter(&mut text, Spaced)).expect("a list of values is JSON");
    String::from_utf8(text).expect("JSON is UTF-8")
}

/// JSON with the spaces that MLflow's own has, so that the tag can be searched for.
struct Spaced;

impl Spaced {
    fn separator<W: ?Sized + io::Write>(writer: &mut W, is_first: bool) -> io::Result<()> {
        if is_first { Ok(()) } else { writer.write_all(b", ") }
    }
}

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, is_first: bool) -> io::Result<()> {
        Self::separator(writer, is_first)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, is_first: bool) -> io::Result<()> {
        Self::separator(writer, is_first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_listed_once_each_in_mlflows_spelling() {
        let one = r#"[{"name": "spine", "version": 1}]"#;
        let two = r#"[{"name": "spine", "version": 1}, {"name": "spine", "version": 2}]"#;
        assert_eq!(with_version(None, "spine", 1), one);
        assert_eq!(with_version(Some(one), "spine", 2), two);
        assert_eq!(with_version(Some(two), "spine", 2), two);
        assert_eq!(with_version(Some("{"), "spine", 1), one);
    }
}
