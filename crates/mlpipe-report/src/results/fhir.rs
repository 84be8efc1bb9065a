//! The findings as a FHIR R4 bundle (collection): DiagnosticReport, an Observation per finding and per endplate, the
//! ImagingStudy with source and result series, and a Device per program and model version. All status preliminary.
//!
//! The bundle holds no data of the patient: the study's UID is the only way to them. ImagingStudy must have a subject;
//! it is given as absent, masked (data-absent-reason).

use serde_json::{Map, Value, json};

use super::code::{self, Code, PRIVATE_SCHEME};
use super::identity::Device;
use super::object::{Kind, scheme_uid};
use super::region::image_index;
use super::structured_report::{presence, procedure, tracked_node};
use super::{Context, ResultFile, key_image, pdf, segmentation, structured_report};
use crate::report::{Examined, PlacedFinding};
use crate::{Endplate, Error, Result, Vertebra, wording};

const ABSENT_REASON: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";

/// Returns the bundle as indented JSON. `objects` are the DICOM files that were written, `images` of them key images.
pub(super) fn bundle(context: &Context, objects: &[ResultFile], images: usize) -> Result<String> {
    let report = &context.report;
    let mut entries = vec![
        entry(context, "report", diagnostic_report(context)),
        entry(context, "study", imaging_study(context, objects, images)?),
    ];
    for (index, device) in context.devices.iter().enumerate() {
        entries.push(entry(context, &device_key(index), device_resource(context, device, index)));
    }
    for (index, found) in report.findings.iter().enumerate() {
        entries.push(entry(context, &finding_key(index), finding(context, found)));
    }
    for (index, examined) in report.examined.iter().enumerate() {
        entries.push(entry(context, &endplate_key(index), endplate(context, examined)));
    }
    let bundle = json!({
        "resourceType": "Bundle",
        "identifier": {"system": "urn:ietf:rfc:3986", "value": urn(context, "bundle")},
        "type": "collection",
        "entry": entries,
    });
    let failed = |error: serde_json::Error| Error::Encode { object: "fhir.json".into(), message: error.to_string() };
    serde_json::to_string_pretty(&bundle).map(|text| text + "\n").map_err(failed)
}

fn urn(context: &Context, key: &str) -> String {
    format!("urn:uuid:{}", context.identity.uuid(&format!("fhir/{key}")))
}

fn reference(context: &Context, key: &str) -> Value {
    json!({"reference": urn(context, key)})
}

fn entry(context: &Context, key: &str, resource: Value) -> Value {
    json!({"fullUrl": urn(context, key), "resource": resource})
}

fn device_key(index: usize) -> String {
    format!("device/{index}")
}

fn finding_key(index: usize) -> String {
    format!("finding/{index}")
}

fn endplate_key(index: usize) -> String {
    format!("endplate/{index}")
}

/// A code with its system; a scheme that has no known system is told by the text alone.
fn concept(code: &Code) -> Value {
    let system = match &*code.scheme {
        "SCT" => Some("http://snomed.info/sct".to_owned()),
        "DCM" => Some("http://dicom.nema.org/resources/ontology/DCM".to_owned()),
        "LN" => Some("http://loinc.org".to_owned()),
        "I10" => Some("http://hl7.org/fhir/sid/icd-10".to_owned()),
        "I10C" => Some("http://hl7.org/fhir/sid/icd-10-cm".to_owned()),
        PRIVATE_SCHEME => Some(format!("urn:oid:{}", scheme_uid())),
        _ => None,
    };
    match system {
        Some(system) => json!({
            "coding": [{"system": system, "code": code.value, "display": code.meaning}],
            "text": code.meaning,
        }),
        None => json!({"text": code.meaning}),
    }
}

fn diagnostic_report(context: &Context) -> Value {
    let (headline, rest) = wording::result(&context.report);
    let findings = (0..context.report.findings.len()).map(finding_key);
    let endplates = (0..context.report.examined.len()).map(endplate_key);
    let results: Vec<Value> = findings.chain(endplates).map(|key| reference(context, &key)).collect();
    let mut report = json!({
        "resourceType": "DiagnosticReport",
        "status": "preliminary",
        "category": [{"coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD", "display": "Radiology",
        }]}],
        "code": concept(&procedure(&context.volume().modality)),
        "imagingStudy": [reference(context, "study")],
        "conclusion": format!("{headline}{rest} {}.", wording::NOTICE),
    });
    // FHIR knows no empty lists.
    if !results.is_empty() {
        report["result"] = Value::Array(results);
    }
    report
}

/// An observation that the node is there, with its size.
fn finding(context: &Context, found: &PlacedFinding) -> Value {
    let PlacedFinding { finding, vertebra, document, .. } = found;
    let tracked = tracked_node(vertebra, finding.endplate, context.rank_on_endplate(found));
    let mut observation = observation(context, vertebra, finding.endplate, &document.model);
    observation.insert("identifier".into(), json!([oid(&context.identity.uid(&tracked))]));
    observation.insert("valueCodeableConcept".into(), concept(&code::present()));
    observation.insert("note".into(), note(context, finding.slice));
    let millimetres =
        |value: f64| json!({"value": value, "unit": "mm", "system": "http://unitsofmeasure.org", "code": "mm"});
    observation.insert(
        "component".into(),
        json!([
            {"code": concept(&code::width()), "valueQuantity": millimetres(finding.width_mm)},
            {"code": concept(&code::depth()), "valueQuantity": millimetres(finding.depth_mm)},
            probability(finding.probability),
        ]),
    );
    Value::Object(observation)
}

