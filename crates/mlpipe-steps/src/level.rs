//! Which vertebra is which: counts from an anchor that the detector marked, or says why it does not. Pure.
//!
//! The anchor is L5 (marked by its own map) or, where only the sacrum is marked, the body above S1. Everything above is
//! counted; nothing is counted past a gap in which a body may be missing. A level is never guessed: without a clear
//! anchor it is `None`, with the reason in words.

/// What the detector said about one body, head to foot.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Evidence {
    /// Mark of L5 on each of its slices, 0..1.
    pub(crate) l5: Vec<f64>,
    /// Mark of S1 on each of its slices, 0..1.
    pub(crate) s1: Vec<f64>,
    /// Centre of the body.
    pub(crate) center_lps: [f64; 3],
    /// Height of the body.
    pub(crate) height_mm: f64,
}

/// A level and how it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Level {
    /// `L3`; `None` when it cannot be told.
    pub(crate) name: Option<String>,
    /// In words, for the reader of a report.
    pub(crate) basis: String,
}

/// A mark counts from this value on.
const STRONG: f64 = 0.5;
/// An anchor must be marked on this many slices (on all, where a body has fewer).
const STRONG_SLICES: usize = 2;
/// A second body with this share of the best body's marks makes the anchor ambiguous.
const RIVAL_SHARE: f64 = 0.5;
/// A step to the next body of more than this many times the usual step means that a body may be missing: a missed one
/// makes it 2, normal neighbours differ by less than a third.
const GAP: f64 = 1.55;
/// The usual step in body heights, where too few bodies are there to measure it (36 mm at a height of 26 mm).
const USUAL_STEP_HEIGHTS: f64 = 1.4;

/// Returns the level of every body; `bodies` are ordered from head to foot.
pub(crate) fn levels(bodies: &[Evidence]) -> Vec<Level> {
    match anchor(bodies) {
        Ok(anchor) => counted_from(&anchor, bodies),
        Err(reason) => vec![Level { name: None, basis: format!("not counted: {reason}") }; bodies.len()],
    }
}

/// The body from which levels are counted.
struct Anchor {
    l5: usize,
    basis: &'static str,
    /// The body below it is known to be S1.
    s1_is_marked: bool,
}

fn anchor(bodies: &[Evidence]) -> Result<Anchor, String> {
    let l5 = clear_mark(bodies, |body| &body.l5, "L5")?;
    let s1 = clear_mark(bodies, |body| &body.s1, "S1")?;
    match (l5, s1) {
        (Some(l5), None) => Ok(Anchor { l5, basis: "the detector marks it as L5", s1_is_marked: false }),
        (Some(l5), Some(s1)) if s1 == l5 + 1 => {
            Ok(Anchor { l5, basis: "the detector marks it as L5 and the body below as S1", s1_is_marked: true })
        }
        (Some(l5), Some(s1)) => {
            let (l5, s1) = (l5 + 1, s1 + 1);
            Err(format!("the marks contradict each other: v{l5} as L5, v{s1} as S1"))
        }
        (None, Some(s1)) if s1 > 0 && !gap_above(bodies, s1) => {
            Ok(Anchor { l5: s1 - 1, basis: "it stands on the body that the detector marks as S1", s1_is_marked: true })
        }
        _ => Err(no_anchor(bodies)),
    }
}

/// The one body that is clearly marked, `None` when none is, an error when two are.
fn clear_mark(bodies: &[Evidence], marks: fn(&Evidence) -> &Vec<f64>, what: &str) -> Result<Option<usize>, String> {
    let total = |position: usize| marks(&bodies[position]).iter().sum::<f64>();
    let mut marked: Vec<usize> = (0..bodies.len()).filter(|position| is_marked(marks(&bodies[*position]))).collect();
    marked.sort_by(|a, b| total(*b).total_cmp(&total(*a)));
    match marked[..] {
        [] => Ok(None),
        [best, rival, ..] if total(rival) >= RIVAL_SHARE * total(best) => {
            let (best, rival) = (best + 1, rival + 1);
            Err(format!("both v{best} and v{rival} are marked as {what}"))
        }
        [best, ..] => Ok(Some(best)),
    }
}

fn is_marked(marks: &[f64]) -> bool {
    let strong = marks.iter().filter(|mark| **mark >= STRONG).count();
    strong >= STRONG_SLICES.min(marks.len()).max(1)
}

