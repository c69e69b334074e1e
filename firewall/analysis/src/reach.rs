//! What each relation of the snapshot reaches, worked out once per snapshot: labelled columns of its own or of its
//! inheritance relatives, views over them, columns of a labelled row type, and what a write can set off.

mod calls;

use foldhash::HashMap;

use crate::builtin;
use crate::catalog::{Catalog, ColumnId, LabelId, Relation, RelationKind};
use crate::facts::Access;
use calls::Calls;
pub use calls::Reached;

/// Why a column counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Labelled by the policy, or a built-in label other than catalog text.
    Label(LabelId),
    /// A definition.
    Text,
    /// Its type contains a labelled relation's row.
    Row(ColumnId, LabelId),
}

#[derive(Debug, Clone)]
pub(crate) struct Marked {
    pub name: Box<str>,
    /// Place among the relation's columns, from 0.
    pub index: usize,
    pub id: ColumnId,
    pub why: Why,
}

/// What one relation reaches; relations that reach nothing have no entry.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reach {
    pub columns: Vec<Marked>,
    /// A view over these, of which nothing else is known.
    pub view: Vec<(ColumnId, LabelId)>,
    /// A view over these; which of its columns shows what is known (`Relation::settled`), and stands in `columns`.
    pub below: Vec<(ColumnId, LabelId)>,
    /// A view that calls something opaque (its name).
    pub opaque: Option<Box<str>>,
    /// A write sets off something that reaches a labelled relation.
    pub write_taints: bool,
}

/// By OID.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    relations: HashMap<u32, Reach>,
    calls: Calls,
}

impl Index {
    pub(crate) fn of(&self, oid: u32) -> Option<&Reach> {
        self.relations.get(&oid)
    }

    /// What calling a function outside the server's own reaches; one that is not known is opaque.
    pub(crate) fn function(&self, oid: u32) -> &Reached {
        self.calls.of(oid)
    }

    pub(crate) fn build(catalog: &Catalog) -> Self {
        let mut index = Self::default();
        let all = catalog.relations();
        for relation in all {
            for (at, column) in relation.columns.iter().enumerate() {
                let builtin =
                    if builtin::is_listed(relation) { builtin::label(&relation.name, &column.name) } else { None };
                let why = match builtin.or(column.label) {
                    Some(builtin::CATALOG_TEXT) => Why::Text,
                    Some(label) => Why::Label(label),
                    None => continue,
                };
                index.mark(relation, at, why);
            }
        }
        index.spread_to_relatives(all, catalog);
        index.spread_to_rows(all);
        let mut calls = Calls::read(catalog);
        loop {
            let views = index.spread_to_views(all, &calls);
            let writes = index.spread_to_writes(all);
            if !calls.spread(&index, catalog) && !views && !writes {
                break;
            }
        }
        index.calls = calls;
        index
    }

    fn mark(&mut self, relation: &Relation, at: usize, why: Why) -> bool {
        let Some(column) = relation.columns.get(at) else {
            return false;
        };
        let reach = self.relations.entry(relation.oid).or_default();
        if reach.columns.iter().any(|known| known.index == at) {
            return false;
        }
        reach.columns.push(Marked {
            name: column.name.clone(),
            index: at,
            id: ColumnId { relation: relation.oid, attnum: column.attnum },
            why,
        });
        true
    }

