//! What the arbiter saw, laid over the catalog: which labelled columns are reached, by name and conservatively, and
//! which rule each of them would break where it stands.

mod beyond;

use foldhash::{HashMap, HashSet};
use smallvec::SmallVec;

use crate::arbiter::Seen;
use crate::arbiter::seen::{ColumnRef, Item, Place, RelationRef};
use crate::builtin;
use crate::catalog::{Catalog, ColumnId, Relation};
use crate::facts::{Kind, Predicate, Rule};
use crate::found::{Candidate, Found, Hit, Hits};
use crate::names::SessionNames;
use crate::reach::{Index, Marked, Reach, Why};

pub(crate) struct Resolved<'s, 'a, 'c> {
    pub seen: &'s Seen<'a>,
    pub catalog: &'c Catalog,
    pub session: &'c SessionNames,
    index: &'c Index,
    /// For each relation name: what it may be.
    pub candidates: Vec<SmallVec<[&'c Relation; 2]>>,
    pub hot: Vec<bool>,
    /// This session made or changed a relation of that name: the snapshot may know another one, or other columns.
    pub fresh: Vec<bool>,
    pub unknown: Vec<Box<str>>,
    pub any_hot: bool,
    tainted: HashMap<&'a str, Hits>,
}

const SYSTEM_COLUMNS: [&str; 6] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];

impl<'s, 'a, 'c> Resolved<'s, 'a, 'c> {
    pub(crate) fn new(seen: &'s Seen<'a>, catalog: &'c Catalog, index: &'c Index, session: &'c SessionNames) -> Self {
        let mut resolved = Self {
            seen,
            catalog,
            session,
            index,
            candidates: Vec::with_capacity(seen.relations.len()),
            hot: vec![false; seen.relations.len()],
            fresh: seen.relations.iter().map(|r| r.cte.is_none() && session.contains(r.name)).collect(),
            unknown: Vec::new(),
            any_hot: false,
            tainted: HashMap::default(),
        };
        for (at, relation) in seen.relations.iter().enumerate() {
            let found = if relation.cte.is_some() { SmallVec::new() } else { candidates(catalog, relation) };
            if found.is_empty() && relation.cte.is_none() && !relation.may_miss && !session.contains(relation.name) {
                let name: Box<str> = relation.name.into();
                // A few tell as much as thousands.
                if resolved.unknown.len() < 64 && !resolved.unknown.contains(&name) {
                    resolved.unknown.push(name);
                }
            }
            let texts = !catalog.sensitive_texts.is_empty();
            let own = relation.cte.is_none() && !session.marked(relation.name).is_empty();
            let hot = own || found.iter().any(|r| index.of(r.oid).is_some_and(|reach| reach.reads_hot(texts)));
            if let Some(slot) = resolved.hot.get_mut(at) {
                *slot = hot;
            }
            resolved.any_hot |= hot;
            resolved.candidates.push(found);
        }
        if resolved.any_hot && seen.relations.len() <= crate::arbiter::MAX_RELATIONS {
            resolved.heat_ctes();
            resolved.taint_names();
        }
        resolved
    }

    /// A CTE's name is hot if anything under it is.
    fn heat_ctes(&mut self) {
        let mut changed = true;
        while changed {
            changed = false;
            for (at, relation) in self.seen.relations.iter().enumerate() {
                let Some(cte) = relation.cte.and_then(|cte| self.seen.ctes.get(cte)) else {
                    continue;
                };
                if self.is_hot(at) || !self.any_hot_in(cte.relations.clone()) {
                    continue;
                }
                if let Some(slot) = self.hot.get_mut(at) {
                    *slot = true;
                    changed = true;
                }
            }
        }
    }

    pub(crate) fn is_hot(&self, relation: usize) -> bool {
        self.hot.get(relation).copied().unwrap_or(false)
    }

    pub(crate) fn is_fresh(&self, relation: usize) -> bool {
        self.fresh.get(relation).copied().unwrap_or(true)
    }

    fn any_hot_in(&self, mut relations: std::ops::Range<usize>) -> bool {
        relations.any(|at| self.is_hot(at))
    }

