//! What happened, without values: the audit log and the metrics receive nothing else.

use std::sync::Arc;
use std::time::Duration;

use ringfence_analysis::facts::Rule;
use ringfence_analysis::{ColumnId, LabelId};

use crate::plan::Plan;

/// One statement that came to an end, whatever the end.
#[derive(Debug, Clone)]
pub struct Event {
    /// Facts of the text; `None` for clients whose statements are not analysed, and for protocol messages.
    pub plan: Option<Arc<Plan>>,
    /// Which statement of the text.
    pub statement: usize,
    /// 64-bit fingerprint of the text without literals.
    pub fingerprint: u64,
    /// Rows that the server reported in the command tag, or that were sent before a suspension.
    pub rows: u64,
    pub verdict: Verdict,
    /// Labelled result columns and what was done to them.
    pub handled: Arc<[HandledColumn]>,
    /// What the detectors found in unlabelled columns.
    pub detections: Arc<[Detection]>,
    /// From the client's message to the end of the server's answer.
    pub duration: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandledColumn {
    pub column: ColumnId,
    pub label: LabelId,
    /// `plain`, `mask`, `tokenize`, `encrypt`, `drop`.
    pub handling: &'static str,
}

/// Values of one unlabelled result column that look like protected data. Of long results, samples are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detection {
    pub shape: Shape,
    /// As the server names it; `None` for a computed one.
    pub column: Option<ColumnId>,
    /// Place in the result, from 0.
    pub position: usize,
    /// Rows, of those that were looked at.
    pub rows: u64,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A payment card's number.
    Pan,
    /// A password hash.
    Hash,
    PrivateKey,
}

impl Shape {
    /// For the audit log and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pan => "pan",
            Self::Hash => "hash",
            Self::PrivateKey => "private_key",
        }
    }

    /// For messages.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Pan => "a card number",
            Self::Hash => "a password hash",
            Self::PrivateKey => "a private key",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing labelled was returned, or all of it is plain for the client.
    Passed,
    /// Some result column was handled.
    Handled,
    /// Refused before or after the server saw it.
    Refused(Rule),
    /// Would have been refused; the client is only observed.
    Observed(Rule),
    /// The server reported an error (SQLSTATE).
    Failed([u8; 5]),
}
