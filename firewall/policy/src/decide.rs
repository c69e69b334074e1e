//! One client and one statement to a decision.

use std::sync::Arc;

use ringfence_analysis::builtin;
use ringfence_analysis::facts::{
    Access, ColumnUse, Effect, Kind, Output, Predicate, RelationUse, Rule, Statement, Use, Violation,
};
use ringfence_analysis::{Catalog, ColumnId, LabelId, Relation};

use crate::budget::Limit;
use crate::carry::carrier;
use crate::detect::Detectors;
use crate::kinds::Word;
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
    /// The kinds of statements that the client's roles confine it to.
    pub statements: Option<Box<[Word]>>,
    /// Result rows with labelled columns.
    pub rows_per_hour: Option<Limit>,
    /// What is done where an unlabelled column shows what looks like protected data.
    pub detectors: Detectors,
}

/// What one client may do with one label.
#[derive(Debug, Clone)]
pub struct LabelPolicy {
    pub name: Arc<str>,
    pub handling: Handling,
    pub allow: Allow,
    /// `update` is written in some role's `allow`, and not only a default.
    pub update_stated: bool,
    /// Which predicates may depend on the label's values.
    pub filter: Filter,
    /// Expressions over the label are NULL where that tells nothing, instead of refused.
    pub derived_drop: bool,
    /// Different values, handled or plain, and guesses at them.
    pub values_per_hour: Option<Limit>,
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
        Self {
            name: Arc::clone(name),
            handling: Handling::Refuse,
            allow: Allow::default(),
            update_stated: false,
            filter: Filter::None,
            derived_drop: false,
            values_per_hour: None,
        }
    }

    /// The policy of a label of which nothing is withheld.
    pub(crate) fn unlimited(name: &Arc<str>) -> Self {
        Self {
            handling: Handling::Plain,
            allow: Allow::everything(),
            update_stated: true,
            filter: Filter::Any,
            ..Self::refused(name)
        }
    }

    /// The policy of values that the database computes from this label's.
    pub(crate) fn computed(&self) -> Self {
        let name = Arc::from(crate::policy::computed_name(&self.name));
        if self.handling == Handling::Plain { Self { name, ..self.clone() } } else { Self::refused(&name) }
    }

    /// Plain, and nothing that is usual is forbidden or counted.
    pub(crate) fn is_unlimited(&self) -> bool {
        self.is_free() && self.filter == Filter::Any && self.values_per_hour.is_none()
    }

    /// Plain, and nothing that is usual is forbidden.
    fn is_free(&self) -> bool {
        self.handling == Handling::Plain && self.allow.is_everything()
    }

    /// What an expression over the label becomes.
    fn derived(&self, droppable: bool) -> Handling {
        match self.handling {
            Handling::Plain => Handling::Plain,
            Handling::Refuse => Handling::Refuse,
            Handling::Mask(_) | Handling::Tokenize | Handling::Encrypt | Handling::Drop => {
                if droppable && self.derived_drop { Handling::Drop } else { Handling::Refuse }
            }
        }
    }
}

/// Restricted, without roles: what is not given is refused.
impl Default for ClientPolicy {
    fn default() -> Self {
        Self {
            name: Box::default(),
            restricted: true,
            observe: false,
            admin: false,
            statement_timeout: None,
            max_connections: None,
            labels: Vec::new(),
            notification_channels: Vec::new(),
            continue_without_audit: false,
            statements: None,
            rows_per_hour: None,
            detectors: Detectors::default(),
        }
    }
}

impl ClientPolicy {
    /// Its DDL can touch relations with labelled columns.
    pub fn may_change_labelled(&self) -> bool {
        !self.restricted || self.labels.iter().any(|label| label.allow.ddl)
    }

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

    /// The handling of a value that can come from any of these columns: the strictest. Two different masks leave
    /// nothing; tokens of different labels are keyed differently, so that a value of either gets a random one.
    pub fn meet(&self, columns: &[(ColumnId, LabelId)]) -> Handling {
        let of = |label: LabelId| if self.allow(label).read { self.handling(label) } else { &Handling::Refuse };
        let Some(((_, first), rest)) = columns.split_first() else { return Handling::Refuse };
        let met = rest.iter().fold(of(*first).clone(), |met, (_, label)| met.meet(of(*label)));
        let one_label = rest.iter().all(|(_, label)| label == first);
        if met == Handling::Tokenize && !one_label { Handling::Encrypt } else { met }
    }

