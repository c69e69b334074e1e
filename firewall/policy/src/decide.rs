//! One client and one statement to a decision.

use std::sync::Arc;

use ringfence_analysis::builtin;
use ringfence_analysis::facts::{
    Access, ColumnUse, Effect, Kind, Output, RelationUse, Rule, Statement, Use, Violation,
};
use ringfence_analysis::{Catalog, ColumnId, LabelId, Relation};

use crate::carry::carrier;
use crate::refusal::{self, Refusal};
use crate::{Filter, Handling};

/// One client's policy, compiled from its roles: everything the session asks per statement or per result column.
#[derive(Debug)]
pub struct ClientPolicy {
    pub name: Box<str>,
    /// Some declared label is not plain, or something is forbidden on a plain one.
    pub restricted: bool,
    /// `enforce: observe`: refusals are recorded, and the statement passes (handlings still apply).
    pub observe: bool,
    /// Role, grant and server control are allowed.
    pub admin: bool,
    pub statement_timeout: Option<std::time::Duration>,
    pub max_connections: Option<u32>,
    /// Index = `LabelId`.
    pub labels: Vec<LabelPolicy>,
    /// Channels whose notification payloads reach this client although it is restricted.
    pub notification_channels: Vec<Box<str>>,
    /// Statements that touch nothing labelled go on when the audit log cannot be written.
    pub continue_without_audit: bool,
}

/// What one client may do with one label.
#[derive(Debug, Clone)]
pub struct LabelPolicy {
    pub name: Arc<str>,
    pub handling: Handling,
    pub allow: Allow,
    /// Which predicates may depend on the label's values.
    pub filter: Filter,
}

/// Permissions on one label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allow {
    pub read: bool,
    pub insert: bool,
    pub update: bool,
    pub delete: bool,
    pub copy: bool,
    pub ddl: bool,
    pub explain: bool,
}

/// What happens to a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing labelled is reached that is not plain for this client.
    Pass,
    /// Result columns are handled by their label, as the server's description names them.
    Handle,
    Refuse(Refusal),
}

impl Allow {
    /// All permissions, `ddl` too.
    pub fn everything() -> Self {
        Self { read: true, insert: true, update: true, delete: true, copy: true, ddl: true, explain: true }
    }

    /// All that a role has unless it says otherwise; `ddl` must always be given.
    pub fn is_everything(self) -> bool {
        Self { ddl: true, ..self } == Self::everything()
    }
}

impl LabelPolicy {
    /// The policy of a label that no role names.
    pub fn refused(name: &Arc<str>) -> Self {
        Self { name: Arc::clone(name), handling: Handling::Refuse, allow: Allow::default(), filter: Filter::None }
    }

    /// The policy of values that the database computes from this label's.
    pub(crate) fn computed(&self) -> Self {
        let name = Arc::from(crate::policy::computed_name(&self.name));
        if self.handling == Handling::Plain { Self { name, ..self.clone() } } else { Self::refused(&name) }
    }

    /// Plain, and nothing that is usual is forbidden.
    fn is_free(&self) -> bool {
        self.handling == Handling::Plain && self.allow.is_everything()
    }
}

impl ClientPolicy {
    /// A label that does not exist is refused.
    pub fn handling(&self, label: LabelId) -> &Handling {
        self.labels.get(usize::from(label.0)).map_or(&Handling::Refuse, |l| &l.handling)
    }

    pub fn is_plain(&self, label: LabelId) -> bool {
        matches!(self.handling(label), Handling::Plain)
    }

    /// The label's name, for messages.
    pub fn label_name(&self, label: LabelId) -> &str {
        self.labels.get(usize::from(label.0)).map_or("?", |l| &l.name)
    }

    pub(crate) fn allow(&self, label: LabelId) -> Allow {
        self.labels.get(usize::from(label.0)).map_or(Allow::default(), |l| l.allow)
    }

