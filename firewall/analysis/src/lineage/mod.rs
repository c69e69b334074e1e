//! Lineage: which labelled columns each value of a statement comes from, and what becomes of it.
//!
//! The arbiter has noted every occurrence of a name that may mean a labelled column, by position, with the rule that it
//! would break there. The lineage follows the second parser's tree through scopes, finds for each occurrence exactly which
//! columns it means, and carries them as [`value::Value`]s to the places that consume them: the client, a condition, a
//! stored column, nobody. What it explains leaves the arbiter's list and has the uses found here; what it does not stays a
//! violation. Relations are looked up by their position in the arbiter's list, and occurrences by position and name, so a
//! text that the two parsers read differently explains nothing.
#![deny(clippy::wildcard_enum_match_arm)]
#![deny(unused_must_use)]

mod call;
mod compare;
mod dml;
mod droppable;
mod expr;
mod foreign;
mod from;
mod group;
mod join;
mod merge;
mod names;
mod position;
mod query;
mod recursive;
mod scope;
mod select;
mod statement;
mod store;
mod uses;
mod value;
mod window;

use std::rc::Rc;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use crate::arbiter::{self, MAX_DEPTH};
use crate::catalog::ColumnId;
use crate::facts::{ColumnUse, Created, Described, Output, Rule};
use crate::found::Found;
use crate::parse;
use crate::reach::Why;
use crate::resolve::Resolved;
use position::Positions;
use scope::{Columns, Entry, Scope};
use value::{Set, Source, Value};

/// Columns that every table has and no list shows.
const SYSTEM_COLUMNS: [&str; 6] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];
/// A table that outlives the session, made from labelled columns.
const PERMANENT: &str = "a new table";
/// Steps for each byte of the text, and for any text: what asks for more is not explained.
const STEPS_PER_BYTE: usize = 64;
const STEPS: usize = 100_000;

/// One occurrence as the lineage read it.
struct Visit {
    name: Rc<str>,
    parts: usize,
    columns: Set,
}

/// Words that many uses share.
struct Words {
    output: Arc<str>,
    explain: Arc<str>,
}

struct Lineage<'r, 's, 'a, 'c> {
    resolved: &'r Resolved<'s, 'a, 'c>,
    positions: Positions<'s>,
    /// The queries around the place that is being read, outermost first.
    levels: Vec<Scope>,
    /// Common table expressions in scope, innermost last; `None`: not read yet.
    ctes: Vec<(Rc<str>, Option<Rc<Columns>>)>,
    visits: HashMap<usize, Visit>,
    /// Positions in ORDER BY and the like that were followed.
    ordinals: HashSet<usize>,
    /// `JOIN … USING` clauses that were followed.
    merges: usize,
    uses: Vec<ColumnUse>,
    known: HashSet<uses::Key>,
    /// For a target relation's labelled column, and whether it is an UPDATE: all values stored there are harmless.
    stored: HashMap<(usize, ColumnId, bool), bool>,
    /// What is being read decides about rows: an expression there is part of the condition.
    filtering: bool,
    /// Under EXPLAIN.
    explaining: bool,
    /// Labelled values go into a new table that is not temporary.
    permanent: bool,
    /// Not understood as a whole: nothing is explained.
    broken: bool,
    steps: usize,
    words: Words,
}

/// What the lineage has to say about one statement.
#[derive(Default)]
pub(crate) struct Explained {
    pub outputs: Option<Vec<Output>>,
    pub described: Vec<Described>,
    /// The columns of a relation that the statement makes.
    pub created: Option<Created>,
}

/// Explains the statement: what is understood leaves `found`'s open lists and becomes uses.
pub(crate) fn explain(text: &str, resolved: &Resolved<'_, '_, '_>, found: &mut Found) -> Explained {
    if resolved.seen.depth > MAX_DEPTH {
        return Explained::default();
    }
    let range = resolved.seen.explained();
    let Some(own_text) = text.get(range.clone()) else { return Explained::default() };
    // Parsing, walking and dropping recurse.
    arbiter::with_deep_stack(resolved.seen.depth, resolved.seen.terms, || {
        let Some(readable) = resolved.seen.readable(text, &range) else { return Explained::default() };
        let Some(statement) = parse::statement(&readable) else { return Explained::default() };
        let mut lineage = Lineage {
            resolved,
            positions: Positions::new(&readable, range.start, &resolved.seen.edits),
            levels: Vec::new(),
            ctes: Vec::new(),
            visits: HashMap::default(),
            ordinals: HashSet::default(),
            merges: 0,
            uses: Vec::new(),
            known: HashSet::default(),
            stored: HashMap::default(),
            filtering: false,
            explaining: false,
            permanent: false,
            broken: false,
            steps: STEPS + STEPS_PER_BYTE * own_text.len(),
            words: Words { output: "".into(), explain: "EXPLAIN".into() },
        };
        let result = lineage.outermost(&statement);
        lineage.settle(result, found)
    })
}