    pub(crate) fn marked(&self, relation: usize) -> impl Iterator<Item = &'c Marked> + use<'_, 's, 'a, 'c> {
        let own = self.seen.relations.get(relation).filter(|r| r.cte.is_none()).map(|r| self.session.marked(r.name));
        self.candidates
            .get(relation)
            .into_iter()
            .flatten()
            .filter_map(|r| self.index.of(r.oid))
            .flat_map(|reach| &reach.columns)
            .chain(own.into_iter().flatten())
            // Definitions matter only if some of them tell of labelled columns.
            .filter(|marked| marked.why != Why::Text || !self.catalog.sensitive_texts.is_empty())
    }

    /// Names under which labelled columns can be called anywhere in the statement.
    fn taint_names(&mut self) {
        let mut known: HashSet<ColumnId> = HashSet::default();
        for at in 0..self.seen.relations.len() {
            let found: SmallVec<[(&'a str, Hit); 8]> = self
                .marked(at)
                .filter(|marked| !known.contains(&marked.id))
                .map(|marked| (&*marked.name, (marked.id, marked.why)))
                .filter_map(|(name, hit)| self.own_name(at, name).map(|name| (name, hit)))
                .collect();
            for (name, hit) in found {
                known.insert(hit.0);
                self.taint(name, hit);
            }
        }
        for item in self.seen.items.iter().filter(|item| !item.names.is_empty()) {
            if item.base {
                for relation in item.relations.clone() {
                    let found: Hits4<'a> = self
                        .marked(relation)
                        .filter_map(|m| item.names.get(m.index).map(|name| (*name, (m.id, m.why))))
                        .collect();
                    for (name, hit) in found {
                        self.taint(name, hit);
                    }
                }
            }
        }
        let mut changed = true;
        while changed {
            changed = false;
            for (name, column) in &self.seen.renames {
                let Some(column) = self.seen.columns.get(*column) else {
                    continue;
                };
                for hit in self.named(column) {
                    changed |= self.taint(name, hit);
                }
            }
            for item in self.seen.items.iter().filter(|item| !item.names.is_empty()) {
                for hit in self.outputs_under(item) {
                    for name in &item.names {
                        changed |= self.taint(name, hit);
                    }
                }
            }
        }
    }

    /// Labelled columns that a subquery, join or CTE may hand out: any of its columns may be any of them.
    fn outputs_under(&self, item: &Item<'a>) -> Hits {
        let mut hits = Hits::new();
        let cte = item.relations.clone().next().and_then(|at| self.seen.relations.get(at)).and_then(|r| r.cte);
        let columns = match (item.base, cte.and_then(|cte| self.seen.ctes.get(cte))) {
            (true, Some(cte)) => cte.columns.clone(),
            (true, None) => return hits,
            (false, _) => item.columns.clone(),
        };
        if item.join {
            return self.under(item.relations.clone());
        }
        for column in self.seen.columns.get(columns).unwrap_or_default() {
            for hit in if column.star { self.starred(column) } else { self.named(column) } {
                if !hits.contains(&hit) {
                    hits.push(hit);
                }
            }
        }
        hits
    }

    /// The catalog's names live as long as the snapshot; the statement's own spelling is as good.
    fn own_name(&self, _relation: usize, name: &str) -> Option<&'a str> {
        self.seen
            .columns
            .iter()
            .flat_map(|column| column.parts.iter())
            .chain(self.seen.merges.iter().flat_map(|merge| merge.names.iter()))
            .chain(self.seen.functions.iter().map(|f| &f.name))
            .find(|part| **part == name)
            .copied()
    }

    fn taint(&mut self, name: &'a str, hit: Hit) -> bool {
        let hits = self.tainted.entry(name).or_default();
        let new = !hits.contains(&hit);
        if new {
            hits.push(hit);
        }
        new
    }

    pub(crate) fn tainted(&self, name: &str) -> Hits {
        self.tainted.get(name).cloned().unwrap_or_default()
    }

    /// Every labelled column under these relations, CTEs followed.
    pub(crate) fn under(&self, relations: std::ops::Range<usize>) -> Hits {
        let mut hits = Hits::new();
        let mut visited: SmallVec<[usize; 8]> = SmallVec::new();
        let mut pending: SmallVec<[usize; 8]> = relations.collect();
        while let Some(at) = pending.pop() {
            if visited.contains(&at) {
                continue;
            }
            visited.push(at);
            for marked in self.marked(at) {
                if !hits.contains(&(marked.id, marked.why)) {
                    hits.push((marked.id, marked.why));
                }
            }
            let cte = self.seen.relations.get(at).and_then(|r| r.cte);
            if let Some(cte) = cte.and_then(|cte| self.seen.ctes.get(cte)) {
                pending.extend(cte.relations.clone());
            }
        }
        hits
    }

    /// Labelled columns that a (non-star) reference may mean by its name.
    fn named(&self, column: &ColumnRef<'a>) -> Hits {
        if column.star {
            return Hits::new();
        }
        if let [.., qualifier, last] = column.parts.as_slice()
            && self.clearly_other(qualifier, last)
        {
            return Hits::new();
        }
        let mut hits = Hits::new();
        for part in &column.parts {
            for hit in self.tainted(part) {
                if !hits.contains(&hit) {
                    hits.push(hit);
                }
            }
        }
        hits
    }

    /// `o.email` where `o` is, everywhere in the statement, a table whose `email` is unlabelled.
    fn clearly_other(&self, qualifier: &str, name: &str) -> bool {
        let mut items = self.items(qualifier).peekable();
        items.peek().is_some()
            && items.all(|item| {
                item.base
                    && item.names.is_empty()
                    && item.relations.clone().all(|at| {
                        let known = self.seen.relations.get(at).is_some_and(|r| r.cte.is_none());
                        known
                            && self.candidates.get(at).is_some_and(|c| !c.is_empty())
                            && !self.marked(at).any(|marked| &*marked.name == name)
                    })
            })
    }

    fn items<'i>(&'i self, alias: &'i str) -> impl Iterator<Item = &'i Item<'a>> {
        self.seen.items.iter().filter(move |item| item.alias == alias)
    }

    /// Names after a dot that may be functions: the server reads `u.name` as `name(u)`, and `(…).name` as `name(…)`, if
    /// it finds no such column.
    pub(crate) fn calls(&self) -> impl Iterator<Item = (&'a str, &ColumnRef<'a>)> {
        self.seen.columns.iter().filter(|column| !column.star).filter_map(|column| match column.parts.as_slice() {
            [name] if column.field => Some((*name, column)),
            [.., qualifier, name] => {
                let mut items = self.items(qualifier).peekable();
                let known = !self.seen.unnamed_functions
                    && items.peek().is_some()
                    && items.all(|item| self.is_column(item, name));
                (!known).then_some((*name, column))
            }
            _ => None,
        })
    }

    /// Whether `qualifier.name` is sure to be a column, not a function called on the row.
    fn is_column(&self, item: &Item<'a>, name: &str) -> bool {
        if crate::functions::class(name).is_none() && self.catalog.functions(name).is_empty() {
            return true;
        }
        if item.names.contains(&name) || item.exposed.contains(&name) {
            return true;
        }
        if item.base {
            let ctes = item
                .relations
                .clone()
                .filter_map(|at| self.seen.relations.get(at)?.cte)
                .filter_map(|cte| self.seen.ctes.get(cte));
            return ctes.into_iter().any(|cte| cte.exposed.contains(&name))
                || item.relations.clone().all(|at| {
                    !self.is_fresh(at)
                        && self
                            .candidates
                            .get(at)
                            .is_some_and(|found| !found.is_empty() && found.iter().all(|r| r.column(name).is_some()))
                });
        }
        false
    }

    /// The relation whose name stands there.
    pub(crate) fn relation_at(&self, position: usize) -> Option<usize> {
        self.seen.relations.iter().position(|relation| relation.position == position)
    }

    /// Statements whose tree the lineage follows. Others are judged by where the names stand.
    fn is_explainable(&self) -> bool {
        matches!(
            self.seen.kind,
            Kind::Select
                | Kind::Insert
                | Kind::Update
                | Kind::Delete
                | Kind::Merge
                | Kind::Declare
                | Kind::Prepare
                | Kind::Explain
                | Kind::CopyOut
                | Kind::CreateTableAs
        )
    }

    /// One column reference: what it reaches, and what rule applies.
    fn column(&self, at: usize, column: &ColumnRef<'a>, found: &mut Found) {
        if column.star {
            return self.star(at, column, found);
        }
        // The name of a field, or one that stands in a list of names.
        let explainable = self.is_explainable() && !column.field && column.position != usize::MAX;
        let Some(last) = column.parts.last() else {
            return;
        };
        let qualifier = column.parts.iter().rev().nth(1);
        let named = self.named(column);
        let known_name = !named.is_empty();
        for (id, why) in &named {
            match why {
                Why::Label(label) if explainable && *label != builtin::STATISTICS => {}
                Why::Label(label) => found.violation(*id, *label, column.place, column.position),
                Why::Text if column.place.text => {}
                Why::Text => found.catalog_text(*id, column.position),
                Why::Row(id, label) => {
                    let place = Place::of(Rule::WholeRow, "column of a row type");
                    found.violation(*id, *label, place, column.position);
                }
            }
        }
        let hits: Hits = named
            .iter()
            .filter(|(_, why)| matches!(why, Why::Label(label) if *label != builtin::STATISTICS))
            .copied()
            .collect();
        if explainable && !hits.is_empty() {
            found.candidates.push(Candidate { column: at, position: column.position, hits, place: column.place });
        }
        // A whole row, by the name of its table or alias.
        let row = match qualifier {
            None => self.items(last).collect::<SmallVec<[&Item<'a>; 2]>>(),
            Some(qualifier) => self
                .items(qualifier)
                .filter(|item| !(known_name || SYSTEM_COLUMNS.contains(last) || self.is_column(item, last)))
                .collect(),
        };
        for item in row {
            for (id, why) in self.under(item.relations.clone()) {
                match why {
                    Why::Label(label) | Why::Row(_, label) => {
                        found.violation(id, label, Place::of(Rule::WholeRow, "whole row"), column.position);
                    }
                    Why::Text => found.catalog_text(id, column.position),
                }
            }
        }
        if SYSTEM_COLUMNS.contains(last) {
            self.system_column(qualifier.copied(), column.position, found);
        }
    }

    fn system_column(&self, qualifier: Option<&str>, position: usize, found: &mut Found) {
        for item in &self.seen.items {
            if qualifier.is_some_and(|qualifier| qualifier != item.alias) {
                continue;
            }
            for at in item.relations.clone() {
                let own = self.candidates.get(at).into_iter().flatten().any(|r| !r.system);
                if !own {
                    continue;
                }
                for marked in self.marked(at) {
                    if let Why::Label(label) | Why::Row(_, label) = marked.why {
                        let place = Place::of(Rule::SystemColumn, "system column");
                        found.violation(marked.id, label, place, position);
                    }
                }
            }
        }
    }

    /// What a star expands to.
    fn starred(&self, column: &ColumnRef<'a>) -> Hits {
        match column.parts.last() {
            None => self.under(column.from.clone()),
            Some(qualifier) => {
                let mut known = false;
                let mut hits = Hits::new();
                for item in self.items(qualifier) {
                    known = true;
                    hits.extend(self.under(item.relations.clone()));
                }
                if !known {
                    hits = self.under(0..self.seen.relations.len());
                }
                hits
            }
        }
    }

    fn star(&self, at: usize, column: &ColumnRef<'a>, found: &mut Found) {
        let mut candidates = Hits::new();
        for (id, why) in self.starred(column) {
            match why {
                Why::Label(label) if self.is_explainable() && label != builtin::STATISTICS => {
                    candidates.push((id, why));
                }
                Why::Label(label) => {
                    let place =
                        if column.place.rule == Rule::Derived { Place::of(Rule::WholeRow, "*") } else { column.place };
                    found.violation(id, label, place, column.position);
                }
                // Under a set operation the server no longer says where a column comes from.
                Why::Text if column.place.text && column.place.rule != Rule::Combined => {}
                Why::Text => found.catalog_text(id, column.position),
                Why::Row(id, label) => {
                    let place = Place::of(Rule::WholeRow, "column of a row type");
                    found.violation(id, label, place, column.position);
                }
            }
        }
        if !candidates.is_empty() {
            let place = if column.place.rule == Rule::Derived && !column.place.output {
                Place::of(Rule::WholeRow, "*")
            } else {
                column.place
            };
            found.candidates.push(Candidate { column: at, position: column.position, hits: candidates, place });
        }
    }

    /// Everything labelled that the statement reaches.
    pub(crate) fn find(&self) -> Found {
        let mut found = Found::default();
        for relation in 0..self.seen.relations.len() {
            self.whole_relation(relation, &mut found);
        }
        for (at, column) in self.seen.columns.iter().enumerate() {
            self.column(at, column, &mut found);
        }
        for (relation, name) in &self.seen.arbiters {
            // Whether a row was inserted tells whether the value was there.
            for marked in self.marked(*relation).filter(|marked| &*marked.name == *name) {
                if let Why::Label(label) | Why::Row(_, label) = marked.why {
                    found.filter((marked.id, label), Predicate::Equality, "ON CONFLICT", usize::MAX);
                }
            }
        }
        // email(u): a column in function notation.
        for function in &self.seen.functions {
            for (id, why) in self.tainted(function.name) {
                if let Why::Label(label) | Why::Row(_, label) = why {
                    let place = Place::of(Rule::Derived, "function notation");
                    found.violation(id, label, place, function.position);
                }
            }
        }
        self.merges(&mut found);
        self.ordinals(&mut found);
        self.stores(&mut found);
        found
    }
}

type Hits4<'a> = SmallVec<[(&'a str, Hit); 4]>;

impl Reach {
    fn reads_hot(&self, texts: bool) -> bool {
        self.columns.iter().any(|column| texts || column.why != Why::Text)
            || !self.view.is_empty()
            || !self.below.is_empty()
            || self.opaque.is_some()
    }
}

/// Every relation that a name may mean: the firewall does not trust its idea of `search_path`.
fn candidates<'c>(catalog: &'c Catalog, relation: &RelationRef<'_>) -> SmallVec<[&'c Relation; 2]> {
    catalog
        .by_name(relation.name)
        .filter(|candidate| match relation.schema {
            None => true,
            Some("pg_temp") => candidate.temporary,
            Some(schema) => schema == &*candidate.schema,
        })
        .collect()
}
