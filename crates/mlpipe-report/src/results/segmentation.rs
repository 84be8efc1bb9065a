//! The segmentation: a binary segment per vertebra and per node (PS3.3 A.51, C.8.20), on the grid of the stored images, or
//! on the volume's where a slice has no stored image behind it.
//!
//! What the models give are boxes, so the segments are filled boxes, and each says so in its description.

use dicom_dictionary_std::{tags, uids};

use super::code::{self, Code};
use super::identity::ascii;
use super::object::{
    DataSet, Kind, begin, decimal, decimals, finish, put, put_bytes, put_code, put_instance_references, put_items,
    put_schemes, put_tag, put_u16, put_u32, reference, short,
};
use super::region::{Edges, image_edges, image_index, volume_edges};
use super::source::SourceImage;
use super::structured_report::{tracked_node, tracked_vertebra, vertebra_name};
use super::{Context, ResultFile};
use crate::{BoxPx, ModelReference, Result, wording};

/// CIELab of the colours of the key images, 16 bits each (PS3.3 C.10.7.1.1): blue for bodies, orange for nodes.
const BODY_COLOUR: [u16; 3] = [50_963, 30_654, 24_097];
const NODE_COLOUR: [u16; 3] = [41_568, 47_049, 44_370];

/// One thing that is outlined, and its boxes by slice of the volume.
struct Segment<'a> {
    label: String,
    description: String,
    category: Code,
    kind: Code,
    site: Code,
    side: Option<Code>,
    tracked: String,
    model: &'a ModelReference,
    threshold: f64,
    colour: [u16; 3],
    boxes: Vec<(usize, BoxPx)>,
}

/// One frame: a segment on a slice of the grid.
struct MaskFrame {
    segment: usize,
    slice: usize,
    pixels: [std::ops::Range<usize>; 2],
}

/// Returns the segmentation; none when there is nothing to outline, since it cannot be empty.
pub(super) fn segmentation(context: &Context) -> Result<Option<ResultFile>> {
    let segments = segments(context);
    let grid = Grid::of(context, &segments);
    let frames = grid.frames(context, &segments)?;
    if frames.is_empty() {
        return Ok(None);
    }
    let kind = kind();
    let mut object = begin(context, &kind);
    put_image(&mut object, grid.shape, &frames);
    put_source_loss(&mut object, context);
    put(&mut object, tags::FRAME_OF_REFERENCE_UID, &context.frame_of_reference());
    put(&mut object, tags::POSITION_REFERENCE_INDICATOR, "");
    put_instance_references(&mut object, context);
    put_schemes(&mut object, &segments.iter().map(|segment| &segment.kind).collect::<Vec<_>>());
    let numbered = segments.iter().enumerate();
    let items = numbered.map(|(index, segment)| segment_item(context, index + 1, segment)).collect();
    put_items(&mut object, tags::SEGMENT_SEQUENCE, items);
    put_dimensions(&mut object, context);
    put_items(&mut object, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![grid.shared_groups(context)]);
    let mut slices: Vec<usize> = frames.iter().map(|frame| frame.slice).collect();
    slices.sort_unstable();
    slices.dedup();
    let groups = frames.iter().map(|frame| grid.frame_groups(context, frame, &slices)).collect();
    put_items(&mut object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, groups);
    finish(context, &kind, object).map(Some)
}

pub(super) fn kind() -> Kind {
    Kind {
        sop_class_uid: uids::SEGMENTATION_STORAGE,
        modality: "SEG",
        file_name: "segmentation.dcm".into(),
        series: "seg",
        series_number: 2,
        series_description: "mlpipe SEG",
        instance_number: 1,
    }
}

