//! From boxes on slices to vertebral bodies that form a column. Pure: values in, values out.
//!
//! 1. A body grows from its best box to the neighbouring slices, taking on each the box that fits best; so it has at
//!    most one box per slice. 2. A body needs enough slices and one box of at least the wanted score. 3. A body inside
//!    a better one is the same body. 4. Bodies must stand in one column; those that do not are dropped.

use mlpipe_report::BoxPx;

use crate::boxes::{center, center_distance, height, iou};
use crate::decode::SliceBox;

/// Boxes on neighbouring slices that overlap at least this much show the same body.
const LINK_IOU: f64 = 0.3;
/// Or whose middles lie this near to each other; neighbouring bodies are 15 mm (neck) to 40 mm (low back) apart.
const LINK_MM: f64 = 8.0;
/// How far a body may be lost between slices and found again.
const MAX_GAP_MM: f64 = 9.0;
/// A body must be seen over this extent across the slices (it is 30 to 50 mm wide)...
const MIN_EXTENT_MM: f64 = 12.0;
/// ...or over this share of a volume that is narrower than that...
const MIN_SHARE_OF_VOLUME: f64 = 0.6;
/// ...but on at least so many slices, where that many fit into a body at all.
const MIN_SLICES: usize = 2;
/// From this distance between slices one slice is enough: two need not hit the same body well.
const THICK_SLICES_MM: f64 = 15.0;
/// A body is seen on at least this share of the slices on which the broad ones are seen (upper quartile). On nine lumbar
/// series transverse processes and articular masses, taken for bodies, reached 0.3 and bodies had 0.5 and more.
const MIN_SHARE_OF_SLICES: f64 = 0.4;
/// Neighbours in a column are at most this many body heights apart; 1.4 is usual, 2.8 when one body was missed.
const NEIGHBOUR_HEIGHTS: f64 = 3.2;
/// So many bodies are a spine whatever their scores...
const MANY_BODIES: usize = 3;
/// ...fewer only when the best box of each reaches this: a detector took two shapes at the side of a head, one above the
/// other, for bodies of 0.74 and 0.77; on middle slices bodies score 0.8 and more.
pub(crate) const SURE_SCORE: f64 = 0.8;
/// And the line between them is at most this far from the head-foot direction (the lumbosacral angle is about 45).
const NEIGHBOUR_ANGLE_DEG: f64 = 65.0;

/// Geometry of the slices on which the boxes lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SliceGrid<'a> {
    /// Resampled volume: its pixels are those of the boxes.
    pub(crate) geometry: &'a mlpipe_dicom::VolumeGeometry,
}

impl SliceGrid<'_> {
    fn slice_spacing_mm(&self) -> f64 {
        self.geometry.spacing_mm[0]
    }

    fn pixel_mm(&self) -> f64 {
        self.geometry.spacing_mm[1]
    }

    /// Slices that a body must be seen on.
    fn slices_needed(&self) -> usize {
        let spacing = self.slice_spacing_mm();
        if spacing >= THICK_SLICES_MM {
            return 1;
        }
        let slices = self.geometry.shape[0];
        let share = (MIN_SHARE_OF_VOLUME * slices as f64).ceil() as usize;
        ((MIN_EXTENT_MM / spacing).ceil() as usize).min(share).max(MIN_SLICES).min(slices)
    }
}

/// One vertebral body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Body {
    /// At most one box per slice, in slice order; never empty.
    pub(crate) boxes: Vec<SliceBox>,
    /// Position of the best box in `boxes`.
    pub(crate) key: usize,
    /// Centre: halfway between the outermost slices, middle of the best box.
    pub(crate) center_lps: [f64; 3],
    /// Height of the best box.
    pub(crate) height_mm: f64,
}

impl Body {
    fn new(mut boxes: Vec<SliceBox>, grid: SliceGrid<'_>) -> Option<Body> {
        boxes.sort_by_key(|found| found.slice);
        let key = (0..boxes.len()).max_by(|a, b| boxes[*a].score.total_cmp(&boxes[*b].score).then(b.cmp(a)))?;
        let across = (boxes.first()?.slice + boxes.last()?.slice) as f64 / 2.0;
        let [x, y] = center(&boxes[key].edges);
        let center_lps = grid.geometry.index_to_lps([across, y, x]);
        let height_mm = height(&boxes[key].edges) * grid.pixel_mm();
        Some(Body { boxes, key, center_lps, height_mm })
    }

    /// The best box.
    pub(crate) fn key_box(&self) -> &SliceBox {
        &self.boxes[self.key]
    }

    fn first_slice(&self) -> usize {
        self.boxes.first().map_or(0, |found| found.slice)
    }

