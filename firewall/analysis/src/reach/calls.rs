//! What calling each function reaches: labelled columns, through the relations and functions that its body names.

use foldhash::HashMap;

use super::{Index, Why};
use crate::bodies::{self, Direct};
use crate::catalog::{Catalog, ColumnId, LabelId};

/// What a call of one function reaches.
#[derive(Debug, Clone, Default)]
pub struct Reached {
    /// The function's name.
    pub name: Box<str>,
    /// Labelled columns that its result may hold, or tell of.
    pub columns: Vec<(ColumnId, LabelId)>,
    /// Nothing is known of it, for this reason (`it builds statements`).
    pub opaque: Option<Box<str>>,
    /// It can write: the diagnostics of triggers and constraints can appear.
    pub writes: bool,
}

impl Reached {
    /// It gives no labelled value and no answer about one.
    pub fn is_harmless(&self) -> bool {
        self.columns.is_empty() && self.opaque.is_none()
    }
}

/// Every function of a catalog.
#[derive(Debug, Clone, Default)]
pub(super) struct Calls {
    direct: Vec<(u32, Direct)>,
    reached: HashMap<u32, Reached>,
    unknown: Reached,
}

impl Calls {
    pub(super) fn read(catalog: &Catalog) -> Self {
        let unknown = Reached { name: "?".into(), opaque: Some("it is not known".into()), ..Reached::default() };
        let mut calls = Self { unknown, ..Self::default() };
        for function in catalog.all_functions() {
            let direct = bodies::direct(function, catalog);
            let reached = Reached { name: function.name.clone(), opaque: direct.opaque.clone(), ..Reached::default() };
            calls.reached.insert(function.oid, reached);
            calls.direct.push((function.oid, direct));
        }
        calls
    }

    pub(super) fn of(&self, oid: u32) -> &Reached {
        self.reached.get(&oid).unwrap_or(&self.unknown)
    }

    /// Follows calls until nothing changes. True if something was added.
    pub(super) fn spread(&mut self, index: &Index, catalog: &Catalog) -> bool {
        let (mut ever, mut changed) = (false, true);
        while changed {
            changed = false;
            for (oid, direct) in &self.direct {
                let mut found = Reached::default();
                for (relation, written) in &direct.relations {
                    found.relation(*relation, *written, direct, index, catalog);
                }
                let defaults = direct.relations.iter().filter(|(_, written)| *written).flat_map(|(relation, _)| {
                    let relation = catalog.by_oid(*relation);
                    let below = relation.into_iter().flat_map(|r| &r.reads).filter_map(|oid| catalog.by_oid(*oid));
                    relation.into_iter().chain(below).flat_map(|r| r.default_calls.iter().map(|(_, called)| called))
                });
                for callee in direct.calls.iter().chain(defaults) {
                    let callee = self.reached.get(callee).unwrap_or(&self.unknown);
                    found.columns.extend(&callee.columns);
                    found.writes |= callee.writes;
                    if callee.opaque.is_some() {
                        found.opaque(&format!("it calls {}", callee.name));
                    }
                }
                if let Some(known) = self.reached.get_mut(oid) {
                    changed |= known.add(found);
                }
            }
            ever |= changed;
        }
        ever
    }
}

impl Reached {
    fn opaque(&mut self, why: &str) {
        self.opaque.get_or_insert_with(|| why.into());
    }

    fn add(&mut self, found: Self) -> bool {
        let mut changed = false;
        for column in found.columns {
            if !self.columns.contains(&column) {
                self.columns.push(column);
                changed = true;
            }
        }
        if self.opaque.is_none() && found.opaque.is_some() {
            self.opaque = found.opaque;
            changed = true;
        }
        changed |= found.writes && !self.writes;
        self.writes |= found.writes;
        changed
    }

    /// What a body that names a relation may show of it.
    fn relation(&mut self, oid: u32, written: bool, direct: &Direct, index: &Index, catalog: &Catalog) {
        let Some(relation) = catalog.by_oid(oid) else { return };
        self.writes |= written;
        let reach = index.of(oid);
        if let Some(reach) = reach {
            self.columns.extend(reach.columns.iter().filter_map(|marked| {
                // A row type's columns can be named by what is in them.
                let named = direct.rows || direct.words.contains(&marked.name) || matches!(marked.why, Why::Row(..));
                named.then(|| marked.label())
            }));
            self.columns.extend(if written {
                reach.view.iter().chain(&reach.below)
            } else {
                reach.view.iter().chain(&[])
            });
            if let Some(opaque) = &reach.opaque {
                self.opaque(&format!("it reads {} (function {opaque})", relation.name));
            }
        }
        if !written {
            return;
        }
        if relation.ruled {
            for reached in relation.write_reaches.iter().filter_map(|oid| index.of(*oid)) {
                self.columns.extend(reached.columns.iter().map(super::Marked::label));
                self.columns.extend(reached.view.iter().chain(&reached.below));
            }
        }
        // Its texts would not be rebuilt: the function has taken them already.
        if direct.catches && reach.is_some_and(|reach| reach.write_taints) {
            self.opaque(&format!("it reads what errors about {} say", relation.name));
        }
    }
}
