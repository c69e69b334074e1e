//! Select and RETURNING lists.

use super::from::{Item, Scope};
use super::names::{bare, folded, parts};
use super::{Column, Columns, Shaper, derived};
use crate::arbiter::MAX_TARGETS;
use crate::facts::Output;
use crate::parse::ast::{
    Expr, GroupByExpr, Ident, Select, SelectFlavor, SelectItem, SelectItemQualifiedWildcardKind,
    WildcardAdditionalOptions,
};

impl Shaper<'_, '_, '_, '_> {
    pub(super) fn select(&mut self, select: &Select, feeding: bool) -> Columns {
        let Select {
            select_token: _,
            optimizer_hints: _,
            distinct,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection: _,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having,
            named_window: _,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        let foreign = select_modifiers.is_some()
            || top.is_some()
            || exclude.is_some()
            || !lateral_views.is_empty()
            || prewhere.is_some()
            || !connect_by.is_empty()
            || !cluster_by.is_empty()
            || !distribute_by.is_empty()
            || !sort_by.is_empty()
            || qualify.is_some()
            || value_table_mode.is_some()
            || !matches!(flavor, SelectFlavor::Standard);
        let ungrouped = match group_by {
            GroupByExpr::All(_) => false,
            GroupByExpr::Expressions(keys, modifiers) => keys.is_empty() && modifiers.is_empty(),
        };
        let scope = self.from(from, feeding);
        let simple = feeding
            && !foreign
            && !scope.broken
            && distinct.is_none()
            && into.is_none()
            && ungrouped
            && having.is_none();
        if foreign {
            return Columns::default();
        }
        self.list(projection, &scope, simple)
    }

    /// The columns of a list; where `simple`, bare labelled ones in it are permitted.
    pub(super) fn list(&mut self, items: &[SelectItem], scope: &Scope, simple: bool) -> Columns {
        let mut columns = Columns { list: (!scope.broken).then(Vec::new), labels: Vec::new() };
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expr) => self.item(expr, None, scope, simple, &mut columns),
                SelectItem::ExprWithAlias { expr, alias } => {
                    self.item(expr, Some(alias), scope, simple, &mut columns);
                }
                SelectItem::ExprWithAliases { .. } => columns.list = None,
                SelectItem::Wildcard(options) => {
                    let position = self.positions.of(&options.wildcard_token.0);
                    self.star(position, options, scope.star.clone(), simple, &mut columns);
                }
                SelectItem::QualifiedWildcard(kind, options) => match kind {
                    SelectItemQualifiedWildcardKind::ObjectName(name) => {
                        let parts = parts(name).unwrap_or_default();
                        let position = parts.first().and_then(|first| self.positions.ident(first));
                        let expanded =
                            parts.last().and_then(|last| only(scope, &folded(last))).map(|item| item.columns.clone());
                        match expanded {
                            Some(expanded) => {
                                self.star(position, options, expanded, simple, &mut columns);
                            }
                            None => columns.list = None,
                        }
                    }
                    SelectItemQualifiedWildcardKind::Expr(_) => columns.list = None,
                },
            }
        }
        columns
    }

    fn item(&mut self, expr: &Expr, alias: Option<&Ident>, scope: &Scope, simple: bool, columns: &mut Columns) {
        let (name, output) = match bare(expr) {
            Some(idents) => {
                let last = idents.last().map(folded).unwrap_or_default();
                match self.resolve(idents, scope) {
                    Some(output) => {
                        if simple {
                            let position = idents.first().and_then(|i| self.positions.ident(i));
                            self.permit(position, &output);
                            if let Output::Bare(labels) = &output {
                                columns.labels.extend(labels.iter().copied());
                            }
                        }
                        let output = match output {
                            // Not permitted here: it has a violation.
                            Output::Bare(_) if !simple => derived(),
                            output @ (Output::Free
                            | Output::Bare(_)
                            | Output::Carried(_)
                            | Output::Derived { .. }
                            | Output::CatalogText) => output,
                        };
                        (last, output)
                    }
                    None => (last, derived()),
                }
            }
            None => (Box::default(), derived()),
        };
        if let Some(list) = &mut columns.list {
            list.push(Column { name: alias.map_or(name, folded), output });
        }
    }

    fn star(
        &mut self,
        position: Option<usize>,
        options: &WildcardAdditionalOptions,
        expanded: Columns,
        simple: bool,
        columns: &mut Columns,
    ) {
        let WildcardAdditionalOptions {
            wildcard_token: _,
            opt_ilike,
            opt_exclude,
            opt_except,
            opt_replace,
            opt_rename,
            opt_alias,
        } = options;
        if opt_ilike.is_some()
            || opt_exclude.is_some()
            || opt_except.is_some()
            || opt_replace.is_some()
            || opt_rename.is_some()
            || opt_alias.is_some()
        {
            columns.list = None;
            return;
        }
        if simple {
            if let Some(position) = position {
                self.permits.push((position, expanded.labels.clone()));
            }
            columns.labels.extend(expanded.labels.iter().copied());
        }
        match (&mut columns.list, expanded.list) {
            (Some(list), Some(expanded)) => list.extend(expanded.into_iter().map(|column| {
                let output = match column.output {
                    Output::Bare(_) if !simple => derived(),
                    output @ (Output::Free
                    | Output::Bare(_)
                    | Output::Carried(_)
                    | Output::Derived { .. }
                    | Output::CatalogText) => output,
                };
                Column { output, ..column }
            })),
            (list, _) => *list = None,
        }
        if columns.list.as_ref().is_some_and(|list| list.len() > MAX_TARGETS) {
            columns.list = None;
        }
    }

    /// What a bare column means; `None`: not known here.
    fn resolve(&self, idents: &[Ident], scope: &Scope) -> Option<Output> {
        let (last, qualifiers) = idents.split_last()?;
        let name = folded(last);
        match qualifiers.last() {
            Some(qualifier) => self.in_item(only(scope, &folded(qualifier))?, &name),
            None => {
                if let Some(list) = &scope.star.list {
                    let mut named = list.iter().filter(|column| column.name == name);
                    return match (named.next(), named.next()) {
                        (Some(column), None) => Some(column.output.clone()),
                        _ => None,
                    };
                }
                let mut found = scope.items.iter().filter_map(|item| self.in_item(item, &name));
                match (found.next(), found.next()) {
                    (Some(output), None) => Some(output),
                    _ => None,
                }
            }
        }
    }

    fn in_item(&self, item: &Item, name: &str) -> Option<Output> {
        if let Some(at) = item.relation {
            return self.column_of(at, name);
        }
        let mut named = item.columns.list.as_ref()?.iter().filter(|column| &*column.name == name);
        match (named.next(), named.next()) {
            (Some(column), None) => Some(column.output.clone()),
            _ => None,
        }
    }
}

/// The one item of that alias.
fn only<'i>(scope: &'i Scope, alias: &str) -> Option<&'i Item> {
    let mut named = scope.items.iter().filter(|item| item.alias.as_deref() == Some(alias));
    match (named.next(), named.next()) {
        (Some(item), None) => Some(item),
        _ => None,
    }
}
