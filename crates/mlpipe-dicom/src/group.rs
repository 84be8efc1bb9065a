//! Which image planes belong together: series by UID, volumes inside a series by what the planes say about themselves
//! (kind of image, echo, time, spacing, orientation). Only splits; whether a group is a sound volume is for `check`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::geometry::subtract;
use crate::header::{ImageFile, ImagePlane, Trouble};
use crate::plane::PlaneGeometry;
use crate::{Limits, Problem, Series, VolumePlan, check};

/// Direction cosines that differ by less belong to one orientation: writers round to 4 digits.
const SAME_COSINE: f64 = 4e-4;
/// Pixel spacings that differ by a smaller share are the same.
const SAME_SPACING: f64 = 1e-4;

/// One plane of one file.
#[derive(Debug, Clone)]
pub(crate) struct Slice {
    pub(crate) file: Arc<ImageFile>,
    index: usize,
}

impl Slice {
    pub(crate) fn plane(&self) -> &ImagePlane {
        &self.file.planes[self.index]
    }

    pub(crate) fn geometry(&self) -> &PlaneGeometry {
        &self.plane().geometry
    }

    pub(crate) fn position(&self) -> [f64; 3] {
        self.geometry().position
    }
}

/// The planes of one volume to be.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) slices: Vec<Slice>,
    /// Files that belong here but have no readable plane, or are of an unsupported kind.
    pub(crate) troubled: Vec<Arc<ImageFile>>,
    /// Values that tell the group from the others of its series.
    pub(crate) split_by: Vec<String>,
    pub(crate) warnings: Vec<Problem>,
}

/// Groups files into series, sorted by SeriesInstanceUID, each with its checked volumes.
pub(crate) fn group_into_series(files: Vec<ImageFile>, limits: Limits) -> Vec<Series> {
    let mut by_series: BTreeMap<String, Vec<Arc<ImageFile>>> = BTreeMap::new();
    for file in files {
        by_series.entry(file.series_instance_uid.clone()).or_default().push(Arc::new(file));
    }
    by_series.into_values().map(|files| series(files, limits)).collect()
}

fn series(mut files: Vec<Arc<ImageFile>>, limits: Limits) -> Series {
    files.sort_by(|a, b| identity(a).cmp(&identity(b)));
    let instances = files.len();
    let (first, warnings) = (files[0].clone(), without_copies(&mut files));
    let groups = groups(&files);
    let volumes: Vec<VolumePlan> = groups
        .into_iter()
        .enumerate()
        .map(|(volume, mut group)| {
            group.warnings.extend(warnings.iter().cloned());
            check::plan(group, volume, limits)
        })
        .collect();
    Series {
        series_instance_uid: first.series_instance_uid.clone(),
        study_instance_uid: first.study_instance_uid.clone(),
        modality: first.modality.clone(),
        series_description: first.series_description.clone(),
        instances,
        volumes,
    }
}

fn identity(file: &ImageFile) -> (&str, &std::path::Path) {
    (&file.source.sop_instance_uid, &file.source.path)
}

/// Leaves one of several byte-identical files, with a warning that names the others.
fn without_copies(files: &mut Vec<Arc<ImageFile>>) -> Vec<Problem> {
    let mut warnings = Vec::new();
    files.dedup_by(|later, kept| {
        let copy = later.source.sop_instance_uid == kept.source.sop_instance_uid
            && same_bytes(&later.source.path, &kept.source.path);
        if copy {
            let message = format!("the file is a copy of `{}` and is not used", kept.source.path.display());
            warnings.push(Problem::new("duplicate_file", message, "remove one of them").in_file(&later.source.path));
        }
        copy
    });
    warnings
}

fn same_bytes(a: &std::path::Path, b: &std::path::Path) -> bool {
    matches!((std::fs::read(a), std::fs::read(b)), (Ok(a), Ok(b)) if a == b)
}

/// Splits the files of a series. Files with damage join every group of their size and class: a volume that may lack
/// one of its slices must not pass for complete.
fn groups(files: &[Arc<ImageFile>]) -> Vec<Group> {
    let mut groups = volume_groups(files);
    let mut of_other_kind: BTreeMap<String, Group> = BTreeMap::new();
    for file in files {
        match &file.trouble {
            Some(Trouble::Kind(problem)) => {
                of_other_kind.entry(problem.code.clone()).or_default().troubled.push(file.clone());
            }
            Some(Trouble::Damage(_)) => taint(&mut groups, file),
            None => {}
        }
    }
    groups.extend(of_other_kind.into_values());
    groups
}