fn segments<'a>(context: &Context<'a>) -> Vec<Segment<'a>> {
    let detected = context.report.input.vertebrae;
    let vertebrae = detected.vertebrae.iter().map(|vertebra| {
        let mut boxes: Vec<(usize, BoxPx)> = vertebra.slices.iter().map(|on| (on.slice, on.box_px)).collect();
        if !boxes.iter().any(|(slice, _)| *slice == vertebra.slice) {
            boxes.push((vertebra.slice, vertebra.box_px));
        }
        Segment {
            label: vertebra_name(vertebra),
            description: "bounding box of the vertebral body on each slice, filled".into(),
            category: code::anatomical_structure(),
            kind: code::vertebral_body(),
            site: code::vertebra(vertebra.level.as_deref()),
            side: None,
            tracked: tracked_vertebra(vertebra),
            model: &detected.model,
            threshold: detected.threshold,
            colour: BODY_COLOUR,
            boxes,
        }
    });
    let nodes = context.report.findings.iter().map(|found| {
        let (finding, vertebra) = (found.finding, found.vertebra);
        Segment {
            label: format!("node at the {} endplate of {}", finding.endplate, wording::level(vertebra)),
            description: "bounding box of the node on the slice that shows it best, filled".into(),
            category: code::morphologically_abnormal_structure(),
            kind: context.node.clone(),
            site: code::vertebra(vertebra.level.as_deref()),
            side: Some(if finding.endplate == crate::Endplate::Superior { code::superior() } else { code::inferior() }),
            tracked: tracked_node(vertebra, finding.endplate, context.rank_on_endplate(found)),
            model: &found.document.model,
            threshold: found.document.threshold,
            colour: NODE_COLOUR,
            boxes: vec![(finding.slice, finding.box_px)],
        }
    });
    vertebrae.chain(nodes).collect()
}

fn segment_item(context: &Context, number: usize, segment: &Segment) -> DataSet {
    let label = ascii(&segment.label);
    let mut item = DataSet::new_empty();
    put_u16(&mut item, tags::SEGMENT_NUMBER, number as u16);
    put(&mut item, tags::SEGMENT_LABEL, short(&label));
    put(&mut item, tags::SEGMENT_DESCRIPTION, &segment.description);
    put(&mut item, tags::SEGMENT_ALGORITHM_TYPE, "AUTOMATIC");
    let name = ascii(&segment.model.name);
    put(&mut item, tags::SEGMENT_ALGORITHM_NAME, short(&name));
    put_code(&mut item, tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE, &segment.category);
    put_code(&mut item, tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE, &segment.kind);
    put_region(&mut item, segment);
    put(&mut item, tags::TRACKING_ID, short(&label));
    put(&mut item, tags::TRACKING_UID, &context.identity.uid(&segment.tracked));
    put_lab(&mut item, segment.colour);
    let version = ascii(&segment.model.version);
    let mut algorithm = DataSet::new_empty();
    put_code(&mut algorithm, tags::ALGORITHM_FAMILY_CODE_SEQUENCE, &code::artificial_intelligence());
    put(&mut algorithm, tags::ALGORITHM_NAME, short(&name));
    put(&mut algorithm, tags::ALGORITHM_VERSION, short(&version));
    let parameters = format!("weights sha256={}; threshold={}", ascii(&segment.model.sha256), segment.threshold);
    put(&mut algorithm, tags::ALGORITHM_PARAMETERS, &parameters);
    put_items(&mut item, tags::SEGMENTATION_ALGORITHM_IDENTIFICATION_SEQUENCE, vec![algorithm]);
    item
}

fn put_region(item: &mut DataSet, segment: &Segment) {
    let Code { value, scheme, meaning } = &segment.site;
    let mut region = DataSet::new_empty();
    put(&mut region, tags::CODE_VALUE, value);
    put(&mut region, tags::CODING_SCHEME_DESIGNATOR, scheme);
    put(&mut region, tags::CODE_MEANING, meaning);
    if let Some(side) = &segment.side {
        put_code(&mut region, tags::ANATOMIC_REGION_MODIFIER_SEQUENCE, side);
    }
    put_items(item, tags::ANATOMIC_REGION_SEQUENCE, vec![region]);
}

fn put_lab(item: &mut DataSet, colour: [u16; 3]) {
    let value = dicom_core::PrimitiveValue::U16(colour.into_iter().collect());
    item.put(dicom_core::DataElement::new(tags::RECOMMENDED_DISPLAY_CIE_LAB_VALUE, dicom_core::VR::US, value));
}