    fn is_free(&self, label: LabelId) -> bool {
        self.labels.get(usize::from(label.0)).is_some_and(LabelPolicy::is_free)
    }
}

/// The handling that a value of this type gets: drop where the type cannot carry the policy's.
pub fn effective_handling<'p>(
    client: &'p ClientPolicy,
    label: LabelId,
    catalog: &Catalog,
    type_oid: u32,
) -> &'p Handling {
    carrier(catalog, type_oid).0.effective(client.handling(label))
}

/// Decides one statement. Pure: same facts, same answer.
pub fn decide(client: &ClientPolicy, catalog: &Catalog, statement: &Statement) -> Decision {
    if !client.restricted {
        return Decision::Pass;
    }
    let question = Question { client, catalog, statement };
    let refusal = question
        .unconditional()
        .or_else(|| question.kind())
        .or_else(|| question.statement.columns.iter().find_map(|used| question.column(used)))
        .or_else(|| question.outputs())
        .or_else(|| question.statement.relations.iter().find_map(|used| question.relation(used)));
    match refusal {
        Some(refusal) => Decision::Refuse(refusal),
        None if question.handles() => Decision::Handle,
        None => Decision::Pass,
    }
}

/// What is said of one labelled column of a statement by itself, for explanations.
pub(crate) fn of_column(
    client: &ClientPolicy,
    catalog: &Catalog,
    statement: &Statement,
    used: &ColumnUse,
) -> Option<Refusal> {
    if client.restricted { Question { client, catalog, statement }.column(used) } else { None }
}

struct Question<'a> {
    client: &'a ClientPolicy,
    catalog: &'a Catalog,
    statement: &'a Statement,
}

