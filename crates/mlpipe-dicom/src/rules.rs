//! Selection rules: which volumes a pipeline asks for. Keys are DICOM keywords, `plane`, `min_instances` and `prefer`; a
//! key that is none of these is refused with the nearest one, so that a misspelled rule cannot choose too much.

use std::collections::BTreeMap;

use dicom_core::Tag;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_object::StandardDataDictionary;
use serde_json::{Map, Value};

use crate::condition::Condition;
use crate::header::is_selectable;
use crate::{Error, Plane, Result, VolumePlan};

/// Groups whose attributes can be asked for; the patient's (0010) cannot, so that no name or id gets into a pipeline.
const GROUPS: [u16; 6] = [0x0008, 0x0018, 0x0020, 0x0028, 0x0040, 0x0054];
/// How alike (Jaro-Winkler) a keyword must be to be suggested.
const ALIKE: f64 = 0.85;

/// Which volumes are wanted: attribute values, plane, number of instances. The default wants every usable volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelectionRules {
    /// Conditions by DICOM keyword: a volume must satisfy one of those that do not exclude, and none that do. An
    /// attribute with several values (`ORIGINAL\PRIMARY`) matches as a whole or by one of them; numbers as numbers.
    pub(crate) attributes: BTreeMap<String, Vec<Condition>>,
    /// Allowed planes; empty allows all.
    pub planes: Vec<Plane>,
    /// Fewest instances (slices, for files that hold several).
    pub min_instances: usize,
    /// Which one of several matching volumes of a study is kept; none keeps all.
    pub prefer: Option<Preference>,
}

/// What makes one of several matching volumes of a study the one to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preference {
    /// Most slices.
    Largest,
    /// Least distance between slices.
    Thinnest,
    /// Latest SeriesDate and SeriesTime (AcquisitionDate and -Time, ContentDate and -Time where these are absent).
    Newest,
}

impl Preference {
    /// Returns the word used in rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Preference::Largest => "largest",
            Preference::Thinnest => "thinnest",
            Preference::Newest => "newest",
        }
    }
}

impl SelectionRules {
    /// Reads rules such as `{"Modality": "MR", "plane": "sagittal", "min_instances": 5}`.
    ///
    /// # Errors
    /// When a key is neither `plane`, `min_instances`, `prefer` nor a DICOM keyword, or a value has the wrong type.
    pub fn from_json(rules: &Map<String, Value>) -> Result<Self> {
        let mut read = SelectionRules::default();
        for (key, value) in rules {
            let wrong = |message: String| Error::Rule { key: key.clone(), message };
            match key.as_str() {
                "plane" => {
                    let planes = texts(value).map_err(wrong)?;
                    read.planes = planes.iter().map(|text| text.parse().map_err(wrong)).collect::<Result<_>>()?;
                }
                "min_instances" => {
                    let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
                    read.min_instances = count.ok_or_else(|| wrong(format!("{value} is not a whole number")))?;
                }
                "prefer" => {
                    read.prefer = Some(match value.as_str() {
                        Some("largest") => Preference::Largest,
                        Some("thinnest") => Preference::Thinnest,
                        Some("newest") => Preference::Newest,
                        _ => return Err(wrong(format!("{value} is not one of largest, thinnest, newest"))),
                    });
                }
                keyword => {
                    check_keyword(keyword).map_err(wrong)?;
                    read.attributes.insert(keyword.to_owned(), Condition::read_all(value).map_err(wrong)?);
                }
            }
        }
        Ok(read)
    }

    /// Returns what the volume has that fits, or code and reason of the first rule it does not fit.
    pub(crate) fn matches(&self, plan: &VolumePlan) -> std::result::Result<Vec<String>, (&'static str, String)> {
        let mut fits = Vec::new();
        for (keyword, wanted) in &self.attributes {
            let found = plan.attributes.get(keyword).cloned().unwrap_or_default();
            let asked = wanted.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
            if !satisfied(wanted, &found) {
                let found = if found.is_empty() { "absent".to_owned() } else { found.join(" and ") };
                let code = if keyword == "Modality" { "modality" } else { "attribute" };
                return Err((code, format!("{keyword} is {found}, the rule asks for {asked}")));
            }
            let found = if found.is_empty() { "absent".to_owned() } else { found.join(" and ") };
            fits.push(format!("{keyword} is {found}"));
        }
        let plane = plan.plane.map_or("unknown", Plane::as_str);
        if !self.planes.is_empty() {
            if !plan.plane.is_some_and(|plane| self.planes.contains(&plane)) {
                let asked: Vec<&str> = self.planes.iter().map(|plane| plane.as_str()).collect();
                return Err(("plane", format!("plane is {plane}, the rule asks for {}", asked.join(" or "))));
            }
            fits.push(format!("plane is {plane}"));
        }
        let slices = plan.shape[0];
        if slices < self.min_instances {
            let reason = format!("it has {slices} instances, the rule asks for at least {}", self.min_instances);
            return Err(("min_instances", reason));
        }
        if self.min_instances > 0 {
            fits.push(format!("{slices} instances"));
        }
        Ok(fits)
    }
}

