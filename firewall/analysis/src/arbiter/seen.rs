//! What the arbiter saw in one statement: plain data that borrows names from the parse tree, no decision.

use std::borrow::Cow;
use std::ops::Range;

use smallvec::SmallVec;

use crate::facts::{Access, CopyOut, CopySource, Effect, Kind, Rule, Violation};

/// Where something stands, as the rule that it would break there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub rule: Rule,
    pub construct: &'static str,
    /// Bare in a select list (or RETURNING) whose values reach only the outermost one.
    pub output: bool,
    /// The value of a catalog text here reaches the client unchanged, or is only tested for NULL.
    pub text: bool,
    /// A catalog text here is only tested: for NULL, for being the default partition's bound.
    pub tested: bool,
}

impl Place {
    pub(crate) const fn filter(construct: &'static str) -> Self {
        Self::of(Rule::Filter, construct)
    }

    pub(crate) const fn of(rule: Rule, construct: &'static str) -> Self {
        Self { rule, construct, output: false, text: false, tested: false }
    }

    pub(crate) const OUTPUT: Self =
        Self { rule: Rule::Derived, construct: "select list", output: true, text: true, tested: false };
}

#[derive(Debug)]
pub(crate) struct RelationRef<'a> {
    pub schema: Option<&'a str>,
    pub name: &'a str,
    pub position: usize,
    pub access: Access,
    /// The common table expression that this name is, if one is in scope.
    pub cte: Option<usize>,
    /// It need not exist: a name being created, or `IF EXISTS`.
    pub may_miss: bool,
}

/// `WITH name AS (…)`: the relations under it.
#[derive(Debug)]
pub(crate) struct Cte<'a> {
    pub name: &'a str,
    pub relations: Range<usize>,
    /// Column references under it (indices).
    pub columns: Range<usize>,
    /// Names of its columns, as far as they are known.
    pub exposed: Vec<&'a str>,
}

/// A FROM item (or DML target), as its columns can be called.
#[derive(Debug)]
pub(crate) struct Item<'a> {
    pub alias: &'a str,
    /// Column aliases `t(a, b)`.
    pub names: SmallVec<[&'a str; 2]>,
    /// Relations under it (indices): one if `base`.
    pub relations: Range<usize>,
    /// Column references under it (indices).
    pub columns: Range<usize>,
    /// Names of its columns, as far as they are known (unless `base`).
    pub exposed: Vec<&'a str>,
    /// A table name, not a subquery, join or function.
    pub base: bool,
    /// A join's alias.
    pub join: bool,
}

#[derive(Debug)]
pub(crate) struct ColumnRef<'a> {
    pub parts: SmallVec<[&'a str; 2]>,
    pub star: bool,
    /// The name after `(…).`: a column of a composite value, or a function of any value.
    pub field: bool,
    pub position: usize,
    pub place: Place,
    /// For a star: the relations in the FROM clause that it expands.
    pub from: Range<usize>,
}

#[derive(Debug)]
pub(crate) struct FunctionRef<'a> {
    pub schema: Option<&'a str>,
    pub name: &'a str,
    pub position: usize,
    /// First argument, if it is a string literal.
    pub literal: Option<&'a str>,
    pub place: Place,
}

/// An operator or type name.
#[derive(Debug)]
pub(crate) struct NameRef<'a> {
    pub schema: Option<&'a str>,
    pub name: &'a str,
    pub position: usize,
}

/// `JOIN … USING (names)`, or NATURAL.
#[derive(Debug)]
pub(crate) struct Merge<'a> {
    pub names: SmallVec<[&'a str; 2]>,
    pub natural: bool,
    pub relations: Range<usize>,
}

/// `ORDER BY 2`: the columns that the position may mean.
#[derive(Debug)]
pub(crate) struct Ordinal {
    pub position: usize,
    pub columns: SmallVec<[usize; 2]>,
    pub construct: &'static str,
}

/// A value bound for a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    Parameter(u16),
    Literal {
        token: bool,
    },
    Default,
    /// A bare column; if it is labelled, it has a violation of its own.
    Column,
    Other,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum StoreColumn<'a> {
    Named(&'a str),
    /// INSERT without a column list: the position.
    At(usize),
    /// Every column of the target.
    All,
}

/// INSERT or UPDATE of one column.
#[derive(Debug)]
pub(crate) struct Store<'a> {
    /// Index of the target relation.
    pub relation: usize,
    pub column: StoreColumn<'a>,
    pub position: usize,
    pub access: Access,
    pub value: Value,
}

