//! Which vertebra is which: counts from the sacrum where the detector marked it, or says what the levels may be. Pure.
//!
//! The anchor is the body above S1, which must be the one that is marked as L5, if any is. Everything above is counted;
//! nothing is counted past a gap in which a body may be missing. A level is never guessed: without a sacrum, or with marks
//! that contradict each other, it is `None`, with the reason in words and the levels that the marks leave.

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
    /// Without a name: what it may be, the likeliest first; empty where nothing speaks for any level.
    pub(crate) candidates: Vec<String>,
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
        Err(doubt) => {
            let level = |position: usize| Level {
                name: None,
                candidates: names(doubt.l5.iter().map(|l5| *l5 as i64 - position as i64)),
                basis: format!("not counted: {}", doubt.reason),
            };
            (0..bodies.len()).map(level).collect()
        }
    }
}

/// The body from which levels are counted; S1 is below it.
struct Anchor {
    l5: usize,
    basis: &'static str,
}

/// Why nothing is counted.
#[derive(Default)]
struct Doubt {
    reason: String,
    /// Positions at which L5 may be, the likeliest first; one past a position stands for a body that may be missing there.
    l5: Vec<usize>,
}

fn anchor(bodies: &[Evidence]) -> Result<Anchor, Doubt> {
    let l5 = clear_mark(bodies, |body| &body.l5, "L5");
    // Of two bodies that may be S1 the one above each may be L5.
    let s1 = clear_mark(bodies, |body| &body.s1, "S1")
        .map_err(|doubt| Doubt { l5: doubt.l5.iter().filter_map(|s1| s1.checked_sub(1)).collect(), ..doubt })?;
    // Of two bodies that look like L5 the sacrum says which one it is.
    let l5 = match (l5, s1) {
        (Err(doubt), Some(s1)) if s1 > 0 && doubt.l5.contains(&(s1 - 1)) => None,
        (l5, _) => l5?,
    };
    match (l5, s1) {
        (Some(l5), Some(s1)) if s1 == l5 + 1 => {
            Ok(Anchor { l5, basis: "the detector marks it as L5 and the body below as S1" })
        }
        (Some(l5), Some(s1)) => {
            let reason = format!("the marks contradict each other: v{} as L5, v{} as S1", l5 + 1, s1 + 1);
            Err(Doubt { reason, l5: [Some(l5), s1.checked_sub(1)].into_iter().flatten().collect() })
        }
        (Some(l5), None) => {
            let reason = format!("v{} is marked as L5, but no sacrum below it", l5 + 1);
            Err(Doubt { reason, l5: with_neighbours(l5) })
        }
        (None, Some(s1)) if s1 > 0 && gap_above(bodies, s1) => {
            let reason = format!("a body may be missing above v{}, which is marked as S1", s1 + 1);
            Err(Doubt { reason, l5: vec![s1, s1 - 1] })
        }
        (None, Some(s1)) if s1 > 0 => {
            Ok(Anchor { l5: s1 - 1, basis: "it stands on the body that the detector marks as S1" })
        }
        _ => Err(no_anchor(bodies)),
    }
}

/// A body that looks like L5 is that, or one of its neighbours is.
fn with_neighbours(l5: usize) -> Vec<usize> {
    [Some(l5), Some(l5 + 1), l5.checked_sub(1)].into_iter().flatten().collect()
}

/// The one body that is clearly marked, `None` when none is, an error when two are.
fn clear_mark(bodies: &[Evidence], marks: fn(&Evidence) -> &Vec<f64>, what: &str) -> Result<Option<usize>, Doubt> {
    let total = |position: usize| marks(&bodies[position]).iter().sum::<f64>();
    let mut marked: Vec<usize> = (0..bodies.len()).filter(|position| is_marked(marks(&bodies[*position]))).collect();
    marked.sort_by(|a, b| total(*b).total_cmp(&total(*a)));
    match marked[..] {
        [] => Ok(None),
        [best, rival, ..] if total(rival) >= RIVAL_SHARE * total(best) => {
            let reason = format!("both v{} and v{} are marked as {what}", best + 1, rival + 1);
            Err(Doubt { reason, l5: vec![best, rival] })
        }
        [best, ..] => Ok(Some(best)),
    }
}

