//! FROM items and joins.

use super::names::{folded, parts};
use super::query::renamed;
use super::{Column, Columns, Shaper, derived};
use crate::catalog::{ColumnId, LabelId, Relation};
use crate::facts::Output;
use crate::parse::ast::{Join, JoinConstraint, JoinOperator, ObjectName, TableAlias, TableFactor, TableWithJoins};
use crate::reach::Why;

/// A FROM item by the name that qualifies its columns.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub alias: Option<Box<str>>,
    pub columns: Columns,
    /// The relations that it may be, if their columns differ: looked up by name.
    pub relation: Option<usize>,
}

/// A FROM clause, or a part of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub items: Vec<Item>,
    /// What `*` expands to.
    pub star: Columns,
    /// Not understood: nothing may be permitted here.
    pub broken: bool,
}

impl Scope {
    pub(super) fn broken() -> Self {
        Self { broken: true, ..Self::default() }
    }

    fn of(item: Item) -> Self {
        Self { star: item.columns.clone(), items: vec![item], broken: false }
    }

    pub(super) fn beside(mut self, other: Self) -> Self {
        self.star = concatenated(self.star, other.star);
        self.items.extend(other.items);
        self.broken |= other.broken;
        self
    }
}

fn concatenated(mut left: Columns, right: Columns) -> Columns {
    left.list = match (left.list, right.list) {
        (Some(mut left), Some(right)) => {
            left.extend(right);
            Some(left)
        }
        _ => None,
    };
    left.labels.extend(right.labels);
    left
}

impl Shaper<'_, '_, '_, '_> {
    pub(super) fn from(&mut self, tables: &[TableWithJoins], feeding: bool) -> Scope {
        tables.iter().fold(
            Scope { star: Columns { list: Some(Vec::new()), labels: Vec::new() }, ..Scope::default() },
            |scope, table| {
                let next = self.tables(table, feeding);
                scope.beside(next)
            },
        )
    }

    pub(super) fn tables(&mut self, table: &TableWithJoins, feeding: bool) -> Scope {
        let mut scope = self.factor(&table.relation, feeding);
        for Join { relation, global, join_operator } in &table.joins {
            let right = self.factor(relation, feeding);
            scope = match constraint(join_operator) {
                Some(_) | None if *global => Scope::broken(),
                Some(constraint) => joined(scope, right, constraint),
                None => Scope::broken(),
            };
        }
        scope
    }