/// What the outermost statement hands out.
struct Handed {
    /// To the client.
    returned: Option<Columns>,
    /// To a new relation: its name, and whether it is temporary.
    created: Option<(Rc<str>, bool, Columns)>,
}

impl Lineage<'_, '_, '_, '_> {
    /// Something that the lineage cannot follow: nothing of the statement is explained.
    fn lost(&mut self) -> Value {
        self.broken = true;
        Value::free(Source::Computed)
    }

    /// Takes `steps` of what is left; false if there are none.
    fn spend(&mut self, steps: usize) -> bool {
        match self.steps.checked_sub(steps) {
            Some(left) => self.steps = left,
            None => {
                self.steps = 0;
                self.broken = true;
            }
        }
        !self.broken
    }

    fn visit(&mut self, position: Option<usize>, parts: usize, name: &str, value: &Value) {
        let Some(position) = position else { return };
        let visit =
            self.visits.entry(position).or_insert_with(|| Visit { name: name.into(), parts, columns: Set::new() });
        if &*visit.name != name || visit.parts != parts {
            self.broken = true;
            return;
        }
        // The parts of a recursive query are read more than once.
        for column in value.set() {
            if !visit.columns.contains(column) {
                visit.columns.push(*column);
            }
        }
    }

    fn settle(self, result: Handed, found: &mut Found) -> Explained {
        if self.broken {
            return Explained::default();
        }
        let seen = self.resolved.seen;
        found.candidates.retain(|candidate| {
            let column = seen.columns.get(candidate.column);
            let visit = self.visits.get(&candidate.position);
            let (Some(column), Some(visit)) = (column, visit) else { return true };
            let name = if column.star { "*" } else { column.parts.last().copied().unwrap_or_default() };
            let same = &*visit.name == name && visit.parts == column.parts.len() + usize::from(column.star);
            !same
        });
        found.ordinals.retain(|ordinal| !self.ordinals.contains(&ordinal.position));
        if self.merges >= seen.merges.iter().filter(|merge| !merge.natural).count() {
            found.merges.clear();
        }
        let stored = self.stored;
        let mut settled = Vec::new();
        found.stores.retain(|store| {
            let key = (store.relation, store.column, store.updates());
            let harmless = stored.get(&key).copied().unwrap_or(false);
            if harmless {
                settled.push((store.column, store.label, store.access));
            }
            !harmless
        });
        for (column, label, access) in settled {
            found.stored(column, label, access);
        }
        for one in self.uses {
            found.used(one);
        }
        let described = |columns: &[&scope::Column]| -> Vec<Described> {
            columns.iter().map(|c| Described { name: (&*c.name).into(), columns: c.value.set().clone() }).collect()
        };
        if self.permanent {
            found.other(Rule::Flow, PERMANENT, seen.range.start);
        }
        let mut explained = Explained::default();
        if let Some(columns) = result.returned.as_ref().and_then(Columns::listed) {
            explained.outputs = Some(columns.iter().map(|column| column.value.output()).collect());
            explained.described = described(&columns);
        }
        if let Some((name, temporary, columns)) = &result.created {
            let columns = columns.listed().map(|columns| described(&columns));
            if !self.permanent {
                explained.created = Some(Created { name: (&**name).into(), temporary: *temporary, columns });
            }
        }
        explained
    }
}

/// Whether anything labelled is in some columns.
fn any_labelled(columns: &Columns, resolved: &Resolved<'_, '_, '_>) -> bool {
    columns.0.iter().any(|entry| match entry {
        Entry::Named(column) => !column.value.is_free(),
        Entry::Open(value) => !value.is_free(),
        Entry::Relation(at) => resolved.marked(*at).any(|marked| matches!(marked.why, Why::Label(_) | Why::Row(..))),
    })
}
