//! The structured report: TID 1500 of PS3.16, one planar measurement group (TID 1410) per vertebra and per node, one group
//! (TID 1501) per endplate that was examined, with the node present, absent or undetermined there.
//!
//! The groups of the endplates are what a report without findings consists of: it says what was looked at, and that
//! nothing was there, without a `Finding` that a reader could take for one. Nothing asserts a level that was not found.

use dicom_dictionary_std::{tags, uids};

use super::code::{self, Code};
use super::content::{CONTAINS, HAS_CONCEPT_MOD, HAS_OBS_CONTEXT, Item};
use super::identity::ascii;
use super::object::{DataSet, Kind, begin, finish, put, put_items, put_schemes, referenced_series};
use super::region::{Region, image_index, region};
use super::{Context, ResultFile};
use crate::report::{Examined, PlacedFinding, Verdict};
use crate::{Endplate, ModelReference, Result, Vertebra, wording};

/// Returns the report: Comprehensive SR, or Comprehensive 3D SR when a region lies in space.
pub(super) fn structured_report(context: &Context) -> Result<ResultFile> {
    let kind = kind(context)?;
    let mut object = begin(context, &kind);
    put(&mut object, tags::COMPLETION_FLAG, "COMPLETE");
    put(&mut object, tags::VERIFICATION_FLAG, "UNVERIFIED");
    put(&mut object, tags::PRELIMINARY_FLAG, "PRELIMINARY");
    put_items(&mut object, tags::PERFORMED_PROCEDURE_CODE_SEQUENCE, Vec::new());
    put_items(&mut object, tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE, Vec::new());
    let mut evidence = DataSet::new_empty();
    put(&mut evidence, tags::STUDY_INSTANCE_UID, &context.volume().study_instance_uid);
    put_items(
        &mut evidence,
        tags::REFERENCED_SERIES_SEQUENCE,
        vec![referenced_series(context, tags::REFERENCED_SOP_SEQUENCE)],
    );
    put_items(&mut object, tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE, vec![evidence]);
    put_schemes(&mut object, &[&context.node, &code::endplate()]);
    for element in tree(context)?.into_data_set() {
        object.put(element);
    }
    finish(context, &kind, object)
}

pub(super) fn kind(context: &Context) -> Result<Kind> {
    let regions = regions(context)?;
    let in_space = regions.iter().any(|region| matches!(region, Region::Space { .. }));
    let sop_class_uid = if in_space { uids::COMPREHENSIVE3_DSR_STORAGE } else { uids::COMPREHENSIVE_SR_STORAGE };
    Ok(Kind {
        sop_class_uid,
        modality: "SR",
        file_name: "report-sr.dcm".into(),
        series: "sr",
        series_number: 1,
        series_description: "mlpipe SR",
        instance_number: 1,
    })
}

fn regions<'a>(context: &'a Context) -> Result<Vec<Region<'a>>> {
    let vertebrae = context.report.input.vertebrae.vertebrae.iter().map(|v| (v.slice, v.box_px));
    let nodes = context.report.findings.iter().map(|found| (found.finding.slice, found.finding.box_px));
    vertebrae.chain(nodes).map(|(slice, box_px)| region(context.volume(), context.source, slice, box_px)).collect()
}

fn tree(context: &Context) -> Result<Item> {
    let mut groups = Vec::new();
    for vertebra in &context.report.input.vertebrae.vertebrae {
        groups.push(vertebra_group(context, vertebra)?);
    }
    for found in &context.report.findings {
        groups.push(node_group(context, found)?);
    }
    groups.extend(context.report.examined.iter().map(|examined| endplate_group(context, examined)));
    let measurements = Item::container(CONTAINS, &code::imaging_measurements(), None);
    // TID 1500 wants at least one group: where no vertebra was found, the examination itself is it.
    let groups = if groups.is_empty() { vec![nothing_group(context)] } else { groups };
    let root = Item::container("", &code::imaging_measurement_report(), Some("1500"));
    Ok(root
        .with([Item::code(HAS_CONCEPT_MOD, &code::language(), &code::english())])
        .with(observer(context))
        .with([Item::code(HAS_CONCEPT_MOD, &code::procedure_reported(), &procedure(&context.volume().modality))])
        .with([measurements.with(groups)]))
}

/// The program as observer (TID 1004).
fn observer(context: &Context) -> Vec<Item> {
    let program = &context.devices[0];
    let text = |concept: Code, value: &str| Item::text(HAS_OBS_CONTEXT, &concept, value);
    vec![
        Item::code(HAS_OBS_CONTEXT, &code::observer_type(), &code::device()),
        Item::uid(HAS_OBS_CONTEXT, &code::device_observer_uid(), &program.uid),
        text(code::device_observer_name(), "mlpipe"),
        text(code::device_observer_manufacturer(), "mlpipe"),
        text(code::device_observer_model(), &format!("mlpipe {}", program.version)),
        text(code::device_observer_serial(), &context.serial_number()),
    ]
}

/// A code of CID 100.
pub(super) fn procedure(modality: &str) -> Code {
    match modality {
        "MR" => code::mri(),
        "CT" => code::ct(),
        _ => code::imaging_procedure(),
    }
}

fn group(context: &Context, template: &str, name: &str, tracked: &str, finding: &Code, site: Item) -> Item {
    Item::container(CONTAINS, &code::measurement_group(), Some(template)).with([
        Item::text(HAS_OBS_CONTEXT, &code::tracking_identifier(), &ascii(name)),
        Item::uid(HAS_OBS_CONTEXT, &code::tracking_unique_identifier(), &context.identity.uid(tracked)),
        Item::code(CONTAINS, &code::finding(), finding),
        site,
    ])
}

