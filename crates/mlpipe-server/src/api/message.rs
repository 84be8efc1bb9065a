//! Requests in MLflow's dialect of proto-JSON: what a message may hold is a table, and reading one checks it against the table.
//!
//! Unknown fields and unknown names of an enumeration are ignored, `null` is an unset field, a 64-bit integer is a number or a
//! text, a double may be `"NaN"`, `"Infinity"` or `"-Infinity"`, names may be snake_case or camelCase. A query string is read by
//! the same tables, with a list as a repeated key. What is wrong is said in MLflow's words.

use std::cell::RefCell;
use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::error::ApiError;

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// A text.
    Text,
    /// A signed 64-bit integer.
    Integer,
    /// A double.
    Number,
    /// A truth value.
    Flag,
    /// One of some names, each with its number in the protocol.
    Name(&'static [(&'static str, i64)]),
    /// A list of texts.
    Texts,
    /// A message.
    Message(&'static [Field]),
    /// A list of messages.
    Messages(&'static [Field]),
}

/// A field of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) is_required: bool,
}

impl Field {
    const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, is_required: false }
    }

    /// The same field, which must be there and not the empty text.
    pub(crate) const fn required(self) -> Self {
        Self { is_required: true, ..self }
    }
}

/// A text.
pub(crate) const fn text(name: &'static str) -> Field {
    Field::new(name, Kind::Text)
}

/// A signed 64-bit integer.
pub(crate) const fn integer(name: &'static str) -> Field {
    Field::new(name, Kind::Integer)
}

/// A double.
pub(crate) const fn number(name: &'static str) -> Field {
    Field::new(name, Kind::Number)
}

/// A truth value.
pub(crate) const fn flag(name: &'static str) -> Field {
    Field::new(name, Kind::Flag)
}

