//! One SELECT, and lists of what is selected or returned.

use std::rc::Rc;

use super::Lineage;
use super::foreign::is_foreign;
use super::names::{folded, parts};
use super::scope::{Column, Columns, Entry};
use super::value::{Source, Value};
use crate::arbiter::MAX_TARGETS;
use crate::parse::ast::{
    AccessExpr, DataType, Distinct, Expr, Function, Ident, OrderByExpr, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr,
};

impl Lineage<'_, '_, '_, '_> {
    /// The columns of a SELECT; `order` is the ORDER BY of the query that it is.
    pub(super) fn select(&mut self, select: &Select, order: &[OrderByExpr]) -> Columns {
        if is_foreign(select) {
            self.broken = true;
            return Columns::default();
        }
        let scope = self.from(&select.from);
        self.levels.push(scope);
        if let Some(condition) = &select.selection {
            self.condition(condition, "WHERE");
        }
        let columns = self.list(&select.projection);
        self.group_by(&select.group_by, &columns);
        if let Some(condition) = &select.having {
            self.condition(condition, "HAVING");
        }
        self.named_windows(&select.named_window);
        match &select.distinct {
            None | Some(Distinct::All) => {}
            Some(Distinct::Distinct) => self.distinct(&columns, "DISTINCT"),
            Some(Distinct::On(keys)) => {
                for key in keys {
                    self.distinct_on(key, &columns);
                }
            }
        }
        self.order_by(order, &columns);
        self.levels.pop();
        columns
    }

    /// Equal rows are told apart from others.
    pub(super) fn distinct(&mut self, columns: &Columns, construct: &str) {
        for entry in &columns.0 {
            match entry {
                Entry::Named(column) => self.distinguished(&column.value, construct),
                Entry::Relation(at) => {
                    let value = self.whole_relation(*at);
                    self.distinguished(&value, construct);
                    value.discarded();
                }
                Entry::Open(value) => self.distinguished(value, construct),
            }
        }
    }

    /// A select or RETURNING list, in the innermost scope.
    pub(super) fn list(&mut self, items: &[SelectItem]) -> Columns {
        let mut columns = Columns(Vec::with_capacity(items.len()));
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expr) => self.item(expr, None, &mut columns),
                SelectItem::ExprWithAlias { expr, alias } => self.item(expr, Some(alias), &mut columns),
                SelectItem::Wildcard(options) => {
                    if super::foreign::has_options(options) {
                        self.broken = true;
                    }
                    let position = self.positions.of(&options.wildcard_token.0);
                    self.starred(None, position, &mut columns);
                }
                SelectItem::QualifiedWildcard(kind, options) => {
                    if super::foreign::has_options(options) {
                        self.broken = true;
                    }
                    match kind {
                        SelectItemQualifiedWildcardKind::ObjectName(name) => {
                            let Some(parts) = parts(name) else {
                                self.broken = true;
                                continue;
                            };
                            let position = parts.first().and_then(|first| self.positions.ident(first));
                            self.starred(Some(&parts), position, &mut columns);
                        }
                        // (row).*
                        SelectItemQualifiedWildcardKind::Expr(_) => self.broken = true,
                    }
                }
                SelectItem::ExprWithAliases { .. } => self.broken = true,
            }
            if columns.0.len() > MAX_TARGETS {
                self.broken = true;
            }
            if self.broken {
                break;
            }
        }
        columns
    }

    fn item(&mut self, expr: &Expr, alias: Option<&Ident>, columns: &mut Columns) {
        let value = self.value(expr);
        self.evaluated(&value);
        let name: Rc<str> = match alias {
            Some(alias) => folded(alias).into(),
            None => implied_name(expr),
        };
        columns.0.push(Entry::Named(Column { name, value }));
    }

    fn starred(&mut self, qualifiers: Option<&[&Ident]>, position: Option<usize>, columns: &mut Columns) {
        let qualifier = qualifiers.and_then(<[_]>::last).map(|ident| folded(ident));
        let Some(expanded) = self.star(qualifier.as_deref()) else {
            self.broken = true;
            return;
        };
        if !self.spend(expanded.0.len()) {
            return;
        }
        let at = position.unwrap_or(usize::MAX);
        let value = self.whole(&expanded);
        self.visit(position, qualifiers.map_or(0, <[_]>::len) + 1, "*", &value);
        value.discarded();
        columns.0.extend(expanded.0.into_iter().map(|entry| match entry {
            Entry::Named(column) => Entry::Named(Column { name: column.name, value: column.value.at(at) }),
            Entry::Open(value) => Entry::Open(value.at(at)),
            relation @ Entry::Relation(_) => relation,
        }));
    }

    /// What the outermost list hands to the client.
    pub(super) fn put_out_all(&mut self, columns: &Columns) {
        for entry in &columns.0 {
            match entry {
                Entry::Named(column) => self.put_out(&column.value),
                Entry::Relation(at) => {
                    let value = self.whole_relation(*at);
                    self.put_out(&value);
                    value.discarded();
                }
                Entry::Open(value) => self.put_out(value),
            }
        }
    }
}