    fn factor(&mut self, factor: &TableFactor, feeding: bool) -> Scope {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample: _,
                index_hints,
            } => {
                if args.is_some() {
                    return opaque(alias.as_ref());
                }
                if !with_hints.is_empty()
                    || version.is_some()
                    || *with_ordinality
                    || !partitions.is_empty()
                    || json_path.is_some()
                    || !index_hints.is_empty()
                {
                    return Scope::broken();
                }
                self.table(name, alias.as_ref())
            }
            TableFactor::Derived { lateral: _, subquery, alias, sample } => {
                if sample.is_some() {
                    return Scope::broken();
                }
                let columns = renamed(self.query(subquery, feeding), alias.as_ref());
                Scope::of(Item { alias: alias.as_ref().map(|a| folded(&a.name)), columns, relation: None })
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let scope = self.tables(table_with_joins, feeding);
                match alias {
                    None => scope,
                    Some(alias) => {
                        let broken = scope.broken;
                        let columns = renamed(scope.star, Some(alias));
                        Scope {
                            broken,
                            ..Scope::of(Item { alias: Some(folded(&alias.name)), columns, relation: None })
                        }
                    }
                }
            }
            TableFactor::Function { alias, lateral: _, name: _, args: _, with_ordinality: _ }
            | TableFactor::TableFunction { alias, expr: _ } => opaque(alias.as_ref()),
            TableFactor::UNNEST { alias, with_offset, .. } => {
                if *with_offset {
                    Scope::broken()
                } else {
                    opaque(alias.as_ref())
                }
            }
            TableFactor::JsonTable { alias, .. } | TableFactor::XmlTable { alias, .. } => opaque(alias.as_ref()),
            TableFactor::OpenJsonTable { .. }
            | TableFactor::Pivot { .. }
            | TableFactor::Unpivot { .. }
            | TableFactor::UnpivotExpr { .. }
            | TableFactor::MatchRecognize { .. }
            | TableFactor::SemanticView { .. } => Scope::broken(),
        }
    }

    /// A table or CTE by name: at that position, the arbiter must have seen the same name.
    pub(super) fn table(&mut self, name: &ObjectName, alias: Option<&TableAlias>) -> Scope {
        self.named(name, alias.map(|alias| folded(&alias.name)), alias)
    }

    pub(super) fn named(&mut self, name: &ObjectName, alias: Option<Box<str>>, names: Option<&TableAlias>) -> Scope {
        let Some(parts) = parts(name) else { return Scope::broken() };
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
            return Scope::broken();
        };
        let own_name = folded(last);
        let position = self.positions.ident(first);
        let seen = &self.resolved.seen.relations;
        let Some(at) = seen.iter().position(|r| {
            Some(r.position) == position && r.name == &*own_name && (r.schema.is_some() == (parts.len() > 1))
        }) else {
            return Scope::broken();
        };
        let is_cte = seen.get(at).is_some_and(|r| r.cte.is_some());
        let alias = alias.unwrap_or_else(|| own_name.clone());
        if is_cte {
            let Some((_, columns)) = self.ctes.iter().rev().find(|(name, _)| *name == own_name) else {
                return Scope::broken();
            };
            return Scope::of(Item { alias: Some(alias), columns: renamed(columns.clone(), names), relation: None });
        }
        let columns = renamed(self.relation_columns(at), names);
        let renames = names.is_some_and(|alias| !alias.columns.is_empty());
        Scope::of(Item { alias: Some(alias), columns, relation: (!renames).then_some(at) })
    }

    /// The columns of whatever relation the name means, if all candidates have the same ones.
    fn relation_columns(&self, at: usize) -> Columns {
        let mut labels: Vec<(ColumnId, LabelId)> = Vec::new();
        for marked in self.resolved.marked(at) {
            if let Why::Label(label) = marked.why {
                labels.push((marked.id, label));
            }
        }
        let candidates = self.resolved.candidates.get(at).map(|c| c.as_slice()).unwrap_or_default();
        let list = match candidates {
            _ if self.resolved.is_fresh(at) => None,
            [] => None,
            [first, others @ ..] => {
                let names = |r: &&Relation| r.columns.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
                let own = names(first);
                others.iter().all(|other| names(other) == own).then(|| {
                    own.into_iter()
                        .map(|name| Column { output: self.column_of(at, &name).unwrap_or(Output::Free), name })
                        .collect()
                })
            }
        };
        Columns { list, labels }
    }

    /// A column by name, over all that the relation may be.
    pub(super) fn column_of(&self, at: usize, name: &str) -> Option<Output> {
        let known = self.resolved.candidates.get(at)?.iter().any(|relation| relation.column(name).is_some());
        if !known {
            return None;
        }
        let mut bare = smallvec::SmallVec::new();
        for marked in self.resolved.marked(at).filter(|marked| &*marked.name == name) {
            match marked.why {
                Why::Label(label) => bare.push((marked.id, label)),
                Why::Text => return Some(Output::CatalogText),
                Why::Row(..) => return Some(derived()),
            }
        }
        Some(if bare.is_empty() { Output::Free } else { Output::Bare(bare) })
    }
}

/// A function in FROM: its columns are not known, and nothing labelled is in them (an argument would be refused).
fn opaque(alias: Option<&TableAlias>) -> Scope {
    Scope::of(Item { alias: alias.map(|alias| folded(&alias.name)), columns: Columns::default(), relation: None })
}

fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)
        | JoinOperator::CrossJoin(constraint) => Some(constraint),
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

fn joined(left: Scope, right: Scope, constraint: &JoinConstraint) -> Scope {
    let merged: Option<Vec<Box<str>>> = match constraint {
        JoinConstraint::On(_) | JoinConstraint::None => return left.beside(right),
        JoinConstraint::Using(names) => names
            .iter()
            .map(|name| match parts(name)?.as_slice() {
                [name] => Some(folded(name)),
                _ => None,
            })
            .collect(),
        JoinConstraint::Natural => match (&left.star.list, &right.star.list) {
            (Some(left), Some(right)) => {
                Some(left.iter().filter(|l| right.iter().any(|r| r.name == l.name)).map(|l| l.name.clone()).collect())
            }
            _ => None,
        },
    };
    let (left_list, right_list) = (left.star.list.clone(), right.star.list.clone());
    let mut scope = left.beside(right);
    scope.star.list = match (merged, left_list, right_list) {
        (Some(merged), Some(left), Some(right)) => {
            let rest = |columns: Vec<Column>| {
                let merged = merged.clone();
                columns.into_iter().filter(move |c| !merged.contains(&c.name))
            };
            let mut list: Vec<Column> = merged
                .iter()
                .map(|name| Column { name: name.clone(), output: merged_output(name, &left, &right) })
                .collect();
            list.extend(rest(left));
            list.extend(rest(right));
            Some(list)
        }
        _ => None,
    };
    scope
}

/// A merged column is either side's (and neither's, in a full join).
fn merged_output(name: &str, left: &[Column], right: &[Column]) -> Output {
    let free = |columns: &[Column]| columns.iter().find(|c| &*c.name == name).is_some_and(|c| c.output == Output::Free);
    if free(left) && free(right) { Output::Free } else { derived() }
}
