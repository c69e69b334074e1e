//! What the analysis says about a text. Facts name columns, labels and places in the text; they hold no
//! decision (that is the policy's) and no literal of the statement.

use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::catalog::{ColumnId, LabelId};

/// All statements of one text, in order.
#[derive(Debug, Clone, Default)]
pub struct Analysis {
    pub statements: Vec<Statement>,
    /// The text may be read differently under settings that a reply still under way could change: a backslash in
    /// an ordinary literal, or a non-ASCII byte. It waits until every earlier reply has arrived (soundness 16).
    pub setting_dependent: bool,
}

#[derive(Debug, Clone)]
pub struct Statement {
    /// Bytes of the text, without the semicolon.
    pub range: Range<usize>,
    pub kind: Kind,
    /// `kind` as the command tag prints it (`SELECT`, `CREATE TABLE`), for messages and audit.
    pub verb: &'static str,
    /// Normalised text's 64-bit fingerprint (literals left out), for the audit log.
    pub fingerprint: u64,
    /// Relations that the text names, every candidate of every name, with what is done to them.
    pub relations: Vec<RelationUse>,
    /// Relation names that the snapshot does not know (and no CTE explains).
    pub unknown: Vec<Box<str>>,
    /// Every labelled column that the text reaches, or could.
    pub columns: Vec<ColumnUse>,
    /// Reasons that hold whatever the labels are: opaque functions, server files, role control, ….
    pub violations: Vec<Violation>,
    /// The columns that the statement returns, in order, when `columns` is not empty and the statement is a query
    /// or has RETURNING. `None`: not known, so an origin-less result column cannot be cleared.
    pub outputs: Option<Vec<Output>>,
    /// The same columns by name, with every labelled column that each depends on; empty where `outputs` is `None`.
    pub described: Vec<Described>,
    /// Parameters whose value is stored in a labelled column: (number from 1, column, label).
    pub stored_parameters: SmallVec<[(u16, ColumnId, LabelId); 2]>,
    /// COPY … TO: the query whose description is that of the rows, and how they are framed.
    pub copy_out: Option<Box<CopyOut>>,
    /// What it does to the session's names and state.
    pub effect: Effect,
    /// It can write, so the diagnostics of triggers, constraints and rules can appear (soundness 17, 21).
    pub writes: bool,
    /// A relation with labelled columns is reached, by name or through foreign keys, rules and triggers of a write:
    /// diagnostics of this statement, and of the rest of its transaction, are rebuilt for restricted clients.
    pub taints: bool,
    /// An occurrence of a labelled column that only one of the two parsers explains: refused, and counted.
    pub unexplained: bool,
}

/// Statement kinds as the policy tells them apart. New kinds of the grammar are `Other`: refused to restricted clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The empty text.
    Empty,
    Select,
    Insert,
    Update,
    Delete,
    Merge,
    Truncate,
    /// COPY of a table, or of a query.
    CopyIn,
    CopyOut,
    Explain,
    Declare,
    Fetch,
    Move,
    CloseCursor,
    Prepare,
    Execute,
    Deallocate,
    Begin,
    Commit,
    Rollback,
    Savepoint,
    PreparedTransaction,
    Set,
    Show,
    Reset,
    Discard,
    Listen,
    Notify,
    Unlisten,
    Lock,
    /// VACUUM, ANALYZE, REINDEX, CLUSTER, CHECKPOINT.
    Maintenance,
    /// CREATE/ALTER/DROP of tables, indexes, sequences, schemas, plain types; COMMENT.
    Ddl,
    /// CREATE TABLE AS, SELECT INTO.
    CreateTableAs,
    /// CREATE of anything with a body: function, procedure, trigger, rule, view, policy, aggregate, operator, cast, DO, CALL.
    Body,
    Do,
    Call,
    /// Roles, grants, ALTER SYSTEM, extensions, publications, foreign servers, server files, LOAD.
    Admin,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    Insert,
    Update,
    Delete,
    Ddl,
    Lock,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationUse {
    pub oid: u32,
    pub access: Access,
}

