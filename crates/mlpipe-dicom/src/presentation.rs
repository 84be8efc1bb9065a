//! How an image asks to be shown: VOI LUT or windows (DICOM PS3.3 C.11.2) and MONOCHROME1. Voxels are never changed by
//! it: it maps modality units to shades when a picture is made.

use std::path::Path;

use dicom_dictionary_std::tags;

use crate::data_set::DataSet;
use crate::header::with_header;
use crate::lut::Table;
use crate::{Limits, Problem, Result};

/// A window (PS3.3 C.11.2.1.2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// WindowCenter in modality units.
    pub center: f64,
    /// WindowWidth in modality units; at least 1 for [`WindowFunction::Linear`], positive for the others.
    pub width: f64,
    /// VOILUTFunction.
    pub function: WindowFunction,
}

/// How a window becomes shades.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowFunction {
    /// From `center - 0.5 - (width - 1) / 2` to `center - 0.5 + (width - 1) / 2`.
    Linear,
    /// From `center - width / 2` to `center + width / 2`.
    LinearExact,
    /// `1 / (1 + exp(-4 (value - center) / width))`.
    Sigmoid,
}

/// How an image asks to be shown.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Presentation {
    /// The windows in the order of the file, the preferred one first; none when the file has a table or says nothing.
    pub windows: Vec<Window>,
    /// PhotometricInterpretation is MONOCHROME1: low values are bright.
    pub inverted: bool,
    table: Option<Table>,
}

/// Reads how frame `frame`, from 0, of an image file asks to be shown.
///
/// # Errors
/// When the file cannot be read as an image, or its windows or table make no sense.
pub fn read_presentation(path: &Path, frame: usize, limits: Limits) -> Result<Presentation> {
    with_header(path, limits, |object| {
        let per_frame = object.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
        let shared = object.items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE);
        let groups = [per_frame.get(frame), shared.first()];
        let voi =
            groups.into_iter().flatten().find_map(|group| group.items(tags::FRAME_VOILUT_SEQUENCE).into_iter().next());
        let inverted = object.text(tags::PHOTOMETRIC_INTERPRETATION).as_deref() == Some("MONOCHROME1");
        Presentation::of(voi.as_ref().unwrap_or(object), inverted)
    })
}

impl Presentation {
    fn of(voi: &DataSet, inverted: bool) -> Result<Self, Problem> {
        // Values that the table is looked up with are modality units, which may be negative.
        let table = voi.items(tags::VOILUT_SEQUENCE).first().map(|item| Table::of(item, true)).transpose();
        let table = table.map_err(|message| bad(&format!("VOILUTSequence (0028,3010): {message}")))?;
        let windows = if table.is_some() { Vec::new() } else { windows(voi)? };
        Ok(Presentation { windows, inverted, table })
    }

    /// Returns the shade of a value in modality units, 0 black to 1 white; none when the file does not say how.
    pub fn shade(&self, value: f64) -> Option<f64> {
        let shade = match (&self.table, self.windows.first()) {
            (Some(table), _) => table.value(value) / table.largest(),
            (None, Some(window)) => window.shade(value),
            (None, None) => return None,
        };
        Some(if self.inverted { 1.0 - shade } else { shade })
    }
}

impl Window {
    /// Returns the shade of a value in modality units, 0 to 1.
    pub fn shade(&self, value: f64) -> f64 {
        let Window { center, width, function } = *self;
        match function {
            WindowFunction::Linear if width <= 1.0 => f64::from(value > center - 0.5),
            WindowFunction::Linear => ((value - (center - 0.5)) / (width - 1.0) + 0.5).clamp(0.0, 1.0),
            WindowFunction::LinearExact => ((value - center) / width + 0.5).clamp(0.0, 1.0),
            WindowFunction::Sigmoid => 1.0 / (1.0 + (-4.0 * (value - center) / width).exp()),
        }
    }
}

fn windows(voi: &DataSet) -> Result<Vec<Window>, Problem> {
    let numbers = |tag| if voi.has_value(tag) { voi.numbers(tag) } else { Some(Vec::new()) };
    let not_numbers = || bad("WindowCenter (0028,1050) and WindowWidth (0028,1051) are not numbers");
    let centers = numbers(tags::WINDOW_CENTER).ok_or_else(not_numbers)?;
    let widths = numbers(tags::WINDOW_WIDTH).ok_or_else(not_numbers)?;
    if centers.len() != widths.len() {
        return Err(bad("WindowCenter (0028,1050) and WindowWidth (0028,1051) have not as many values"));
    }
    let (function, least) = match voi.text(tags::VOILUT_FUNCTION).as_deref() {
        None | Some("LINEAR") => (WindowFunction::Linear, 1.0),
        Some("LINEAR_EXACT") => (WindowFunction::LinearExact, f64::MIN_POSITIVE),
        Some("SIGMOID") => (WindowFunction::Sigmoid, f64::MIN_POSITIVE),
        Some(other) => return Err(bad(&format!("VOILUTFunction (0028,1056) is {other}"))),
    };
    let window = |(center, width): (f64, f64)| match center.is_finite() && width.is_finite() && width >= least {
        true => Ok(Window { center, width, function }),
        false => Err(bad(&format!("WindowCenter (0028,1050) is {center} and WindowWidth (0028,1051) {width}"))),
    };
    centers.into_iter().zip(widths).map(window).collect()
}

fn bad(message: &str) -> Problem {
    Problem::new("bad_window", message, "choose a window by hand")
}
