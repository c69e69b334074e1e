//! What a decision was made of.

use serde::{Deserialize, Serialize};

use crate::Place;

/// One text for one client: what every statement of it does, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    pub client: String,
    pub database: String,
    /// Some label is not plain for this client. The statements of others are not judged.
    pub restricted: bool,
    /// `enforce: observe`: what is refused here is let through, and recorded.
    pub observe: bool,
    /// Of the whole text: it is refused if one of its statements is.
    pub verdict: Verdict,
    pub statements: Vec<Statement>,
    /// The text could not be read at all.
    pub refusal: Option<Refusal>,
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It goes through untouched.
    Pass,
    /// It goes through, and values of its result are handled.
    Handle,
    Refuse,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// As the command tag prints it.
    pub kind: String,
    /// The line of the text that it begins on.
    pub line: usize,
    /// As the audit log has it.
    pub fingerprint: String,
    pub verdict: Verdict,
    /// Every column of the result, in order. `None`: there is no result, or nothing labelled is in it.
    pub outputs: Option<Vec<Output>>,
    pub writes: Vec<Write>,
    pub predicates: Vec<Predicate>,
    /// Other places where labelled columns stand: expressions, whole rows, views, ….
    pub uses: Vec<Use>,
    pub relations: Vec<Relation>,
    /// What the statement contains that is judged whatever the labels are: functions, settings, server control.
    pub judged: Vec<Judged>,
    /// Relations that the catalog does not have.
    pub unknown: Vec<String>,
    pub refusal: Option<Refusal>,
    pub notes: Vec<String>,
}

/// One column of the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// From 1.
    pub position: usize,
    pub name: Option<String>,
    /// `schema.table.column` of every labelled column that its value can be.
    pub from: Vec<String>,
    pub labels: Vec<String>,
    /// What the client gets: `untouched`, `plain`, `mask last4`, `tokenize`, `encrypt`, `drop` (NULL), `refuse`.
    pub handling: String,
    pub why: String,
}

/// A labelled column that is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    pub column: String,
    pub label: String,
    /// `insert` or `update`.
    pub permission: String,
    pub allowed: bool,
}

/// A labelled column that the answer depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predicate {
    pub column: String,
    pub label: String,
    /// `WHERE`, `ORDER BY`, ….
    pub place: String,
    /// `equality` or `any`.
    pub needs: String,
    /// What the client's roles grant for the label: `none`, `equality`, `any`.
    pub granted: String,
    pub allowed: bool,
    pub at: Option<Place>,
}

/// A labelled column in another place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    pub column: String,
    pub label: String,
    pub rule: String,
    pub place: String,
    pub allowed: bool,
    pub at: Option<Place>,
}

/// A relation that the text names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    pub name: String,
    /// `read`, `insert`, `update`, `delete`, `ddl`, `lock`.
    pub access: String,
    /// The labels of its columns.
    pub labels: Vec<String>,
}

/// Something that no label excuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// `function pg_read_file`, `SET role`, ….
    pub what: String,
    pub rule: String,
    pub allowed: bool,
    pub at: Option<Place>,
}

/// Why a statement is refused, as the client is told, and where in the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub rule: String,
    pub sqlstate: String,
    pub message: String,
    pub hint: Option<String>,
    pub at: Option<Place>,
}

impl Verdict {
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Handle => "handle",
            Self::Refuse => "refuse",
        }
    }
}