fn vertebra_group(context: &Context, vertebra: &Vertebra) -> Result<Item> {
    let document = context.report.input.vertebrae;
    let region = region(context.volume(), context.source, vertebra.slice, vertebra.box_px)?;
    let site = site(vertebra, None);
    Ok(group(context, "1410", &vertebra_name(vertebra), &tracked_vertebra(vertebra), &code::vertebral_body(), site)
        .with(algorithm(&document.model, document.threshold))
        .with([outline(context, &region), probability(vertebra.score)])
        .with([Item::text(CONTAINS, &code::comment(), &level_comment(vertebra))]))
}

fn node_group(context: &Context, found: &PlacedFinding) -> Result<Item> {
    let PlacedFinding { finding, vertebra, document, .. } = found;
    let region = region(context.volume(), context.source, finding.slice, finding.box_px)?;
    let name = format!("{} at the {} endplate of {}", context.node.meaning, finding.endplate, wording::level(vertebra));
    let site = site(vertebra, Some(finding.endplate));
    let tracked = tracked_node(vertebra, finding.endplate, context.rank_on_endplate(found));
    let group = group(context, "1410", &name, &tracked, &context.node, site)
        .with(algorithm(&document.model, document.threshold))
        .with([outline(context, &region)])
        .with([
            Item::number(&code::width(), finding.width_mm, &code::millimeter()),
            Item::number(&code::depth(), finding.depth_mm, &code::millimeter()),
            probability(finding.probability),
        ]);
    Ok(match vertebra.level {
        Some(_) => group,
        None => group.with([Item::text(CONTAINS, &code::comment(), &level_comment(vertebra))]),
    })
}

fn endplate_group(context: &Context, examined: &Examined) -> Item {
    let Examined { endplate, vertebra, verdict, document } = examined;
    let name = format!("{} endplate of {}", endplate.endplate, wording::level(vertebra));
    let tracked = format!("endplate/{}/{}", vertebra.id, endplate.endplate);
    let site = site(vertebra, Some(endplate.endplate));
    let image = image_index(context.volume(), context.source, endplate.slice);
    group(context, "1501", &name, &tracked, &code::endplate(), site)
        .with(algorithm(&document.model, document.threshold))
        .with(image.map(|index| Item::image(CONTAINS, &code::source(), &context.source.images[index])))
        .with([probability(endplate.probability), Item::code(CONTAINS, &context.node, &presence(*verdict))])
}

/// Says that vertebrae were looked for and none was found.
fn nothing_group(context: &Context) -> Item {
    let document = context.report.input.vertebrae;
    Item::container(CONTAINS, &code::measurement_group(), Some("1501")).with(
        [
            Item::text(HAS_OBS_CONTEXT, &code::tracking_identifier(), "search for vertebrae"),
            Item::uid(HAS_OBS_CONTEXT, &code::tracking_unique_identifier(), &context.identity.uid("search")),
        ]
        .into_iter()
        .chain(algorithm(&document.model, document.threshold))
        .chain([Item::code(CONTAINS, &code::vertebral_body(), &code::absent())]),
    )
}

/// What became of an endplate, as a code of CID 240.
pub(super) fn presence(verdict: Verdict) -> Code {
    match verdict {
        Verdict::Node => code::present(),
        Verdict::Negative => code::absent(),
        Verdict::NotLocalised => code::undetermined(),
    }
}

fn site(vertebra: &Vertebra, endplate: Option<Endplate>) -> Item {
    let item = Item::code(HAS_CONCEPT_MOD, &code::finding_site(), &code::vertebra(vertebra.level.as_deref()));
    let side = endplate.map(|endplate| match endplate {
        Endplate::Superior => code::superior(),
        Endplate::Inferior => code::inferior(),
    });
    item.with(side.map(|side| Item::code(HAS_CONCEPT_MOD, &code::topographical_modifier(), &side)))
}

/// Which weights with which threshold (TID 4019).
fn algorithm(model: &ModelReference, threshold: f64) -> Vec<Item> {
    let text = |concept: Code, value: &str| Item::text(HAS_CONCEPT_MOD, &concept, &ascii(value));
    vec![
        text(code::algorithm_name(), &model.name),
        text(code::algorithm_version(), &model.version),
        text(code::algorithm_parameters(), &format!("weights sha256={}", model.sha256)),
        text(code::algorithm_parameters(), &format!("threshold={threshold}")),
        text(code::algorithm_parameters(), &format!("backend={}", model.backend)),
    ]
}

fn outline(context: &Context, region: &Region) -> Item {
    Item::region(&code::image_region(), &code::source(), region, &context.frame_of_reference())
}

fn probability(probability: f64) -> Item {
    Item::number(&code::probability(), 100.0 * probability, &code::percent())
}

pub(super) fn vertebra_name(vertebra: &Vertebra) -> String {
    format!("vertebra {}", wording::level(vertebra))
}

fn level_comment(vertebra: &Vertebra) -> String {
    format!("level {}: {}", ascii(&wording::level_alone(vertebra)), ascii(&vertebra.level_basis))
}

/// What the UID of a vertebra is made of: SR and SEG track the same thing by the same UID.
pub(super) fn tracked_vertebra(vertebra: &Vertebra) -> String {
    format!("vertebra/{}", vertebra.id)
}

/// As [`tracked_vertebra`]; `rank` tells the nodes of one endplate apart.
pub(super) fn tracked_node(vertebra: &Vertebra, endplate: Endplate, rank: usize) -> String {
    format!("node/{}/{endplate}/{rank}", vertebra.id)
}
