//! FROM items.

use std::rc::Rc;

use super::Lineage;
use super::names::{folded, parts};
use super::scope::{Column, Columns, Entry, Item, Scope};
use super::select::computed;
use super::value::Value;
use crate::arbiter::with_stack;
use crate::facts::Predicate;
use crate::parse::ast::{
    Expr, FunctionArg, ObjectName, TableAlias, TableFactor, TableSample, TableSampleBucket, TableSampleKind,
    TableSampleQuantity, TableWithJoins, XmlTableColumnOption,
};

impl Lineage<'_, '_, '_, '_> {
    pub(super) fn from(&mut self, tables: &[TableWithJoins]) -> Scope {
        let mut scope = Scope::default();
        for table in tables {
            let next = self.tables(table, &scope);
            scope = scope.beside(next);
        }
        scope
    }

    /// `left`: what LATERAL can see.
    pub(super) fn factor(&mut self, factor: &TableFactor, left: &Scope) -> Scope {
        if !self.spend(1) {
            return Scope::default();
        }
        with_stack(|| self.factor_here(factor, left))
    }

    fn factor_here(&mut self, factor: &TableFactor, left: &Scope) -> Scope {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args,
                with_hints,
                version,
                with_ordinality: _,
                partitions,
                json_path,
                sample,
                index_hints,
            } => {
                self.broken |= !with_hints.is_empty()
                    || version.is_some()
                    || !partitions.is_empty()
                    || json_path.is_some()
                    || !index_hints.is_empty();
                self.sample(sample.as_ref(), left);
                match args {
                    Some(args) => {
                        self.broken |= args.settings.is_some();
                        self.function(name, &args.args, alias.as_ref(), left)
                    }
                    None => self.table(name, alias.as_ref()),
                }
            }
            TableFactor::Function { lateral: _, name, args, with_ordinality: _, alias } => {
                self.function(name, args, alias.as_ref(), left)
            }
            TableFactor::Derived { lateral, subquery, alias, sample } => {
                self.sample(sample.as_ref(), left);
                if *lateral {
                    self.levels.push(left.clone());
                }
                // Whether its rows decide about others is decided where it is read.
                let columns = self.query(subquery).passed();
                if *lateral {
                    self.levels.pop();
                }
                self.subquery_item(columns, alias.as_ref())
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let scope = self.tables(table_with_joins, left);
                match alias {
                    None => scope,
                    Some(alias) => {
                        self.levels.push(scope);
                        let columns = self.star(None).unwrap_or_default();
                        self.levels.pop();
                        self.subquery_item(columns, Some(alias))
                    }
                }
            }
            TableFactor::UNNEST { alias, array_exprs, with_offset, with_offset_alias: _, with_ordinality: _ } => {
                self.broken |= *with_offset;
                let value = self.arguments_in_from(array_exprs, left, "unnest");
                self.opened(value, alias.as_ref(), "unnest")
            }
            TableFactor::JsonTable { json_expr, json_path: _, columns: _, alias } => {
                let value = self.arguments_in_from(std::slice::from_ref(json_expr), left, "json_table");
                self.opened(value, alias.as_ref(), "json_table")
            }
            TableFactor::XmlTable { namespaces, row_expression, passing, columns, alias } => {
                self.broken |= !namespaces.is_empty();
                let mut arguments = vec![row_expression.clone()];
                arguments.extend(passing.arguments.iter().map(|argument| argument.expr.clone()));
                for column in columns {
                    match &column.option {
                        XmlTableColumnOption::NamedInfo { r#type: _, path, default, nullable: _ } => {
                            arguments.extend(path.iter().chain(default).cloned());
                        }
                        XmlTableColumnOption::ForOrdinality => {}
                    }
                }
                let value = self.arguments_in_from(&arguments, left, "xmltable");
                self.opened(value, alias.as_ref(), "xmltable")
            }
            TableFactor::TableFunction { .. }
            | TableFactor::OpenJsonTable { .. }
            | TableFactor::Pivot { .. }
            | TableFactor::Unpivot { .. }
            | TableFactor::UnpivotExpr { .. }
            | TableFactor::MatchRecognize { .. }
            | TableFactor::SemanticView { .. } => {
                self.broken = true;
                Scope::default()
            }
        }
    }

    fn subquery_item(&mut self, columns: Columns, alias: Option<&TableAlias>) -> Scope {
        let columns = Rc::new(self.renamed(columns, alias));
        Scope::of(Item { alias: alias.map(|a| folded(&a.name).into()), columns, qualified: false })
    }

    fn sample(&mut self, sample: Option<&TableSampleKind>, left: &Scope) {
        let Some(TableSampleKind::BeforeTableAlias(sample) | TableSampleKind::AfterTableAlias(sample)) = sample else {
            return;
        };
        let TableSample { modifier: _, name: _, quantity, seed: _, bucket, offset } = &**sample;
        let quantity = quantity.as_ref().map(|TableSampleQuantity { parenthesized: _, value, unit: _ }| value);
        let bucket = bucket.as_ref().and_then(|TableSampleBucket { bucket: _, total: _, on }| on.as_ref());
        self.levels.push(left.clone());
        for expr in [quantity, bucket, offset.as_ref()].into_iter().flatten() {
            self.asked(expr, "TABLESAMPLE");
        }
        self.levels.pop();
    }

    /// A function's arguments can name what stands to its left.
    fn arguments_in_from(&mut self, arguments: &[Expr], left: &Scope, name: &str) -> Value {
        self.levels.push(left.clone());
        let mut values = vec![computed()];
        for argument in arguments {
            let value = self.value(argument);
            self.filter(&value, Predicate::Any, "function in FROM");
            values.push(value);
        }
        self.levels.pop();
        Value::made(values, &format!("function {name}"), false)
    }

    fn function(
        &mut self,
        name: &ObjectName,
        arguments: &[FunctionArg],
        alias: Option<&TableAlias>,
        left: &Scope,
    ) -> Scope {
        let Some(own_name) = parts(name).and_then(|parts| parts.last().map(|last| folded(last))) else {
            self.broken = true;
            return Scope::default();
        };
        self.levels.push(left.clone());
        let value = self.call_in_from(arguments, &own_name);
        self.levels.pop();
        self.opened(value, alias, &own_name)
    }

    /// A function's columns: not known, and each of them may be its value.
    fn opened(&mut self, value: Value, alias: Option<&TableAlias>, name: &str) -> Scope {
        let mut entries: Vec<Entry> = Vec::new();
        for column in alias.iter().flat_map(|alias| &alias.columns) {
            entries.push(Entry::Named(Column { name: folded(&column.name).into(), value: value.clone() }));
        }
        let alias: Rc<str> = alias.map_or_else(|| name.into(), |alias| folded(&alias.name).into());
        // A scalar function's only column has its name.
        if entries.is_empty() {
            entries.push(Entry::Named(Column { name: Rc::clone(&alias), value: value.clone() }));
        }
        entries.push(Entry::Open(value));
        Scope::of(Item { alias: Some(alias), columns: Rc::new(Columns(entries)), qualified: false })
    }

    /// A table or common table expression by name: at that position, the arbiter must have seen the same name.
    pub(super) fn table(&mut self, name: &ObjectName, alias: Option<&TableAlias>) -> Scope {
        let Some((columns, own_name)) = self.relation(name) else {
            self.broken = true;
            return Scope::default();
        };
        let columns = match alias.filter(|alias| !alias.columns.is_empty()) {
            None => columns,
            Some(alias) => Rc::new(self.renamed((*columns).clone(), Some(alias))),
        };
        let alias = alias.map_or(own_name, |alias| folded(&alias.name).into());
        Scope::of(Item { alias: Some(alias), columns, qualified: false })
    }

    /// The index in the arbiter's list of the relation that the name is there.
    pub(super) fn relation_at(&self, name: &ObjectName) -> Option<(usize, Rc<str>)> {
        let parts = parts(name)?;
        let own_name = folded(parts.last()?);
        let position = self.positions.ident(parts.first()?)?;
        let at = self.resolved.relation_at(position)?;
        let relation = self.resolved.seen.relations.get(at)?;
        let same = relation.name == &*own_name && relation.schema.is_some() == (parts.len() > 1);
        same.then(|| (at, own_name.into()))
    }

    fn relation(&mut self, name: &ObjectName) -> Option<(Rc<Columns>, Rc<str>)> {
        let (at, own_name) = self.relation_at(name)?;
        if self.resolved.seen.relations.get(at)?.cte.is_none() {
            return Some((Rc::new(Columns(vec![Entry::Relation(at)])), own_name));
        }
        let (_, columns) = self.ctes.iter().rev().find(|(name, _)| *name == own_name)?;
        Some((columns.clone()?, own_name))
    }
}
