//! What another classification would change.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What the server is asked.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    /// For statements by text. Recorded ones name their own.
    pub database: Option<String>,
    /// Only this client; else all.
    pub client: Option<String>,
    pub policy: File,
    /// Statements by text.
    pub sql: Option<String>,
    /// Statements by what the audit log says of them.
    pub recorded: Vec<Recorded>,
}

/// A file's name, for messages, and its text.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    pub name: String,
    pub text: String,
}

/// What audit lines say of a statement, and how many say so. No text: that is not in the log.
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Recorded {
    pub client: String,
    pub database: String,
    pub fingerprint: String,
    pub kind: String,
    pub tables: Vec<String>,
    pub labels: Vec<String>,
    /// `schema.table.column` to what was done to its values.
    pub handling: BTreeMap<String, String>,
    pub verdict: String,
    pub rule: Option<String>,
    pub count: u64,
}

/// What would change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    pub judged_by: JudgedBy,
    /// Distinct statements.
    pub statements: usize,
    /// Statements times clients.
    pub decisions: usize,
    pub unchanged: usize,
    pub counts: Counts,
    pub changes: Vec<Change>,
    /// What was skipped, and what cannot be told.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JudgedBy {
    /// Analysed and decided anew, as in production.
    Text,
    /// The log has no text: judged by the labels that the lines name.
    Labels,
}

/// Changes by what they are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub newly_refused: usize,
    pub newly_allowed: usize,
    /// Values are handled otherwise.
    pub handled_otherwise: usize,
    /// Refused before and after, for another reason.
    pub refused_otherwise: usize,
    /// The labels do not tell.
    pub uncertain: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    NewlyRefused,
    NewlyAllowed,
    HandledOtherwise,
    RefusedOtherwise,
    Uncertain,
}

/// One statement that one client would be answered otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub what: What,
    pub client: String,
    pub fingerprint: String,
    pub kind: String,
    /// How often it occurs.
    pub count: u64,
    /// Where in the file it occurs first, and its beginning.
    pub line: Option<usize>,
    pub text: Option<String>,
    pub old: Outcome,
    pub new: Outcome,
    /// In words.
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// `pass`, `handle`, `refuse`; of audit lines also `failed`, and `?` where the labels do not tell.
    pub decision: String,
    pub rule: Option<String>,
    pub message: Option<String>,
    /// `schema.table.column` to what the client gets.
    pub handling: BTreeMap<String, String>,
}

impl Counts {
    pub fn add(&mut self, what: What) {
        let counter = match what {
            What::NewlyRefused => &mut self.newly_refused,
            What::NewlyAllowed => &mut self.newly_allowed,
            What::HandledOtherwise => &mut self.handled_otherwise,
            What::RefusedOtherwise => &mut self.refused_otherwise,
            What::Uncertain => &mut self.uncertain,
        };
        *counter += 1;
    }
}

impl What {
    pub fn words(self) -> &'static str {
        match self {
            Self::NewlyRefused => "newly refused",
            Self::NewlyAllowed => "newly allowed",
            Self::HandledOtherwise => "handled otherwise",
            Self::RefusedOtherwise => "refused otherwise",
            Self::Uncertain => "cannot be told",
        }
    }
}

impl Outcome {
    /// In a word or two: `refuse (filter)`.
    pub fn short(&self) -> String {
        match &self.rule {
            Some(rule) => format!("{} ({rule})", self.decision),
            None => self.decision.clone(),
        }
    }
}
