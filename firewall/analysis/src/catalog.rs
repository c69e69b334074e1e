//! The catalog snapshot: an immutable picture of one database's relations and functions.
//!
//! The server crate loads it (SQL lives there), the policy crate labels its columns, and everything
//! else only reads it. Names are stored as the server stores them: folded, at most 63 bytes.

use std::sync::OnceLock;

use foldhash::{HashMap, HashSet};

use crate::builtin;
use crate::reach::{Index, Reached};

/// What a column is called wherever names may change: the table's OID and the attribute number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ColumnId {
    pub relation: u32,
    pub attnum: i16,
}

/// A label, as an index into the policy's list of labels. Opaque here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LabelId(pub u16);

/// `pg_class.relkind`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RelationKind {
    #[default]
    Table,
    PartitionedTable,
    View,
    MaterializedView,
    ForeignTable,
    Sequence,
    Index,
    Toast,
    CompositeType,
}

#[derive(Clone, Debug, Default)]
pub struct Column {
    pub attnum: i16,
    pub name: Box<str>,
    pub type_oid: u32,
    pub typmod: i32,
    /// The type's name as `format_type` prints it, without modifiers.
    pub type_name: Box<str>,
    /// Set by the policy; `None` is unlabelled.
    pub label: Option<LabelId>,
}

#[derive(Clone, Debug, Default)]
pub struct Relation {
    pub oid: u32,
    pub schema: Box<str>,
    pub name: Box<str>,
    pub kind: RelationKind,
    pub owner: u32,
    /// `pg_temp_N` schemas hold the sessions' own tables.
    pub temporary: bool,
    /// In pg_catalog, information_schema or pg_toast.
    pub system: bool,
    /// In order of attribute number, without dropped ones; system columns (ctid, …) are not listed.
    pub columns: Vec<Column>,
    /// OID of the relation's row type in pg_type (0 if none).
    pub row_type: u32,
    /// Direct inheritance or partition parents.
    pub parents: Vec<u32>,
    /// A view's or materialised view's query as the server prints it under an empty search path.
    pub definition: Option<Box<str>>,
    /// A view whose columns' labels tell all that it shows: they were found by the lineage of its query.
    pub settled: bool,
    /// For views and materialised views: every relation that their rule names (direct only), by pg_depend.
    pub reads: Vec<u32>,
    /// Functions (pg_proc OIDs) that the view's rule, or the relation's rules, call. Only those from OID 16384.
    pub calls: Vec<u32>,
    /// A write to this relation can run something whose diagnostics name other rows: a non-internal trigger,
    /// a rule, or a foreign-key action that ends in another relation (those relations are listed).
    pub write_reaches: Vec<u32>,
    /// It has a non-internal trigger or a rewrite rule other than a view's.
    pub active: bool,
    /// Row security is on: the server adds conditions to statements on it.
    pub row_security: bool,
    /// It has a rewrite rule other than a view's: a write to it can become another statement.
    pub ruled: bool,
    /// Defaults and generated columns that call functions from OID 16384: (attribute number, function).
    pub default_calls: Vec<(i16, u32)>,
    /// Functions that a write asks: of CHECK constraints and of triggers' conditions. Only those from OID 16384.
    pub asks: Vec<u32>,
    /// Foreign keys, column by column: (own attribute number, referenced relation, its attribute number).
    pub references: Vec<(i16, u32, i16)>,
    /// Generated columns: (own attribute number, one that its expression reads).
    pub generated: Vec<(i16, i16)>,
    /// Columns whose written values a unique, exclusion or foreign-key constraint or a unique index compares (soundness
    /// 6): writing one answers questions about the others. Both ends of a foreign key count.
    pub constrained: Vec<i16>,
    /// Set by the policy: it says `unclassified: refuse` here, and no entry names this relation.
    pub unclassified: bool,
}

impl Relation {
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| &*c.name == name)
    }

    pub fn has_labels(&self) -> bool {
        self.columns.iter().any(|c| c.label.is_some())
    }
}