fn put_image(object: &mut DataSet, [rows, columns]: [usize; 2], frames: &[MaskFrame]) {
    put(object, tags::IMAGE_TYPE, "DERIVED\\PRIMARY");
    put(object, tags::CONTENT_LABEL, "SEGMENTATION");
    put(object, tags::CONTENT_DESCRIPTION, "vertebral bodies and Schmorl's nodes, as boxes");
    put(object, tags::CONTENT_CREATOR_NAME, "");
    put(object, tags::SEGMENTATION_TYPE, "BINARY");
    // A node lies in the box of its vertebra.
    put(object, tags::SEGMENTS_OVERLAP, "YES");
    put_u16(object, tags::SAMPLES_PER_PIXEL, 1);
    put(object, tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME2");
    put(object, tags::NUMBER_OF_FRAMES, &frames.len().to_string());
    put_u16(object, tags::ROWS, rows as u16);
    put_u16(object, tags::COLUMNS, columns as u16);
    put_u16(object, tags::BITS_ALLOCATED, 1);
    put_u16(object, tags::BITS_STORED, 1);
    put_u16(object, tags::HIGH_BIT, 0);
    put_u16(object, tags::PIXEL_REPRESENTATION, 0);
    put_bytes(object, tags::PIXEL_DATA, packed(rows, columns, frames));
}

/// What was lost in the source images is lost here (PS3.3 C.7.6.1.1.5).
fn put_source_loss(object: &mut DataSet, context: &Context) {
    let header = &context.source.header;
    put(object, tags::LOSSY_IMAGE_COMPRESSION, header.text(tags::LOSSY_IMAGE_COMPRESSION).unwrap_or("00"));
    for tag in [tags::LOSSY_IMAGE_COMPRESSION_RATIO, tags::LOSSY_IMAGE_COMPRESSION_METHOD] {
        if let Some(value) = header.text(tag) {
            put(object, tag, value);
        }
    }
}

/// One bit per pixel, the first in the lowest bit; frames follow each other without padding (PS3.5 8.1.1).
fn packed(rows: usize, columns: usize, frames: &[MaskFrame]) -> Vec<u8> {
    let mut bytes = vec![0_u8; (rows * columns * frames.len()).div_ceil(8)];
    for (index, frame) in frames.iter().enumerate() {
        for row in frame.pixels[0].clone() {
            for column in frame.pixels[1].clone() {
                let bit = (index * rows + row) * columns + column;
                bytes[bit / 8] |= 1 << (bit % 8);
            }
        }
    }
    bytes
}

/// Frames are ordered by segment, then by position.
fn put_dimensions(object: &mut DataSet, context: &Context) {
    let uid = context.identity.uid("dimensions");
    let mut organization = DataSet::new_empty();
    put(&mut organization, tags::DIMENSION_ORGANIZATION_UID, &uid);
    put_items(object, tags::DIMENSION_ORGANIZATION_SEQUENCE, vec![organization]);
    let index = |pointer, group, label: &str| {
        let mut item = DataSet::new_empty();
        put_tag(&mut item, tags::DIMENSION_INDEX_POINTER, pointer);
        put_tag(&mut item, tags::FUNCTIONAL_GROUP_POINTER, group);
        put(&mut item, tags::DIMENSION_ORGANIZATION_UID, &uid);
        put(&mut item, tags::DIMENSION_DESCRIPTION_LABEL, label);
        item
    };
    let segment = index(tags::REFERENCED_SEGMENT_NUMBER, tags::SEGMENT_IDENTIFICATION_SEQUENCE, "Segment Number");
    let position = index(tags::IMAGE_POSITION_PATIENT, tags::PLANE_POSITION_SEQUENCE, "Image Position Patient");
    put_items(object, tags::DIMENSION_INDEX_SEQUENCE, vec![segment, position]);
}

/// The pixels that segments are drawn on.
struct Grid {
    /// Whether slices are those of the stored series; of the volume otherwise.
    stored: bool,
    shape: [usize; 2],
}

impl Grid {
    fn of(context: &Context, segments: &[Segment]) -> Grid {
        let mut slices = segments.iter().flat_map(|segment| &segment.boxes).map(|(slice, _)| *slice);
        let stored = slices.all(|slice| image_index(context.volume(), context.source, slice).is_some());
        let [_, rows, columns] = if stored { context.source.geometry.shape } else { context.volume().geometry.shape };
        Grid { stored, shape: [rows, columns] }
    }

    /// Returns a frame per segment and slice that it has pixels on, ordered.
    fn frames(&self, context: &Context, segments: &[Segment]) -> Result<Vec<MaskFrame>> {
        let mut frames = Vec::new();
        for (segment, Segment { boxes, .. }) in segments.iter().enumerate() {
            for &(slice, box_px) in boxes {
                let (slice, edges) = self.placed(context, slice, box_px)?;
                let pixels = edges.pixels(self.shape);
                if pixels.iter().all(|range| !range.is_empty()) {
                    frames.push(MaskFrame { segment, slice, pixels });
                }
            }
        }
        frames.sort_by_key(|frame| (frame.segment, frame.slice));
        Ok(frames)
    }

    fn placed(&self, context: &Context, slice: usize, box_px: BoxPx) -> Result<(usize, Edges)> {
        match image_index(context.volume(), context.source, slice).filter(|_| self.stored) {
            Some(index) => Ok((index, image_edges(box_px))),
            None => Ok((slice, volume_edges(context.volume(), slice, box_px)?)),
        }
    }

    /// Size and direction of the pixels, as the source images write them where these are the source's pixels.
    fn shared_groups(&self, context: &Context) -> DataSet {
        let geometry = if self.stored { &context.source.geometry } else { &context.volume().geometry };
        let written = |tag| context.source.header.text(tag).filter(|_| self.stored).map(str::to_owned);
        let [between_slices, row_mm, column_mm] = geometry.spacing_mm;
        let spacing = written(tags::PIXEL_SPACING).unwrap_or_else(|| decimals(&[row_mm, column_mm]));
        let thickness = written(tags::SLICE_THICKNESS).unwrap_or_else(|| decimal(between_slices));
        let cosines = [geometry.column_axis, geometry.row_axis].concat();
        let mut measures = DataSet::new_empty();
        put(&mut measures, tags::PIXEL_SPACING, &spacing);
        put(&mut measures, tags::SLICE_THICKNESS, &thickness);
        put(&mut measures, tags::SPACING_BETWEEN_SLICES, &decimal(between_slices));
        let mut orientation = DataSet::new_empty();
        let cosines = written(tags::IMAGE_ORIENTATION_PATIENT).unwrap_or_else(|| decimals(&cosines));
        put(&mut orientation, tags::IMAGE_ORIENTATION_PATIENT, &cosines);
        let mut groups = DataSet::new_empty();
        put_items(&mut groups, tags::PIXEL_MEASURES_SEQUENCE, vec![measures]);
        put_items(&mut groups, tags::PLANE_ORIENTATION_SEQUENCE, vec![orientation]);
        groups
    }

    /// `slices` are those that have a frame, ascending.
    fn frame_groups(&self, context: &Context, frame: &MaskFrame, slices: &[usize]) -> DataSet {
        let position = slices.partition_point(|slice| *slice < frame.slice) as u32 + 1;
        let mut content = DataSet::new_empty();
        put_u32(&mut content, tags::DIMENSION_INDEX_VALUES, &[frame.segment as u32 + 1, position]);
        let mut plane = DataSet::new_empty();
        put(&mut plane, tags::IMAGE_POSITION_PATIENT, &self.position(context, frame.slice));
        let mut segment = DataSet::new_empty();
        put_u16(&mut segment, tags::REFERENCED_SEGMENT_NUMBER, frame.segment as u16 + 1);
        let mut groups = DataSet::new_empty();
        put_items(&mut groups, tags::FRAME_CONTENT_SEQUENCE, vec![content]);
        put_items(&mut groups, tags::PLANE_POSITION_SEQUENCE, vec![plane]);
        put_items(&mut groups, tags::SEGMENT_IDENTIFICATION_SEQUENCE, vec![segment]);
        let images = &context.source.images;
        let derived = if self.stored {
            derivation(&images[frame.slice..=frame.slice], "YES")
        } else {
            // An interpolated slice comes from all of them.
            derivation(images, "NO")
        };
        put_items(&mut groups, tags::DERIVATION_IMAGE_SEQUENCE, vec![derived]);
        groups
    }

    fn position(&self, context: &Context, slice: usize) -> String {
        let index = [slice as f64, 0.0, 0.0];
        if !self.stored {
            return decimals(&context.volume().geometry.index_to_lps(index));
        }
        let written = context.source.images[slice].position.clone();
        written.unwrap_or_else(|| decimals(&context.source.geometry.index_to_lps(index)))
    }
}

fn derivation(images: &[SourceImage], locations_preserved: &str) -> DataSet {
    let source = |image: &SourceImage| {
        let mut source = reference(image);
        put(&mut source, tags::SPATIAL_LOCATIONS_PRESERVED, locations_preserved);
        put_code(&mut source, tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, &code::source_image_for_processing());
        source
    };
    let mut derivation = DataSet::new_empty();
    put_items(&mut derivation, tags::SOURCE_IMAGE_SEQUENCE, images.iter().map(source).collect());
    put_code(&mut derivation, tags::DERIVATION_CODE_SEQUENCE, &code::segmentation_derivation());
    derivation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_packed_from_the_lowest_without_padding_between_frames() {
        let frame = |pixels| MaskFrame { segment: 0, slice: 0, pixels };
        // Two frames of 3 x 3 pixels: bits 0 to 8, then 9 to 17.
        let frames = [frame([0..1, 1..3]), frame([2..3, 0..3])];
        assert_eq!(packed(3, 3, &frames), [0b0000_0110, 0b1000_0000, 0b0000_0011]);
    }
}
