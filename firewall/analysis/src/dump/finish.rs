//! Names to OIDs, once everything is read: what reads, calls and sets off what.

use std::collections::BTreeSet;

use foldhash::HashMap;

use super::Warning;
use super::build::{Builder, ForeignKey};
use crate::arbiter::dump::{Name, Named};
use crate::catalog::{Catalog, Relation, RelationKind};
use crate::functions::{self, Class};

/// What one relation depends on and sets off.
#[derive(Default)]
struct Links {
    reads: BTreeSet<u32>,
    calls: BTreeSet<u32>,
    /// Relations that a write to this one reaches directly.
    writes: BTreeSet<u32>,
}

impl Builder {
    pub(super) fn finish(mut self, logins: &[String]) -> (Catalog, Vec<Warning>) {
        let later = std::mem::take(&mut self.later);
        let mut links: Vec<Links> = self.relations.iter().map(|_| Links::default()).collect();
        let operators: HashMap<Box<str>, Vec<u32>> = self.operators(&later.operators);

        for (child, parent) in &later.parents {
            if let (Some(child), Some(parent)) = (self.find(child), self.find(parent)) {
                let (child_oid, parent_oid) = (self.oid_at(child), self.oid_at(parent));
                // Attached indexes are not tables.
                if let Some(relation) = self.relations.get_mut(child).filter(|r| r.kind != RelationKind::Index)
                    && !relation.parents.contains(&parent_oid)
                {
                    relation.parents.push(parent_oid);
                    with(&mut links, parent, |l| _ = l.writes.insert(child_oid));
                }
            }
        }
        for (at, named) in &later.views {
            let (reads, calls) = (self.relations_in(named), self.functions_in(named, &operators));
            with(&mut links, *at, |l| {
                l.writes.extend(&reads);
                l.reads.extend(reads);
                l.calls.extend(calls);
            });
        }
        for (at, named) in &later.rules {
            let own = self.oid_at(*at);
            let (reached, calls) = (self.relations_in(named), self.functions_in(named, &operators));
            with(&mut links, *at, |l| {
                l.writes.extend(reached.into_iter().filter(|oid| *oid != own));
                l.calls.extend(calls);
            });
            if let Some(relation) = self.relations.get_mut(*at) {
                relation.active = true;
                relation.ruled = true;
            }
        }
        for (at, function) in &later.triggers {
            let own = self.oid_at(*at);
            let bodies: Vec<&str> = self.functions_named(function).filter_map(|f| f.body.as_deref()).collect();
            let named: BTreeSet<u32> = bodies.iter().flat_map(|body| self.words_in(body)).collect();
            with(&mut links, *at, |l| l.writes.extend(named.into_iter().filter(|oid| *oid != own)));
            if let Some(relation) = self.relations.get_mut(*at) {
                relation.active = true;
            }
        }
        for ForeignKey { from, columns, to, to_columns } in later.foreign {
            let Some(to) = self.find(&to) else { continue };
            let to_columns = if to_columns.is_empty() { self.key_of(to).to_vec() } else { to_columns };
            self.constrain(from, &columns);
            self.constrain(to, &to_columns);
            let (from_oid, to_oid) = (self.oid_at(from), self.oid_at(to));
            with(&mut links, to, |l| _ = l.writes.insert(from_oid));
            let pairs: Vec<(i16, u32, i16)> = columns
                .iter()
                .zip(&to_columns)
                .filter_map(|(own, other)| Some((self.attnum(from, own)?, to_oid, self.attnum(to, other)?)))
                .collect();
            if let Some(relation) = self.relations.get_mut(from) {
                relation.references.extend(pairs);
            }
        }
        for (at, attnum, named) in &later.defaults {
            let calls = self.functions_in(named, &HashMap::default());
            if let Some(relation) = self.relations.get_mut(*at) {
                relation.default_calls.extend(calls.into_iter().map(|oid| (*attnum, oid)));
            }
        }
        for (at, attnum, named) in &later.generated {
            let sources: Vec<i16> = named.columns.iter().filter_map(|column| self.attnum(*at, column)).collect();
            if let Some(relation) = self.relations.get_mut(*at) {
                relation.generated.extend(sources.into_iter().map(|source| (*attnum, source)));
            }
        }
        for (at, parts) in &later.aggregates {
            let own = parts.iter().flat_map(|part| self.functions_named(part).map(|f| f.oid)).collect();
            let server = parts.iter().filter(|part| self.functions_named(part).next().is_none());
            let server = server.map(|part| part.name.clone()).collect();
            if let Some(function) = self.functions.get_mut(*at) {
                function.parts = own;
                function.server_parts = server;
            }
        }
        let domains: Vec<(Box<str>, BTreeSet<u32>)> =
            later.domains.iter().map(|(name, named)| (name.clone(), self.functions_in(named, &operators))).collect();
        let casts: Vec<_> = later
            .casts
            .iter()
            .filter_map(|(of, function)| {
                let function = function.as_ref()?;
                let calls = function.as_ref().map(|name| self.functions_named(name).map(|f| f.oid).collect::<Vec<_>>());
                Some((of.name.name.clone(), function.clone(), calls))
            })
            .collect();

        self.link(links);
        let warnings = self.take_warnings();
        let types = self.types;
        let mut catalog = Catalog::new(self.relations, self.functions);
        catalog.client_roles = logins.iter().filter_map(|login| self.owners.get(login.as_str())).copied().collect();
        for &oid in types.behind.keys() {
            if let Some(like) = types.looks_like(oid) {
                catalog.wire_types.insert(oid, like);
            }
            if let Some(row) = types.rows_in(oid).filter(|row| *row != oid) {
                catalog.row_types.insert(oid, row);
            }
        }
        for (name, calls) in operators {
            catalog.foreign_operators.insert(name.clone());
            if !calls.is_empty() {
                catalog.calls.operators.insert(name, calls);
            }
        }
        for name in &later.base_types {
            catalog.foreign_types.insert(name.clone());
        }
        for name in types.defined_like_servers() {
            catalog.foreign_types.insert(name);
        }
        for (name, function, calls) in casts {
            catalog.foreign_types.insert(name.clone());
            let of_server = function.is_some_and(|f| functions::class(&f.name) == Some(Class::Pure));
            match calls {
                // By the types' own input and output.
                None => _ = catalog.calls.types.entry(name).or_default(),
                Some(calls) if !calls.is_empty() => catalog.calls.types.entry(name).or_default().extend(calls),
                Some(_) if of_server => _ = catalog.calls.types.entry(name).or_default(),
                Some(_) => {}
            }
        }
        for (name, calls) in domains.into_iter().filter(|(_, calls)| !calls.is_empty()) {
            catalog.active_domains.insert(name.clone());
            catalog.calls.domains.entry(name).or_default().extend(calls);
        }
        (catalog, warnings)
    }