/// One labelled column that the text reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnUse {
    pub column: ColumnId,
    pub label: LabelId,
    pub how: Use,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Use {
    /// Unmodified in a place whose values reach only the outermost select list or RETURNING.
    Output,
    /// Target of an INSERT or UPDATE whose new values are parameters, literals, DEFAULT or unlabelled columns.
    Stored(Access),
    /// Part of an expression whose value is returned. `droppable`: everything between the column and the client is on
    /// the reviewed list, so that `derived: drop` may make it NULL.
    Derived { droppable: bool, at: Violation },
    /// The answer depends on it: WHERE, ON, GROUP BY, ORDER BY, ….
    Filter { needs: Predicate, at: Violation },
    /// Anything else: allowed only to those for whom the label is plain.
    Violation(Violation),
}

/// What a predicate, key or set operation can tell of a value; the order is that of strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Predicate {
    /// Whether it equals another one.
    Equality,
    /// Anything else: order, a part of it, what a function makes of it.
    Any,
}

/// A reason to refuse: which rule, which construct, where in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub rule: Rule,
    /// What stands there, in the grammar's words (`function pg_read_file`, `WHERE`, `whole row of users`). No literal.
    pub construct: Arc<str>,
    /// Byte offset in the text, if known.
    pub position: Option<usize>,
}

/// The rules that refusals name. `ERRORS.md` has an anchor for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// A labelled column inside an expression.
    Derived,
    /// A labelled column in WHERE, ON, HAVING, ORDER BY, GROUP BY, DISTINCT, a window, LIMIT ….
    Filter,
    /// A labelled column under a set operation, in an aggregate, a recursive CTE ….
    Combined,
    /// A row value of a relation with labelled columns.
    WholeRow,
    /// A labelled column would be stored somewhere else.
    Flow,
    /// A labelled column would be stored from an expression that is not a parameter, literal or unlabelled column.
    StoredExpression,
    /// A written literal or parameter begins with `rf1_`.
    WrittenToken,
    /// COPY of a relation with labelled columns.
    Copy,
    /// A view or materialised view over labelled columns.
    View,
    /// A function that runs SQL, reads files, describes the server, is not reviewed, or reaches labelled columns.
    Function,
    /// An operator, type or cast defined by someone else.
    ShadowedName,
    /// pg_stats, pg_stat_activity.query and the like (built-in labels).
    Statistics,
    /// Catalog text (definitions, bodies) other than as a bare result column.
    CatalogText,
    /// A setting that restricted clients may not change.
    Setting,
    /// A statement kind that is not on the list for restricted clients.
    StatementKind,
    /// DDL on a relation with labelled columns.
    Ddl,
    /// Role, grant and server control.
    Admin,
    /// Replication, FunctionCall, and other protocol features that bypass SQL analysis.
    Protocol,
    /// EXECUTE, FETCH … of a name that this session did not analyse.
    UnknownName,
    /// A relation that is not in the catalog even after a refresh.
    UnknownRelation,
    /// The two parsers disagree, or one cannot read the text.
    Parser,
    /// Length, depth or size caps.
    Limit,
    /// ctid, tableoid and other system columns of a relation with labelled columns.
    SystemColumn,
    /// The server's description of the result differs from the analysis.
    Origin,
    /// A handling of the policy is `refuse`, or a permission is missing.
    Handling,
    /// `unclassified: refuse` and nobody has looked at the table.
    Unclassified,
    /// The audit log cannot be written.
    Audit,
    /// The client's rows or protected values of the hour are spent.
    Budget,
    /// An unlabelled result column holds what looks like a card number, a password hash or a private key.
    Detector,
    /// The control tables were not read for too long: what other replicas know is not known here.
    Control,
}

/// One result column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Reaches no labelled column.
    Free,
    /// An unmodified labelled column: the server must name one of these as the origin.
    Bare(SmallVec<[(ColumnId, LabelId); 1]>),
    /// An unmodified value of one of these, but the server no longer says so: UNION ALL, min, max, array_agg, a scalar
    /// subquery, a recursive common table expression, FULL JOIN USING. The strictest handling of them counts.
    Carried(SmallVec<[(ColumnId, LabelId); 1]>),
    /// An expression over labelled columns: for those who see all of them plain; NULL for those whose `derived: drop`
    /// covers all others, if it is `droppable`.
    Derived { labels: SmallVec<[LabelId; 1]>, droppable: bool },
    /// A catalog text (`pg_get_expr(…)`, `prosrc`): values that belong to labelled relations become NULL.
    CatalogText,
}

/// One result column's name and lineage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub name: Box<str>,
    pub columns: SmallVec<[(ColumnId, LabelId); 1]>,
}

