//! What a dump can define, as plain data.

use crate::catalog::{FunctionKind, RelationKind, Volatility};

/// `[schema.]name`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Name {
    pub schema: Option<Box<str>>,
    pub name: Box<str>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct TypeRef {
    pub name: Name,
    pub array: bool,
    pub modifier: i32,
    pub set: bool,
}

/// What an expression or query names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Named {
    pub relations: Vec<Name>,
    pub functions: Vec<Name>,
    pub operators: Vec<Name>,
    pub columns: Vec<Box<str>>,
}

#[derive(Debug, Clone)]
pub(crate) struct ColumnDefinition {
    pub name: Box<str>,
    pub of: TypeRef,
    pub constraints: Vec<Constraint>,
}

#[derive(Debug, Clone)]
pub(crate) enum Constraint {
    Default(Named),
    Generated(Named),
    /// PRIMARY KEY, UNIQUE, EXCLUDE: what it compares (empty: the column that it stands at), and its index.
    Unique {
        columns: Vec<Box<str>>,
        index: Option<Box<str>>,
    },
    Foreign {
        columns: Vec<Box<str>>,
        to: Name,
        to_columns: Vec<Box<str>>,
    },
    Identity(Option<Name>),
}

#[derive(Debug, Clone)]
pub(crate) enum Change {
    Owner(Box<str>),
    Constraint(Constraint),
    Default(Box<str>, Named),
    Identity(Option<Name>),
    AddColumn(ColumnDefinition),
    Attach(Name),
    Inherit(Name),
    RowSecurity,
    Ignored,
    Unknown,
}

/// A query, as far as the names and types of its columns need it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    pub columns: Vec<Target>,
    pub from: Vec<Source>,
    pub with: Vec<(Box<str>, Vec<Box<str>>, Query)>,
}

#[derive(Debug, Clone)]
pub(crate) enum Target {
    Column { name: Box<str>, qualifier: Option<Box<str>>, column: Box<str> },
    Typed { name: Box<str>, of: TypeRef },
    Star(Option<Box<str>>),
    Other(Box<str>),
}

#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub alias: Box<str>,
    pub columns: Vec<Box<str>>,
    pub what: From,
}

#[derive(Debug, Clone)]
pub(crate) enum From {
    Relation(Name),
    Query(Box<Query>),
}

#[derive(Debug, Clone)]
pub(crate) enum Definition {
    Table {
        name: Name,
        kind: RelationKind,
        columns: Vec<ColumnDefinition>,
        parents: Vec<Name>,
        constraints: Vec<Constraint>,
        of: Option<Name>,
    },
    Sequence(Name),
    Index {
        name: Option<Box<str>>,
        table: Name,
        unique: bool,
        columns: Vec<Box<str>>,
    },
    View {
        name: Name,
        kind: RelationKind,
        aliases: Vec<Box<str>>,
        query: Query,
        named: Named,
    },
    Composite {
        name: Name,
        columns: Vec<ColumnDefinition>,
    },
    /// Enumerations and ranges: values without code of their own.
    Plain(Name),
    /// A type with input and output functions.
    Base(Name),
    Domain {
        name: Name,
        base: TypeRef,
        checks: Named,
    },
    DomainCheck {
        name: Name,
        checks: Named,
    },
    Function(Box<FunctionDefinition>),
    Aggregate {
        name: Name,
        arguments: Vec<TypeRef>,
        parts: Vec<Name>,
    },
    Operator {
        name: Box<str>,
        function: Option<Name>,
    },
    /// `None`: binary compatible. `Some(None)`: by the types' own input and output.
    Cast {
        types: [TypeRef; 2],
        function: Option<Option<Name>>,
    },
    Trigger {
        table: Name,
        function: Name,
    },
    Rule {
        table: Name,
        of_view: bool,
        named: Named,
    },
    Extension {
        name: Box<str>,
        schema: Option<Box<str>>,
    },
    Alter {
        table: Name,
        changes: Vec<Change>,
    },
    FunctionOwner {
        name: Name,
        owner: Box<str>,
    },
    /// Nothing that a decision depends on.
    Ignored,
    Unknown,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct FunctionDefinition {
    pub name: Name,
    pub kind: FunctionKind,
    pub arguments: Vec<TypeRef>,
    pub returns: TypeRef,
    pub language: Box<str>,
    /// `AS '…'`; `None` for `BEGIN ATOMIC` and `RETURN`, and for C.
    pub body: Option<Box<str>>,
    pub has_sql_body: bool,
    pub volatility: Volatility,
    pub security_definer: bool,
    pub settings: Vec<Box<str>>,
    pub defaults: bool,
}
