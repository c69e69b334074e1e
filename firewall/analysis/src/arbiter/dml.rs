//! INSERT, UPDATE, DELETE and MERGE: targets, and what is stored in them.

use std::ops::Range;

use super::seen::{Item, Place, Store, StoreColumn, Value};
use super::walk::{QueryPlace, Walker, literal, offset};
use super::{ConstValue, Node, nodes, raw};
use crate::facts::{Access, Rule};

const RETURNING: Place = Place { construct: "RETURNING", ..Place::OUTPUT };

impl<'a> Walker<'a> {
    pub(super) fn insert(&mut self, insert: &'a nodes::InsertStmt) {
        let scope = self.with(insert.with_clause());
        let first = self.seen.relations.len();
        let Some(target) = insert.relation() else {
            return self.unread("INSERT without a target");
        };
        let target = self.relation_item(target, Access::Insert);
        let named: Vec<(&'a str, usize, bool)> = insert
            .cols()
            .iter()
            .filter_map(|column| match column {
                Node::ResTarget(column) => {
                    Some((column.name().unwrap_or_default(), offset(column.location), column.indirection().is_empty()))
                }
                _ => None,
            })
            .collect();
        for column in insert.cols() {
            if let Node::ResTarget(column) = column {
                for part in column.indirection() {
                    if !matches!(part, Node::String(_)) {
                        self.expression(part, Place::of(Rule::StoredExpression, "subscript"));
                    }
                }
            }
        }
        match insert.select_stmt() {
            Node::None => {}
            Node::SelectStmt(source) => self.insert_source(source, target, &named),
            other => {
                self.expression(other, Place::of(Rule::Flow, "INSERT"));
                self.unread("INSERT source");
            }
        }
        if let Some(conflict) = insert.on_conflict_clause() {
            // The row that could not be inserted has a name, with the target's columns.
            self.seen.items.push(Item {
                alias: "excluded",
                names: smallvec::SmallVec::new(),
                relations: target..target + 1,
                columns: 0..0,
                exposed: Vec::new(),
                base: true,
                join: false,
            });
            if let Some(infer) = conflict.infer() {
                for element in infer.index_elems() {
                    if let Node::IndexElem(element) = element
                        && let Some(name) = element.name()
                    {
                        self.seen.arbiters.push((target, name));
                    }
                    self.expression(element, Place::filter("ON CONFLICT"));
                }
                self.expression(infer.where_clause(), Place::filter("ON CONFLICT"));
            }
            for column in conflict.target_list() {
                self.assignment(column, target);
            }
            self.expression(conflict.where_clause(), Place::filter("ON CONFLICT"));
        }
        self.returning(insert.returning_clause(), first..self.seen.relations.len());
        self.leave(scope);
    }

    fn insert_source(&mut self, source: &'a nodes::SelectStmt, target: usize, named: &[(&'a str, usize, bool)]) {
        let column_at = |index: usize| match named.get(index) {
            Some((name, position, _)) => (StoreColumn::Named(name), *position),
            None => (StoreColumn::At(index), usize::MAX),
        };
        let whole = |index: usize| named.get(index).is_none_or(|(_, _, whole)| *whole);
        let mut stores: Vec<Store<'a>> = Vec::new();
        for row in source.values_lists() {
            for (index, value) in row.as_node_list().into_iter().flatten().enumerate() {
                let (column, position) = column_at(index);
                let value = if whole(index) { value_of(value) } else { Value::Other };
                stores.push(Store { relation: target, access: Access::Insert, column, position, value });
            }
        }
        if source.values_lists().is_empty() {
            let items: Vec<Value> = source.target_list().iter().map(|t| value_of(t.val())).collect();
            let starred = source.target_list().iter().any(|target| {
                matches!(target.val(), Node::ColumnRef(column)
                    if column.fields().iter().any(|field| matches!(field, Node::A_Star(_))))
            });
            let plain = source.op == raw::SetOperation::SETOP_NONE && items.iter().all(|value| *value != Value::Other);
            if starred || source.op != raw::SetOperation::SETOP_NONE {
                // Which item goes where is not known here: all of them, or none, may be stored anywhere.
                let value = if plain { Value::Column } else { Value::Other };
                let parameters = items.iter().filter(|v| matches!(v, Value::Parameter(_)));
                for value in parameters.chain(std::iter::once(&value)) {
                    if named.is_empty() {
                        stores.push(Store {
                            relation: target,
                            access: Access::Insert,
                            column: StoreColumn::All,
                            position: usize::MAX,
                            value: *value,
                        });
                    }
                    for (name, position, whole) in named {
                        stores.push(Store {
                            relation: target,
                            access: Access::Insert,
                            column: StoreColumn::Named(name),
                            position: *position,
                            value: if *whole { *value } else { Value::Other },
                        });
                    }
                }
            } else {
                for (index, value) in items.into_iter().enumerate() {
                    let (column, position) = column_at(index);
                    stores.push(Store {
                        relation: target,
                        access: Access::Insert,
                        column,
                        position,
                        value: if whole(index) { value } else { Value::Other },
                    });
                }
            }
        }
        self.seen.stores.append(&mut stores);
        self.query(source, QueryPlace { bare: Place::of(Rule::Flow, "INSERT"), outermost: false });
    }

    pub(super) fn update(&mut self, update: &'a nodes::UpdateStmt) {
        let scope = self.with(update.with_clause());
        let first = self.seen.relations.len();
        let Some(target) = update.relation() else {
            return self.unread("UPDATE without a target");
        };
        let target = self.relation_item(target, Access::Update);
        for item in update.from_clause() {
            self.range_item(item, true);
        }
        let from = first..self.seen.relations.len();
        for column in update.target_list() {
            self.assignment(column, target);
        }
        self.expression(update.where_clause(), Place::filter("WHERE"));
        self.returning(update.returning_clause(), from);
        self.leave(scope);
    }

    /// `SET column = value`
    fn assignment(&mut self, column: &'a nodes::ResTarget, target: usize) {
        let value = match column.val() {
            Node::MultiAssignRef(part) => match part.source() {
                Node::RowExpr(row) => usize::try_from(part.colno - 1)
                    .ok()
                    .and_then(|at| row.args().get(at))
                    .map_or(Value::Other, value_of),
                _ => Value::Other,
            },
            value => value_of(value),
        };
        let whole = column.indirection().is_empty();
        self.seen.stores.push(Store {
            relation: target,
            access: Access::Update,
            column: StoreColumn::Named(column.name().unwrap_or_default()),
            position: offset(column.location),
            value: if whole { value } else { Value::Other },
        });
        for part in column.indirection() {
            if !matches!(part, Node::String(_)) {
                self.expression(part, Place::of(Rule::StoredExpression, "subscript"));
            }
        }
        let place = Place::of(Rule::Flow, "SET");
        match column.val() {
            Node::MultiAssignRef(part) => {
                // The source hangs under each of its columns: once is enough.
                if part.colno == 1 {
                    self.expression(part.source(), place);
                }
            }
            value => self.expression(value, place),
        }
    }

    pub(super) fn delete(&mut self, delete: &'a nodes::DeleteStmt) {
        let scope = self.with(delete.with_clause());
        let first = self.seen.relations.len();
        let Some(target) = delete.relation() else {
            return self.unread("DELETE without a target");
        };
        self.relation_item(target, Access::Delete);
        for item in delete.using_clause() {
            self.range_item(item, true);
        }
        let from = first..self.seen.relations.len();
        self.expression(delete.where_clause(), Place::filter("WHERE"));
        self.returning(delete.returning_clause(), from);
        self.leave(scope);
    }

    pub(super) fn merge(&mut self, merge: &'a nodes::MergeStmt) {
        let scope = self.with(merge.with_clause());
        let first = self.seen.relations.len();
        let Some(target) = merge.relation() else {
            return self.unread("MERGE without a target");
        };
        let target = self.relation_item(target, Access::Update);
        self.range_item(merge.source_relation(), false);
        let from = first..self.seen.relations.len();
        self.expression(merge.join_condition(), Place::filter("MERGE ON"));
        for clause in merge.merge_when_clauses() {
            self.expression(clause.condition(), Place::filter("MERGE WHEN"));
            let inserts = clause.command_type == raw::CmdType::CMD_INSERT;
            self.seen.merge_inserts |= inserts;
            let mut named = 0;
            for column in clause.target_list() {
                let Node::ResTarget(column) = column else {
                    self.unread("MERGE target");
                    continue;
                };
                named += 1;
                self.seen.stores.push(Store {
                    relation: target,
                    access: Access::Update,
                    column: StoreColumn::Named(column.name().unwrap_or_default()),
                    position: offset(column.location),
                    value: if column.indirection().is_empty() {
                        let inserted = usize::try_from(named - 1).ok().and_then(|at| clause.values().get(at));
                        value_of(if inserts { inserted.unwrap_or(Node::None) } else { column.val() })
                    } else {
                        Value::Other
                    },
                });
                self.expression(column.val(), Place::of(Rule::Flow, "MERGE"));
            }
            if inserts && named == 0 && !clause.values().is_empty() {
                for (index, value) in clause.values().iter().enumerate() {
                    self.seen.stores.push(Store {
                        relation: target,
                        access: Access::Update,
                        column: StoreColumn::At(index),
                        position: usize::MAX,
                        value: value_of(value),
                    });
                }
            }
            for value in clause.values() {
                self.expression(value, Place::of(Rule::Flow, "MERGE"));
            }
        }
        self.returning(merge.returning_clause(), from);
        self.leave(scope);
    }

    fn returning(&mut self, clause: Option<&'a nodes::ReturningClause>, from: Range<usize>) {
        let Some(clause) = clause else { return };
        for option in clause.options() {
            // WITH (OLD AS name): another name of the target.
            if let Some(alias) = option.value() {
                self.seen.items.push(Item {
                    alias,
                    names: smallvec::SmallVec::new(),
                    relations: from.start..(from.start + 1).min(from.end),
                    columns: 0..0,
                    exposed: Vec::new(),
                    base: true,
                    join: false,
                });
            }
        }
        for item in clause.exprs() {
            match item {
                Node::ResTarget(target) => {
                    self.target(target, RETURNING, from.clone());
                }
                other => {
                    self.expression(other, Place::of(Rule::Derived, "RETURNING"));
                    self.unread("RETURNING item");
                }
            }
        }
    }

    /// A column named without a ColumnRef node (an index element, a COPY list).
    pub(super) fn named_column(&mut self, name: &'a str, place: Place) {
        self.seen.columns.push(super::seen::ColumnRef {
            parts: smallvec::smallvec![name],
            star: false,
            field: false,
            position: usize::MAX,
            place,
            from: 0..0,
        });
    }
}

/// What kind of value an expression is.
fn value_of(node: Node<'_>) -> Value {
    match node {
        Node::ParamRef(parameter) => u16::try_from(parameter.number).map_or(Value::Other, Value::Parameter),
        Node::A_Const(constant) => Value::Literal {
            token: matches!(constant.val(), Some(ConstValue::String(text)) if text.starts_with("rf1_")),
        },
        Node::SetToDefault(_) => Value::Default,
        Node::ColumnRef(_) => Value::Column,
        Node::TypeCast(cast) => match value_of(cast.arg()) {
            // A cast can fail on a column's value, and then prints it.
            Value::Column => Value::Other,
            plain => plain,
        },
        Node::A_ArrayExpr(array) => {
            let token = array.elements().iter().any(|e| literal(e).is_some_and(|text| text.starts_with("rf1_")));
            if array.elements().iter().all(|e| matches!(value_of(e), Value::Literal { .. })) {
                Value::Literal { token }
            } else {
                Value::Other
            }
        }
        // -1
        Node::A_Expr(operation) if matches!(operation.lexpr(), Node::None) => match value_of(operation.rexpr()) {
            Value::Literal { token: false } => Value::Literal { token: false },
            _ => Value::Other,
        },
        _ => Value::Other,
    }
}
