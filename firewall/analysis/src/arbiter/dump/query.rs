//! A view's query, as far as the names and types of its columns need it.

use super::{From, Query, Source, Target, range, strings, type_ref};
use crate::arbiter::walk::{alias, qualified};
use crate::arbiter::{Node, nodes};

/// The names and types of a query's columns, as far as they can be told.
pub(super) fn query(text: &str, node: Node<'_>) -> Query {
    let Node::SelectStmt(select) = node else { return Query::default() };
    let mut found = Query::default();
    let mut first = select;
    loop {
        for with in first.with_clause().into_iter().flat_map(|with| with.ctes().iter()) {
            let name = with.ctename().unwrap_or_default().into();
            found.with.push((name, strings(with.aliascolnames()), query(text, with.ctequery())));
        }
        match first.larg() {
            Some(left) => first = left,
            None => break,
        }
    }
    found.columns.extend(first.target_list().iter().map(target));
    for item in first.from_clause() {
        source(text, item, &mut found.from);
    }
    found
}

fn target(target: &nodes::ResTarget) -> Target {
    let named = target.name();
    let other = |name: &str| Target::Other(named.unwrap_or(name).into());
    match target.val() {
        Node::ColumnRef(column) => {
            let fields: Vec<Node<'_>> = column.fields().iter().collect();
            let last = |skip: usize| fields.iter().rev().nth(skip).and_then(|field| field.as_str());
            match fields.last() {
                Some(Node::A_Star(_)) => Target::Star(last(1).map(Into::into)),
                _ => {
                    let column = last(0).unwrap_or("?column?");
                    Target::Column {
                        name: named.unwrap_or(column).into(),
                        qualifier: last(1).map(Into::into),
                        column: column.into(),
                    }
                }
            }
        }
        Node::TypeCast(cast) => match cast.type_name() {
            Some(of) => {
                let of = type_ref(of);
                let inner = match cast.arg() {
                    Node::ColumnRef(column) => column.fields().iter().next_back().and_then(Node::as_str),
                    _ => None,
                };
                Target::Typed { name: named.or(inner).unwrap_or(&of.name.name).into(), of: of.clone() }
            }
            None => other("?column?"),
        },
        Node::FuncCall(call) => {
            let (_, function) = qualified(call.funcname());
            // Values of the argument's type, and of the argument's label.
            if matches!(function, "min" | "max")
                && let Some(Node::ColumnRef(column)) = call.args().get(0)
            {
                let mut fields = column.fields().iter().filter_map(Node::as_str);
                if let Some(last) = fields.next_back() {
                    return Target::Column {
                        name: named.unwrap_or(function).into(),
                        qualifier: fields.next_back().map(Into::into),
                        column: last.into(),
                    };
                }
            }
            other(function)
        }
        Node::CoalesceExpr(_) => other("coalesce"),
        Node::CaseExpr(_) => other("case"),
        _ => other("?column?"),
    }
}

fn source(text: &str, item: Node<'_>, found: &mut Vec<Source>) {
    match item {
        Node::RangeVar(relation) => {
            let (alias, columns) = alias(relation.alias(), relation.relname().unwrap_or_default());
            found.push(Source {
                alias: alias.into(),
                columns: columns.iter().map(|name| (*name).into()).collect(),
                what: From::Relation(range(Some(relation))),
            });
        }
        Node::RangeSubselect(sub) => {
            let (alias, columns) = alias(sub.alias(), "");
            found.push(Source {
                alias: alias.into(),
                columns: columns.iter().map(|name| (*name).into()).collect(),
                what: From::Query(Box::new(query(text, sub.subquery()))),
            });
        }
        Node::JoinExpr(join) => {
            source(text, join.larg(), found);
            source(text, join.rarg(), found);
        }
        _ => {}
    }
}
