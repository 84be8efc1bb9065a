//! Step `find-nodes`: looks for Schmorl's nodes on both endplates of one vertebra and writes `findings.json`.

use std::path::{Path, PathBuf};

use mlpipe_dicom::Volume;
use mlpipe_infer::Model;
use mlpipe_report::{
    BoxOnSlice, BoxPx, Endplate, ExaminedEndplate, FINDINGS_FORMAT, Finding, FindingsDocument, ModelReference, Vertebra,
};
use ndarray::{Array4, Axis};

use crate::boxes::{Grids, height, width};
use crate::detect::{VERTEBRA_FORMAT, VertebraEntry, check_threshold, rounded};
use crate::detector::reference;
use crate::endplate::{Aggregate, PatchGrid};
use crate::files::{create_directory, read_document, write_json};
use crate::image::{Image, Preparation};
use crate::{Error, Result, Runtime, Summary};

/// An endplate nearer than this to the border of the image is cut off, or its patch lacks the disc; the classifier was
/// trained without such.
const BORDER_MM: f64 = 3.0;

/// Slices are looked at on which the body's box has this share of its best score and of the area of its best box. On the
/// others the slice cuts the rim of the body, and its rounded edge passes for a node: on nine series with planted nodes
/// leaving them out raised specificity from 0.58 to 0.84 and lost no node.
const CLEAR_SCORE_SHARE: f64 = 0.75;
/// See [`CLEAR_SCORE_SHARE`].
const CLEAR_AREA_SHARE: f64 = 0.7;

/// What `find-nodes` needs.
#[derive(Debug, Clone)]
pub struct Args {
    /// Folder with the `mlpipe.volume/1` in which the vertebra was found.
    pub volume: PathBuf,
    /// Folder of one vertebra, as `detect-vertebrae` wrote it (or its `vertebra.json`).
    pub vertebra: PathBuf,
    /// Model directory of the classifier.
    pub model: PathBuf,
    /// Probability, 0..1, from which a node is reported.
    pub threshold: f64,
    /// Receives `findings.json` and `metrics.json`.
    pub output_dir: PathBuf,
    /// How the model is run.
    pub runtime: Runtime,
}

/// Runs the step for one vertebra.
///
/// # Errors
/// When an input is missing, damaged or of another kind, or an output cannot be written.
pub fn run(args: &Args) -> Result<Summary> {
    let mut model = args.runtime.open(&args.model)?;
    let mut classifier = Classifier::new(&mut model)?;
    let image = classifier.prepared(Volume::load(&args.volume)?, &args.volume)?;
    let mut summary = examine(&mut classifier, &image, &args.vertebra, args.threshold, &args.output_dir)?;
    summary.notes.extend(model.note().map(str::to_owned));
    Ok(summary)
}

/// Looks at one vertebra and writes the outputs.
pub(crate) fn examine(
    classifier: &mut Classifier<'_>,
    image: &Image,
    vertebra: &Path,
    threshold: f64,
    output_dir: &Path,
) -> Result<Summary> {
    check_threshold(threshold)?;
    let entry = read_entry(vertebra, &image.grids)?;
    let document = classifier.examine(image, &entry.vertebra, threshold)?;
    create_directory(output_dir)?;
    let path = output_dir.join("findings.json");
    write_json(&path, &document)?;
    let mut summary = Summary { outputs: vec![path], ..Summary::default() };
    summary.metric("endplates", document.examined.len() as f64);
    summary.metric("nodes", document.findings.len() as f64);
    if let Some(highest) = document.examined.iter().map(|endplate| endplate.probability).reduce(f64::max) {
        summary.metric("highest_probability", highest);
    }
    summary.write_metrics(output_dir)?;
    Ok(summary)
}

fn read_entry(vertebra: &Path, grids: &Grids) -> Result<VertebraEntry> {
    let path = if vertebra.is_dir() { vertebra.join("vertebra.json") } else { vertebra.to_owned() };
    let entry: VertebraEntry = read_document(&path, VERTEBRA_FORMAT)?;
    if entry.series_instance_uid != grids.volume.series_instance_uid {
        let (of, volume) = (&entry.series_instance_uid, &grids.volume.series_instance_uid);
        return Err(Error::unsuitable(&path, format!("it belongs to series {of}, the volume to {volume}")));
    }
    let slices = grids.slices();
    if let Some(beyond) = entry.vertebra.slices.iter().find(|on_slice| on_slice.slice >= slices) {
        let message =
            format!("it lies on slice {}, the volume has {slices}; it was found in another volume", beyond.slice);
        return Err(Error::unsuitable(&path, message));
    }
    Ok(entry)
}