impl Question<'_> {
    /// What no label makes better: opaque functions, server files, role control, texts that cannot be read.
    fn unconditional(&self) -> Option<Refusal> {
        self.statement
            .violations
            .iter()
            .find(|violation| !(violation.rule == Rule::Admin && self.client.admin))
            .map(|violation| refusal::unconditional(self.client, violation))
    }

    /// The allow-list of statement kinds (soundness 20).
    fn kind(&self) -> Option<Refusal> {
        let refused = match self.statement.kind {
            Kind::Empty
            | Kind::Select
            | Kind::Insert
            | Kind::Update
            | Kind::Delete
            | Kind::Merge
            | Kind::Truncate
            | Kind::CopyIn
            | Kind::CopyOut
            | Kind::Explain
            | Kind::Declare
            | Kind::Fetch
            | Kind::Move
            | Kind::CloseCursor
            | Kind::Prepare
            | Kind::Execute
            | Kind::Deallocate
            | Kind::Begin
            | Kind::Commit
            | Kind::Rollback
            | Kind::Savepoint
            | Kind::Set
            | Kind::Show
            | Kind::Reset
            | Kind::Discard
            | Kind::Listen
            | Kind::Notify
            | Kind::Unlisten
            | Kind::Lock
            | Kind::Maintenance
            | Kind::Ddl
            | Kind::CreateTableAs => false,
            Kind::Admin => !self.client.admin,
            // A prepared transaction can be finished by another session, with other rules.
            Kind::PreparedTransaction | Kind::Body | Kind::Do | Kind::Call | Kind::Other => true,
        };
        if refused {
            return Some(refusal::kind(self.client, self.statement));
        }
        match &self.statement.effect {
            Effect::Listen(channel) if channel.starts_with("ringfence") => {
                Some(refusal::own_channel(self.client, channel))
            }
            _ => None,
        }
    }

    fn column(&self, used: &ColumnUse) -> Option<Refusal> {
        let refuse = |violation: &Violation| {
            Some(refusal::column(self.client, self.catalog, used.column, used.label, violation))
        };
        let missing = |action| Some(refusal::missing(self.client, self.catalog, used.column, used.label, action));
        let handling = self.client.handling(used.label);
        let allow = self.client.allow(used.label);
        match &used.how {
            // Bare catalog texts become NULL where they tell of labelled columns.
            Use::Output if used.label == builtin::CATALOG_TEXT => None,
            Use::Output if *handling == Handling::Refuse => {
                Some(refusal::refused(self.client, self.catalog, used.column, used.label))
            }
            Use::Output if !allow.read => missing("read"),
            Use::Output => None,
            Use::Stored(Access::Insert) if !allow.insert => missing("insert"),
            Use::Stored(Access::Update) if !allow.update => missing("update"),
            Use::Stored(Access::Insert | Access::Update) => None,
            // The analysis stores only by INSERT and UPDATE.
            Use::Stored(Access::Read | Access::Delete | Access::Ddl | Access::Lock) => missing("update"),
            Use::Derived { at: violation, .. } | Use::Filter { at: violation, .. } | Use::Violation(violation) => {
                if !self.client.is_plain(used.label) {
                    refuse(violation)
                } else if allow.read {
                    None
                } else {
                    missing("read")
                }
            }
        }
    }

    /// Expressions over labels reach only those who see all of them in plain.
    fn outputs(&self) -> Option<Refusal> {
        let outputs = self.statement.outputs.as_deref().unwrap_or_default();
        outputs.iter().find_map(|output| match output {
            Output::Derived { labels, .. } => labels
                .iter()
                .find(|label| !self.client.is_plain(**label))
                .map(|label| refusal::derived(self.client, *label)),
            Output::Free | Output::Bare(_) | Output::Carried(_) | Output::CatalogText => None,
        })
    }

    /// What is done to a relation as a whole, whatever columns are named.
    fn relation(&self, used: &RelationUse) -> Option<Refusal> {
        let relation = self.catalog.by_oid(used.oid)?;
        if relation.system {
            return None;
        }
        if relation.unclassified {
            return Some(refusal::unclassified(self.client, relation));
        }
        if matches!(self.statement.kind, Kind::CopyIn | Kind::CopyOut)
            && let Some((column, label)) = self.protected(relation, |_| false)
        {
            return Some(refusal::copy(self.client, self.catalog, column, label));
        }
        let (action, allowed): (&str, fn(Allow) -> bool) = match (self.statement.kind, used.access) {
            // A plan prints the defaults of the columns that are left out, and the conditions of row security.
            (Kind::Explain, Access::Insert) => ("explain", |_| false),
            (Kind::Explain, _) if relation.row_security => ("explain", |_| false),
            (Kind::Explain, _) => ("explain", |allow| allow.explain),
            (Kind::Maintenance, _) | (_, Access::Ddl) => ("ddl", |allow| allow.ddl),
            (Kind::Truncate, _) | (_, Access::Delete) => ("delete", |allow| allow.delete),
            (_, Access::Read | Access::Insert | Access::Update | Access::Lock) => return None,
        };
        let (column, label) = self.protected(relation, allowed)?;
        Some(refusal::missing(self.client, self.catalog, column, label, action))
    }

    /// The first column whose label restricts this client, and does not allow this.
    fn protected(&self, relation: &Relation, allowed: fn(Allow) -> bool) -> Option<(ColumnId, LabelId)> {
        relation.columns.iter().find_map(|column| {
            let label = column.label?;
            let free = self.client.is_free(label) || allowed(self.client.allow(label));
            let id = ColumnId { relation: relation.oid, attnum: column.attnum };
            (!free).then_some((id, label))
        })
    }

    fn handles(&self) -> bool {
        let plain = |label: LabelId| self.client.is_plain(label);
        let outputs = self.statement.outputs.as_deref().unwrap_or_default();
        self.statement.columns.iter().any(|used| used.how == Use::Output && !plain(used.label))
            || outputs.iter().any(|output| match output {
                Output::Bare(columns) | Output::Carried(columns) => columns.iter().any(|(_, label)| !plain(*label)),
                Output::CatalogText => true,
                Output::Free | Output::Derived { .. } => false,
            })
    }
}
