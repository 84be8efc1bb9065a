//! Which steps a run is about, and which of them are done again although a finished result exists.
//!
//! By default every step, and nothing is done again. Steps are named by their number: names are checked by whoever reads them.

use std::collections::BTreeSet;

use mlpipe_spec::{Pipeline, StepId};

/// The part of a pipeline that a run is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// The steps that may run; none for all.
    steps: Option<BTreeSet<StepId>>,
    repeated: BTreeSet<StepId>,
}

impl Scope {
    /// Leaves out everything but this step and what it needs. Given several times, each of them is in.
    #[must_use]
    pub fn only(mut self, pipeline: &Pipeline, step: StepId) -> Self {
        self.steps.get_or_insert_default().extend(closure(step, |step| pipeline.steps[step].upstream()));
        self
    }

    /// Does this step again, even if a finished result exists. What is downstream goes by the new result.
    #[must_use]
    pub fn force(mut self, step: StepId) -> Self {
        self.repeated.insert(step);
        self
    }

    /// Does this step and everything downstream of it again.
    #[must_use]
    pub fn from(mut self, pipeline: &Pipeline, step: StepId) -> Self {
        let uses = |upstream| {
            let steps = pipeline.steps.iter().enumerate();
            steps.filter(|(_, step)| step.upstream().contains(&upstream)).map(|(id, _)| id).collect()
        };
        self.repeated.extend(closure(step, uses));
        self
    }

    /// Returns the steps that may run; none for all.
    pub fn steps(&self) -> Option<&BTreeSet<StepId>> {
        self.steps.as_ref()
    }

    /// Tells whether finished results of this step are left unused.
    pub fn repeats(&self, step: StepId) -> bool {
        self.repeated.contains(&step)
    }
}

/// A step and everything that can be reached from it.
fn closure(step: StepId, next: impl Fn(StepId) -> Vec<StepId>) -> BTreeSet<StepId> {
    let mut found = BTreeSet::from([step]);
    let mut open = vec![step];
    while let Some(step) = open.pop() {
        open.extend(next(step).into_iter().filter(|next| found.insert(*next)));
    }
    found
}
