//! What becomes of values: each consumption is one use of every column that the value depends on.

use std::sync::Arc;

use super::Lineage;
use super::value::Value;
use crate::builtin;
use crate::catalog::{ColumnId, LabelId};
use crate::facts::{ColumnUse, Predicate, Rule, Use, Violation};
use crate::found::known;

/// One kind of use of one column; places of the same kind are one.
pub(super) type Key = (ColumnId, LabelId, u8, Arc<str>);

impl Lineage<'_, '_, '_, '_> {
    /// The value goes to the client.
    pub(super) fn put_out(&mut self, value: &Value) {
        match value.derived() {
            Some(_) => self.computed(value),
            None => self.each(value, 0, &Arc::clone(&self.words.output), |_| Use::Output),
        }
    }

    /// The value is an expression that the client gets to see, or that tells by failing.
    pub(super) fn computed(&mut self, value: &Value) {
        if let Some((droppable, construct)) = value.derived() {
            let construct = Arc::clone(construct);
            let tag = if droppable { 1 } else { 2 };
            let rule = Rule::Derived;
            self.each(value, tag, &construct, |at| Use::Derived {
                droppable,
                at: Violation { rule, construct: Arc::clone(&construct), position: at },
            });
        }
    }

    /// The server may compute the value whether or not anybody reads it.
    pub(super) fn evaluated(&mut self, value: &Value) {
        if !value.may_tell() {
            return;
        }
        if self.filtering {
            self.filter(value, Predicate::Any, "expression in a condition");
        } else {
            self.computed(value);
        }
    }

    /// Only whether there is a value is asked.
    pub(super) fn discard(&mut self, value: Value) {
        self.evaluated(&value);
        value.discarded();
    }

    /// The answer depends on the value.
    pub(super) fn filter(&mut self, value: &Value, needs: Predicate, construct: &str) {
        if value.is_free() {
            return;
        }
        let tag = if needs == Predicate::Any { 3 } else { 4 };
        let construct: Arc<str> = construct.into();
        self.each(value, tag, &construct, |at| Use::Filter {
            needs,
            at: Violation { rule: Rule::Filter, construct: Arc::clone(&construct), position: at },
        });
    }

    /// Equal values are told apart from others: enough for a value as it is, else anything can be asked.
    pub(super) fn distinguished(&mut self, value: &Value, construct: &str) {
        let needs = if value.is_unmodified() { Predicate::Equality } else { Predicate::Any };
        self.filter(value, needs, construct);
    }

    /// Two values are compared for being equal.
    pub(super) fn compared(&mut self, left: &Value, right: &Value, construct: &str) {
        for (one, other) in [(left, right), (right, left)] {
            self.filter(one, needed(one, other), construct);
        }
    }

    /// The value is stored where its label does not go with it.
    pub(super) fn flow(&mut self, value: &Value, construct: &str) {
        if value.is_free() {
            return;
        }
        let construct: Arc<str> = construct.into();
        self.each(value, 5, &construct, |at| {
            Use::Violation(Violation { rule: Rule::Flow, construct: Arc::clone(&construct), position: at })
        });
    }

    fn each(&mut self, value: &Value, tag: u8, construct: &Arc<str>, how: impl Fn(Option<usize>) -> Use) {
        for (column, label) in value.set() {
            // The statistics' own label has its violation already.
            if *label == builtin::STATISTICS {
                continue;
            }
            let at = known(value.at).or(Some(self.resolved.seen.range.start));
            if self.explaining {
                // A plan shows what the server knows of the values.
                if self.known.insert((*column, *label, 3, Arc::clone(&self.words.explain))) {
                    let construct = Arc::clone(&self.words.explain);
                    let at = Violation { rule: Rule::Filter, construct, position: at };
                    let how = Use::Filter { needs: Predicate::Any, at };
                    self.uses.push(ColumnUse { column: *column, label: *label, how });
                }
                continue;
            }
            if self.known.insert((*column, *label, tag, Arc::clone(construct))) {
                self.uses.push(ColumnUse { column: *column, label: *label, how: how(at) });
            }
        }
    }
}

/// What a comparison with `other` can tell of `one`: whether it equals something that the client chose, or another value
/// of its own label; or anything.
pub(super) fn needed(one: &Value, other: &Value) -> Predicate {
    let alike = || other.is_unmodified() && one.label().is_some() && one.label() == other.label();
    if one.is_unmodified() && (other.is_fixed() || alike()) { Predicate::Equality } else { Predicate::Any }
}