    /// What an expression over these labels becomes: plain, drop (NULL) or refuse. `droppable` is the analysis' word.
    pub fn derived(&self, labels: &[LabelId], droppable: bool) -> Handling {
        labels.iter().map(|label| self.derived_from(*label, droppable)).max().unwrap_or(Handling::Plain)
    }

    /// Which predicates may depend on the label's values.
    pub fn filter(&self, label: LabelId) -> Filter {
        self.labels.get(usize::from(label.0)).map_or(Filter::None, |l| l.filter)
    }

    /// Different values of some label are counted.
    pub fn counts_values(&self) -> bool {
        self.labels.iter().any(|label| label.values_per_hour.is_some())
    }

    fn derived_from(&self, label: LabelId, droppable: bool) -> Handling {
        self.labels
            .get(usize::from(label.0))
            .filter(|policy| policy.allow.read)
            .map_or(Handling::Refuse, |policy| policy.derived(droppable))
    }

    pub(crate) fn allow(&self, label: LabelId) -> Allow {
        self.labels.get(usize::from(label.0)).map_or(Allow::default(), |l| l.allow)
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
        if let Some(allowed) = &self.client.statements
            && let Some(missing) = Word::missing(self.statement, allowed)
        {
            return Some(refusal::confined(self.client, self.statement, missing, allowed));
        }
        match &self.statement.effect {
            Effect::Listen(channel) if channel.starts_with("ringfence") => {
                Some(refusal::own_channel(self.client, channel))
            }
            _ => None,
        }
    }

    fn column(&self, used: &ColumnUse) -> Option<Refusal> {
        let label = self.client.labels.get(usize::from(used.label.0));
        let refuse = |violation: &Violation| {
            Some(refusal::column(self.client, self.catalog, used.column, used.label, violation))
        };
        let plain = self.client.is_plain(used.label);
        let filter = self.client.filter(used.label);
        match &used.how {
            // Bare catalog texts become NULL where they tell of labelled columns.
            Use::Output if used.label == builtin::CATALOG_TEXT => None,
            Use::Output if *self.client.handling(used.label) == Handling::Refuse => {
                Some(refusal::refused(self.client, self.catalog, used.column, used.label))
            }
            Use::Output => self.read(used),
            Use::Stored(access) => self.stored(used, *access),
            Use::Derived { droppable, at } => match label.map(|label| label.derived(*droppable)) {
                Some(Handling::Plain | Handling::Drop) => self.read(used),
                _ => Some(refusal::derived_column(self.client, self.catalog, used, *droppable, at)),
            },
            Use::Filter { needs, at } => {
                if filter >= needed(*needs) {
                    self.read(used)
                } else {
                    Some(refusal::filter(self.client, self.catalog, used, at))
                }
            }
            Use::Violation(violation) => {
                // What the analysis could not tell apart further may be a predicate.
                let predicate = matches!(violation.rule, Rule::Filter | Rule::Combined);
                if !plain || (predicate && filter < Filter::Any) { refuse(violation) } else { self.read(used) }
            }
        }
    }

    /// The permissions that showing a value, or an answer that depends on it, needs.
    fn read(&self, used: &ColumnUse) -> Option<Refusal> {
        let allow = self.client.allow(used.label);
        let missing = |action| Some(refusal::missing(self.client, self.catalog, used.column, used.label, action));
        if !allow.read {
            return missing("read");
        }
        match self.statement.kind {
            Kind::CopyOut if !allow.copy => missing("copy"),
            Kind::Explain if !allow.explain => missing("explain"),
            _ => None,
        }
    }

    /// The permissions that storing a value needs.
    fn stored(&self, used: &ColumnUse, access: Access) -> Option<Refusal> {
        let allow = self.client.allow(used.label);
        let missing = |action| Some(refusal::missing(self.client, self.catalog, used.column, used.label, action));
        match (access, self.statement.kind) {
            // Nobody looks into the data yet: it could hold tokens.
            (_, Kind::CopyIn) if !self.client.is_plain(used.label) => {
                Some(refusal::copy_in(self.client, self.catalog, used.column, used.label))
            }
            (_, Kind::CopyIn) if !allow.copy => missing("copy"),
            (Access::Insert, _) if !allow.insert => missing("insert"),
            (Access::Insert, _) => None,
            (Access::Update, _) if !allow.update || self.reads_null(used) => missing("update"),
            (Access::Update, _) => None,
            // The analysis stores only by INSERT and UPDATE.
            (Access::Read | Access::Delete | Access::Ddl | Access::Lock, _) => missing("update"),
        }
    }

