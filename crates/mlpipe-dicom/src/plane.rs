//! The place of one frame in the patient, from its own attributes or from functional groups (enhanced multi-frame).

use std::borrow::Cow;

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use crate::Problem;
use crate::data_set::DataSet;
use crate::element::name;
use crate::geometry::{cross, dot, norm, scale, subtract, unit};
use crate::header::{ImagePlane, Rescaled, missing};

/// Length and orthogonality of direction cosines may be off by this much: cosines rounded to 4 digits are.
const COSINE_TOLERANCE: f64 = 1e-3;
/// Pixels of microscopes and of whole-body scouts lie within.
const BELIEVABLE_SPACING_MM: std::ops::RangeInclusive<f64> = 1e-5..=1e3;
/// EchoTime differences below this (ms) are rounding, not another echo.
const ECHO_TIME_STEP_MS: f64 = 0.01;

/// The place of a frame: LPS, millimetres, axes orthonormal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PlaneGeometry {
    pub(crate) position: [f64; 3],
    /// Direction in which the row index increases: second triplet of ImageOrientationPatient.
    pub(crate) row_axis: [f64; 3],
    /// Direction in which the column index increases: first triplet of ImageOrientationPatient.
    pub(crate) column_axis: [f64; 3],
    /// Distance between rows, between columns.
    pub(crate) spacing_mm: [f64; 2],
    pub(crate) thickness_mm: Option<f64>,
    pub(crate) spacing_between_slices_mm: Option<f64>,
}

impl PlaneGeometry {
    /// Returns the normal of the image: column axis x row axis, so that a right-handed stack ascends along it.
    pub(crate) fn normal(&self) -> [f64; 3] {
        cross(self.column_axis, self.row_axis)
    }
}

/// Reads attributes of one frame: per-frame group, then shared group, then the top level.
pub(crate) struct Reader<'a> {
    pub(crate) object: &'a DataSet<'a>,
    pub(crate) shared: Option<&'a DataSet<'a>>,
    pub(crate) frame: Option<&'a DataSet<'a>>,
}

