//! Explanations: a text decided as a session's would be, and taken apart.

use ringfence_analysis::SessionNames;
use ringfence_engine::World;
use ringfence_engine::plan::Plan;
use ringfence_policy::ClientEntry;
use ringfence_policy::explain::{Decided, explain};
use ringfence_report::Explanation;
use ringfence_report::explain::Verdict;

/// Longer texts are not explained: nobody reads them.
pub(crate) const LONGEST: usize = 1 << 20;

/// The plan that a new session of this client would make, in words.
pub(crate) fn of(entry: &ClientEntry, world: &World, text: &str) -> Explanation {
    let plan = Plan::make(text.as_bytes(), &[], world, &entry.policy, &SessionNames::default());
    let decided = Decided { text, analysis: &plan.analysis, decisions: &plan.decisions, refusal: plan.refusal() };
    let mut explanation = explain(entry, &world.catalog, decided);
    // What such a client sends is not even read.
    if !explanation.restricted && explanation.refusal.take().is_some() {
        explanation.verdict = Verdict::Pass;
        explanation.notes.push(String::from("the text could not be read: the server answers it"));
    }
    explanation
}
