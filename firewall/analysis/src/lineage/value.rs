//! Where a value comes from: the labelled columns that it depends on, and what was done to them on the way.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::catalog::{ColumnId, LabelId};
use crate::facts::Output;

/// The labelled columns that a value depends on.
pub(super) type Set = SmallVec<[(ColumnId, LabelId); 1]>;

/// The value of an expression. Whoever asks for one says what becomes of it: it is put out, compared, stored, made part of
/// another one, or discarded.
#[must_use = "a value is put out, compared, stored, made part of another one, or discarded"]
#[derive(Debug, Clone)]
pub(super) struct Value {
    set: Set,
    kind: Kind,
    /// Byte offset of its first labelled column, or of the expression.
    pub at: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// Nothing labelled is in it.
    Free(Source),
    /// A catalog text as it stands in its column.
    Text,
    /// One of the columns as it is. `carried`: on the way the server has lost its name.
    Unmodified { carried: bool },
    /// Something made of them.
    Derived { droppable: bool, construct: Arc<str> },
}

/// Where an unlabelled value comes from; the order is that of distance from the statement's own text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// A literal, a parameter, DEFAULT.
    Given,
    /// The same through a subquery, or what a function of the server makes of it.
    Fixed,
    /// An unlabelled column.
    Column,
    /// Anything else.
    Computed,
}

impl Value {
    pub(super) fn free(source: Source) -> Self {
        Self { set: Set::new(), kind: Kind::Free(source), at: usize::MAX }
    }

    pub(super) fn text() -> Self {
        Self { kind: Kind::Text, ..Self::free(Source::Column) }
    }

    /// A labelled column (or one of several) as it is.
    pub(super) fn column(set: Set) -> Self {
        let kind = if set.is_empty() { Kind::Free(Source::Column) } else { Kind::Unmodified { carried: false } };
        Self { set, kind, at: usize::MAX }
    }

    /// Something made of these.
    pub(super) fn made(values: impl IntoIterator<Item = Self>, construct: &str, droppable: bool) -> Self {
        let mut made = Self::free(Source::Given);
        let mut droppable = droppable;
        let mut source = Source::Fixed;
        for value in values {
            match value.kind {
                Kind::Free(Source::Given | Source::Fixed) => {}
                Kind::Free(_) | Kind::Text => source = Source::Computed,
                Kind::Unmodified { .. } => {}
                Kind::Derived { droppable: own, .. } => droppable &= own,
            }
            made.at = made.at.min(value.at);
            made.join(&value.set);
        }
        made.kind = if made.set.is_empty() {
            Kind::Free(source)
        } else {
            Kind::Derived { droppable, construct: construct.into() }
        };
        made
    }

    /// Either of two: what a set operation, or a join on equal names, hands on.
    pub(super) fn either(self, other: Self) -> Self {
        let kind = match (self.kind, other.kind) {
            (derived @ Kind::Derived { .. }, Kind::Free(_) | Kind::Unmodified { .. } | Kind::Text)
            | (Kind::Free(_) | Kind::Unmodified { .. } | Kind::Text, derived @ Kind::Derived { .. }) => derived,
            (Kind::Derived { droppable: a, construct }, Kind::Derived { droppable: b, .. }) => {
                Kind::Derived { droppable: a && b, construct }
            }
            (Kind::Unmodified { .. }, _) | (_, Kind::Unmodified { .. }) => Kind::Unmodified { carried: true },
            (Kind::Text, _) | (_, Kind::Text) => Kind::Text,
            (Kind::Free(a), Kind::Free(b)) => Kind::Free(a.max(b).max(Source::Fixed)),
        };
        let mut either = Self { set: self.set, kind, at: self.at.min(other.at) };
        either.join(&other.set);
        either
    }

    /// One of several columns of the same name: the server still knows which.
    pub(super) fn or(self, other: Self) -> Self {
        let bare = self.is_bare() && other.is_bare();
        let either = self.either(other);
        if bare && !either.set.is_empty() {
            return Self { kind: Kind::Unmodified { carried: false }, ..either };
        }
        either
    }

