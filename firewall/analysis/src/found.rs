//! What is found in one statement: labelled columns with their uses, and what only the shape can allow.

use smallvec::SmallVec;

use crate::arbiter::seen::Place;
use crate::builtin;
use crate::catalog::{ColumnId, LabelId};
use crate::facts::{Access, ColumnUse, Rule, Use, Violation};
use crate::reach::Why;

/// A labelled column that a name may mean.
pub(crate) type Hit = (ColumnId, Why);
pub(crate) type Hits = SmallVec<[Hit; 4]>;

/// A bare labelled column where the shape may allow it.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub position: usize,
    pub hits: Hits,
    pub place: Place,
}

/// The labelled columns of one statement, as far as the arbiter can tell.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub columns: Vec<ColumnUse>,
    pub violations: Vec<Violation>,
    /// Bare in a select list: outputs, if the shape agrees.
    pub candidates: Vec<Candidate>,
    /// Positions in ORDER BY behind a star: harmless, if the shape finds an unlabelled column there.
    pub ordinals: Vec<Candidate>,
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

    pub(crate) fn catalog_text(&mut self, column: ColumnId, position: usize) {
        let how = Use::Violation(Violation {
            rule: Rule::CatalogText,
            construct: "catalog text".into(),
            position: known(position),
        });
        self.used(ColumnUse { column, label: builtin::CATALOG_TEXT, how });
    }

    fn used(&mut self, column_use: ColumnUse) {
        // The first place of several is enough.
        let same = |known: &ColumnUse| {
            known.column == column_use.column
                && known.label == column_use.label
                && match (&known.how, &column_use.how) {
                    (Use::Violation(a), Use::Violation(b)) => a.rule == b.rule && a.construct == b.construct,
                    (a, b) => a == b,
                }
        };
        if !self.columns.iter().any(same) {
            self.columns.push(column_use);
        }
    }

    pub(crate) fn other(&mut self, rule: Rule, construct: &str, position: usize) {
        self.violations.push(Violation { rule, construct: construct.into(), position: known(position) });
    }
}

pub(crate) fn known(position: usize) -> Option<usize> {
    (position != usize::MAX).then_some(position)
}
