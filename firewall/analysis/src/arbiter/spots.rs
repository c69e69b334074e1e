//! Where a text holds values that stand for any other value of their kind: operands of comparisons in WHERE and ON,
//! values of INSERT and UPDATE, LIMIT. Everything else that looks like a literal (an argument of a function, an
//! ordinal, a part of a type, a setting) may mean something, and is none.
//!
//! Nodes that are not listed are not looked into, so what is forgotten here costs speed only.

use super::walk::offset;
use super::{ConstValue, Node, nodes, raw, with_stack};

/// What stands at a spot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Literal {
    Integer,
    Text,
}

/// The spots of the only statement in `text`, by position; empty if there are none, or several statements.
pub(crate) fn spots(text: &str) -> Vec<(usize, Literal)> {
    let mut found = Spots { text, found: Vec::new() };
    if let Ok(parsed) = pg_raw_parse::parse(text) {
        let parsed = parsed.into_inner();
        let mut statements = parsed.iter();
        if let (Some(only), None) = (statements.next(), statements.next()) {
            found.statement(only.stmt());
        }
    }
    found.found.sort_unstable_by_key(|(at, _)| *at);
    found.found
}

struct Spots<'t> {
    text: &'t str,
    found: Vec<(usize, Literal)>,
}

impl Spots<'_> {
    fn statement(&mut self, node: Node<'_>) {
        match node {
            Node::SelectStmt(select) => self.select(select),
            Node::InsertStmt(insert) => {
                if let Node::SelectStmt(source) = insert.select_stmt() {
                    for row in source.values_lists() {
                        if let Node::NodeList(values) = row {
                            values.iter().for_each(|value| self.value(value));
                        }
                    }
                    self.select(source);
                }
            }
            Node::UpdateStmt(update) => {
                update.target_list().iter().for_each(|target| self.value(target.val()));
                update.from_clause().iter().for_each(|item| self.from(item));
                self.condition(update.where_clause());
            }
            Node::DeleteStmt(delete) => {
                delete.using_clause().iter().for_each(|item| self.from(item));
                self.condition(delete.where_clause());
            }
            _ => {}
        }
    }

    fn select(&mut self, select: &nodes::SelectStmt) {
        select.from_clause().iter().for_each(|item| self.from(item));
        self.condition(select.where_clause());
        self.value(select.limit_count());
        self.value(select.limit_offset());
    }

    fn from(&mut self, item: Node<'_>) {
        with_stack(|| match item {
            Node::JoinExpr(join) => {
                self.from(join.larg());
                self.from(join.rarg());
                self.condition(join.quals());
            }
            Node::RangeSubselect(subselect) => {
                if let Node::SelectStmt(select) = subselect.subquery() {
                    self.select(select);
                }
            }
            _ => {}
        });
    }

    fn condition(&mut self, node: Node<'_>) {
        with_stack(|| match node {
            Node::BoolExpr(operation) => operation.args().iter().for_each(|arg| self.condition(arg)),
            Node::A_Expr(comparison) => {
                let known = matches!(
                    comparison.kind,
                    raw::A_Expr_Kind::AEXPR_OP
                        | raw::A_Expr_Kind::AEXPR_IN
                        | raw::A_Expr_Kind::AEXPR_LIKE
                        | raw::A_Expr_Kind::AEXPR_ILIKE
                        | raw::A_Expr_Kind::AEXPR_BETWEEN
                        | raw::A_Expr_Kind::AEXPR_NOT_BETWEEN
                );
                let (left, right) = (comparison.lexpr(), comparison.rexpr());
                if known && is_operand(left) && is_operand(right) {
                    self.operand(left);
                    self.operand(right);
                }
            }
            Node::SubLink(link) => {
                if let Node::SelectStmt(select) = link.subselect() {
                    self.select(select);
                }
            }
            _ => {}
        });
    }

    fn operand(&mut self, node: Node<'_>) {
        match node {
            Node::A_Const(_) => self.value(node),
            Node::A_Expr(_) => self.condition(node),
            Node::NodeList(list) => list.iter().for_each(|member| self.value(member)),
            _ => {}
        }
    }

    fn value(&mut self, node: Node<'_>) {
        let Node::A_Const(constant) = node else { return };
        let at = offset(constant.location);
        let written = |from: usize, value: &str| self.text.get(from..).is_some_and(|rest| rest.starts_with(value));
        let literal = match constant.val() {
            Some(ConstValue::Integer(_)) => Literal::Integer,
            // psql asks so which partition is the default one, and is answered for it. A value that is not what is
            // written has escapes in it, or several pieces.
            Some(ConstValue::String(value)) if value != "DEFAULT" && written(at.saturating_add(1), value) => {
                Literal::Text
            }
            _ => return,
        };
        self.found.push((at, literal));
    }
}

/// With anything else beside it (a function, a cast) a literal may mean something.
fn is_operand(node: Node<'_>) -> bool {
    matches!(node, Node::ColumnRef(_) | Node::ParamRef(_) | Node::A_Const(_) | Node::A_Expr(_) | Node::NodeList(_))
}