    fn is_bare(&self) -> bool {
        matches!(self.kind, Kind::Unmodified { carried: false } | Kind::Free(_))
    }

    /// The value where the server no longer says whose it is.
    pub(super) fn carried(self) -> Self {
        match self.kind {
            Kind::Unmodified { .. } => Self { kind: Kind::Unmodified { carried: true }, ..self },
            Kind::Free(_) | Kind::Text | Kind::Derived { .. } => self,
        }
    }

    /// The value as a column of a subquery.
    pub(super) fn passed(self) -> Self {
        match self.kind {
            Kind::Free(Source::Given) => Self { kind: Kind::Free(Source::Fixed), ..self },
            Kind::Free(_) | Kind::Text | Kind::Unmodified { .. } | Kind::Derived { .. } => self,
        }
    }

    pub(super) fn at(self, position: usize) -> Self {
        Self { at: position, ..self }
    }

    /// Nothing becomes of it: only whether there is one, or how many, is asked.
    pub(super) fn discarded(self) {}

    fn join(&mut self, set: &Set) {
        for one in set {
            if !self.set.contains(one) {
                self.set.push(*one);
            }
        }
    }

    /// Some column is in both: put together, the value grows with itself.
    pub(super) fn shares(&self, other: &Self) -> bool {
        self.set.iter().any(|column| other.set.contains(column))
    }

    pub(super) fn set(&self) -> &Set {
        &self.set
    }

    pub(super) fn is_free(&self) -> bool {
        self.set.is_empty()
    }

    pub(super) fn is_unmodified(&self) -> bool {
        matches!(self.kind, Kind::Unmodified { .. })
    }

    /// An expression, and not on the reviewed list: it can fail, or tell by itself.
    pub(super) fn may_tell(&self) -> bool {
        matches!(self.kind, Kind::Derived { droppable: false, .. })
    }

    pub(super) fn derived(&self) -> Option<(bool, &Arc<str>)> {
        match &self.kind {
            Kind::Derived { droppable, construct } => Some((*droppable, construct)),
            Kind::Free(_) | Kind::Text | Kind::Unmodified { .. } => None,
        }
    }

    /// What the client could have written instead.
    pub(super) fn is_fixed(&self) -> bool {
        matches!(self.kind, Kind::Free(Source::Given | Source::Fixed))
    }

    pub(super) fn is_given(&self) -> bool {
        matches!(self.kind, Kind::Free(Source::Given))
    }

    /// May be stored in a labelled column: what the client wrote there itself, or an unlabelled column.
    pub(super) fn is_storable(&self) -> bool {
        matches!(self.kind, Kind::Free(Source::Given | Source::Column))
    }

    /// The one label of all that it may be.
    pub(super) fn label(&self) -> Option<LabelId> {
        let (_, first) = self.set.first()?;
        self.set.iter().all(|(_, label)| label == first).then_some(*first)
    }

    /// The same columns, and the same done to them.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.set.len() == other.set.len()
            && self.set.iter().all(|one| other.set.contains(one))
            && match (&self.kind, &other.kind) {
                (Kind::Derived { droppable: a, .. }, Kind::Derived { droppable: b, .. }) => a == b,
                (a, b) => a == b,
            }
    }

    pub(super) fn output(&self) -> Output {
        match &self.kind {
            Kind::Free(_) => Output::Free,
            Kind::Text => Output::CatalogText,
            Kind::Unmodified { carried: false } => Output::Bare(self.set.clone()),
            Kind::Unmodified { carried: true } => Output::Carried(self.set.clone()),
            Kind::Derived { droppable, .. } => {
                let mut labels = SmallVec::new();
                for (_, label) in &self.set {
                    if !labels.contains(label) {
                        labels.push(*label);
                    }
                }
                Output::Derived { labels, droppable: *droppable }
            }
        }
    }
}
