//! Key images: one picture per node, or one of the series without a finding, as Secondary Capture (PS3.3 A.8) with
//! "RESEARCH USE ONLY" burned in, so that it cannot get lost on the way to a viewer.

use dicom_dictionary_std::{tags, uids};

use super::canvas::{BODY, Canvas, Colour, NODE, NOTICE, POSITIVE, Panel, WHITE};
use super::code;
use super::identity::ascii;
use super::object::{
    Kind, begin, finish, put, put_bytes, put_code, put_instance_references, put_items, put_u16, reference,
};
use super::region::image_index;
use super::{Context, ResultFile};
use crate::figure::towards;
use crate::picture::{Region, Window};
use crate::report::{Placed, PlacedFinding};
use crate::{Result, wording};

/// Side of a picture of a slice.
const SIDE: usize = 640;
/// Height of the strips with text above and below.
const STRIP: usize = 48;
/// Half of the side of the enlarged part.
const DETAIL_REACH_MM: f64 = 34.0;
const BANNER: &str = "RESEARCH USE ONLY - NOT A MEDICAL DEVICE";

/// A picture and the slice that it shows.
#[derive(Debug, Clone)]
pub(super) struct KeyImage {
    pub(super) slice: usize,
    pub(super) caption: String,
    pub(super) canvas: Canvas,
}

/// Returns a picture per node: the slice with its boxes, and the node enlarged. Without nodes, the slice that shows most
/// vertebrae.
pub(super) fn key_images(context: &Context) -> Vec<KeyImage> {
    let report = &context.report;
    if report.findings.is_empty() {
        return vec![overview(context)];
    }
    report.findings.iter().map(|found| node(context, found)).collect()
}

fn overview(context: &Context) -> KeyImage {
    let report = &context.report;
    let volume = context.volume();
    let slice = report.overview_slice();
    let panel = Panel::fit(volume, Region::whole(volume), 0, STRIP, SIDE);
    let mut canvas = Canvas::new(panel.width.max(Canvas::text_width(BANNER, 2)), panel.height + 2 * STRIP);
    draw_slice(context, &mut canvas, slice, &panel);
    let (headline, rest) = wording::result(report);
    canvas.text(&headline, 8, 8, 2, WHITE);
    canvas.text(&format!("{} Slice {slice}.", rest.trim_start()), 8, 28, 1, WHITE);
    banner(&mut canvas);
    KeyImage { slice, caption: format!("{headline}{rest} Slice {slice}."), canvas }
}

fn node(context: &Context, found: &PlacedFinding) -> KeyImage {
    let PlacedFinding { finding, vertebra, placed, .. } = found;
    let volume = context.volume();
    let whole = Panel::fit(volume, Region::whole(volume), 0, STRIP, SIDE);
    let (column, row) = (placed.x + placed.width / 2.0, placed.y + placed.height / 2.0);
    let region = Region::around(volume, column, row, DETAIL_REACH_MM);
    let detail = Panel::fit(volume, region, whole.width, STRIP, SIDE);
    let mut canvas = Canvas::new(whole.width + SIDE, SIDE + 2 * STRIP);
    draw_slice(context, &mut canvas, finding.slice, &whole);
    canvas.slice(volume, Window::of_region(volume, finding.slice, region), finding.slice, &detail);
    mark(&mut canvas, &detail, *placed, 2, NODE);
    let title = format!("{}, {}, {} endplate", context.node.meaning, wording::level(vertebra), finding.endplate);
    let numbers = format!(
        "probability {:.2}, {:.1} mm wide, {:.1} mm deep, slice {}",
        finding.probability, finding.width_mm, finding.depth_mm, finding.slice
    );
    canvas.text(&title, 8, 6, 2, WHITE);
    canvas.text(&numbers, 8, 28, 2, WHITE);
    banner(&mut canvas);
    KeyImage { slice: finding.slice, caption: format!("{title}: {numbers}"), canvas }
}

/// Draws a slice with the boxes of its bodies and nodes, and where its edges point.
fn draw_slice(context: &Context, canvas: &mut Canvas, slice: usize, panel: &Panel) {
    let (report, volume) = (&context.report, context.volume());
    canvas.slice(volume, context.window, slice, panel);
    for (vertebra, placed) in report.boxes.get(&slice).into_iter().flatten() {
        let colour = if report.has_finding(vertebra) { POSITIVE } else { BODY };
        mark(canvas, panel, *placed, 1, colour);
        let name = vertebra.level.as_deref().unwrap_or(&vertebra.id);
        let [x, y] = panel.place(placed.x + placed.width, placed.y + placed.height / 2.0);
        canvas.text(name, x as usize + 6, (y as usize).saturating_sub(7), 2, colour);
    }
    for found in report.findings_on(slice) {
        mark(canvas, panel, found.placed, 2, NODE);
    }
    let Panel { left, top, width, height, .. } = *panel;
    let letters = edge_letters(volume);
    canvas.text(&letters[0], left + 4, top + height / 2, 2, WHITE);
    canvas.text(&letters[1], left + width - 16, top + height / 2, 2, WHITE);
    canvas.text(&letters[2], left + width / 2, top + 4, 2, WHITE);
    canvas.text(&letters[3], left + width / 2, top + height - 20, 2, WHITE);
}