/// `pg_proc.prokind`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FunctionKind {
    #[default]
    Function,
    Procedure,
    Aggregate,
    Window,
}

/// `pg_proc.provolatile`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Volatility {
    Immutable,
    Stable,
    #[default]
    Volatile,
}

/// A function, procedure or aggregate that is not one of the server's own (OID from 16384), or any
/// function outside pg_catalog.
#[derive(Clone, Debug, Default)]
pub struct Function {
    pub oid: u32,
    pub schema: Box<str>,
    pub name: Box<str>,
    pub kind: FunctionKind,
    pub owner: u32,
    pub language: Box<str>,
    /// Source text (`prosrc`), or the printed body of a `BEGIN ATOMIC` function.
    pub body: Option<Box<str>>,
    /// The extension that it belongs to.
    pub extension: Option<Box<str>>,
    /// Types of the input arguments.
    pub arguments: Box<[u32]>,
    /// Type of the result.
    pub returns: u32,
    pub returns_set: bool,
    pub volatility: Volatility,
    pub security_definer: bool,
    /// Defaults of its arguments, as the server prints them.
    pub defaults: Option<Box<str>>,
    /// `SET` clauses, as `name=value`.
    pub settings: Box<[Box<str>]>,
    /// What an aggregate is made of: functions from OID 16384, and names of the server's own.
    pub parts: Box<[u32]>,
    pub server_parts: Box<[Box<str>]>,
}

/// Names outside pg_catalog that call functions when they are used: the functions, from OID 16384, by name. A function
/// that is not known counts as opaque.
#[derive(Clone, Debug, Default)]
pub struct NamedCalls {
    pub operators: HashMap<Box<str>, Vec<u32>>,
    /// Types that a cast by function leads from or to.
    pub types: HashMap<Box<str>, Vec<u32>>,
    /// Domains whose CHECK or default calls them.
    pub domains: HashMap<Box<str>, Vec<u32>>,
}

/// One database as it was when the snapshot was taken.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// `server_version_num` (150018).
    pub server_version: u32,
    pub database_oid: u32,
    pub database: Box<str>,
    /// Increases with every reload that found a difference.
    pub epoch: u64,
    relations: Vec<Relation>,
    by_oid: HashMap<u32, usize>,
    by_name: HashMap<Box<str>, Vec<usize>>,
    functions: HashMap<Box<str>, Vec<Function>>,
    /// Names of operators, types and casts defined outside pg_catalog by someone other than a trusted extension.
    pub foreign_operators: HashSet<Box<str>>,
    pub foreign_types: HashSet<Box<str>>,
    /// Domains (name) with a CHECK or default that calls a function from OID 16384.
    pub active_domains: HashSet<Box<str>>,
    /// What is behind such operators, casts and domains: those whose functions turn out harmless leave the sets above
    /// (see [`Catalog::settle`]).
    pub calls: NamedCalls,
    /// Functions (`schema.name`) that the policy declares to give nothing away.
    pub declassified: HashSet<Box<str>>,
    /// Aggregates, by name, whose result over labelled values gives nothing away by the policy's word.
    pub declassified_aggregates: HashSet<Box<str>>,
    /// Roles that some client can act as (OIDs); objects of theirs are opaque whatever their body.
    pub client_roles: HashSet<u32>,
    /// Types from OID 16384 whose values look like a built-in type's on the wire, by that type's OID: domains (their
    /// base type, all the way down), citext (text), and arrays of either (text[], …).
    pub wire_types: HashMap<u32, u32>,
    /// Types that hold a relation's rows (arrays of, and domains over, its row type), by that row type.
    pub row_types: HashMap<u32, u32>,
    /// Extensions whose functions do what their arguments allow, by the policy's word.
    pub trusted_extensions: HashSet<Box<str>>,
    /// 128-bit hashes of catalog texts (defaults, index and constraint definitions, bodies) that belong to
    /// relations with labelled columns or to functions that name them. See `text_hash`.
    pub sensitive_texts: HashSet<u128>,
    /// What each relation reaches, worked out at first use.
    index: OnceLock<Index>,
}