fn no_anchor(bodies: &[Evidence]) -> String {
    let best = bodies.iter().enumerate().flat_map(|(position, body)| body.l5.iter().map(move |mark| (position, *mark)));
    match best.max_by(|a, b| a.1.total_cmp(&b.1)) {
        Some((position, mark)) if mark >= 0.1 => {
            format!("no body is clearly marked as L5 (best mark {mark:.2}, on v{})", position + 1)
        }
        _ => "no body is marked as L5".to_owned(),
    }
}

fn counted_from(anchor: &Anchor, bodies: &[Evidence]) -> Vec<Level> {
    let anchor_id = format!("v{}", anchor.l5 + 1);
    let mut broken_at: Option<usize> = None;
    let mut levels: Vec<Level> = Vec::with_capacity(bodies.len());
    for position in (0..bodies.len()).rev() {
        if position < anchor.l5 && broken_at.is_none() && gap_above(bodies, position + 1) {
            broken_at = Some(position);
        }
        levels.push(level_of(position, anchor, &anchor_id, broken_at));
    }
    levels.reverse();
    levels
}

fn level_of(position: usize, anchor: &Anchor, anchor_id: &str, broken_at: Option<usize>) -> Level {
    let known = |name: String, basis: String| Level { name: Some(name), basis };
    let unknown = |basis: String| Level { name: None, basis };
    if position == anchor.l5 {
        return known("L5".to_owned(), anchor.basis.to_owned());
    }
    if position > anchor.l5 {
        return if position == anchor.l5 + 1 && anchor.s1_is_marked {
            known("S1".to_owned(), "the detector marks it as S1".to_owned())
        } else {
            unknown(format!("not counted: it lies below {anchor_id}, which is L5"))
        };
    }
    if let Some(upper) = broken_at {
        return unknown(format!("not counted: a body may be missing between v{} and v{}", upper + 1, upper + 2));
    }
    match name_above_l5(anchor.l5 - position) {
        Some(name) => known(name, format!("counted upward from {anchor_id}: {}", reworded(anchor.basis))),
        None => unknown("not counted: it lies above C1".to_owned()),
    }
}

fn reworded(basis: &str) -> String {
    basis.replacen("it as L5", "that as L5", 1).replacen("it stands", "that stands", 1)
}

/// `L4` for 1, `T12` for 5, `C7` for 17; counts five lumbar, twelve thoracic and seven cervical vertebrae.
fn name_above_l5(steps: usize) -> Option<String> {
    match steps {
        0..=4 => Some(format!("L{}", 5 - steps)),
        5..=16 => Some(format!("T{}", 17 - steps)),
        17..=23 => Some(format!("C{}", 24 - steps)),
        _ => None,
    }
}

/// Whether a body may be missing between `lower` and the one above it.
fn gap_above(bodies: &[Evidence], lower: usize) -> bool {
    let step = distance(&bodies[lower - 1], &bodies[lower]);
    let mut others: Vec<f64> = (1..bodies.len())
        .filter(|position| *position != lower && position.abs_diff(lower) <= 2)
        .map(|position| distance(&bodies[position - 1], &bodies[position]))
        .collect();
    others.push(USUAL_STEP_HEIGHTS * (bodies[lower - 1].height_mm + bodies[lower].height_mm) / 2.0);
    others.sort_by(f64::total_cmp);
    step > GAP * others[(others.len() - 1) / 2]
}