fn taint(groups: &mut Vec<Group>, damaged: &Arc<ImageFile>) {
    let mut joined = false;
    for group in groups.iter_mut() {
        let same = group.slices.iter().map(|slice| &slice.file).chain(&group.troubled).any(|file| {
            let size_unknown = damaged.source.pixel_format.rows == 0;
            file.sop_class_uid == damaged.sop_class_uid && (size_unknown || size(file) == size(damaged))
        });
        if same {
            group.troubled.push(damaged.clone());
            joined = true;
        }
    }
    if !joined {
        groups.push(Group { troubled: vec![damaged.clone()], ..Group::default() });
    }
}

fn size(file: &ImageFile) -> (usize, usize) {
    (file.source.pixel_format.rows, file.source.pixel_format.columns)
}

fn volume_groups(files: &[Arc<ImageFile>]) -> Vec<Group> {
    let mut by_labels: BTreeMap<Vec<String>, Vec<Slice>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.trouble.is_none()) {
        for (index, plane) in file.planes.iter().enumerate() {
            let slice = Slice { file: file.clone(), index };
            match by_labels.get_mut(&plane.labels) {
                Some(slices) => slices.push(slice),
                None => drop(by_labels.insert(plane.labels.clone(), vec![slice])),
            }
        }
    }
    let all: Vec<Vec<String>> = by_labels.keys().cloned().collect();
    let mut groups = Vec::new();
    for (labels, slices) in by_labels {
        let differing = differing(&labels, &all);
        groups.extend(by_geometry(slices, &differing));
    }
    let groups: Vec<Group> = groups.into_iter().flat_map(by_discriminator).collect();
    with_length_warnings(with_interleaving_warnings(with_grid_warnings(with_orientation_warnings(groups))))
}

/// Returns the labels that are not the same in all groups.
fn differing(labels: &[String], all: &[Vec<String>]) -> Vec<String> {
    let differs = |index: &usize| all.iter().any(|other| other[*index] != labels[*index]);
    (0..labels.len())
        .filter(differs)
        .map(|index| if labels[index].is_empty() { "without".into() } else { labels[index].clone() })
        .filter(|label: &String| label != "without")
        .collect()
}

/// Splits by pixel spacing and orientation, comparing with the first slice of each group.
fn by_geometry(slices: Vec<Slice>, split_by: &[String]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for slice in slices {
        match groups.iter_mut().find(|group| same_grid(group.slices[0].geometry(), slice.geometry())) {
            Some(group) => group.slices.push(slice),
            None => groups.push(Group { slices: vec![slice], split_by: split_by.to_vec(), ..Group::default() }),
        }
    }
    if groups.len() > 1 {
        for group in &mut groups {
            let geometry = group.slices[0].geometry();
            let cosines = [geometry.column_axis, geometry.row_axis].concat();
            let text: Vec<String> = cosines.iter().map(|value| format!("{value:.4}")).collect();
            group.split_by.push(format!("ImageOrientationPatient {}", text.join("\\")));
            let spacing = geometry.spacing_mm;
            group.split_by.push(format!("PixelSpacing {}\\{}", spacing[0], spacing[1]));
        }
    }
    groups
}

pub(crate) fn same_grid(a: &PlaneGeometry, b: &PlaneGeometry) -> bool {
    let near = |a: [f64; 3], b: [f64; 3]| subtract(a, b).iter().all(|difference| difference.abs() <= SAME_COSINE);
    let spacing = a.spacing_mm.iter().zip(b.spacing_mm).all(|(a, b)| (a - b).abs() <= SAME_SPACING * a);
    near(a.row_axis, b.row_axis) && near(a.column_axis, b.column_axis) && spacing
}

/// Attributes that tell repetitions of the same slices apart when nothing above did.
const DISCRIMINATORS: [&str; 7] = [
    "AcquisitionNumber",
    "AcquisitionTime",
    "TriggerTime",
    "InversionTime",
    "FlipAngle",
    "ConvolutionKernel",
    "SliceThickness",
];