/// One of `names`.
pub(crate) const fn name_of(name: &'static str, names: &'static [(&'static str, i64)]) -> Field {
    Field::new(name, Kind::Name(names))
}

/// A list of texts.
pub(crate) const fn texts(name: &'static str) -> Field {
    Field::new(name, Kind::Texts)
}

/// A message.
pub(crate) const fn message(name: &'static str, fields: &'static [Field]) -> Field {
    Field::new(name, Kind::Message(fields))
}

/// A list of messages.
pub(crate) const fn messages(name: &'static str, fields: &'static [Field]) -> Field {
    Field::new(name, Kind::Messages(fields))
}

#[derive(Debug, Clone, PartialEq)]
enum Item {
    Text(String),
    Integer(i64),
    Number(f64),
    Flag(bool),
    Name(&'static str),
    Texts(Vec<String>),
    Message(Message),
    Messages(Vec<Message>),
}

/// A message that was read: every field that is set has the type of its table, required fields are there.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    fields: &'static [Field],
    items: Vec<Option<Item>>,
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.items == other.items
    }
}

impl Message {
    /// Reads a JSON object; nothing at all is the empty message, and a JSON text is read as the JSON that it holds (old clients).
    pub(crate) fn parse(fields: &'static [Field], json: &[u8]) -> Result<Self, ApiError> {
        let json = json.trim_ascii();
        if json.is_empty() {
            return Ok(Self::empty(fields));
        }
        if json.starts_with(b"\"") {
            let inner: String = serde_json::from_slice(json).map_err(|error| not_json(&error))?;
            return Self::parse_object(fields, inner.as_bytes());
        }
        Self::parse_object(fields, json)
    }

    fn parse_object(fields: &'static [Field], json: &[u8]) -> Result<Self, ApiError> {
        let fault = RefCell::new(None);
        let mut reader = serde_json::Deserializer::from_slice(json);
        let read = ObjectSeed { fields, place: None, fault: &fault }.deserialize(&mut reader);
        let read = read.and_then(|message| reader.end().map(|()| message));
        match (read, fault.into_inner()) {
            (_, Some(fault)) => Err(fault),
            (Ok(message), None) => Ok(message),
            (Err(error), None) => Err(not_json(&error)),
        }
    }

    /// Reads the pairs of a query string, decoded.
    pub(crate) fn from_query(fields: &'static [Field], pairs: &[(String, String)]) -> Result<Self, ApiError> {
        let mut message = Self::empty(fields);
        for (key, value) in pairs {
            let Some(at) = position(fields, key) else { continue };
            let item = match fields[at].kind {
                Kind::Texts => {
                    let mut all = match message.items[at].take() {
                        Some(Item::Texts(all)) => all,
                        _ => Vec::new(),
                    };
                    all.push(value.clone());
                    Some(Item::Texts(all))
                }
                Kind::Flag => Some(Item::Flag(query_flag(value)?)),
                kind => from_text(kind, value)
                    .map_err(|()| wrong(&Place::at(fields[at].name), &shown(value.as_str()), "str"))?,
            };
            message.items[at] = item;
        }
        Ok(message)
    }

    /// Refuses the message when a required field is missing; what was part of the path has been set by then.
    pub(crate) fn complete(self) -> Result<Self, ApiError> {
        self.checked(None)
    }

    fn empty(fields: &'static [Field]) -> Self {
        Self { fields, items: vec![None; fields.len()] }
    }

    /// Sets a text that was part of the path.
    pub(crate) fn set_text(&mut self, name: &str, value: String) {
        if let Some(at) = position(self.fields, name) {
            self.items[at] = Some(Item::Text(value));
        }
    }

    fn checked(self, place: Option<&Place<'_>>) -> Result<Self, ApiError> {
        for (field, item) in self.fields.iter().zip(&self.items) {
            let is_missing = match item {
                None => true,
                Some(Item::Text(text)) => text.is_empty(),
                Some(_) => false,
            };
            if field.is_required && is_missing {
                return Err(missing(&Place { within: place, name: field.name, index: None }));
            }
        }
        Ok(self)
    }

    fn item(&self, name: &str) -> Option<&Item> {
        let at = self.fields.iter().position(|field| field.name == name);
        self.items[at.expect("handlers ask for fields of their table")].as_ref()
    }

    /// Returns a text that is set.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.item(name) {
            Some(Item::Text(text)) => Some(text),
            Some(Item::Name(text)) => Some(text),
            _ => None,
        }
    }

    /// Returns a required text, or the empty text where it is not required and unset.
    pub(crate) fn str(&self, name: &str) -> &str {
        self.text(name).unwrap_or_default()
    }

    /// Returns a text that is set and not empty, as most optional ones are meant.
    pub(crate) fn nonempty(&self, name: &str) -> Option<&str> {
        self.text(name).filter(|text| !text.is_empty())
    }

    /// Returns an integer that is set.
    pub(crate) fn integer(&self, name: &str) -> Option<i64> {
        match self.item(name) {
            Some(Item::Integer(value)) => Some(*value),
            _ => None,
        }
    }

    /// Returns a double that is set.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        match self.item(name) {
            Some(Item::Number(value)) => Some(*value),
            _ => None,
        }
    }

    /// Returns a truth value; unset is false.
    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.item(name), Some(Item::Flag(true)))
    }

    /// Returns whether a field is set.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.item(name).is_some()
    }

    /// Returns a list of texts; unset is empty.
    pub(crate) fn texts(&self, name: &str) -> &[String] {
        match self.item(name) {
            Some(Item::Texts(all)) => all,
            _ => &[],
        }
    }

    /// Returns a message that is set.
    pub(crate) fn message(&self, name: &str) -> Option<&Message> {
        match self.item(name) {
            Some(Item::Message(message)) => Some(message),
            _ => None,
        }
    }

    /// Returns a list of messages; unset is empty.
    pub(crate) fn messages(&self, name: &str) -> &[Message] {
        match self.item(name) {
            Some(Item::Messages(all)) => all,
            _ => &[],
        }
    }

    /// Returns the fields `key` and `value` of each message of a list.
    pub(crate) fn pairs(&self, name: &str) -> Vec<(String, String)> {
        self.messages(name).iter().map(|pair| (pair.str("key").to_owned(), pair.str("value").to_owned())).collect()
    }
}

/// `run_uuid` is the old name of `run_id`; camelCase is proto-JSON's other spelling of a name.
fn position(fields: &[Field], key: &str) -> Option<usize> {
    let exact = |key: &str| fields.iter().position(|field| field.name == key);
    exact(key)
        .or_else(|| (key == "run_uuid").then(|| exact("run_id")).flatten())
        .or_else(|| key.bytes().any(|byte| byte.is_ascii_uppercase()).then(|| exact(&snake_case(key))).flatten())
}

fn snake_case(key: &str) -> String {
    let mut out = String::with_capacity(key.len() + 4);
    for character in key.chars() {
        if character.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(character.to_ascii_lowercase());
    }
    out
}