fn distance(a: &Evidence, b: &Evidence) -> f64 {
    let step: [f64; 3] = std::array::from_fn(|axis| a.center_lps[axis] - b.center_lps[axis]);
    step[0].hypot(step[1]).hypot(step[2])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bodies at the given heights above the lowest one (mm), unmarked.
    fn spine(heights: &[f64]) -> Vec<Evidence> {
        let body =
            |z: &f64| Evidence { l5: vec![0.02; 5], s1: vec![0.01; 5], center_lps: [0.0, 0.0, *z], height_mm: 26.0 };
        heights.iter().map(body).collect()
    }

    fn even_spine(count: usize) -> Vec<Evidence> {
        spine(&(0..count).rev().map(|step| 36.0 * step as f64).collect::<Vec<f64>>())
    }

    fn names(bodies: &[Evidence]) -> String {
        let names: Vec<String> = levels(bodies).into_iter().map(|level| level.name.unwrap_or("?".to_owned())).collect();
        names.join(" ")
    }

    #[test]
    fn levels_are_counted_upward_from_l5() {
        let mut bodies = even_spine(7);
        bodies[6].l5 = vec![0.3, 0.8, 0.9, 0.7, 0.1];
        assert_eq!(names(&bodies), "T11 T12 L1 L2 L3 L4 L5");
        let basis: Vec<String> = levels(&bodies).into_iter().map(|level| level.basis).collect();
        assert_eq!(basis[6], "the detector marks it as L5");
        assert_eq!(basis[0], "counted upward from v7: the detector marks that as L5");
    }

    #[test]
    fn without_a_clear_mark_nothing_is_counted() {
        let mut bodies = even_spine(3);
        assert_eq!(levels(&bodies)[0].basis, "not counted: no body is marked as L5");
        bodies[2].l5 = vec![0.1, 0.45, 0.4];
        assert_eq!(levels(&bodies)[0].basis, "not counted: no body is clearly marked as L5 (best mark 0.45, on v3)");
        bodies[2].l5 = vec![0.1, 0.95, 0.4];
        assert_eq!(names(&bodies), "? ? ?", "one slice is not enough");
    }

    #[test]
    fn two_bodies_marked_alike_are_ambiguous() {
        let mut bodies = even_spine(4);
        bodies[3].l5 = vec![0.8; 4];
        bodies[2].l5 = vec![0.6; 4];
        assert_eq!(levels(&bodies)[3].basis, "not counted: both v4 and v3 are marked as L5");
        bodies[2].l5 = vec![0.55, 0.5, 0.1, 0.0];
        assert_eq!(names(&bodies), "L2 L3 L4 L5", "a much weaker rival does not count");
    }

    #[test]
    fn the_body_below_l5_is_s1_only_when_it_is_marked() {
        let mut bodies = even_spine(3);
        bodies[1].l5 = vec![0.8; 4];
        assert_eq!(names(&bodies), "L4 L5 ?");
        bodies[2].s1 = vec![0.8; 4];
        assert_eq!(names(&bodies), "L4 L5 S1");
    }

    #[test]
    fn marks_that_contradict_each_other_count_nothing() {
        let mut bodies = even_spine(4);
        bodies[1].l5 = vec![0.8; 4];
        bodies[3].s1 = vec![0.8; 4];
        assert_eq!(levels(&bodies)[0].basis, "not counted: the marks contradict each other: v2 as L5, v4 as S1");
    }

    #[test]
    fn the_body_on_s1_is_l5() {
        let mut bodies = even_spine(3);
        bodies[2].s1 = vec![0.8; 4];
        assert_eq!(names(&bodies), "L4 L5 S1");
        let mut torn = spine(&[110.0, 72.0, 0.0]);
        torn[2].s1 = vec![0.8; 4];
        assert_eq!(names(&torn), "? ? ?", "L5 itself may be missing");
    }

    #[test]
    fn nothing_is_counted_past_a_missing_body() {
        let mut bodies = spine(&[180.0, 144.0, 72.0, 36.0, 0.0]);
        bodies[4].l5 = vec![0.8; 4];
        assert_eq!(names(&bodies), "? ? L3 L4 L5");
        assert_eq!(levels(&bodies)[0].basis, "not counted: a body may be missing between v2 and v3");
    }

    #[test]
    fn steps_that_shrink_towards_the_head_are_no_gaps() {
        let heights = [0.0, 37.0, 73.0, 108.0, 141.0, 172.0, 201.0, 228.0, 253.0, 276.0];
        let mut bodies = spine(&heights.iter().rev().copied().collect::<Vec<f64>>());
        bodies[9].l5 = vec![0.8; 4];
        assert!(names(&bodies).starts_with("T8 T9"));
    }

    #[test]
    fn names_run_through_the_whole_spine() {
        let names: Vec<String> = [0, 4, 5, 16, 17, 23].into_iter().filter_map(name_above_l5).collect();
        assert_eq!(names, ["L5", "L1", "T12", "T1", "C7", "C1"]);
        assert_eq!(name_above_l5(24), None);
    }
}