fn texts(value: &Value) -> std::result::Result<Vec<String>, String> {
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Number(number) => Ok(vec![number.to_string()]),
        Value::Array(values) if !values.is_empty() && !values.iter().any(Value::is_array) => {
            let lists = values.iter().map(texts).collect::<std::result::Result<Vec<_>, _>>()?;
            Ok(lists.concat())
        }
        other => Err(format!("{other} is not a text, a number or a list of them")),
    }
}

/// Every value found must be named by one of the conditions that do not exclude, and by none that do. An absent
/// attribute satisfies exclusions alone.
fn satisfied(wanted: &[Condition], found: &[String]) -> bool {
    let (excluded, included): (Vec<&Condition>, Vec<&Condition>) =
        wanted.iter().partition(|condition| condition.is_exclusion());
    let present = || !found.is_empty() && found.iter().all(|value| included.iter().any(|wanted| wanted.names(value)));
    let unwanted = found.iter().any(|value| excluded.iter().any(|excluded| excluded.names(value)));
    !unwanted && (included.is_empty() || present())
}

fn check_keyword(keyword: &str) -> std::result::Result<(), String> {
    match StandardDataDictionary.by_name(keyword) {
        Some(entry) if GROUPS.contains(&entry.tag().0) && is_selectable(entry.vr().relaxed()) => Ok(()),
        Some(_) => Err("this attribute cannot be selected by; choose one that describes the acquisition".into()),
        None => Err(match nearest_keyword(keyword) {
            Some(near) => format!("there is no such DICOM keyword; did you mean `{near}`?"),
            None => "it is neither `plane`, `min_instances`, `prefer` nor a DICOM keyword".into(),
        }),
    }
}

fn nearest_keyword(keyword: &str) -> Option<String> {
    let known = GROUPS
        .into_iter()
        .flat_map(|group| (0..=u16::MAX).filter_map(move |element| StandardDataDictionary.by_tag(Tag(group, element))));
    let known = known.filter(|entry| is_selectable(entry.vr().relaxed())).map(|entry| entry.alias().to_owned());
    known
        .chain(["plane", "min_instances", "prefer"].map(str::to_owned))
        .map(|known| (strsim::jaro_winkler(&known.to_lowercase(), &keyword.to_lowercase()), known))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(&a.1)))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(rules: Value) -> Result<SelectionRules> {
        SelectionRules::from_json(rules.as_object().expect("an object"))
    }

    #[test]
    fn misspelled_keyword_is_refused_with_the_nearest_one() {
        let error = read(json!({"Modalty": "MR"})).expect_err("misspelled").to_string();
        assert_eq!(error, "selection rule `Modalty`: there is no such DICOM keyword; did you mean `Modality`?");
        let error = read(json!({"min_instance": 3})).expect_err("misspelled").to_string();
        assert!(error.ends_with("did you mean `min_instances`?"), "{error}");
    }

    #[test]
    fn patient_attributes_cannot_be_selected_by() {
        assert!(read(json!({"PatientName": "A"})).is_err());
        assert!(read(json!({"ReferringPhysicianName": "A"})).is_err());
    }

    #[test]
    fn wrong_values_are_refused() {
        assert!(read(json!({"plane": "oblique"})).is_err());
        assert!(read(json!({"min_instances": -1})).is_err());
        assert!(read(json!({"Modality": {"is": "MR"}})).is_err());
        assert!(read(json!({"Modality": []})).is_err());
    }

    #[test]
    fn exclusions_alone_are_satisfied_by_what_is_absent() {
        let satisfied = |rule: Value, found: &[&str]| {
            let found: Vec<String> = found.iter().map(|value| (*value).to_owned()).collect();
            satisfied(&Condition::read_all(&rule).expect("conditions"), &found)
        };
        assert!(satisfied(json!("!LOCALIZER"), &[]) && satisfied(json!("!LOCALIZER"), &["ORIGINAL\\PRIMARY"]));
        assert!(!satisfied(json!("!LOCALIZER"), &["ORIGINAL\\PRIMARY\\LOCALIZER"]));
        assert!(
            satisfied(json!(["/t2/i", "!/fs/i"]), &["T2 TSE"]) && !satisfied(json!(["/t2/i", "!/fs/i"]), &["T2 FS"])
        );
        assert!(!satisfied(json!(["/t2/i", "!/fs/i"]), &[]) && !satisfied(json!("MR"), &["MR", "CT"]));
    }
}