    /// Parents show their children's rows, and children hold what was written through their parents.
    fn spread_to_relatives(&mut self, all: &[Relation], catalog: &Catalog) {
        let mut changed = true;
        while changed {
            changed = false;
            for child in all.iter().filter(|r| !r.parents.is_empty()) {
                for parent in child.parents.iter().filter_map(|oid| catalog.by_oid(*oid)) {
                    for (from, to) in [(child, parent), (parent, child)] {
                        let marked: Vec<Marked> = self.of(from.oid).map(|r| r.columns.clone()).unwrap_or_default();
                        for column in marked {
                            if let Some(at) = to.columns.iter().position(|c| c.name == column.name) {
                                changed |= self.mark(to, at, column.why);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Columns (of tables and of composite types) whose type is, or is an array of, a labelled relation's row type.
    fn spread_to_rows(&mut self, all: &[Relation]) {
        loop {
            let mut found: Vec<(usize, usize, Why)> = Vec::new();
            let labelled: Vec<(&Relation, ColumnId, LabelId)> = all
                .iter()
                .filter(|relation| !relation.system)
                .filter_map(|relation| {
                    let reach = self.of(relation.oid)?;
                    reach.columns.iter().find_map(|column| match column.why {
                        Why::Label(label) => Some((relation, column.id, label)),
                        Why::Row(id, label) => Some((relation, id, label)),
                        Why::Text => None,
                    })
                })
                .collect();
            if labelled.is_empty() {
                return;
            }
            for (r, relation) in all.iter().enumerate().filter(|(_, r)| !r.system) {
                for (at, column) in relation.columns.iter().enumerate() {
                    if column.type_oid < 16384 {
                        continue;
                    }
                    let known = self.of(relation.oid).is_some_and(|reach| reach.columns.iter().any(|c| c.index == at));
                    if known {
                        continue;
                    }
                    let of_row = labelled
                        .iter()
                        .find(|(of, _, _)| column.type_oid == of.row_type || names_row(&column.type_name, of));
                    if let Some((_, id, label)) = of_row {
                        found.push((r, at, Why::Row(*id, *label)));
                    }
                }
            }
            if found.is_empty() {
                return;
            }
            for (r, at, why) in found {
                if let Some(relation) = all.get(r) {
                    self.mark(relation, at, why);
                }
            }
        }
    }

    /// Views, through what they read and call. True if something was added.
    fn spread_to_views(&mut self, all: &[Relation], calls: &Calls) -> bool {
        let views: Vec<&Relation> = all
            .iter()
            .filter(|r| !r.system && matches!(r.kind, RelationKind::View | RelationKind::MaterializedView))
            .collect();
        let (mut ever, mut changed) = (false, true);
        while changed {
            changed = false;
            for view in &views {
                let mut reached: Vec<(ColumnId, LabelId)> = Vec::new();
                let mut opaque = None;
                for reach in view.reads.iter().filter_map(|oid| self.of(*oid)) {
                    reached.extend(reach.columns.iter().map(Marked::label));
                    reached.extend(reach.view.iter().chain(&reach.below));
                    if opaque.is_none() {
                        opaque.clone_from(&reach.opaque);
                    }
                }
                for called in view.calls.iter().map(|oid| calls.of(*oid)) {
                    reached.extend(&called.columns);
                    if opaque.is_none() && called.opaque.is_some() {
                        opaque = Some(called.name.clone());
                    }
                }
                if reached.is_empty() && opaque.is_none() {
                    continue;
                }
                let entry = self.relations.entry(view.oid).or_default();
                if entry.opaque.is_none() && opaque.is_some() && !view.settled {
                    entry.opaque = opaque;
                    changed = true;
                }
                let known = if view.settled { &mut entry.below } else { &mut entry.view };
                for column in reached {
                    if !known.contains(&column) {
                        known.push(column);
                        changed = true;
                    }
                }
            }
            ever |= changed;
        }
        ever
    }

    fn spread_to_writes(&mut self, all: &[Relation]) -> bool {
        let (mut ever, mut changed) = (false, true);
        while changed {
            changed = false;
            for relation in all.iter().filter(|r| !r.write_reaches.is_empty()) {
                let taints = relation
                    .write_reaches
                    .iter()
                    .any(|oid| self.of(*oid).is_some_and(|reach| reach.write_taints || reach.is_protected()));
                if taints {
                    let reach = self.relations.entry(relation.oid).or_default();
                    changed |= !reach.write_taints;
                    reach.write_taints = true;
                }
            }
            ever |= changed;
        }
        ever
    }
}

impl Marked {
    /// The labelled column behind it, and its label.
    fn label(&self) -> (ColumnId, LabelId) {
        match self.why {
            Why::Label(label) => (self.id, label),
            Why::Row(id, label) => (id, label),
            Why::Text => (self.id, builtin::CATALOG_TEXT),
        }
    }
}

impl Reach {
    /// What naming the view reaches, whichever of its columns are used. Which columns a write to it ends in is not
    /// asked: all of them.
    pub(crate) fn view_for(&self, access: Access) -> &[(ColumnId, LabelId)] {
        match access {
            Access::Read | Access::Lock => &self.view,
            Access::Insert | Access::Update | Access::Delete | Access::Ddl => {
                if self.view.is_empty() {
                    &self.below
                } else {
                    &self.view
                }
            }
        }
    }

    /// It holds labelled columns, itself or as a view (built-in labels aside).
    pub(crate) fn is_protected(&self) -> bool {
        !self.view.is_empty()
            || !self.below.is_empty()
            || self.columns.iter().any(|c| match c.why {
                Why::Label(label) => label != builtin::STATISTICS,
                Why::Row(..) => true,
                Why::Text => false,
            })
    }
}

/// `format_type` prints a row type as the relation's name, qualified if it is not visible, with `[]` for arrays.
fn names_row(type_name: &str, of: &Relation) -> bool {
    let name = type_name.trim_end_matches("[]");
    let last = name.rsplit('.').next().unwrap_or(name).trim_matches('"');
    last == &*of.name
}
