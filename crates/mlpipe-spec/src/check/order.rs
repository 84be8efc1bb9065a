//! The order of steps, and cycles among them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::fields::Reader;

use super::steps::Draft;

/// Returns the steps, each after all it uses and otherwise in declared order, after reporting cycles. Steps in a cycle
/// and those that use them come last.
pub(super) fn in_order(reader: &mut Reader, drafts: &[Draft]) -> Vec<usize> {
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); drafts.len()];
    let mut waiting_for: Vec<usize> = vec![0; drafts.len()];
    for (user, draft) in drafts.iter().enumerate() {
        for (used, _) in &draft.uses {
            users[*used].push(user);
            waiting_for[user] += 1;
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..drafts.len()).filter(|step| waiting_for[*step] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(drafts.len());
    while let Some(Reverse(step)) = ready.pop() {
        order.push(step);
        for user in &users[step] {
            waiting_for[*user] -= 1;
            if waiting_for[*user] == 0 {
                ready.push(Reverse(*user));
            }
        }
    }
    let stuck: Vec<usize> = (0..drafts.len()).filter(|step| waiting_for[*step] > 0).collect();
    report_cycles(reader, drafts, &stuck);
    order.extend(stuck);
    order
}

/// Reports one cycle for each group of steps that wait for each other.
///
/// Each stuck step uses a stuck step, so following the first such use from any of them ends in a cycle.
fn report_cycles(reader: &mut Reader, drafts: &[Draft], stuck: &[usize]) {
    let mut is_stuck = vec![false; drafts.len()];
    stuck.iter().for_each(|step| is_stuck[*step] = true);
    let stuck_use = |step: usize| drafts[step].uses.iter().find(|(used, _)| is_stuck[*used]);
    // The walk on which a step was first seen, counted from 1.
    let mut seen_on = vec![0; drafts.len()];
    for (walk, start) in stuck.iter().enumerate() {
        let mut step = *start;
        while seen_on[step] == 0 {
            seen_on[step] = walk + 1;
            let Some((used, _)) = stuck_use(step) else { break };
            step = *used;
        }
        if seen_on[step] == walk + 1 {
            report_cycle(reader, drafts, step, stuck_use);
        }
    }
}

fn report_cycle<'d>(
    reader: &mut Reader,
    drafts: &'d [Draft],
    start: usize,
    stuck_use: impl Fn(usize) -> Option<&'d (usize, crate::source::Span)>,
) {
    let mut path = vec![drafts[start].name()];
    let mut lines = Vec::new();
    let mut place = drafts[start].key.span;
    let mut step = start;
    while let Some((used, span)) = stuck_use(step) {
        if step == start {
            place = *span;
        }
        let (line, _) = reader.source.position(span.start);
        lines.push(format!("`{}` uses `{}` on line {line}", drafts[step].name(), drafts[*used].name()));
        path.push(drafts[*used].name());
        step = *used;
        if step == start {
            break;
        }
    }
    let message = format!("steps wait for each other: {}", path.join(" -> "));
    reader.report(place, message).help(lines.join(", "));
}
