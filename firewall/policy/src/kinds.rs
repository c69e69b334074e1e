//! Kinds of statements that a role can be confined to.

use ringfence_analysis::facts::{Access, Kind, Statement};

/// A word of `statements:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word {
    Select,
    Insert,
    Update,
    Delete,
    Merge,
    Truncate,
    Copy,
    Explain,
    Listen,
    Notify,
    Lock,
    Maintenance,
    Ddl,
}

impl Word {
    pub const ALL: [Self; 13] = [
        Self::Select,
        Self::Insert,
        Self::Update,
        Self::Delete,
        Self::Merge,
        Self::Truncate,
        Self::Copy,
        Self::Explain,
        Self::Listen,
        Self::Notify,
        Self::Lock,
        Self::Maintenance,
        Self::Ddl,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Merge => "merge",
            Self::Truncate => "truncate",
            Self::Copy => "copy",
            Self::Explain => "explain",
            Self::Listen => "listen",
            Self::Notify => "notify",
            Self::Lock => "lock",
            Self::Maintenance => "maintenance",
            Self::Ddl => "ddl",
        }
    }

    /// The first word that the statement needs and `allowed` does not have: its own kind, and what it writes on the way
    /// (a WITH that deletes, an EXPLAIN or PREPARE of an UPDATE).
    pub(crate) fn missing(statement: &Statement, allowed: &[Self]) -> Option<Self> {
        let writes = || statement.relations.iter().filter_map(|used| Self::of_access(used.access));
        let own = match statement.kind {
            Kind::Prepare | Kind::Declare if writes().next().is_some() => None,
            kind => Self::of_kind(kind),
        };
        let missing = |word: &Self| !allowed.contains(word);
        own.filter(missing).or_else(|| {
            // Their word says it all.
            let whole = matches!(
                statement.kind,
                Kind::Merge | Kind::Truncate | Kind::CopyIn | Kind::CreateTableAs | Kind::Ddl | Kind::Maintenance
            );
            writes().filter(|_| !whole).find(missing)
        })
    }

    /// `None`: what drivers send by themselves, or what was decided before (FETCH, EXECUTE), or is decided elsewhere.
    fn of_kind(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Select | Kind::Declare | Kind::Prepare => Some(Self::Select),
            Kind::Insert => Some(Self::Insert),
            Kind::Update => Some(Self::Update),
            Kind::Delete => Some(Self::Delete),
            Kind::Merge => Some(Self::Merge),
            Kind::Truncate => Some(Self::Truncate),
            Kind::CopyIn | Kind::CopyOut => Some(Self::Copy),
            Kind::Explain => Some(Self::Explain),
            Kind::Listen => Some(Self::Listen),
            Kind::Notify => Some(Self::Notify),
            Kind::Lock => Some(Self::Lock),
            Kind::Maintenance => Some(Self::Maintenance),
            Kind::Ddl | Kind::CreateTableAs => Some(Self::Ddl),
            Kind::Empty
            | Kind::Fetch
            | Kind::Move
            | Kind::CloseCursor
            | Kind::Execute
            | Kind::Deallocate
            | Kind::Begin
            | Kind::Commit
            | Kind::Rollback
            | Kind::Savepoint
            | Kind::PreparedTransaction
            | Kind::Set
            | Kind::Show
            | Kind::Reset
            | Kind::Discard
            | Kind::Unlisten
            | Kind::Body
            | Kind::Do
            | Kind::Call
            | Kind::Admin
            | Kind::Other => None,
        }
    }

    fn of_access(access: Access) -> Option<Self> {
        match access {
            Access::Insert => Some(Self::Insert),
            Access::Update => Some(Self::Update),
            Access::Delete => Some(Self::Delete),
            Access::Ddl => Some(Self::Ddl),
            Access::Read | Access::Lock => None,
        }
    }
}