    fn last_slice(&self) -> usize {
        self.boxes.last().map_or(0, |found| found.slice)
    }

    fn edges_nearest_to(&self, slice: usize) -> &BoxPx {
        let nearest = self.boxes.iter().min_by_key(|found| found.slice.abs_diff(slice));
        &nearest.unwrap_or(&self.boxes[self.key]).edges
    }
}

/// The column, head to foot, and what was left out.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Column {
    /// From head to foot.
    pub(crate) bodies: Vec<Body>,
    /// Bodies that were seen well but stand alone, away from the column.
    pub(crate) stray_bodies: usize,
}

/// Builds the column from the boxes of all slices; `threshold` is the score that a body's best box must have.
pub(crate) fn column(boxes: Vec<SliceBox>, grid: SliceGrid<'_>, threshold: f64) -> Column {
    let needed = grid.slices_needed();
    let bodies = linked(boxes, grid).into_iter().filter_map(|boxes| Body::new(boxes, grid));
    let seen_well = bodies.filter(|body| body.boxes.len() >= needed && body.key_box().score >= threshold);
    standing_in_line(broad_enough(without_duplicates(seen_well.collect())))
}

/// Groups boxes into bodies, best box first.
fn linked(mut boxes: Vec<SliceBox>, grid: SliceGrid<'_>) -> Vec<Vec<SliceBox>> {
    boxes.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.slice.cmp(&b.slice)));
    let mut free: Vec<Option<SliceBox>> = boxes.into_iter().map(Some).collect();
    let mut groups = Vec::new();
    for seed in 0..free.len() {
        if let Some(first) = free[seed].take() {
            let mut group = grown(&first, &mut free, grid, |from, to| to.checked_sub(from));
            group.extend(grown(&first, &mut free, grid, |from, to| from.checked_sub(to)));
            group.push(first);
            groups.push(group);
        }
    }
    groups
}

/// Takes from `free` the boxes that continue `first` in one direction; `steps(from, to)` counts slices in it.
fn grown(
    first: &SliceBox,
    free: &mut [Option<SliceBox>],
    grid: SliceGrid<'_>,
    steps: impl Fn(usize, usize) -> Option<usize>,
) -> Vec<SliceBox> {
    let max_steps = ((MAX_GAP_MM / grid.slice_spacing_mm()).floor() as usize).max(1);
    let mut group: Vec<SliceBox> = Vec::new();
    loop {
        let last = group.last().unwrap_or(first);
        let fits = |found: &SliceBox| {
            let ahead = steps(last.slice, found.slice).filter(|ahead| (1..=max_steps).contains(ahead))?;
            let overlap = iou(&last.edges, &found.edges);
            let near = center_distance(&last.edges, &found.edges) * grid.pixel_mm() <= LINK_MM;
            (overlap >= LINK_IOU || near).then_some((ahead, overlap))
        };
        let rank = |(position, found): (usize, &Option<SliceBox>)| Some((fits(found.as_ref()?)?, position));
        // The nearest slice first, on it the box that overlaps most.
        let best = free
            .iter()
            .enumerate()
            .filter_map(rank)
            .min_by(|((a, overlap_a), _), ((b, overlap_b), _)| a.cmp(b).then(overlap_b.total_cmp(overlap_a)));
        match best.and_then(|(_, position)| free[position].take()) {
            Some(found) => group.push(found),
            None => return group,
        }
    }
}

/// Drops bodies whose middle lies within half a height of a better one's.
fn without_duplicates(mut bodies: Vec<Body>) -> Vec<Body> {
    bodies.sort_by(|a, b| b.key_box().score.total_cmp(&a.key_box().score));
    let mut kept: Vec<Body> = Vec::new();
    for body in bodies {
        let key = body.key_box();
        let same = |other: &Body| {
            let edges = other.edges_nearest_to(key.slice);
            let apart = center_distance(edges, &key.edges) / height(edges).max(height(&key.edges));
            iou(edges, &key.edges) >= LINK_IOU || apart < 0.5
        };
        if !kept.iter().any(same) {
            kept.push(body);
        }
    }
    kept
}

/// Drops what is seen on far fewer slices than the broad bodies are.
fn broad_enough(mut bodies: Vec<Body>) -> Vec<Body> {
    let mut counts: Vec<usize> = bodies.iter().map(|body| body.boxes.len()).collect();
    counts.sort_unstable();
    let broad = counts.get(counts.len() * 3 / 4).copied().unwrap_or(0) as f64;
    bodies.retain(|body| body.boxes.len() as f64 >= MIN_SHARE_OF_SLICES * broad);
    bodies
}

