//! One client and one statement to a decision.

use std::sync::Arc;

use ringfence_analysis::facts::{Rule, Statement};
use ringfence_analysis::{Catalog, ColumnId, LabelId};

use crate::Handling;

/// One client's policy, compiled from its roles: everything the session asks per statement or per result column.
#[derive(Debug)]
pub struct ClientPolicy {
    pub name: Box<str>,
    /// Some declared label is not plain.
    pub restricted: bool,
    /// `enforce: observe`: refusals are recorded, and the statement passes (handlings still apply).
    pub observe: bool,
    /// Role, grant and server control are allowed.
    pub admin: bool,
    /// FunctionCall and replication, never granted in this version.
    pub statement_timeout: Option<std::time::Duration>,
    pub max_connections: Option<u32>,
    /// Index = `LabelId`.
    pub labels: Vec<LabelPolicy>,
    /// Channels whose notification payloads reach this client although it is restricted.
    pub notification_channels: Vec<Box<str>>,
    /// Statements that touch nothing labelled go on when the audit log cannot be written.
    pub continue_without_audit: bool,
}

#[derive(Debug, Clone)]
pub struct LabelPolicy {
    pub name: Arc<str>,
    pub handling: Handling,
    pub allow: Allow,
}

/// Permissions on one label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allow {
    pub read: bool,
    pub insert: bool,
    pub update: bool,
    pub delete: bool,
    pub copy: bool,
    pub ddl: bool,
    pub explain: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing labelled is reached that is not plain for this client.
    Pass,
    /// Result columns are handled by their label, as the server's description names them.
    Handle,
    Refuse(Refusal),
}

/// Why a statement does not go upstream, in words that a stranger can act on. Holds no value of any row or literal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub rule: Rule,
    /// 42501 unless the rule says otherwise (0A000, 42P01, 53100, 54000, 42601).
    pub sqlstate: &'static str,
    /// `column public.users.credit_card (label pci) may not be used in WHERE by client "users-api"`
    pub message: String,
    /// What to do instead.
    pub hint: Option<String>,
    /// Byte offset in the text.
    pub position: Option<usize>,
}

impl ClientPolicy {
    pub fn handling(&self, label: LabelId) -> &Handling {
        self.labels
            .get(usize::from(label.0))
            .map_or(&Handling::Refuse, |l| &l.handling)
    }

    pub fn is_plain(&self, label: LabelId) -> bool {
        matches!(self.handling(label), Handling::Plain)
    }
}

/// Decides one statement. Pure: same facts, same answer.
pub fn decide(client: &ClientPolicy, catalog: &Catalog, statement: &Statement) -> Decision {
    let _ = (
        client,
        catalog,
        statement,
        ColumnId {
            relation: 0,
            attnum: 0,
        },
    );
    Decision::Refuse(Refusal {
        rule: Rule::StatementKind,
        sqlstate: "42501",
        message: String::from("not decided"),
        hint: None,
        position: None,
    })
}
