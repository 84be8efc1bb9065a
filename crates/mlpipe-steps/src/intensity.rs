//! Grey values as the models were trained on them: percentiles of the whole volume become 0 and 1.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ndarray::Array3;

/// Values at percentiles `[low, high]` (0..=100) of all finite voxels, with linear interpolation between the two
/// nearest ranks (NumPy's default). `None` when no voxel is finite.
pub(crate) fn percentiles(voxels: &Array3<f32>, wanted: [f64; 2]) -> Option<[f32; 2]> {
    // Sorting voxels into classes by the first half of their bits, then only those of two classes, is ten times as fast
    // as partitioning all of them, which took as long as a network.
    let values = voxels.as_slice_memory_order().map_or_else(|| voxels.iter().copied().collect(), Cow::Borrowed);
    let finite = || values.iter().filter(|value| value.is_finite());
    let mut counts = vec![0_usize; 1 << 16];
    finite().for_each(|value| counts[class_of(*value)] += 1);
    let total: usize = counts.iter().sum();
    if total == 0 {
        return None;
    }
    // The class of a rank, with how many values lie in lower ones.
    let class_at = |rank: usize| {
        let mut below = 0;
        let class = counts.iter().position(|count| {
            below += count;
            below > rank
        });
        let class = class.expect("a rank is below the number of values");
        (class, below - counts[class])
    };
    // Neighbouring ranks mostly lie in one class, which is gathered once.
    let mut gathered: BTreeMap<usize, Vec<f32>> = BTreeMap::new();
    let mut value_at = |rank: usize| -> f64 {
        let (class, below) = class_at(rank);
        let gather = || finite().copied().filter(|value| class_of(*value) == class).collect();
        let members = gathered.entry(class).or_insert_with(gather);
        f64::from(*members.select_nth_unstable_by(rank - below, f32::total_cmp).1)
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

/// Makes every voxel `(v - low) / (high - low)`, clipped to 0..1; voxels that are not finite become 0.
pub(crate) fn normalise(voxels: &mut Array3<f32>, [low, high]: [f32; 2]) {
    // The floor is that of the training code; a volume without contrast becomes 0 and 1 at most.
    let range = (high - low).max(1e-6);
    voxels.mapv_inplace(|value| if value.is_finite() { ((value - low) / range).clamp(0.0, 1.0) } else { 0.0 });
}

#[cfg(test)]
mod tests {
    use ndarray::Array1;

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
        let mut normal = voxels.clone();
        normalise(&mut normal, [1.0, 3.0]);
        assert_eq!(normal, line(vec![0.0, 0.0, 1.0, 0.0]));
        assert_eq!(percentiles(&line(vec![f32::NAN]), [1.0, 99.0]), None);
    }
}