/// Keeps the best chain of neighbours, head to foot. One body alone is no column, nor are two that are not sure.
fn standing_in_line(mut bodies: Vec<Body>) -> Column {
    bodies.sort_by(|a, b| b.center_lps[2].total_cmp(&a.center_lps[2]));
    let mut chain_of: Vec<usize> = (0..bodies.len()).collect();
    for lower in 0..bodies.len() {
        for upper in 0..lower {
            if are_neighbours(&bodies[upper], &bodies[lower]) {
                let (from, to) = (chain_of[lower], chain_of[upper]);
                chain_of.iter_mut().filter(|chain| **chain == from).for_each(|chain| *chain = to);
            }
        }
    }
    let weight = |chain: usize| -> f64 {
        let members = bodies.iter().zip(&chain_of).filter(|(_, of)| **of == chain);
        members.map(|(body, _)| body.key_box().score).sum()
    };
    let best = chain_of.iter().copied().max_by(|a, b| weight(*a).total_cmp(&weight(*b)).then(b.cmp(a)));
    let total = bodies.len();
    let mut chains = chain_of.iter();
    bodies.retain(|_| chains.next().copied() == best);
    let sure = bodies.iter().all(|body| body.key_box().score >= SURE_SCORE);
    if bodies.len() < 2 || (bodies.len() < MANY_BODIES && !sure) {
        bodies.clear();
    }
    Column { stray_bodies: total - bodies.len(), bodies }
}