/// Splits a group in which positions repeat, if one attribute tells the repetitions apart completely: every value has
/// the same number of slices and no position twice. Otherwise the group stays whole and is refused by `check`.
fn by_discriminator(group: Group) -> Vec<Group> {
    if group.slices.len() < 2 || !check::has_repeated_positions(&group.slices) {
        return vec![group];
    }
    for keyword in DISCRIMINATORS {
        let mut parts: BTreeMap<String, Vec<Slice>> = BTreeMap::new();
        for slice in &group.slices {
            parts.entry(check::attribute(&slice.file, keyword)).or_default().push(slice.clone());
        }
        let even = parts.values().all(|part| part.len() * parts.len() == group.slices.len());
        if parts.len() > 1 && even && !parts.values().any(|part| check::has_repeated_positions(part)) {
            return parts.into_iter().map(|(value, slices)| part(&group, slices, keyword, &value)).collect();
        }
    }
    vec![group]
}

fn part(whole: &Group, slices: Vec<Slice>, keyword: &str, value: &str) -> Group {
    let mut split_by = whole.split_by.clone();
    split_by.push(format!("{keyword} {value}"));
    Group { slices, split_by, ..Group::default() }
}

/// Warns every volume of a series that holds several orientations: a user may not expect that.
fn with_orientation_warnings(mut groups: Vec<Group>) -> Vec<Group> {
    let mut orientations: Vec<PlaneGeometry> = Vec::new();
    for slice in groups.iter().filter_map(|group| group.slices.first()) {
        let normal = slice.geometry().normal();
        if !orientations.iter().any(|seen| {
            let known = seen.normal();
            subtract(known, normal).iter().all(|difference| difference.abs() <= 2.0 * SAME_COSINE)
        }) {
            orientations.push(*slice.geometry());
        }
    }
    if orientations.len() > 1 {
        let message = format!(
            "the series holds {} different orientations (ImageOrientationPatient); each is a volume of its own",
            orientations.len()
        );
        for group in &mut groups {
            let warning = Problem::new("mixed_orientation", message.clone(), "check that the intended volume is used");
            group.warnings.push(warning);
        }
    }
    groups
}

/// Warns every volume of a series whose images differ in size or pixel spacing.
fn with_grid_warnings(mut groups: Vec<Group>) -> Vec<Group> {
    let grid = |group: &Group| group.slices.first().map(|slice| (size(&slice.file), slice.geometry().spacing_mm));
    let differ = groups.iter().filter_map(grid).any(|(rows_and_columns, spacing)| {
        let first = groups.iter().find_map(grid);
        first.is_some_and(|first| {
            first.0 != rows_and_columns || first.1.iter().zip(spacing).any(|(a, b)| (a - b).abs() > SAME_SPACING * a)
        })
    });
    if differ {
        let message = "the series holds images of different Rows, Columns or PixelSpacing; each is a volume of its own";
        for group in &mut groups {
            group.warnings.push(Problem::new("mixed_grid", message, "check that the intended volume is used"));
        }
    }
    groups
}

/// Warns a volume that has fewer slices than another one of its series on the same grid: it may be incomplete.
fn with_length_warnings(mut groups: Vec<Group>) -> Vec<Group> {
    let lengths: Vec<(usize, Option<PlaneGeometry>)> =
        groups.iter().map(|group| (group.slices.len(), group.slices.first().map(|slice| *slice.geometry()))).collect();
    for group in &mut groups {
        let Some(own) = group.slices.first().map(|slice| *slice.geometry()) else { continue };
        let alike = |other: &PlaneGeometry| same_grid(&own, other);
        let longest =
            lengths.iter().filter(|(_, grid)| grid.as_ref().is_some_and(alike)).map(|(length, _)| *length).max();
        if let Some(longest) = longest.filter(|longest| *longest > group.slices.len()) {
            let message =
                format!("it has {} slices where another volume of the series has {longest}", group.slices.len());
            group.warnings.push(Problem::new("fewer_slices", message, "check that the series is complete"));
        }
    }
    groups
}

/// Warns when two volumes of a series together make one even stack: the split may have torn one acquisition in two.
fn with_interleaving_warnings(mut groups: Vec<Group>) -> Vec<Group> {
    for later in 1..groups.len() {
        for earlier in 0..later {
            let (a, b) = (&groups[earlier], &groups[later]);
            if !check::interleave(&a.slices, &b.slices) {
                continue;
            }
            let message = format!("volumes {earlier} and {later} of the series interleave into one even stack");
            for index in [earlier, later] {
                let cure = "check whether they are one acquisition";
                groups[index].warnings.push(Problem::new("interleaved_volumes", message.clone(), cure));
            }
        }
    }
    groups
}