/// The name that the server gives to a column without alias.
fn implied_name(expr: &Expr) -> Rc<str> {
    let of_function = |function: &Function| {
        let name = parts(&function.name).and_then(|parts| parts.last().map(|last| folded(last)));
        name.unwrap_or_default().into()
    };
    if let Expr::Identifier(ident) = expr {
        return folded(ident).into();
    }
    if let Expr::CompoundIdentifier(idents) = expr {
        return idents.last().map(folded).unwrap_or_default().into();
    }
    if let Expr::Nested(inner) | Expr::Collate { expr: inner, .. } = expr {
        return implied_name(inner);
    }
    if let Expr::Cast { expr: inner, data_type, .. } = expr {
        let own = implied_name(inner);
        return if &*own == "?column?" { cast_name(data_type) } else { own };
    }
    if let Expr::Function(function) = expr {
        return of_function(function);
    }
    if let Expr::Case { else_result, .. } = expr {
        let otherwise = else_result.as_deref().map(implied_name).filter(|name| &**name != "?column?");
        return otherwise.unwrap_or_else(|| "case".into());
    }
    if let Expr::Array(_) = expr {
        return "array".into();
    }
    if let Expr::Tuple(_) = expr {
        return "row".into();
    }
    if let Expr::Exists { .. } = expr {
        return "exists".into();
    }
    // A scalar subquery is named as its column.
    if let Expr::Subquery(query) = expr
        && let SetExpr::Select(select) = &*query.body
        && let [item] = select.projection.as_slice()
    {
        if let SelectItem::UnnamedExpr(inner) = item {
            return implied_name(inner);
        }
        if let SelectItem::ExprWithAlias { alias, .. } = item {
            return folded(alias).into();
        }
    }
    // The last field's name, or what the subscripts stand behind.
    if let Expr::CompoundFieldAccess { root, access_chain } = expr {
        let field = access_chain.iter().rev().find_map(|access| match access {
            AccessExpr::Dot(Expr::Identifier(ident)) => Some(folded(ident).into()),
            AccessExpr::Dot(_) | AccessExpr::Subscript(_) => None,
        });
        return field.unwrap_or_else(|| implied_name(root));
    }
    let keyword = [
        (matches!(expr, Expr::Substring { shorthand: true, .. }), "substr"),
        (matches!(expr, Expr::Substring { .. }), "substring"),
        (matches!(expr, Expr::Trim { .. }), "btrim"),
        (matches!(expr, Expr::Extract { .. }), "extract"),
        (matches!(expr, Expr::Position { .. }), "position"),
        (matches!(expr, Expr::Overlay { .. }), "overlay"),
    ];
    keyword.iter().find(|(is, _)| *is).map_or("?column?", |(_, name)| name).into()
}

fn cast_name(data_type: &DataType) -> Rc<str> {
    data_type.to_string().to_ascii_lowercase().into()
}

/// A value that nothing labelled can be in, for what has no expression.
pub(super) fn computed() -> Value {
    Value::free(Source::Computed)
}
