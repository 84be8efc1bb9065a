//! Grey values as the models were trained on them: percentiles of the whole volume become 0 and 1.

use ndarray::{Array3, ArrayView2};

/// Values at percentiles `[low, high]` (0..=100) of all finite voxels, with linear interpolation between the two
/// nearest ranks (NumPy's default). `None` when no voxel is finite.
pub(crate) fn percentiles(voxels: &Array3<f32>, wanted: [f64; 2]) -> Option<[f32; 2]> {
    let mut values: Vec<f32> = voxels.iter().copied().filter(|value| value.is_finite()).collect();
    if values.is_empty() {
        return None;
    }
    Some(wanted.map(|percentile| percentile_of(&mut values, percentile)))
}

fn percentile_of(values: &mut [f32], percentile: f64) -> f32 {
    let rank = percentile.clamp(0.0, 100.0) / 100.0 * (values.len() - 1) as f64;
    let (_, low, above) = values.select_nth_unstable_by(rank.floor() as usize, f32::total_cmp);
    let low = f64::from(*low);
    let high = above.iter().copied().min_by(f32::total_cmp).map_or(low, f64::from);
    (low + (high - low) * rank.fract()) as f32
}

/// `(v - low) / (high - low)`, clipped to 0..1; voxels that are not finite become 0.
pub(crate) fn normalised(voxels: &Array3<f32>, [low, high]: [f32; 2]) -> Array3<f32> {
    // The floor is that of the training code; a volume without contrast becomes 0 and 1 at most.
    let range = (high - low).max(1e-6);
    voxels.mapv(|value| if value.is_finite() { ((value - low) / range).clamp(0.0, 1.0) } else { 0.0 })
}

/// Value at `[x, y]` (column, row; pixel centres at integers), bilinear; pixels outside the image are 0.
pub(crate) fn sample(image: &ArrayView2<'_, f32>, x: f64, y: f64) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let (across, down) = ((x - left) as f32, (y - top) as f32);
    let at = |row: f64, column: f64| {
        let inside = row >= 0.0 && column >= 0.0;
        if inside { image.get([row as usize, column as usize]).copied().unwrap_or(0.0) } else { 0.0 }
    };
    let upper = at(top, left) * (1.0 - across) + at(top, left + 1.0) * across;
    let lower = at(top + 1.0, left) * (1.0 - across) + at(top + 1.0, left + 1.0) * across;
    upper * (1.0 - down) + lower * down
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, arr2};

    use super::*;

    fn line(values: Vec<f32>) -> Array3<f32> {
        let count = values.len();
        Array1::from_vec(values).into_shape_with_order([1, 1, count]).expect("the shape fits")
    }

    #[test]
    fn percentiles_interpolate_between_ranks() {
        let voxels = line(vec![40.0, 10.0, 30.0, 20.0, 0.0]);
        assert_eq!(percentiles(&voxels, [0.0, 100.0]), Some([0.0, 40.0]));
        assert_eq!(percentiles(&voxels, [10.0, 62.5]), Some([4.0, 25.0]), "as numpy.percentile");
    }

    #[test]
    fn values_that_are_not_finite_are_left_out() {
        let voxels = line(vec![f32::NAN, 1.0, 3.0, f32::INFINITY]);
        assert_eq!(percentiles(&voxels, [0.0, 100.0]), Some([1.0, 3.0]));
        assert_eq!(normalised(&voxels, [1.0, 3.0]).into_raw_vec_and_offset().0, [0.0, 0.0, 1.0, 0.0]);
        assert_eq!(percentiles(&line(vec![f32::NAN]), [1.0, 99.0]), None);
    }

    #[test]
    fn samples_lie_between_pixels_and_fade_to_zero_outside() {
        let image = arr2(&[[0.0, 4.0], [8.0, 12.0]]);
        assert_eq!(sample(&image.view(), 0.5, 0.5), 6.0);
        assert_eq!(sample(&image.view(), 1.0, 1.0), 12.0);
        assert_eq!(sample(&image.view(), 1.5, 1.0), 6.0, "half of the last pixel");
        assert_eq!(sample(&image.view(), -1.5, 0.0), 0.0);
    }
}