/// An opened node classifier and what its metadata promises.
pub(crate) struct Classifier<'a> {
    model: &'a mut Model,
    reference: ModelReference,
    preparation: Preparation,
    side: usize,
    patch_spacing_mm: f64,
    aggregate: Aggregate,
}

/// One endplate on one slice.
struct Look<'a> {
    slice: usize,
    vertebra_box_px: &'a BoxPx,
    grid: PatchGrid,
    probability: f64,
    node: [f64; 4],
}

impl<'a> Classifier<'a> {
    /// Reads the contract from the metadata.
    pub(crate) fn new(model: &'a mut Model) -> Result<Classifier<'a>> {
        let metadata = model.metadata();
        let preparation = Preparation::of(metadata)?;
        let side = metadata.count("patch_px")?;
        let patch_spacing_mm = metadata.number("patch_spacing_mm")?;
        if patch_spacing_mm <= 0.0 {
            return Err(metadata.refuse("patch_spacing_mm", "must be above 0").into());
        }
        if metadata.count("slices")? != 3 {
            return Err(metadata.refuse("slices", "must be 3: the slice and its neighbours").into());
        }
        let name = metadata.get("aggregate").map_or(Ok("max"), |_| metadata.text("aggregate"))?;
        let aggregate = Aggregate::from_name(name);
        let aggregate =
            aggregate.ok_or_else(|| metadata.refuse("aggregate", format!("is `{name}`; known: max, mean_top2")))?;
        let reference = reference(model)?;
        Ok(Classifier { model, reference, preparation, side, patch_spacing_mm, aggregate })
    }

    /// A volume as this model wants it; `path` is for messages.
    pub(crate) fn prepared(&self, volume: Volume, path: &Path) -> Result<Image> {
        Image::prepared(volume, self.preparation, path)
    }

    /// How this model wants its images: images prepared alike can be shared.
    pub(crate) fn preparation(&self) -> Preparation {
        self.preparation
    }

    /// Looks at the endplates of a vertebra on all slices that show it clearly, in one run of the model.
    fn examine(&mut self, image: &Image, vertebra: &Vertebra, threshold: f64) -> Result<FindingsDocument> {
        let looks = self.looks(image, vertebra)?;
        let mut document = FindingsDocument {
            format: FINDINGS_FORMAT.to_owned(),
            series_instance_uid: image.grids.volume.series_instance_uid.clone(),
            model: self.reference.clone(),
            threshold,
            examined: Vec::new(),
            findings: Vec::new(),
        };
        for endplate in endplates_of(vertebra) {
            let of_endplate: Vec<&Look<'_>> = looks.iter().filter(|look| look.grid.endplate == *endplate).collect();
            let probabilities: Vec<f64> = of_endplate.iter().map(|look| look.probability).collect();
            let Some((probability, slices)) = self.aggregate.of(&probabilities) else { continue };
            let is_node = probability >= threshold;
            let shown = if is_node { largest(&of_endplate, &slices) } else { of_endplate[slices[0]] };
            let examined = examined(vertebra, shown, rounded(probability, 1e6), &image.grids);
            if is_node {
                document.findings.extend(self.finding(&examined, shown, &image.grids));
            }
            document.examined.push(examined);
        }
        Ok(document)
    }

    fn looks<'v>(&mut self, image: &Image, vertebra: &'v Vertebra) -> Result<Vec<Look<'v>>> {
        let scale = self.patch_spacing_mm / self.preparation.spacing_mm;
        let rows = image.voxels().len_of(Axis(1));
        let mut looks = Vec::new();
        for endplate in endplates_of(vertebra) {
            for on_slice in vertebra.slices.iter().filter(|on_slice| is_clear(on_slice, vertebra)) {
                let edges = image.grids.in_resampled(on_slice.slice, &on_slice.box_px);
                let grid = PatchGrid::at(&edges, *endplate, scale, self.side);
                let vertebra_box_px = &on_slice.box_px;
                if grid.is_visible(rows, BORDER_MM / self.preparation.spacing_mm) {
                    looks.push(Look { slice: on_slice.slice, vertebra_box_px, grid, probability: 0.0, node: [0.0; 4] });
                }
            }
        }
        if looks.is_empty() {
            return Ok(looks);
        }
        let mut patches = Array4::zeros((looks.len(), 3, self.side, self.side));
        for (mut patch, look) in patches.axis_iter_mut(Axis(0)).zip(&looks) {
            patch.assign(&look.grid.cut(&image.voxels().view(), look.slice));
        }
        let outputs = self.model.run(&[("patch", patches.view().into_dyn())])?;
        let probabilities = outputs.get_shaped("probability", &[looks.len(), 1])?;
        let nodes = outputs.get_shaped("box", &[looks.len(), 4])?;
        for (index, look) in looks.iter_mut().enumerate() {
            look.probability = f64::from(probabilities[[index, 0]]).clamp(0.0, 1.0);
            look.node = [0, 1, 2, 3].map(|number| f64::from(nodes[[index, number]]));
        }
        Ok(looks)
    }

    /// The node on the slice of `look`; `None` where the model gave it no extent.
    fn finding(&self, examined: &ExaminedEndplate, look: &Look<'_>, grids: &Grids) -> Option<Finding> {
        let edges = look.grid.box_on_slice(look.node)?;
        Some(Finding {
            vertebra_id: examined.vertebra_id.clone(),
            level: examined.level.clone(),
            endplate: examined.endplate,
            finding: "schmorl_node".to_owned(),
            probability: examined.probability,
            slice: look.slice,
            sop_instance_uid: examined.sop_instance_uid.clone(),
            box_px: grids.in_document(look.slice, &edges),
            width_mm: rounded(look.node[2] * self.patch_spacing_mm, 1e3),
            depth_mm: rounded(look.node[3] * self.patch_spacing_mm, 1e3),
        })
    }
}