    fn oid_at(&self, at: usize) -> u32 {
        self.relations.get(at).map_or(0, |relation| relation.oid)
    }

    /// Operators and the functions behind them; none: the function is not known.
    fn operators(&self, defined: &[(Box<str>, Option<Name>)]) -> HashMap<Box<str>, Vec<u32>> {
        let mut found: HashMap<Box<str>, Vec<u32>> = HashMap::default();
        for (name, function) in defined {
            let functions = function.iter().flat_map(|function| self.functions_named(function)).map(|f| f.oid);
            found.entry(name.clone()).or_default().extend(functions);
        }
        found
    }

    fn relations_in(&self, named: &Named) -> BTreeSet<u32> {
        named.relations.iter().filter_map(|name| self.find(name)).map(|at| self.oid_at(at)).collect()
    }

    fn functions_in(&self, named: &Named, operators: &HashMap<Box<str>, Vec<u32>>) -> BTreeSet<u32> {
        let functions = named.functions.iter().flat_map(|name| self.functions_named(name)).map(|f| f.oid);
        let behind = named.operators.iter().filter(|name| name.schema.as_deref() != Some("pg_catalog"));
        functions.chain(behind.filter_map(|name| operators.get(&name.name)).flatten().copied()).collect()
    }

    fn functions_named<'a>(&'a self, name: &'a Name) -> impl Iterator<Item = &'a crate::catalog::Function> {
        self.functions
            .iter()
            .filter(|f| f.name == name.name && name.schema.as_deref().is_none_or(|schema| schema == &*f.schema))
    }

    /// Relations whose name stands anywhere in a text, as a word. Says too much rather than too little.
    fn words_in(&self, body: &str) -> BTreeSet<u32> {
        let folded = body.to_lowercase();
        let plain = folded.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
        let words: BTreeSet<&str> = plain.chain(folded.split('"').skip(1).step_by(2)).collect();
        let own = |r: &&Relation| !r.system && !matches!(r.kind, RelationKind::Index | RelationKind::Toast);
        self.relations.iter().filter(own).filter(|r| words.contains(&*r.name.to_lowercase())).map(|r| r.oid).collect()
    }

    /// Writes everything into the relations; what a write reaches, all the way.
    fn link(&mut self, links: Vec<Links>) {
        let at: HashMap<u32, usize> = self.relations.iter().enumerate().map(|(i, r)| (r.oid, i)).collect();
        for (i, relation) in self.relations.iter_mut().enumerate() {
            let mut reached = BTreeSet::new();
            let mut open = vec![i];
            while let Some(next) = open.pop() {
                for &oid in links.get(next).into_iter().flat_map(|l| &l.writes) {
                    if reached.insert(oid) {
                        open.extend(at.get(&oid));
                    }
                }
            }
            relation.write_reaches = reached.into_iter().collect();
        }
        for (relation, links) in self.relations.iter_mut().zip(links) {
            relation.reads = links.reads.into_iter().collect();
            relation.calls = links.calls.into_iter().collect();
        }
    }
}

fn with(links: &mut [Links], at: usize, change: impl FnOnce(&mut Links)) {
    if let Some(found) = links.get_mut(at) {
        change(found);
    }
}