impl Reader<'_> {
    /// Returns the plane of frame `number`; `size` is its first label.
    pub(crate) fn plane(&self, number: usize, size: &str) -> Result<ImagePlane, Problem> {
        let (slope, intercept) = self.rescale()?;
        let rescaled = self.rescaled();
        let labels = std::iter::once(size.to_owned()).chain(self.labels()).collect();
        Ok(ImagePlane { number, geometry: self.geometry()?, slope, intercept, rescaled, labels })
    }

    fn geometry(&self) -> Result<PlaneGeometry, Problem> {
        let position = self.numbers(tags::PLANE_POSITION_SEQUENCE, tags::IMAGE_POSITION_PATIENT)?;
        let cosines: [f64; 6] = self.numbers(tags::PLANE_ORIENTATION_SEQUENCE, tags::IMAGE_ORIENTATION_PATIENT)?;
        let spacing_mm: [f64; 2] = self.numbers(tags::PIXEL_MEASURES_SEQUENCE, tags::PIXEL_SPACING)?;
        if !spacing_mm.iter().all(|spacing| BELIEVABLE_SPACING_MM.contains(spacing)) {
            return Err(Problem::new(
                "bad_spacing",
                format!("PixelSpacing (0028,0030) is {spacing_mm:?}, it must be a positive number of millimetres"),
                "export the series again",
            ));
        }
        let (row_axis, column_axis) = orthonormal(cosines)?;
        let measure = |tag| self.optional_number(tags::PIXEL_MEASURES_SEQUENCE, tag);
        Ok(PlaneGeometry {
            position,
            row_axis,
            column_axis,
            spacing_mm,
            thickness_mm: measure(tags::SLICE_THICKNESS),
            spacing_between_slices_mm: measure(tags::SPACING_BETWEEN_SLICES),
        })
    }

    pub(crate) fn rescale(&self) -> Result<(f64, f64), Problem> {
        let group = tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE;
        let get = |tag, default: f64| match self.find(group, tag) {
            None => Ok(default),
            Some(_) => self.numbers::<1>(group, tag).map(|[value]| value),
        };
        let slope = get(tags::RESCALE_SLOPE, 1.0)?;
        if slope == 0.0 {
            return Err(Problem::new(
                "bad_rescale",
                "RescaleSlope (0028,1053) is 0: every voxel would have the same value",
                "export the series again",
            ));
        }
        let intercept = get(tags::RESCALE_INTERCEPT, 0.0)?;
        let largest = slope.abs() * f64::from(u32::MAX) + intercept.abs();
        if largest > f64::from(f32::MAX) {
            return Err(Problem::new(
                "bad_rescale",
                format!("RescaleSlope (0028,1053) {slope} and RescaleIntercept {intercept} exceed all numbers"),
                "export the series again",
            ));
        }
        Ok((slope, intercept))
    }

    fn rescaled(&self) -> Option<Rescaled> {
        let said = |tag| self.find(tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE, tag).is_some();
        match (said(tags::RESCALE_SLOPE), said(tags::RESCALE_INTERCEPT)) {
            _ if self.object.element(tags::MODALITY_LUT_SEQUENCE).is_some() => Some(Rescaled::Table),
            (true, true) => Some(Rescaled::SlopeAndIntercept),
            (false, false) => None,
            _ => Some(Rescaled::OneOfTheTwo),
        }
    }

    /// Returns what tells this frame's volume from others of its series; the empty text where nothing is said.
    fn labels(&self) -> impl Iterator<Item = String> {
        let label = |keyword: &str, value: Option<String>| value.map(|value| format!("{keyword} {value}"));
        let first = |choices: &[(Tag, Tag)]| choices.iter().find_map(|(group, tag)| self.find_text(*group, *tag));
        let echo_time =
            first(&[(tags::MR_ECHO_SEQUENCE, tags::EFFECTIVE_ECHO_TIME), (tags::MR_ECHO_SEQUENCE, tags::ECHO_TIME)]);
        let content = tags::FRAME_CONTENT_SEQUENCE;
        let found = [
            label(
                "ImageType",
                first(&[
                    (tags::MR_IMAGE_FRAME_TYPE_SEQUENCE, tags::FRAME_TYPE),
                    (tags::CT_IMAGE_FRAME_TYPE_SEQUENCE, tags::FRAME_TYPE),
                    (tags::PET_FRAME_TYPE_SEQUENCE, tags::FRAME_TYPE),
                    (tags::MR_IMAGE_FRAME_TYPE_SEQUENCE, tags::IMAGE_TYPE),
                ]),
            ),
            label("EchoNumbers", first(&[(tags::MR_ECHO_SEQUENCE, tags::ECHO_NUMBERS)])),
            label("EchoTime", echo_time.map(rounded_echo_time)),
            label(
                "TemporalPosition",
                first(&[(content, tags::TEMPORAL_POSITION_INDEX), (content, tags::TEMPORAL_POSITION_IDENTIFIER)]),
            ),
            label("StackID", first(&[(content, tags::STACK_ID)])),
            label("DiffusionBValue", first(&[(tags::MR_DIFFUSION_SEQUENCE, tags::DIFFUSION_B_VALUE)])),
        ];
        found.into_iter().map(Option::unwrap_or_default)
    }

    /// Looks an element up in the frame's group `group`, the shared one, then at the top level.
    fn find(&self, group: Tag, tag: Tag) -> Option<Cow<'_, DataSet<'_>>> {
        let nested = [self.frame, self.shared].into_iter().flatten().find_map(|groups| {
            let item = groups.items(group).into_iter().next();
            item.filter(|item| item.has_value(tag)).map(Cow::Owned)
        });
        nested.or_else(|| Some(self.object).filter(|object| object.has_value(tag)).map(Cow::Borrowed))
    }

    fn find_text(&self, group: Tag, tag: Tag) -> Option<String> {
        self.find(group, tag)?.text(tag)
    }

    fn numbers<const N: usize>(&self, group: Tag, tag: Tag) -> Result<[f64; N], Problem> {
        let object = self.find(group, tag).ok_or_else(|| missing(tag))?;
        match <[f64; N]>::try_from(object.numbers(tag).unwrap_or_default()) {
            Ok(values) if values.iter().all(|value| value.is_finite()) => Ok(values),
            _ => Err(Problem::new(
                "not_a_number",
                format!(
                    "{} is `{}`, where {N} finite number(s) should be",
                    name(tag),
                    object.text(tag).unwrap_or_default()
                ),
                "export the series again",
            )),
        }
    }

    fn optional_number(&self, group: Tag, tag: Tag) -> Option<f64> {
        self.numbers::<1>(group, tag).ok().map(|[value]| value).filter(|value| *value > 0.0)
    }
}

/// Returns row axis and column axis, exactly orthonormal.
fn orthonormal(cosines: [f64; 6]) -> Result<([f64; 3], [f64; 3]), Problem> {
    let [a, b, c, d, e, f] = cosines;
    let (along_row, along_column) = ([a, b, c], [d, e, f]);
    let off = |length: f64| (length - 1.0).abs() > COSINE_TOLERANCE;
    if off(norm(along_row)) || off(norm(along_column)) || dot(along_row, along_column).abs() > COSINE_TOLERANCE {
        return Err(Problem::new(
            "bad_orientation",
            format!("ImageOrientationPatient (0020,0037) is {cosines:?}: not two perpendicular unit vectors"),
            "export the series again",
        ));
    }
    let column_axis = unit(along_row);
    let row_axis = unit(subtract(along_column, scale(column_axis, dot(column_axis, along_column))));
    Ok((row_axis, column_axis))
}

fn rounded_echo_time(text: String) -> String {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => {
            format!("{}", (value / ECHO_TIME_STEP_MS).round() / ECHO_TIME_STEP_MS.recip())
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_rounded_to_four_digits_are_made_orthonormal() {
        let (row, column) = orthonormal([0.1564, 0.9877, 0.0, 0.0689, -0.0109, -0.9976]).expect("tolerated");
        assert!((norm(row) - 1.0).abs() < 1e-12 && (norm(column) - 1.0).abs() < 1e-12);
        assert!(dot(row, column).abs() < 1e-12);
    }

    #[test]
    fn skewed_cosines_are_refused() {
        let problem = orthonormal([1.0, 0.0, 0.0, 0.1, 1.0, 0.0]).expect_err("skewed");
        assert_eq!(problem.code, "bad_orientation");
    }
}