fn query_flag(value: &str) -> Result<bool, ApiError> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(ApiError::invalid(format!("Invalid boolean value: {value}, must be 'true' or 'false'."))),
    }
}

/// Turns a text into a field's value; `Ok(None)` leaves the field unset.
fn from_text(kind: Kind, text: &str) -> Result<Option<Item>, ()> {
    match kind {
        Kind::Text => Ok(Some(Item::Text(text.to_owned()))),
        Kind::Integer => integer_from_text(text).map(|value| Some(Item::Integer(value))),
        Kind::Number => number_from_text(text).map(|value| Some(Item::Number(value))),
        Kind::Name(names) => Ok(name_from_text(names, text)),
        Kind::Flag | Kind::Texts | Kind::Message(_) | Kind::Messages(_) => Err(()),
    }
}

fn integer_from_text(text: &str) -> Result<i64, ()> {
    let trimmed = text.trim();
    trimmed.parse().or_else(|_| trimmed.parse::<f64>().map_err(|_| ()).and_then(whole))
}

fn number_from_text(text: &str) -> Result<f64, ()> {
    match text {
        "NaN" => Ok(f64::NAN),
        "Infinity" => Ok(f64::INFINITY),
        "-Infinity" => Ok(f64::NEG_INFINITY),
        _ => text.trim().parse::<f64>().ok().filter(|value| value.is_finite()).ok_or(()),
    }
}

fn name_from_text(names: &'static [(&'static str, i64)], text: &str) -> Option<Item> {
    let number = text.parse::<i64>().ok();
    let found = names.iter().find(|(name, value)| *name == text || Some(*value) == number);
    found.map(|(name, _)| Item::Name(name))
}

/// An integer that was written as a floating point number.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
fn whole(value: f64) -> Result<i64, ()> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0; // 2^63
    if value.fract() == 0.0 && (-LIMIT..LIMIT).contains(&value) { Ok(value as i64) } else { Err(()) }
}

const SEE_DOCUMENTATION: &str = "See the API docs for more information about request parameters.";

fn missing(path: &Place<'_>) -> ApiError {
    ApiError::invalid(format!("Missing value for required parameter '{path}'. {SEE_DOCUMENTATION}"))
}

fn wrong(path: &Place<'_>, value: &str, kind: &str) -> ApiError {
    ApiError::invalid(format!(
        "Invalid value {value} for parameter '{path}' supplied: Hint: Value was of type '{kind}'. {SEE_DOCUMENTATION}"
    ))
}

fn not_json(error: &serde_json::Error) -> ApiError {
    ApiError::invalid(format!("The body is not a JSON object: {error}. {SEE_DOCUMENTATION}"))
}

/// A value as a message shows it: as JSON, and cut where it is long.
fn shown(value: impl Into<serde_json::Value>) -> String {
    const MOST_CHARS: usize = 100;
    let text = value.into().to_string();
    match text.char_indices().nth(MOST_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Where a value lies, such as `metrics[3].key`; written out only when something is wrong there.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    within: Option<&'a Place<'a>>,
    name: &'static str,
    index: Option<usize>,
}

impl Place<'_> {
    const fn at(name: &'static str) -> Self {
        Self { within: None, name, index: None }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(within) = self.within {
            write!(formatter, "{within}.")?;
        }
        formatter.write_str(self.name)?;
        self.index.map_or(Ok(()), |index| write!(formatter, "[{index}]"))
    }
}

/// Reads an object by a table. What is wrong with a value goes to `fault`: serde's own errors cannot carry it.
struct ObjectSeed<'a> {
    fields: &'static [Field],
    place: Option<&'a Place<'a>>,
    fault: &'a RefCell<Option<ApiError>>,
}

impl ObjectSeed<'_> {
    fn refuse<T, E: de::Error>(&self, value: &str, kind: &str) -> Result<T, E> {
        let nowhere = Place::at("body");
        Err(fail(self.fault, wrong(self.place.unwrap_or(&nowhere), value, kind)))
    }
}

