//! MERGE.

use super::Lineage;
use super::scope::{Columns, Scope};
use super::store::{Store, Target};
use crate::parse::ast::{
    Merge, MergeAction, MergeClause, MergeInsertExpr, MergeInsertKind, MergeUpdateExpr, MergeUpdateKind, OutputClause,
    SelectItem,
};

impl Lineage<'_, '_, '_, '_> {
    pub(super) fn merge(&mut self, merge: &Merge) -> Columns {
        let Merge { merge_token: _, optimizer_hints: _, into: _, table, source, on, clauses, output } = merge;
        let target = self.factor(table, &Scope::default());
        let Some(relation) = self.only_relation(&target) else {
            self.broken = true;
            return Columns::default();
        };
        let source = self.factor(source, &Scope::default());
        let both = target.beside(source.clone());
        self.levels.push(both.clone());
        self.condition(on, "MERGE ON");
        self.levels.pop();
        let store = Store { relation, updates: true, construct: "MERGE" };
        for MergeClause { when_token: _, clause_kind: _, predicate, action } in clauses {
            // What is inserted has no row of the target to name; a name that is only there is the server's error.
            self.levels.push(if matches!(action, MergeAction::Insert(_)) { source.clone() } else { both.clone() });
            if let Some(predicate) = predicate {
                self.condition(predicate, "MERGE WHEN");
            }
            match action {
                MergeAction::Insert(insert) => self.merge_insert(store, insert),
                MergeAction::Update(update) => self.merge_update(store, update),
                MergeAction::Delete { delete_token: _ } | MergeAction::DoNothing { do_token: _, nothing_token: _ } => {}
            }
            self.levels.pop();
        }
        let list = match output {
            None => None,
            Some(OutputClause::Returning { returning_token: _, select_items }) => Some(select_items.as_slice()),
            Some(OutputClause::Output { .. }) => {
                self.broken = true;
                None
            }
        };
        self.merge_returning(list, &source, both)
    }

    fn merge_returning(&mut self, list: Option<&[SelectItem]>, source: &Scope, both: Scope) -> Columns {
        // `*` is the source's columns, then the target's.
        let mut scope = both;
        let shift = scope.items.len() - source.items.len();
        let (own, others): (Vec<_>, Vec<_>) = scope.star.drain(..).partition(|part| match part {
            super::scope::Part::Item(at, _) => *at < shift,
            super::scope::Part::Merged(_) => false,
        });
        scope.star = others.into_iter().chain(own).collect();
        self.returning(list, scope, true)
    }

    fn merge_insert(&mut self, store: Store, insert: &MergeInsertExpr) {
        let MergeInsertExpr { insert_token: _, columns, kind_token: _, kind, insert_predicate } = insert;
        self.broken |= insert_predicate.is_some();
        let targets: Vec<Target> = columns.iter().map(|column| self.target(column)).collect();
        match kind {
            MergeInsertKind::Values(values) => {
                for row in &values.rows {
                    for (at, expr) in row.content.iter().enumerate() {
                        let value = self.value(expr);
                        let target = if targets.is_empty() { Some(Target::At(at)) } else { targets.get(at).cloned() };
                        if let Some(target) = target {
                            self.store(store, &target, &value);
                        }
                        value.discarded();
                    }
                }
            }
            MergeInsertKind::Row | MergeInsertKind::Wildcard => self.broken = true,
        }
    }

    fn merge_update(&mut self, store: Store, update: &MergeUpdateExpr) {
        let MergeUpdateExpr { update_token: _, kind, update_predicate, delete_predicate } = update;
        self.broken |= update_predicate.is_some() || delete_predicate.is_some();
        match kind {
            MergeUpdateKind::Set(assignments) => self.assign(store, assignments),
            MergeUpdateKind::Wildcard => self.broken = true,
        }
    }
}
