//! Joins.

use std::rc::Rc;

use super::Lineage;
use super::names::{folded, parts};
use super::scope::{Column, Part, Presence, Scope};
use super::value::Value;
use crate::parse::ast::{Join, JoinConstraint, JoinOperator, ObjectName, TableWithJoins};

/// Which side's value a merged column has.
#[derive(Debug, Clone, Copy)]
enum Side {
    Left,
    Right,
    Either,
}

impl Lineage<'_, '_, '_, '_> {
    /// `left`: what stands before in the same FROM.
    pub(super) fn tables(&mut self, table: &TableWithJoins, left: &Scope) -> Scope {
        let mut scope = self.factor(&table.relation, left);
        for Join { relation, global, join_operator } in &table.joins {
            self.broken |= *global;
            let both;
            let lateral = if left.items.is_empty() {
                &scope
            } else {
                both = left.clone().beside(scope.clone());
                &both
            };
            let right = self.factor(relation, lateral);
            let Some((constraint, side)) = constraint(join_operator) else {
                self.broken = true;
                return scope;
            };
            scope = self.joined(scope, right, constraint, side);
            if self.broken {
                break;
            }
        }
        scope
    }

    fn joined(&mut self, left: Scope, right: Scope, constraint: &JoinConstraint, side: Side) -> Scope {
        match constraint {
            JoinConstraint::On(condition) => {
                let scope = left.beside(right);
                self.levels.push(scope);
                self.condition(condition, "ON");
                self.levels.pop().unwrap_or_default()
            }
            JoinConstraint::None => left.beside(right),
            JoinConstraint::Using(names) => {
                self.merges += 1;
                let names = names.iter().map(single).collect::<Option<Vec<_>>>();
                match names {
                    Some(names) => self.merged(left, right, &names, side, true),
                    None => {
                        self.broken = true;
                        left.beside(right)
                    }
                }
            }
            JoinConstraint::Natural => match (self.names(&left), self.names(&right)) {
                (Some(own), Some(others)) => {
                    let names: Vec<Rc<str>> = own.into_iter().filter(|name| others.contains(name)).collect();
                    self.merged(left, right, &names, side, false)
                }
                // Which columns are merged is not known: a name alone may be either side's.
                _ => left.beside(right),
            },
        }
    }

    /// Names of a scope's columns, if all are known.
    fn names(&mut self, scope: &Scope) -> Option<Vec<Rc<str>>> {
        self.levels.push(scope.clone());
        let columns = self.star(None);
        self.levels.pop();
        let columns = columns?;
        let names = columns.listed()?.iter().map(|column| Rc::clone(&column.name)).collect::<Vec<_>>();
        self.spend(names.len()).then_some(names)
    }

    /// Both sides' columns of these names become one. What a natural join compares is the arbiter's to say.
    fn merged(&mut self, left: Scope, right: Scope, names: &[Rc<str>], side: Side, compares: bool) -> Scope {
        let mut merged: Vec<Column> = Vec::with_capacity(names.len());
        for name in names {
            let (one, other) = (self.side(&left, name), self.side(&right, name));
            if compares {
                self.compared(&one, &other, "USING");
            }
            let value = match side {
                Side::Left => {
                    other.discarded();
                    one.carried()
                }
                Side::Right => {
                    one.discarded();
                    other.carried()
                }
                Side::Either => one.either(other),
            };
            merged.push(Column { name: Rc::clone(name), value });
        }
        let mut scope = left.beside(right);
        scope.merged.retain(|known| !names.contains(&known.name));
        let mut star: Vec<Part> = merged.iter().cloned().map(Part::Merged).collect();
        for part in std::mem::take(&mut scope.star) {
            match part {
                Part::Merged(column) if names.contains(&column.name) => {}
                Part::Merged(column) => star.push(Part::Merged(column)),
                Part::Item(at, mut hidden) => {
                    hidden.extend(names.iter().cloned());
                    star.push(Part::Item(at, hidden));
                }
            }
        }
        scope.star = star;
        scope.merged.extend(merged);
        scope
    }

    fn side(&mut self, scope: &Scope, name: &str) -> Value {
        match self.at_level(scope, name) {
            Presence::No => self.lost(),
            Presence::Maybe(value) | Presence::Sure(value) => value,
        }
    }
}

fn single(name: &ObjectName) -> Option<Rc<str>> {
    match parts(name)?.as_slice() {
        [name] => Some(folded(name).into()),
        _ => None,
    }
}

fn constraint(operator: &JoinOperator) -> Option<(&JoinConstraint, Side)> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::CrossJoin(constraint) => Some((constraint, Side::Left)),
        JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => Some((constraint, Side::Right)),
        JoinOperator::FullOuter(constraint) => Some((constraint, Side::Either)),
        JoinOperator::Semi(_)
        | JoinOperator::LeftSemi(_)
        | JoinOperator::RightSemi(_)
        | JoinOperator::Anti(_)
        | JoinOperator::LeftAnti(_)
        | JoinOperator::RightAnti(_)
        | JoinOperator::CrossApply
        | JoinOperator::OuterApply
        | JoinOperator::AsOf { .. }
        | JoinOperator::StraightJoin(_)
        | JoinOperator::ArrayJoin
        | JoinOperator::LeftArrayJoin
        | JoinOperator::InnerArrayJoin => None,
    }
}