/// Bytes of the text, and what the second parser reads instead.
#[derive(Debug)]
pub(crate) struct Edit {
    pub range: Range<usize>,
    pub instead: &'static str,
}

#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub range: Range<usize>,
    pub kind: Kind,
    pub verb: &'static str,
    pub relations: Vec<RelationRef<'a>>,
    pub ctes: Vec<Cte<'a>>,
    pub items: Vec<Item<'a>>,
    pub columns: Vec<ColumnRef<'a>>,
    pub functions: Vec<FunctionRef<'a>>,
    pub operators: Vec<NameRef<'a>>,
    pub types: Vec<NameRef<'a>>,
    /// `column AS name` in a select list: (name, column).
    pub renames: Vec<(&'a str, usize)>,
    pub merges: Vec<Merge<'a>>,
    pub ordinals: Vec<Ordinal>,
    pub stores: Vec<Store<'a>>,
    /// Columns whose values ON CONFLICT compares: (target's index, name).
    pub arbiters: Vec<(usize, &'a str)>,
    /// Outermost select list: which items are catalog text, if there is no star in it.
    pub text_outputs: Option<Vec<bool>>,
    /// There is a star in it.
    pub starred: bool,
    pub violations: Vec<Violation>,
    pub effect: Effect,
    pub writes: bool,
    /// Deepest nesting of the parse tree.
    pub depth: usize,
    /// Terms of AND and OR: one list here, nested in the second parser's tree.
    pub terms: usize,
    /// What the second parser would misread, and the same in words that it knows; in order.
    pub edits: Vec<Edit>,
    /// Something that servers before this version read otherwise, and where.
    pub newer_syntax: Option<(u32, usize)>,
    /// A MERGE inserts: what it leaves out gets its default.
    pub merge_inserts: bool,
    /// A function stands in FROM without an alias: its name may be any qualifier.
    pub unnamed_functions: bool,
    /// It returns rows that the lineage can explain.
    pub query: bool,
    /// COPY … TO.
    pub copy_out: Option<CopyOut>,
    /// COPY of a table TO: the columns, none for all.
    pub copy_table: Option<Vec<&'a str>>,
}

impl<'a> Seen<'a> {
    pub(crate) fn new(range: Range<usize>) -> Self {
        Self {
            range,
            kind: Kind::Other,
            verb: "STATEMENT",
            relations: Vec::new(),
            ctes: Vec::new(),
            items: Vec::new(),
            columns: Vec::new(),
            functions: Vec::new(),
            operators: Vec::new(),
            types: Vec::new(),
            renames: Vec::new(),
            merges: Vec::new(),
            ordinals: Vec::new(),
            stores: Vec::new(),
            arbiters: Vec::new(),
            text_outputs: None,
            starred: false,
            violations: Vec::new(),
            effect: Effect::None,
            writes: false,
            depth: 0,
            terms: 0,
            edits: Vec::new(),
            newer_syntax: None,
            merge_inserts: false,
            unnamed_functions: false,
            query: false,
            copy_out: None,
            copy_table: None,
        }
    }

    /// The bytes that the second parser explains: the statement, or the query that it copies.
    pub(crate) fn explained(&self) -> Range<usize> {
        match self.copy_out.as_ref().map(|copy| &copy.source) {
            Some(Ok(CopySource::Query(query))) => query.clone(),
            _ => self.range.clone(),
        }
    }

    /// The bytes of `range` as the second parser can read them.
    pub(crate) fn readable<'t>(&self, text: &'t str, range: &Range<usize>) -> Option<Cow<'t, str>> {
        let mut rest = range.start;
        let mut readable = String::new();
        for edit in self.edits.iter().filter(|edit| range.contains(&edit.range.start)) {
            readable.push_str(text.get(rest..edit.range.start)?);
            readable.push_str(edit.instead);
            rest = edit.range.end;
        }
        let tail = text.get(rest..range.end)?;
        if readable.is_empty() {
            return Some(Cow::Borrowed(tail));
        }
        readable.push_str(tail);
        Some(Cow::Owned(readable))
    }

    pub(crate) fn newer(&mut self, version: u32, position: usize) {
        let known = self.newer_syntax.get_or_insert((version, position));
        known.0 = known.0.max(version);
    }

    pub(crate) fn violation(&mut self, rule: Rule, construct: impl AsRef<str>, position: Option<usize>) {
        self.violations.push(Violation { rule, construct: construct.as_ref().into(), position });
    }
}