/// Near, above each other, and on common slices: no spine bends by the width of a body from one to the next.
fn are_neighbours(upper: &Body, lower: &Body) -> bool {
    if upper.first_slice() > lower.last_slice() || lower.first_slice() > upper.last_slice() {
        return false;
    }
    let step: [f64; 3] = std::array::from_fn(|axis| upper.center_lps[axis] - lower.center_lps[axis]);
    let distance = step[0].hypot(step[1]).hypot(step[2]);
    let reach = NEIGHBOUR_HEIGHTS * (upper.height_mm + lower.height_mm) / 2.0;
    distance <= reach && step[2] >= distance * NEIGHBOUR_ANGLE_DEG.to_radians().cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boxes::around;
    use crate::testing::sagittal_volume;

    fn found(slice: usize, x: f64, y: f64, score: f64) -> SliceBox {
        SliceBox { slice, edges: around([x, y], 32.0, 26.0), score, l5: 0.0, s1: 0.0 }
    }

    fn spine(slices: std::ops::Range<usize>, rows: &[f64]) -> Vec<SliceBox> {
        slices.flat_map(|slice| rows.iter().map(move |y| found(slice, 100.0, *y, 0.9 - slice as f64 / 100.0))).collect()
    }

    fn built(boxes: Vec<SliceBox>, slices: usize, slice_spacing_mm: f64) -> Column {
        let volume = sagittal_volume([slices, 384, 384], slice_spacing_mm, 1.0);
        column(boxes, SliceGrid { geometry: &volume.geometry }, 0.5)
    }

    fn rows(column: &Column) -> Vec<f64> {
        column.bodies.iter().map(|body| center(&body.key_box().edges)[1]).collect()
    }

    #[test]
    fn boxes_on_neighbouring_slices_become_bodies_from_head_to_foot() {
        let column = built(spine(2..8, &[136.0, 100.0, 172.0]), 12, 4.0);
        assert_eq!(rows(&column), [100.0, 136.0, 172.0]);
        let body = &column.bodies[0];
        assert_eq!((body.boxes.len(), body.key_box().slice, body.height_mm), (6, 2, 26.0));
        assert_eq!(body.center_lps, [(2.0 + 7.0) / 2.0 * 4.0, 100.0, -100.0]);
    }

    #[test]
    fn a_body_has_one_box_per_slice() {
        let mut boxes = spine(2..6, &[100.0, 136.0]);
        boxes.push(found(3, 103.0, 112.0, 0.6));
        let column = built(boxes, 12, 4.0);
        assert_eq!(rows(&column), [100.0, 136.0]);
        assert_eq!(column.bodies[0].boxes.iter().map(|found| found.slice).collect::<Vec<_>>(), [2, 3, 4, 5]);
    }

    #[test]
    fn a_slice_may_be_missed_but_not_more() {
        let mut boxes = spine(2..4, &[100.0, 136.0]);
        boxes.extend(spine(5..7, &[100.0, 136.0]));
        boxes.extend(spine(10..12, &[100.0, 136.0]));
        assert_eq!(built(boxes, 12, 4.0).bodies[0].boxes.len(), 4);
    }

    #[test]
    fn boxes_of_single_slices_are_no_bodies() {
        let mut boxes = spine(2..6, &[100.0, 136.0]);
        boxes.push(found(4, 100.0, 172.0, 0.9));
        assert_eq!(rows(&built(boxes, 12, 4.0)), [100.0, 136.0]);
    }

    #[test]
    fn thick_slices_need_one_slice_and_thin_ones_many() {
        assert_eq!(built(spine(1..2, &[100.0, 136.0]), 3, 20.0).bodies.len(), 2);
        assert_eq!(built(spine(10..21, &[100.0, 136.0]), 60, 1.0).bodies.len(), 0);
        assert_eq!(built(spine(10..22, &[100.0, 136.0]), 60, 1.0).bodies.len(), 2);
        assert_eq!(built(spine(0..2, &[100.0, 136.0]), 3, 4.0).bodies.len(), 2, "three slices are all there is");
        assert_eq!(built(spine(0..1, &[100.0, 136.0]), 1, 4.0).bodies.len(), 2, "one slice is all there is");
    }

    #[test]
    fn a_body_needs_one_box_of_the_wanted_score() {
        let mut boxes = spine(2..6, &[100.0, 136.0]);
        boxes.extend((2..6).map(|slice| found(slice, 100.0, 172.0, 0.4)));
        boxes.extend((2..6).map(|slice| found(slice, 100.0, 208.0, if slice == 4 { 0.6 } else { 0.4 })));
        assert_eq!(rows(&built(boxes, 12, 4.0)), [100.0, 136.0, 208.0]);
    }

    #[test]
    fn bodies_away_from_the_column_are_dropped() {
        let mut boxes = spine(2..8, &[100.0, 136.0, 172.0]);
        boxes.extend((2..8).map(|slice| found(slice, 200.0, 120.0, 0.95)));
        boxes.extend((2..8).map(|slice| found(slice, 100.0, 300.0, 0.95)));
        let column = built(boxes, 12, 4.0);
        assert_eq!(rows(&column), [100.0, 136.0, 172.0]);
        assert_eq!(column.stray_bodies, 2);
    }

    #[test]
    fn processes_beside_the_spine_are_too_narrow_for_bodies() {
        let mut boxes = spine(2..14, &[100.0, 136.0, 172.0]);
        boxes.extend(spine(2..7, &[208.0]));
        boxes.extend((12..16).map(|slice| found(slice, 110.0, 240.0, 0.8)));
        assert_eq!(rows(&built(boxes, 16, 4.0)), [100.0, 136.0, 172.0, 208.0]);
    }

    #[test]
    fn one_missed_body_does_not_break_the_column() {
        assert_eq!(rows(&built(spine(2..8, &[100.0, 172.0, 208.0]), 12, 4.0)), [100.0, 172.0, 208.0]);
    }

    #[test]
    fn bodies_that_share_no_slice_are_no_neighbours() {
        let mut boxes = spine(2..6, &[100.0]);
        boxes.extend(spine(7..11, &[136.0]));
        assert_eq!(built(boxes, 12, 4.0).bodies.len(), 0);
    }

    #[test]
    fn a_body_alone_is_no_column() {
        let column = built(spine(2..8, &[100.0]), 12, 4.0);
        assert_eq!((column.bodies.len(), column.stray_bodies), (0, 1));
        assert_eq!(built(Vec::new(), 12, 4.0), Column::default());
    }

    #[test]
    fn two_bodies_are_a_column_only_when_both_are_sure() {
        let boxes = |score: f64| {
            [100.0, 136.0].into_iter().flat_map(move |y| (2..8).map(move |slice| found(slice, 100.0, y, score)))
        };
        assert_eq!(built(boxes(0.79).collect(), 12, 4.0).bodies.len(), 0);
        assert_eq!(built(boxes(0.8).collect(), 12, 4.0).bodies.len(), 2);
        let third = (2..8).map(|slice| found(slice, 100.0, 172.0, 0.6));
        assert_eq!(built(boxes(0.6).chain(third).collect(), 12, 4.0).bodies.len(), 3);
    }

    #[test]
    fn a_bent_spine_is_followed_over_its_slices() {
        let bent = |slice: usize| found(slice, 100.0 + 5.0 * slice as f64, 100.0 + 3.0 * slice as f64, 0.9);
        let mut boxes: Vec<SliceBox> = (0..8).map(bent).collect();
        boxes.extend((0..8).map(|slice| found(slice, 100.0, 170.0, 0.9)));
        assert_eq!(built(boxes, 8, 4.0).bodies[0].boxes.len(), 8);
    }
}