fn fail<E: de::Error>(at: &RefCell<Option<ApiError>>, fault: ApiError) -> E {
    *at.borrow_mut() = Some(fault);
    E::custom("refused")
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_> {
    type Value = Message;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Message, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_> {
    type Value = Message;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Message, A::Error> {
        let mut message = Message::empty(self.fields);
        while let Some(at) = map.next_key_seed(KeySeed(self.fields))? {
            let Some(at) = at else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let field = &self.fields[at];
            let place = Place { within: self.place, name: field.name, index: None };
            if let Some(item) = map.next_value_seed(ItemSeed { kind: field.kind, place, fault: self.fault })? {
                message.items[at] = Some(item);
            }
        }
        // The outermost message is checked when its path parameters are known.
        match self.place {
            None => Ok(message),
            place => message.checked(place).map_err(|fault| fail(self.fault, fault)),
        }
    }

    fn visit_unit<E: de::Error>(self) -> Result<Message, E> {
        match self.place {
            None => Ok(Message::empty(self.fields)),
            Some(_) => self.refuse("null", "NoneType"),
        }
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Message, E> {
        self.refuse(&value.to_string(), "bool")
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Message, E> {
        self.refuse(&value.to_string(), "int")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Message, E> {
        self.refuse(&value.to_string(), "int")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Message, E> {
        self.refuse(&format!("{value:?}"), "float")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Message, E> {
        self.refuse(&shown(value), "str")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Message, A::Error> {
        self.refuse("[...]", "list")
    }
}

/// Reads a key as the position of its field.
struct KeySeed(&'static [Field]);

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Option<usize>;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Option<usize>, E> {
        Ok(position(self.0, key))
    }
}

/// Reads the value of a field; `None` leaves it unset.
struct ItemSeed<'a> {
    kind: Kind,
    place: Place<'a>,
    fault: &'a RefCell<Option<ApiError>>,
}

impl ItemSeed<'_> {
    fn refuse<T, E: de::Error>(&self, value: &str, kind: &str) -> Result<T, E> {
        Err(fail(self.fault, wrong(&self.place, value, kind)))
    }
}

impl<'de> DeserializeSeed<'de> for ItemSeed<'_> {
    type Value = Option<Item>;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Option<Item>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

#[expect(clippy::cast_precision_loss, reason = "the field is a double, whatever way its JSON is written")]
impl<'de> Visitor<'de> for ItemSeed<'_> {
    type Value = Option<Item>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<Item>, E> {
        Ok(None)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Option<Item>, E> {
        match self.kind {
            Kind::Flag => Ok(Some(Item::Flag(value))),
            _ => self.refuse(&value.to_string(), "bool"),
        }
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Option<Item>, E> {
        match self.kind {
            Kind::Integer => Ok(Some(Item::Integer(value))),
            Kind::Number => Ok(Some(Item::Number(value as f64))),
            Kind::Name(names) => Ok(name_from_text(names, &value.to_string())),
            _ => self.refuse(&value.to_string(), "int"),
        }
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Option<Item>, E> {
        match (i64::try_from(value), self.kind) {
            (Ok(value), _) => self.visit_i64(value),
            (Err(_), Kind::Number) => Ok(Some(Item::Number(value as f64))),
            _ => self.refuse(&value.to_string(), "int"),
        }
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Option<Item>, E> {
        match (self.kind, whole(value)) {
            (Kind::Number, _) => Ok(Some(Item::Number(value))),
            (Kind::Integer, Ok(value)) => Ok(Some(Item::Integer(value))),
            _ => self.refuse(&format!("{value:?}"), "float"),
        }
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Option<Item>, E> {
        match from_text(self.kind, value) {
            Ok(item) => Ok(item),
            Err(()) => self.refuse(&shown(value), "str"),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Option<Item>, A::Error> {
        match self.kind {
            Kind::Texts => {
                let mut all = Vec::new();
                loop {
                    let place = Place { index: Some(all.len()), ..self.place };
                    let seed = ItemSeed { kind: Kind::Text, place, fault: self.fault };
                    match list.next_element_seed(seed)? {
                        Some(Some(Item::Text(text))) => all.push(text),
                        Some(_) => return self.refuse("[null]", "list"),
                        None => return Ok(Some(Item::Texts(all))),
                    }
                }
            }
            Kind::Messages(fields) => {
                let mut all = Vec::new();
                loop {
                    let place = Place { index: Some(all.len()), ..self.place };
                    let seed = ObjectSeed { fields, place: Some(&place), fault: self.fault };
                    match list.next_element_seed(seed)? {
                        Some(message) => all.push(message),
                        None => return Ok(Some(Item::Messages(all))),
                    }
                }
            }
            _ => {
                let list: Vec<serde_json::Value> = Deserialize::deserialize(SeqAccessDeserializer::new(list))?;
                self.refuse(&shown(list), "list")
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<Item>, A::Error> {
        match self.kind {
            Kind::Message(fields) => {
                let seed = ObjectSeed { fields, place: Some(&self.place), fault: self.fault };
                seed.visit_map(map).map(|message| Some(Item::Message(message)))
            }
            _ => {
                let map: serde_json::Map<_, _> = Deserialize::deserialize(MapAccessDeserializer::new(map))?;
                self.refuse(&shown(map), "dict")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &[(&str, i64)] = &[("RUNNING", 1), ("FINISHED", 3)];
    const PAIR: &[Field] = &[text("key").required(), number("value"), integer("step")];
    const FIELDS: &[Field] = &[
        text("run_id").required(),
        integer("end_time"),
        number("value"),
        flag("archive"),
        name_of("status", STATUS),
        texts("order_by"),
        messages("metrics", PAIR),
    ];

    fn parse(json: &str) -> Result<Message, ApiError> {
        Message::parse(FIELDS, json.as_bytes()).and_then(Message::complete)
    }

    fn fault(json: &str) -> String {
        parse(json).expect_err("it is refused").message
    }

    #[test]
    fn values_are_taken_in_every_spelling_of_proto_json() {
        let read = parse(
            r#"{"run_uuid": "r", "endTime": "78", "value": "NaN", "status": 3, "future": [{}], "archive": null}"#,
        );
        let read = read.expect("it is read");
        assert_eq!(
            (read.str("run_id"), read.integer("end_time"), read.text("status")),
            ("r", Some(78), Some("FINISHED"))
        );
        assert!(read.number("value").is_some_and(f64::is_nan) && !read.flag("archive"));
        let read = parse(r#"{"run_id": "r", "value": 3, "end_time": 5.0, "status": "NO_SUCH"}"#).expect("it is read");
        assert_eq!((read.number("value"), read.integer("end_time"), read.has("status")), (Some(3.0), Some(5), false));
        assert_eq!(parse(r#""{\"run_id\": \"r\"}""#).expect("twice encoded").str("run_id"), "r");
    }

    #[test]
    fn faults_name_the_parameter_in_mlflows_words() {
        const END: &str = " See the API docs for more information about request parameters.";
        for json in ["", "{}", r#"{"run_id": ""}"#, r#"{"run_id": null}"#] {
            assert_eq!(fault(json), format!("Missing value for required parameter 'run_id'.{END}"), "{json}");
        }
        let nested = fault(r#"{"run_id": "r", "metrics": [{"key": "a"}, {"value": 1}]}"#);
        assert_eq!(nested, format!("Missing value for required parameter 'metrics[1].key'.{END}"));
        let wrong = fault(r#"{"run_id": 123}"#);
        assert_eq!(
            wrong,
            format!("Invalid value 123 for parameter 'run_id' supplied: Hint: Value was of type 'int'.{END}")
        );
        let wrong = fault(r#"{"run_id": {"a": ["b"]}, "metrics": "x"}"#);
        assert!(wrong.starts_with(r#"Invalid value {"a":["b"]} for parameter 'run_id' supplied: "#), "{wrong}");
        let wrong = fault(r#"{"run_id": "r", "metrics": "x"}"#);
        assert!(wrong.starts_with(r#"Invalid value "x" for parameter 'metrics' supplied: "#), "{wrong}");
        for json in [
            r#"{"run_id": "r", "end_time": "x"}"#,
            r#"{"run_id": "r", "end_time": 1.5}"#,
            r#"{"run_id": "r", "value": "abc"}"#,
            r#"{"run_id": "r", "metrics": "x"}"#,
            r#"{"run_id": "r", "metrics": [1]}"#,
            r#"{"run_id": "r", "metrics": [null]}"#,
            r#"{"run_id": "r", "order_by": [1]}"#,
            r#"{"run_id": "r", "end_time": 99999999999999999999}"#,
            "{not json",
            "[]",
            "{} {}",
        ] {
            assert!(parse(json).is_err(), "{json}");
        }
    }

    #[test]
    fn query_repeats_the_key_of_a_list() {
        let pairs = [("run_id", "r"), ("order_by", "a"), ("order_by", "b"), ("end_time", "7"), ("archive", "True")];
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let read = Message::from_query(FIELDS, &pairs).expect("it is read");
        assert_eq!((read.texts("order_by").len(), read.integer("end_time"), read.flag("archive")), (2, Some(7), true));
    }
}