impl Catalog {
    pub fn new(relations: Vec<Relation>, functions: Vec<Function>) -> Self {
        let mut catalog = Self::default();
        for mut relation in relations {
            builtin::apply(&mut relation);
            let at = catalog.relations.len();
            catalog.by_oid.insert(relation.oid, at);
            catalog.by_name.entry(relation.name.clone()).or_default().push(at);
            catalog.relations.push(relation);
        }
        for function in functions {
            catalog.functions.entry(function.name.clone()).or_default().push(function);
        }
        catalog
    }

    pub fn relations(&self) -> &[Relation] {
        &self.relations
    }

    /// For the policy to set labels, before the snapshot is shared.
    pub fn relations_mut(&mut self) -> &mut [Relation] {
        self.index = OnceLock::new();
        &mut self.relations
    }

    pub fn by_oid(&self, oid: u32) -> Option<&Relation> {
        self.by_oid.get(&oid).and_then(|&at| self.relations.get(at))
    }

    /// Every relation of that name, in any schema: the firewall does not trust its idea of `search_path`.
    pub fn by_name<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Relation> + use<'a> {
        let found = self.by_name.get(name).map_or(&[][..], Vec::as_slice);
        found.iter().filter_map(|&at| self.relations.get(at))
    }

    pub fn column(&self, id: ColumnId) -> Option<&Column> {
        self.by_oid(id.relation)?.columns.iter().find(|c| c.attnum == id.attnum)
    }

    /// Functions of that name outside the server's own.
    pub fn functions(&self, name: &str) -> &[Function] {
        self.functions.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether the function belongs to a trusted extension.
    pub fn trusts(&self, function: &Function) -> bool {
        function.extension.as_ref().is_some_and(|name| self.trusted_extensions.contains(name))
    }

    /// Whether the policy's word is that the function gives nothing away.
    pub fn declassifies(&self, function: &Function) -> bool {
        !self.declassified.is_empty() && self.declassified.contains(&*format!("{}.{}", function.schema, function.name))
    }

    pub(crate) fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::build(self))
    }

    /// What calling a function outside the server's own reaches, through all that it calls. One that the snapshot does
    /// not have is opaque.
    pub fn reached(&self, function: u32) -> &Reached {
        self.index().function(function)
    }

    /// Once all labels are set: operators, casts and domains of users are as harmless as the functions behind them.
    pub fn settle(&mut self) {
        let harmless = |functions: &[u32]| functions.iter().all(|oid| self.reached(*oid).is_harmless());
        let names = |calls: &HashMap<Box<str>, Vec<u32>>| -> Vec<Box<str>> {
            calls.iter().filter(|(_, functions)| harmless(functions)).map(|(name, _)| name.clone()).collect()
        };
        let (operators, types, domains) =
            (names(&self.calls.operators), names(&self.calls.types), names(&self.calls.domains));
        if operators.is_empty() && types.is_empty() && domains.is_empty() {
            return;
        }
        operators.iter().for_each(|name| _ = self.foreign_operators.remove(name));
        types.iter().for_each(|name| _ = self.foreign_types.remove(name));
        domains.iter().for_each(|name| _ = self.active_domains.remove(name));
        // Functions and views that use them may be harmless now.
        self.index = OnceLock::new();
    }

    pub fn all_functions(&self) -> impl Iterator<Item = &Function> {
        self.functions.values().flatten()
    }
}

/// The key of [`Catalog::sensitive_texts`].
pub fn text_hash(text: &[u8]) -> u128 {
    use std::hash::BuildHasher;
    let half = |seed| foldhash::quality::FixedState::with_seed(seed).hash_one(text);
    (u128::from(half(0x7269_6e67)) << 64) | u128::from(half(0x6665_6e63))
}