/// Of the slices that made an endplate's probability, the one that shows the node largest: a node is as wide and deep as
/// it is in its middle. On painted nodes that is 0.1 mm nearer to the depth than the most probable slice.
fn largest<'l, 'v>(looks: &[&'l Look<'v>], positions: &[usize]) -> &'l Look<'v> {
    let area = |position: &usize| looks[*position].node[2] * looks[*position].node[3];
    let widest = positions.iter().copied().reduce(|a, b| if area(&b) > area(&a) { b } else { a });
    looks[widest.expect("a probability is made of at least one slice")]
}

/// Whether a slice shows the body itself, not only its rim.
fn is_clear(on_slice: &BoxOnSlice, vertebra: &Vertebra) -> bool {
    let area = |edges: &BoxPx| width(edges) * height(edges);
    on_slice.score >= CLEAR_SCORE_SHARE * vertebra.score
        && area(&on_slice.box_px) >= CLEAR_AREA_SHARE * area(&vertebra.box_px)
}

/// Both faces; of S1 the upper one, since the lower is no free endplate.
fn endplates_of(vertebra: &Vertebra) -> &'static [Endplate] {
    match vertebra.level.as_deref() {
        Some("S1") => &[Endplate::Superior],
        _ => &[Endplate::Superior, Endplate::Inferior],
    }
}

fn examined(vertebra: &Vertebra, look: &Look<'_>, probability: f64, grids: &Grids) -> ExaminedEndplate {
    ExaminedEndplate {
        vertebra_id: vertebra.id.clone(),
        level: vertebra.level.clone(),
        endplate: look.grid.endplate,
        probability,
        slice: look.slice,
        sop_instance_uid: grids.sop_instance_uid(look.slice),
        vertebra_box_px: *look.vertebra_box_px,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: BoxPx = [20.0, 30.0, 50.0, 55.0];

    fn look(slice: usize, [width, depth]: [f64; 2]) -> Look<'static> {
        let grid = PatchGrid::at(&BODY, Endplate::Superior, 0.75, 64);
        Look { slice, vertebra_box_px: &BODY, grid, probability: 0.9, node: [31.5, 35.0, width, depth] }
    }

    #[test]
    fn a_node_is_shown_where_it_is_largest_among_the_slices_that_count() {
        let looks = [look(4, [9.0, 9.0]), look(5, [8.0, 4.0]), look(6, [8.0, 5.0]), look(7, [5.0, 8.0])];
        let looks: Vec<&Look<'_>> = looks.iter().collect();
        assert_eq!(largest(&looks, &[1, 2]).slice, 6, "slice 4 has no part in the probability");
        assert_eq!(largest(&looks, &[1]).slice, 5);
        assert_eq!(largest(&looks, &[2, 3]).slice, 6, "the most probable of equal ones");
        assert_eq!(largest(&looks, &[3, 2]).slice, 7, "the most probable of equal ones");
    }
}