/// A relation that a statement makes, or changes so that the snapshot no longer knows its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    pub name: Box<str>,
    pub temporary: bool,
    /// Its columns by name, with the labelled columns that their values come from. `None`: not known, and nothing
    /// labelled is in them.
    pub columns: Option<Vec<Described>>,
}

/// COPY … TO. What is an error cannot be told of this statement: the construct, for a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOut {
    pub source: Result<CopySource, &'static str>,
    pub framing: Result<CopyFraming, &'static str>,
}

/// A query that returns what COPY sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    /// Of a table, made from the names in the statement. It is described, never run.
    Table(Box<str>),
    /// Bytes of the text: the query of the COPY itself.
    Query(Range<usize>),
}

/// How COPY sends rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyFraming {
    pub format: CopyFormat,
    pub delimiter: u8,
    pub null: Box<[u8]>,
    pub quote: u8,
    pub escape: u8,
    /// The first row names the columns.
    pub header: bool,
    /// Columns whose values CSV always quotes.
    pub force_quote: ForceQuote,
}

impl CopyFormat {
    pub fn is_binary(self) -> bool {
        self == Self::Binary
    }
}

/// `FORCE_QUOTE` of COPY.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ForceQuote {
    #[default]
    None,
    All,
    Columns(Vec<Box<str>>),
}

impl ForceQuote {
    /// Whether the column of that name is among them.
    pub fn holds(&self, column: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Columns(names) => names.iter().any(|name| &**name == column),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyFormat {
    Text,
    Csv,
    Binary,
}

/// What a statement does to the session's own names and state.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Effect {
    #[default]
    None,
    /// SQL `PREPARE name AS …`: facts of the inner statement are those of the whole.
    Prepare(Box<str>),
    Execute(Box<str>),
    /// `None`: all.
    Deallocate(Option<Box<str>>),
    /// DECLARE name CURSOR.
    Declare(Box<str>),
    /// FETCH or MOVE from name.
    Fetch(Box<str>),
    CloseCursor(Option<Box<str>>),
    Discard,
    /// The catalog changes: names created, dropped or renamed. What may hold labelled values in columns that are not
    /// known is not among them: its name stays unknown.
    Catalog {
        creates: Vec<Created>,
    },
    Listen(Box<str>),
    Begin,
    Commit,
    Rollback,
}

impl Created {
    /// A relation with nothing labelled in it.
    pub fn harmless(name: &str) -> Self {
        Self { name: name.into(), temporary: false, columns: None }
    }
}

impl Rule {
    /// Every rule, for tables and tests.
    pub const ALL: [Self; 30] = [
        Self::Derived,
        Self::Filter,
        Self::Combined,
        Self::WholeRow,
        Self::Flow,
        Self::StoredExpression,
        Self::WrittenToken,
        Self::Copy,
        Self::View,
        Self::Function,
        Self::ShadowedName,
        Self::Statistics,
        Self::CatalogText,
        Self::Setting,
        Self::StatementKind,
        Self::Ddl,
        Self::Admin,
        Self::Protocol,
        Self::UnknownName,
        Self::UnknownRelation,
        Self::Parser,
        Self::Limit,
        Self::SystemColumn,
        Self::Origin,
        Self::Handling,
        Self::Unclassified,
        Self::Audit,
        Self::Budget,
        Self::Detector,
        Self::Control,
    ];

    /// The word that refusals, audit lines, metrics and `ERRORS.md` use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Derived => "derived",
            Self::Filter => "filter",
            Self::Combined => "combined",
            Self::WholeRow => "whole-row",
            Self::Flow => "flow",
            Self::StoredExpression => "stored-expression",
            Self::WrittenToken => "written-token",
            Self::Copy => "copy",
            Self::View => "view",
            Self::Function => "function",
            Self::ShadowedName => "shadowed-name",
            Self::Statistics => "statistics",
            Self::CatalogText => "catalog-text",
            Self::Setting => "setting",
            Self::StatementKind => "statement-kind",
            Self::Ddl => "ddl",
            Self::Admin => "admin",
            Self::Protocol => "protocol",
            Self::UnknownName => "unknown-name",
            Self::UnknownRelation => "unknown-relation",
            Self::Parser => "parser",
            Self::Limit => "limit",
            Self::SystemColumn => "system-column",
            Self::Origin => "origin",
            Self::Handling => "handling",
            Self::Unclassified => "unclassified",
            Self::Audit => "audit",
            Self::Budget => "budget",
            Self::Detector => "detector",
            Self::Control => "control",
        }
    }
}