/// Where left, right, upper and lower edge point.
fn edge_letters(volume: &mlpipe_dicom::Volume) -> [String; 4] {
    let (right, down) = (volume.geometry.column_axis, volume.geometry.row_axis);
    let opposite = |axis: [f64; 3]| axis.map(|component| -component);
    [opposite(right), right, opposite(down), down].map(|axis| towards(axis).to_string())
}

fn mark(canvas: &mut Canvas, panel: &Panel, placed: Placed, thickness: i64, colour: Colour) {
    let Placed { x, y, width, height } = placed;
    canvas.outline(panel.place(x, y), panel.place(x + width, y + height), thickness, colour);
}

fn banner(canvas: &mut Canvas) {
    let size = if canvas.width < 1000 { 2 } else { 3 };
    let x = canvas.width.saturating_sub(Canvas::text_width(BANNER, size)) / 2;
    canvas.text(BANNER, x, canvas.height - STRIP / 2 - 4 * size, size, NOTICE);
}

/// Returns the key images as DICOM files, one series.
pub(super) fn secondary_captures(context: &Context, images: &[KeyImage]) -> Result<Vec<ResultFile>> {
    images.iter().enumerate().map(|(index, image)| secondary_capture(context, index + 1, image)).collect()
}

pub(super) fn kind(number: usize) -> Kind {
    Kind {
        sop_class_uid: uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
        modality: "OT",
        file_name: format!("key-image-{number}.dcm"),
        series: "key-images",
        series_number: 3,
        series_description: "mlpipe key images",
        instance_number: number,
    }
}

fn secondary_capture(context: &Context, number: usize, image: &KeyImage) -> Result<ResultFile> {
    let kind = kind(number);
    let mut object = begin(context, &kind);
    put(&mut object, tags::CONVERSION_TYPE, "WSD");
    // The spine has no sides; validators want to see the attribute nonetheless.
    put(&mut object, tags::LATERALITY, "");
    put(&mut object, tags::IMAGE_TYPE, "DERIVED\\SECONDARY");
    // It says that text is burned in; whoever removes identities has to look, although none of it names a person.
    put(&mut object, tags::BURNED_IN_ANNOTATION, "YES");
    put(&mut object, tags::LOSSY_IMAGE_COMPRESSION, "00");
    put(&mut object, tags::IMAGE_COMMENTS, &ascii(&image.caption));
    put(&mut object, tags::DERIVATION_DESCRIPTION, "slice with boxes and text burned in");
    let axes = [context.volume().geometry.column_axis, context.volume().geometry.row_axis];
    put(&mut object, tags::PATIENT_ORIENTATION, &axes.map(|axis| towards(axis).to_string()).join("\\"));
    put_items(&mut object, tags::SOURCE_IMAGE_SEQUENCE, sources(context, image.slice));
    put_instance_references(&mut object, context);
    put_u16(&mut object, tags::SAMPLES_PER_PIXEL, 3);
    put(&mut object, tags::PHOTOMETRIC_INTERPRETATION, "RGB");
    put_u16(&mut object, tags::PLANAR_CONFIGURATION, 0);
    put_u16(&mut object, tags::ROWS, image.canvas.height as u16);
    put_u16(&mut object, tags::COLUMNS, image.canvas.width as u16);
    put_u16(&mut object, tags::BITS_ALLOCATED, 8);
    put_u16(&mut object, tags::BITS_STORED, 8);
    put_u16(&mut object, tags::HIGH_BIT, 7);
    put_u16(&mut object, tags::PIXEL_REPRESENTATION, 0);
    put_bytes(&mut object, tags::PIXEL_DATA, image.canvas.rgb.clone());
    finish(context, &kind, object)
}

/// The image behind a slice; all images of the series where the slice was interpolated from them.
fn sources(context: &Context, slice: usize) -> Vec<dicom_object::InMemDicomObject> {
    let images = &context.source.images;
    let used = match image_index(context.volume(), context.source, slice) {
        Some(index) => &images[index..=index],
        None => &images[..],
    };
    let item = |image| {
        let mut item = reference(image);
        put_code(&mut item, tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, &code::source_image_for_processing());
        item
    };
    used.iter().map(item).collect()
}