fn is_marked(marks: &[f64]) -> bool {
    let strong = marks.iter().filter(|mark| **mark >= STRONG).count();
    strong >= STRONG_SLICES.min(marks.len()).max(1)
}

fn no_anchor(bodies: &[Evidence]) -> Doubt {
    let best = bodies.iter().enumerate().flat_map(|(position, body)| body.l5.iter().map(move |mark| (position, *mark)));
    match best.max_by(|a, b| a.1.total_cmp(&b.1)) {
        Some((position, mark)) if mark >= 0.1 => {
            let reason = format!("no body is clearly marked as L5 (best mark {mark:.2}, on v{})", position + 1);
            Doubt { reason, l5: with_neighbours(position) }
        }
        _ => Doubt { reason: "no body is marked as L5".to_owned(), ..Doubt::default() },
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
    let known = |name: String, basis: String| Level { name: Some(name), candidates: Vec::new(), basis };
    let unknown = |candidates: Vec<String>, basis: String| Level { name: None, candidates, basis };
    let steps = anchor.l5 as i64 - position as i64;
    match steps {
        0 => return known("L5".to_owned(), anchor.basis.to_owned()),
        -1 => return known("S1".to_owned(), "the detector marks it as S1".to_owned()),
        ..-1 => return unknown(Vec::new(), format!("not counted: it lies below {anchor_id}, which is L5")),
        _ => {}
    }
    if let Some(upper) = broken_at {
        let basis = format!("not counted: a body may be missing between v{} and v{}", upper + 1, upper + 2);
        return unknown(names([steps + 1, steps].into_iter()), basis);
    }
    match name(steps) {
        Some(name) => known(name, format!("counted upward from {anchor_id}: {}", reworded(anchor.basis))),
        None => unknown(Vec::new(), "not counted: it lies above C1".to_owned()),
    }
}

fn reworded(basis: &str) -> String {
    basis.replacen("it as L5", "that as L5", 1).replacen("it stands", "that stands", 1)
}

fn names(steps: impl Iterator<Item = i64>) -> Vec<String> {
    steps.filter_map(name).collect()
}

/// The level so many steps above L5: `L4` for 1, `T12` for 5, `C7` for 17, `S1` for -1; counts five lumbar, twelve
/// thoracic and seven cervical vertebrae.
fn name(steps: i64) -> Option<String> {
    match steps {
        -1 => Some("S1".to_owned()),
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

    /// One word per body: its level, `L3|L2` where it may be one or the other, `?` where nothing is known.
    fn told(bodies: &[Evidence]) -> String {
        let word = |level: Level| match (level.name, level.candidates.is_empty()) {
            (Some(name), _) => name,
            (None, true) => "?".to_owned(),
            (None, false) => level.candidates.join("|"),
        };
        levels(bodies).into_iter().map(word).collect::<Vec<String>>().join(" ")
    }

    /// An even spine that ends with L5 and S1, both marked.
    fn with_sacrum(count: usize) -> Vec<Evidence> {
        let mut bodies = even_spine(count);
        bodies[count - 2].l5 = vec![0.3, 0.8, 0.9, 0.7, 0.1];
        bodies[count - 1].s1 = vec![0.8; 4];
        bodies
    }

    #[test]
    fn levels_are_counted_upward_from_the_sacrum() {
        let bodies = with_sacrum(8);
        assert_eq!(told(&bodies), "T11 T12 L1 L2 L3 L4 L5 S1");
        let basis: Vec<String> = levels(&bodies).into_iter().map(|level| level.basis).collect();
        assert_eq!(basis[6], "the detector marks it as L5 and the body below as S1");
        assert_eq!(basis[0], "counted upward from v7: the detector marks that as L5 and the body below as S1");
    }

    #[test]
    fn without_a_sacrum_each_level_may_be_one_of_three() {
        let mut bodies = even_spine(3);
        bodies[2].l5 = vec![0.8; 4];
        assert_eq!(told(&bodies), "L3|L2|L4 L4|L3|L5 L5|L4|S1");
        assert_eq!(levels(&bodies)[0].basis, "not counted: v3 is marked as L5, but no sacrum below it");
    }

    #[test]
    fn without_a_clear_mark_nothing_is_counted() {
        let mut bodies = even_spine(3);
        assert_eq!(
            (told(&bodies).as_str(), levels(&bodies)[0].basis.as_str()),
            ("? ? ?", "not counted: no body is marked as L5")
        );
        bodies[2].l5 = vec![0.1, 0.45, 0.4];
        assert_eq!(levels(&bodies)[0].basis, "not counted: no body is clearly marked as L5 (best mark 0.45, on v3)");
        bodies[2].l5 = vec![0.1, 0.95, 0.4];
        assert_eq!(told(&bodies), "L3|L2|L4 L4|L3|L5 L5|L4|S1", "one slice is not enough");
    }

    #[test]
    fn two_bodies_marked_alike_leave_two_counts() {
        let mut bodies = even_spine(4);
        bodies[3].l5 = vec![0.8; 4];
        bodies[2].l5 = vec![0.6; 4];
        assert_eq!(levels(&bodies)[3].basis, "not counted: both v4 and v3 are marked as L5");
        assert_eq!(told(&bodies), "L2|L3 L3|L4 L4|L5 L5|S1");
        bodies.push(Evidence { center_lps: [0.0, 0.0, -36.0], s1: vec![0.9; 4], ..even_spine(1).remove(0) });
        assert_eq!(told(&bodies), "L2 L3 L4 L5 S1", "the sacrum settles it");
        let mut bodies = with_sacrum(4);
        bodies[1].l5 = vec![0.55, 0.5, 0.1, 0.0];
        assert_eq!(told(&bodies), "L3 L4 L5 S1", "a much weaker rival does not count");
    }

    #[test]
    fn marks_that_contradict_each_other_leave_both_counts() {
        let mut bodies = even_spine(4);
        bodies[1].l5 = vec![0.8; 4];
        bodies[3].s1 = vec![0.8; 4];
        assert_eq!(levels(&bodies)[0].basis, "not counted: the marks contradict each other: v2 as L5, v4 as S1");
        assert_eq!(told(&bodies), "L4|L3 L5|L4 S1|L5 S1");
    }

    #[test]
    fn the_body_on_s1_is_l5() {
        let mut bodies = even_spine(3);
        bodies[2].s1 = vec![0.8; 4];
        assert_eq!(told(&bodies), "L4 L5 S1");
        let mut torn = spine(&[110.0, 72.0, 0.0]);
        torn[2].s1 = vec![0.8; 4];
        assert_eq!(told(&torn), "L3|L4 L4|L5 L5|S1", "L5 itself may be missing");
    }

    #[test]
    fn nothing_is_counted_past_a_missing_body() {
        let mut bodies = spine(&[216.0, 180.0, 108.0, 72.0, 36.0, 0.0]);
        bodies[4].l5 = vec![0.8; 4];
        bodies[5].s1 = vec![0.8; 4];
        assert_eq!(told(&bodies), "T12|L1 L1|L2 L3 L4 L5 S1");
        assert_eq!(levels(&bodies)[0].basis, "not counted: a body may be missing between v2 and v3");
    }

    #[test]
    fn steps_that_shrink_towards_the_head_are_no_gaps() {
        let heights = [0.0, 37.0, 73.0, 108.0, 141.0, 172.0, 201.0, 228.0, 253.0, 276.0];
        let mut bodies = spine(&heights.iter().rev().copied().collect::<Vec<f64>>());
        bodies[8].l5 = vec![0.8; 4];
        bodies[9].s1 = vec![0.8; 4];
        assert!(told(&bodies).starts_with("T9 T10"));
    }

    #[test]
    fn names_run_through_the_whole_spine() {
        assert_eq!(names([-1, 0, 4, 5, 16, 17, 23].into_iter()), ["S1", "L5", "L1", "T12", "T1", "C7", "C1"]);
        assert_eq!((name(24), name(-2)), (None, None));
    }
}