/// An observation that an endplate was examined, and whether the node is there.
fn endplate(context: &Context, examined: &Examined) -> Value {
    let Examined { endplate, vertebra, verdict, document } = examined;
    let mut observation = observation(context, vertebra, endplate.endplate, &document.model);
    observation.insert("valueCodeableConcept".into(), concept(&presence(*verdict)));
    observation.insert("note".into(), note(context, endplate.slice));
    observation.insert("component".into(), json!([probability(endplate.probability)]));
    Value::Object(observation)
}

fn observation(
    context: &Context,
    vertebra: &Vertebra,
    endplate: Endplate,
    model: &crate::ModelReference,
) -> Map<String, Value> {
    let device = Device::model(model);
    let device = context.devices.iter().position(|known| *known == device).unwrap_or(0);
    let mut site = concept(&code::vertebra(vertebra.level.as_deref()));
    site["text"] = json!(format!("{endplate} endplate of {}", wording::level(vertebra)));
    let observation = json!({
        "resourceType": "Observation",
        "status": "preliminary",
        "category": [{"coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "imaging",
        }]}],
        "code": concept(&context.node),
        "bodySite": site,
        "device": reference(context, &device_key(device)),
        "derivedFrom": [reference(context, "study")],
    });
    match observation {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn probability(probability: f64) -> Value {
    // Rounded as in the structured report; one part in 10^4 of a percent.
    let percent = (1e6 * probability).round() / 1e4;
    json!({
        "code": concept(&code::probability()),
        "valueQuantity": {"value": percent, "unit": "%", "system": "http://unitsofmeasure.org", "code": "%"},
    })
}

/// Which image shows it.
fn note(context: &Context, slice: usize) -> Value {
    let image = image_index(context.volume(), context.source, slice).map(|index| &context.source.images[index]);
    let text = match image {
        None => format!("slice {slice}, interpolated"),
        Some(image) => match image.frame {
            Some(frame) => format!("image {}, frame {frame}", image.sop_instance_uid),
            None => format!("image {}", image.sop_instance_uid),
        },
    };
    json!([{"text": text}])
}

fn oid(uid: &str) -> Value {
    json!({"system": "urn:dicom:uid", "value": format!("urn:oid:{uid}")})
}

fn device_resource(context: &Context, device: &Device, index: usize) -> Value {
    let mut resource = json!({
        "resourceType": "Device",
        "identifier": [oid(&device.uid)],
        "status": "active",
        "manufacturer": "mlpipe",
        "deviceName": [{"name": device.name, "type": "model-name"}],
        "type": concept(&code::artificial_intelligence()),
        "version": [{"value": device.version}],
    });
    if index == 0 {
        resource["type"] = json!({"text": "pipeline software"});
    } else {
        resource["parent"] = reference(context, &device_key(0));
    }
    if let Some(sha256) = &device.sha256 {
        resource["property"] = json!([{"type": {"text": "SHA-256 of the weights"}, "valueCode": [{"text": sha256}]}]);
    }
    resource
}

/// The study with the series that was read and those that were written.
fn imaging_study(context: &Context, objects: &[ResultFile], images: usize) -> Result<Value> {
    let mut kinds = vec![structured_report::kind(context)?, segmentation::kind()];
    kinds.extend((1..=images).map(key_image::kind));
    kinds.push(pdf::kind());
    kinds.retain(|kind| objects.iter().any(|object| object.name == kind.file_name));
    let mut series = vec![source_series(context)];
    for (index, kind) in kinds.iter().enumerate() {
        if index == 0 || kinds[index - 1].series != kind.series {
            let members = kinds.iter().filter(|other| other.series == kind.series);
            series.push(result_series(context, kind, members));
        }
    }
    Ok(json!({
        "resourceType": "ImagingStudy",
        "identifier": [oid(&context.volume().study_instance_uid)],
        "status": "available",
        "subject": {"extension": [{"url": ABSENT_REASON, "valueCode": "masked"}]},
        "series": series,
    }))
}

fn modality(modality: &str) -> Value {
    json!({"system": "http://dicom.nema.org/resources/ontology/DCM", "code": modality})
}

fn source_series(context: &Context) -> Value {
    let mut seen = std::collections::BTreeSet::new();
    let images = context.source.images.iter().filter(|image| seen.insert(image.sop_instance_uid.clone()));
    let instances: Vec<Value> = images.map(|image| instance(&image.sop_instance_uid, &image.sop_class_uid)).collect();
    json!({
        "uid": context.source.series_instance_uid,
        "modality": modality(&context.volume().modality),
        "instance": instances,
    })
}

fn result_series<'k>(context: &Context, kind: &Kind, members: impl Iterator<Item = &'k Kind>) -> Value {
    let instances: Vec<Value> =
        members.map(|member| instance(&member.sop_instance_uid(context), member.sop_class_uid)).collect();
    json!({
        "uid": kind.series_instance_uid(context),
        "modality": modality(kind.modality),
        "description": format!("{} - {}", kind.series_description, super::object::NOTICE),
        "instance": instances,
    })
}

fn instance(uid: &str, sop_class_uid: &str) -> Value {
    json!({"uid": uid, "sopClass": {"system": "urn:ietf:rfc:3986", "code": format!("urn:oid:{sop_class_uid}")}})
}
