//! What is found in one statement: labelled columns with their uses, and what only the lineage can explain.

use smallvec::SmallVec;

use crate::arbiter::seen::Place;
use crate::builtin;
use crate::catalog::{ColumnId, LabelId};
use crate::facts::{Access, ColumnUse, Predicate, Rule, Use, Violation};
use crate::reach::Why;

/// A labelled column that a name may mean.
pub(crate) type Hit = (ColumnId, Why);
pub(crate) type Hits = SmallVec<[Hit; 4]>;

/// An occurrence of a name that may mean labelled columns: the lineage finds which, and what becomes of them.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// Its index among the arbiter's column references.
    pub column: usize,
    pub position: usize,
    pub hits: Hits,
    pub place: Place,
}

/// A value of unknown origin for a labelled column.
#[derive(Debug)]
pub(crate) struct OpenStore {
    /// The target's index among the arbiter's relations.
    pub relation: usize,
    pub column: ColumnId,
    pub label: LabelId,
    pub access: Access,
    pub position: usize,
}

impl OpenStore {
    pub(crate) fn updates(&self) -> bool {
        self.access == Access::Update
    }
}

/// The labelled columns of one statement, as far as the arbiter can tell.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub columns: Vec<ColumnUse>,
    pub violations: Vec<Violation>,
    /// Occurrences that the lineage has to explain.
    pub candidates: Vec<Candidate>,
    /// The same for positions in ORDER BY and the like.
    pub ordinals: Vec<Candidate>,
    /// Columns that `JOIN … USING` may compare.
    pub merges: Vec<Hit>,
    /// A function that is called writes, or reaches labelled relations: its diagnostics can quote rows.
    pub calls_taint: bool,
    pub calls_write: bool,
    /// Stored expressions.
    pub stores: Vec<OpenStore>,
    pub parameters: SmallVec<[(u16, ColumnId, LabelId); 2]>,
}

impl Found {
    pub(crate) fn violation(&mut self, column: ColumnId, label: LabelId, place: Place, position: usize) {
        let how = Use::Violation(Violation {
            rule: if label == builtin::STATISTICS { Rule::Statistics } else { place.rule },
            construct: place.construct.into(),
            position: known(position),
        });
        self.used(ColumnUse { column, label, how });
    }

    pub(crate) fn stored(&mut self, column: ColumnId, label: LabelId, access: Access) {
        self.used(ColumnUse { column, label, how: Use::Stored(access) });
    }

    pub(crate) fn output(&mut self, column: ColumnId, label: LabelId) {
        self.used(ColumnUse { column, label, how: Use::Output });
    }

    pub(crate) fn filter(
        &mut self,
        (column, label): (ColumnId, LabelId),
        needs: Predicate,
        construct: &str,
        position: usize,
    ) {
        let at = Violation { rule: Rule::Filter, construct: construct.into(), position: known(position) };
        self.used(ColumnUse { column, label, how: Use::Filter { needs, at } });
    }

    pub(crate) fn catalog_text(&mut self, column: ColumnId, position: usize) {
        let how = Use::Violation(Violation {
            rule: Rule::CatalogText,
            construct: "catalog text".into(),
            position: known(position),
        });
        self.used(ColumnUse { column, label: builtin::CATALOG_TEXT, how });
    }

    pub(crate) fn used(&mut self, column_use: ColumnUse) {
        // The first place of several is enough.
        let same = |known: &ColumnUse| {
            known.column == column_use.column
                && known.label == column_use.label
                && match (&known.how, &column_use.how) {
                    (Use::Violation(a), Use::Violation(b)) => a.rule == b.rule && a.construct == b.construct,
                    (Use::Filter { needs: a, at: x }, Use::Filter { needs: b, at: y }) => {
                        a == b && x.construct == y.construct
                    }
                    (Use::Derived { droppable: a, at: x }, Use::Derived { droppable: b, at: y }) => {
                        a == b && x.construct == y.construct
                    }
                    (a, b) => a == b,
                }
        };
        if !self.columns.iter().any(same) {
            self.columns.push(column_use);
        }
    }

    /// What is left of the open lists was not accounted for; true if that is because the parsers disagree, or one cannot
    /// read the statement.
    pub(crate) fn refuse_unexplained(&mut self) -> bool {
        let unexplained = !self.candidates.is_empty() || !self.ordinals.is_empty() || !self.merges.is_empty();
        for candidate in std::mem::take(&mut self.candidates) {
            let construct = candidate.place.construct;
            let place = if candidate.place.output { Place::of(Rule::Parser, construct) } else { candidate.place };
            self.refuse(&candidate.hits, place, candidate.position);
        }
        for ordinal in std::mem::take(&mut self.ordinals) {
            self.refuse(&ordinal.hits, ordinal.place, ordinal.position);
        }
        let merges: Hits = std::mem::take(&mut self.merges).into();
        self.refuse(&merges, Place::filter("USING"), usize::MAX);
        for store in std::mem::take(&mut self.stores) {
            let place = Place::of(Rule::StoredExpression, "stored expression");
            self.violation(store.column, store.label, place, store.position);
        }
        unexplained
    }

    fn refuse(&mut self, hits: &Hits, place: Place, position: usize) {
        for (id, why) in hits {
            if let Why::Label(label) | Why::Row(_, label) = why {
                self.violation(*id, *label, place, position);
            }
        }
    }

    /// Something reaches the column in ways that only its name tells.
    pub(crate) fn reached(
        &mut self,
        (column, label): (ColumnId, LabelId),
        rule: Rule,
        construct: &str,
        position: usize,
    ) {
        let how = Use::Violation(Violation { rule, construct: construct.into(), position: known(position) });
        self.used(ColumnUse { column, label, how });
    }

    pub(crate) fn other(&mut self, rule: Rule, construct: &str, position: usize) {
        self.violations.push(Violation { rule, construct: construct.into(), position: known(position) });
    }
}

pub(crate) fn known(position: usize) -> Option<usize> {
    (position != usize::MAX).then_some(position)
}