    /// The column's type cannot carry the handling, so that the client reads NULL there: who saves the row as it was
    /// shown destroys the value. Allowed to those of whom the classification says so.
    fn reads_null(&self, used: &ColumnUse) -> bool {
        let stated = self.client.labels.get(usize::from(used.label.0)).is_some_and(|label| label.update_stated);
        let type_oid = self.catalog.column(used.column).map_or(0, |column| column.type_oid);
        !stated && *effective_handling(self.client, used.label, self.catalog, type_oid) == Handling::Drop
    }

    /// What the result's columns are made of.
    fn outputs(&self) -> Option<Refusal> {
        let outputs = self.statement.outputs.as_deref().unwrap_or_default();
        outputs.iter().find_map(|output| match output {
            Output::Derived { labels, droppable } => labels
                .iter()
                .find(|label| self.client.derived_from(**label, *droppable) == Handling::Refuse)
                .map(|label| refusal::derived(self.client, *label, *droppable)),
            Output::Carried(columns) => columns
                .iter()
                .find(|(_, label)| self.client.meet(&[(NOWHERE, *label)]) == Handling::Refuse)
                .map(|(column, label)| refusal::refused(self.client, self.catalog, *column, *label)),
            Output::Free | Output::Bare(_) | Output::CatalogText => None,
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
        match (self.statement.kind, used.access) {
            // The columns say more, where they are known.
            (Kind::CopyOut, Access::Read) if self.statement.copy_out.is_none() => {
                if let Some((column, label)) = self.protected(relation, |_| false) {
                    return Some(refusal::copy(self.client, self.catalog, column, label));
                }
            }
            (Kind::CopyIn, Access::Insert) => {
                let allowed =
                    |label: &LabelPolicy| label.handling == Handling::Plain && label.allow.insert && label.allow.copy;
                if let Some((column, label)) = self.protected(relation, allowed) {
                    return Some(if self.client.is_plain(label) {
                        let action = if self.client.allow(label).insert { "copy" } else { "insert" };
                        refusal::missing(self.client, self.catalog, column, label, action)
                    } else {
                        refusal::copy_in(self.client, self.catalog, column, label)
                    });
                }
            }
            _ => {}
        }
        let (action, allowed): (&str, fn(&LabelPolicy) -> bool) = match (self.statement.kind, used.access) {
            // A plan prints the defaults of the columns that are left out, and the conditions of row security.
            (Kind::Explain, Access::Insert) => ("explain", |_| false),
            (Kind::Explain, _) if relation.row_security => ("explain", |_| false),
            (Kind::Explain, _) => ("explain", |label| label.allow.explain),
            (Kind::Maintenance, _) | (_, Access::Ddl) => ("ddl", |label| label.allow.ddl),
            (Kind::Truncate, _) | (_, Access::Delete) => ("delete", |label| label.allow.delete),
            (_, Access::Read | Access::Insert | Access::Update | Access::Lock) => return None,
        };
        let (column, label) = self.protected(relation, allowed)?;
        Some(refusal::missing(self.client, self.catalog, column, label, action))
    }

    /// The first column whose label restricts this client, and does not allow this.
    fn protected(&self, relation: &Relation, allowed: fn(&LabelPolicy) -> bool) -> Option<(ColumnId, LabelId)> {
        relation.columns.iter().find_map(|column| {
            let label = column.label?;
            let policy = self.client.labels.get(usize::from(label.0));
            let free = policy.is_some_and(|policy| policy.is_free() || allowed(policy));
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
                Output::Derived { labels, .. } => labels.iter().any(|label| !plain(*label)),
                Output::CatalogText => true,
                Output::Free => false,
            })
    }
}

/// For questions about a label, whatever the column.
const NOWHERE: ColumnId = ColumnId { relation: 0, attnum: 0 };

/// The word of the policy that a predicate asks for.
fn needed(predicate: Predicate) -> Filter {
    match predicate {
        Predicate::Equality => Filter::Equality,
        Predicate::Any => Filter::Any,
    }
}
