//! The vertebra detector: its contract, and the boxes it finds on every slice of an image.

use mlpipe_infer::{Metadata, Model};
use mlpipe_report::ModelReference;
use ndarray::{Array4, ArrayView3, ArrayView4, Axis, s};

use crate::Result;
use crate::decode::{Canvas, Maps, SliceBox, decode};
use crate::image::{Image, Preparation};

/// Slices that go through the network at once: more gained nothing on two cores and cost memory.
const SLICES_PER_RUN: usize = 4;

/// An opened detector and what its metadata promises.
pub(crate) struct Detector<'a> {
    model: &'a mut Model,
    /// How it wants its images.
    pub(crate) preparation: Preparation,
    /// Rows and columns of the canvas.
    canvas: [usize; 2],
    /// Canvas px per cell of its maps.
    stride: usize,
    /// Score from which the model itself takes a peak for a body.
    pub(crate) score_threshold: f64,
    has_sacrum: bool,
}

impl<'a> Detector<'a> {
    /// Reads the contract from the metadata.
    pub(crate) fn new(model: &'a mut Model) -> Result<Detector<'a>> {
        let metadata = model.metadata();
        let preparation = Preparation::of(metadata)?;
        let canvas = canvas_of(metadata)?;
        let stride = metadata.count("stride")?;
        if canvas.iter().any(|size| size % stride != 0) {
            return Err(metadata.refuse("stride", format!("is {stride}, which does not divide the canvas")).into());
        }
        let score_threshold = metadata.number("score_threshold")?;
        let has_sacrum = model.tensors().outputs.iter().any(|output| output.name == "sacrum");
        Ok(Detector { model, preparation, canvas, stride, score_threshold, has_sacrum })
    }

    /// Boxes on all slices with a score of at least `floor`, in pixels of the resampled volume, clipped to the slice.
    pub(crate) fn boxes(&mut self, image: &Image, floor: f64) -> Result<Vec<SliceBox>> {
        let [slices, rows, columns] = image.grids.resampled.geometry.shape;
        let canvas = Canvas::centring(self.canvas, rows, columns);
        let mut found = Vec::new();
        for first in (0..slices).step_by(SLICES_PER_RUN) {
            let batch = image.voxels().slice(s![first..(first + SLICES_PER_RUN).min(slices), .., ..]);
            for (position, boxes) in self.boxes_of_batch(&batch, canvas, floor)?.into_iter().enumerate() {
                found.extend(boxes.into_iter().filter_map(|mut found| {
                    found.slice = first + position;
                    found.edges = crate::boxes::clipped(&canvas.to_slice(&found.edges), rows, columns)?;
                    Some(found)
                }));
            }
        }
        Ok(found)
    }

    fn boxes_of_batch(
        &mut self,
        slices: &ArrayView3<'_, f32>,
        canvas: Canvas,
        floor: f64,
    ) -> Result<Vec<Vec<SliceBox>>> {
        let count = slices.len_of(Axis(0));
        let input = on_canvas(slices, canvas);
        let outputs = self.model.run(&[("image", input.view().into_dyn())])?;
        let cells = self.canvas.map(|size| size / self.stride);
        let map = |name: &str, channels: usize| -> Result<ArrayView4<'_, f32>> {
            let shape = [count, channels, cells[0], cells[1]];
            let array = outputs.get_shaped(name, &shape)?;
            Ok(array.into_dimensionality().expect("get_shaped has checked that there are four axes"))
        };
        let (heatmap, size, offset) = (map("heatmap", 2)?, map("size", 2)?, map("offset", 2)?);
        let sacrum = if self.has_sacrum { Some(map("sacrum", 1)?) } else { None };
        let maps_of = |position: usize| Maps {
            heatmap: heatmap.index_axis(Axis(0), position),
            size: size.index_axis(Axis(0), position),
            offset: offset.index_axis(Axis(0), position),
            sacrum: sacrum.as_ref().map(|sacrum| sacrum.index_axis(Axis(0), position)),
            stride: self.stride as f64,
            spacing_mm: self.preparation.spacing_mm,
        };
        Ok((0..count).map(|position| decode(&maps_of(position), position, floor)).collect())
    }
}

/// `[slice, 1, row, column]`: every slice in the middle of a canvas of zeros.
fn on_canvas(slices: &ArrayView3<'_, f32>, canvas: Canvas) -> Array4<f32> {
    let [count, rows, columns] = [0, 1, 2].map(|axis| slices.len_of(Axis(axis)));
    let mut input = Array4::zeros((count, 1, canvas.shape[0], canvas.shape[1]));
    // Where the slice and the canvas overlap: first index on each, and how many.
    let overlap = |axis: usize, size: usize| {
        let on_canvas = canvas.offset[axis].max(0).unsigned_abs();
        let on_slice = canvas.offset[axis].min(0).unsigned_abs();
        (on_canvas, on_slice, (size - on_slice.min(size)).min(canvas.shape[axis] - on_canvas))
    };
    let ((top, first_row, height), (left, first_column, width)) = (overlap(0, rows), overlap(1, columns));
    let part = slices.slice(s![.., first_row..first_row + height, first_column..first_column + width]);
    input.slice_mut(s![.., 0, top..top + height, left..left + width]).assign(&part);
    input
}

/// `canvas` is one number or `[rows, columns]`.
fn canvas_of(metadata: &Metadata) -> Result<[usize; 2]> {
    if let Ok(size) = metadata.count("canvas") {
        return Ok([size, size]);
    }
    let sizes: Vec<usize> = metadata.numbers("canvas")?.iter().map(|size| *size as usize).collect();
    match sizes[..] {
        [rows, columns] if rows > 0 && columns > 0 => Ok([rows, columns]),
        _ => Err(metadata.refuse("canvas", "must be a number of pixels or two").into()),
    }
}

/// What a document says about its model.
pub(crate) fn reference(model: &Model) -> Result<ModelReference> {
    Ok(ModelReference {
        name: model.name().to_owned(),
        version: model.version()?,
        sha256: model.sha256().to_owned(),
        backend: model.backend().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;

    #[test]
    fn slices_lie_in_the_middle_of_the_canvas() {
        let slices = Array3::from_elem((2, 3, 2), 1.0);
        let input = on_canvas(&slices.view(), Canvas::centring([6, 6], 3, 2));
        assert_eq!((input.shape(), input.sum()), ([2, 1, 6, 6].as_slice(), 12.0));
        assert_eq!(input.slice(s![1, 0, 1..4, 2..4]).sum(), 6.0);
    }

    #[test]
    fn slices_larger_than_the_canvas_are_cropped_around_their_middle() {
        let slices = Array3::from_shape_fn((1, 7, 4), |(_, row, _)| row as f32);
        let input = on_canvas(&slices.view(), Canvas::centring([4, 4], 7, 4));
        let rows: Vec<f32> = input.slice(s![0, 0, .., 0]).to_vec();
        assert_eq!(rows, [2.0, 3.0, 4.0, 5.0], "floor((4 - 7) / 2) is -2");
    }
}
