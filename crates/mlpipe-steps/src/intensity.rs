//! Grey values as the models were trained on them: percentiles of the whole volume become 0 and 1.

use ndarray::{Array3, ArrayView2};

/// Values at percentiles `[low, high]` (0..=100) of all finite voxels, with linear interpolation between the two
/// nearest ranks (NumPy's default). `None` when no voxel is finite.
pub(crate) fn percentiles(voxels: &Array3<f32>, wanted: [f64; 2]) -> Option<[f32; 2]> {
    // Sorting voxels into classes by the first half of their bits, then only those of two classes, is ten times as fast
    // as partitioning all of them, which took longer than the network of the node classifier.
    let finite = || voxels.iter().filter(|value| value.is_finite());
    let mut counts = vec![0_usize; 1 << 16];
    finite().for_each(|value| counts[class_of(*value)] += 1);
    let total: usize = counts.iter().sum();
    if total == 0 {
        return None;
    }
    let value_at = |rank: usize| -> f64 {
        let mut below = 0;
        let class = counts.iter().position(|count| {
            below += count;
            below > rank
        });
        let class = class.expect("a rank is below the number of values");
        let mut members: Vec<f32> = finite().copied().filter(|value| class_of(*value) == class).collect();
        let place = rank + members.len() - below;
        f64::from(*members.select_nth_unstable_by(place, f32::total_cmp).1)
    };
    Some(wanted.map(|percentile| {
        let rank = percentile.clamp(0.0, 100.0) / 100.0 * (total - 1) as f64;
        let low = value_at(rank.floor() as usize);
        let high = if rank.fract() > 0.0 { value_at(rank.floor() as usize + 1) } else { low };
        (low + (high - low) * rank.fract()) as f32
    }))
}

/// The first 16 bits of a number that grows with the value, in the order of `f32::total_cmp`.
fn class_of(value: f32) -> usize {
    let bits = value.to_bits();
    let ordered = if bits >> 31 == 0 { bits | (1 << 31) } else { !bits };
    (ordered >> 16) as usize
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
    fn percentiles_of_many_values_are_those_of_the_sorted_ones() {
        let mut values: Vec<f32> = (0..5000).map(|step| ((step * 7919 % 5000) as f32 - 2000.0) / 3.0).collect();
        let found = percentiles(&line(values.clone()), [1.0, 99.0]).expect("there are values");
        values.sort_by(f32::total_cmp);
        let at = |rank: f64| {
            values[rank as usize] + (values[rank as usize + 1] - values[rank as usize]) * rank.fract() as f32
        };
        assert!((found[0] - at(49.99)).abs() < 1e-3 && (found[1] - at(4949.01)).abs() < 1e-3, "{found:?}");
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
