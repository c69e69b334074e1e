//! Calls: aggregates that only count, those that hand a value on, and everything else.

use super::Lineage;
use super::droppable::is_reviewed;
use super::names::{folded, parts};
use super::value::{Source, Value};
use crate::facts::Predicate;
use crate::functions::{self, Class};
use crate::parse::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList,
    FunctionArguments,
};

impl Lineage<'_, '_, '_, '_> {
    /// Somebody has defined a function of that name: which one is meant is not asked.
    pub(super) fn is_own_function(&self, name: &str) -> bool {
        !self.resolved.catalog.functions(name).is_empty()
    }

    /// Every labelled column in these is a text: the review is of functions and operators of texts, and other types have
    /// namesakes that fail (`jsonb || jsonb`) or make NULL (`lower` of an empty range).
    pub(super) fn are_texts(&self, values: &[Value]) -> bool {
        let is_text = |id| {
            let name = self.resolved.catalog.column(id).map(|column| &*column.type_name);
            matches!(name, Some("text" | "character varying" | "character" | "name"))
        };
        values.iter().flat_map(Value::set).all(|(id, _)| is_text(*id))
    }

    /// The policy's word is that its result gives nothing away, whichever function of that name is meant.
    fn is_declassified(&self, name: &str, schema: Option<&str>, builtin: bool) -> bool {
        let catalog = self.resolved.catalog;
        if builtin {
            return catalog.declassified_aggregates.contains(name);
        }
        let mut meant = catalog.functions(name).iter().filter(|f| schema.is_none_or(|s| s == &*f.schema)).peekable();
        let shadowed = schema.is_none() && functions::class(name).is_some();
        !shadowed && meant.peek().is_some() && meant.all(|function| catalog.declassifies(function))
    }

    pub(super) fn call(&mut self, function: &Function) -> Value {
        let Function { name, uses_odbc_syntax, parameters, args, within_group, filter, null_treatment: _, over } =
            function;
        let Some(names) = parts(name) else { return self.lost() };
        let (Some(last), Some(first)) = (names.last(), names.first()) else { return self.lost() };
        if *uses_odbc_syntax || !matches!(parameters, FunctionArguments::None) {
            return self.lost();
        }
        let own_name = folded(last);
        let position = self.positions.ident(first).unwrap_or(usize::MAX);
        let schema = (names.len() > 1).then(|| names.iter().rev().nth(1).map(|ident| folded(ident))).flatten();
        // The server's own, and nobody else's.
        let builtin = match schema.as_deref() {
            None => !self.is_own_function(&own_name),
            Some("pg_catalog") => true,
            Some(_) => false,
        };
        // Its order picks the value that is returned.
        let mut ordered = Vec::with_capacity(within_group.len());
        for key in within_group {
            let value = self.value(&key.expr);
            self.filter(&value, Predicate::Any, "WITHIN GROUP");
            ordered.push(value);
        }
        if let Some(filter) = filter {
            self.asked(filter, "FILTER");
        }
        if let Some(over) = over {
            self.window(over);
        }
        let (mut arguments, distinct) = match args {
            FunctionArguments::None => (Vec::new(), false),
            FunctionArguments::Subquery(query) => {
                let value = self.subquery(query);
                // ARRAY(SELECT …)
                if schema.is_none() && &*own_name == "array" && last.quote_style.is_none() {
                    return value;
                }
                (vec![value], false)
            }
            FunctionArguments::List(list) => match self.arguments(list, &own_name) {
                Some(arguments) => arguments,
                None => return self.lost(),
            },
        };
        if distinct {
            for argument in &arguments {
                self.distinguished(argument, "DISTINCT");
            }
        }
        arguments.append(&mut ordered);
        if self.is_declassified(&own_name, schema.as_deref(), builtin) {
            for argument in arguments {
                self.discard(argument);
            }
            return Value::free(Source::Computed);
        }
        let result = self.result(&own_name, builtin, arguments, over.is_some());
        if !result.is_free() && result.at == usize::MAX { result.at(position) } else { result }
    }

    fn result(&mut self, name: &str, builtin: bool, mut arguments: Vec<Value>, windowed: bool) -> Value {
        if builtin && name == "count" {
            for argument in arguments {
                self.discard(argument);
            }
            return Value::free(Source::Computed);
        }
        if builtin && matches!(name, "min" | "max" | "array_agg") && arguments.len() == 1 {
            let value = arguments.pop().unwrap_or_else(|| Value::free(Source::Computed));
            if name != "array_agg" {
                // The value is what it was, but beside a guess (inserted, or by UNION ALL) it tells which is greater.
                self.filter(&value, Predicate::Any, &format!("function {name}"));
            }
            return if value.is_unmodified() {
                value.carried()
            } else {
                Value::made([value, Value::free(Source::Computed)], &format!("function {name}"), false)
            };
        }
        let class = functions::class(name);
        if arguments.iter().all(Value::is_free) {
            let fixed = builtin && matches!(class, Some(Class::Pure | Class::Describes));
            if !fixed {
                arguments.push(Value::free(Source::Computed));
            }
            return Value::made(arguments, "", false);
        }
        let construct = format!("function {name}");
        let catalog = self.resolved.catalog;
        let trusted = builtin || catalog.functions(name).iter().all(|function| catalog.trusts(function));
        if !trusted || matches!(class, Some(Class::Session)) {
            // What it does with its arguments is not known, or outlives the statement.
            for argument in &arguments {
                self.flow(argument, &construct);
            }
        }
        // An aggregate or window over a reviewed function's name is another function.
        let shares = |at: usize, one: &Value| arguments.iter().skip(at + 1).any(|other| one.shares(other));
        let grows = name.starts_with("concat") && arguments.iter().enumerate().any(|(at, one)| shares(at, one));
        let droppable = builtin && !windowed && !grows && is_reviewed(name) && self.are_texts(&arguments);
        Value::made(arguments, &construct, droppable)
    }

    /// Values of the arguments, and whether equal ones count once.
    fn arguments(&mut self, list: &FunctionArgumentList, name: &str) -> Option<(Vec<Value>, bool)> {
        let FunctionArgumentList { duplicate_treatment, args, clauses } = list;
        let mut values = Vec::with_capacity(args.len());
        for argument in args {
            let expr = match argument {
                FunctionArg::Named { name: _, arg, operator: _ }
                | FunctionArg::ExprNamed { name: Expr::Identifier(_), arg, operator: _ } => arg,
                FunctionArg::ExprNamed { .. } => return None,
                FunctionArg::Unnamed(arg) => arg,
            };
            match expr {
                FunctionArgExpr::Expr(expr) => values.push(self.value(expr)),
                // count(*)
                FunctionArgExpr::Wildcard if name == "count" => {}
                // A whole row: the arbiter has it.
                FunctionArgExpr::Wildcard
                | FunctionArgExpr::QualifiedWildcard(_)
                | FunctionArgExpr::WildcardWithOptions(_) => return None,
            }
        }
        for clause in clauses {
            match clause {
                FunctionArgumentClause::OrderBy(keys) => self.order_keys(keys, "aggregate ORDER BY"),
                FunctionArgumentClause::IgnoreOrRespectNulls(_)
                | FunctionArgumentClause::JsonNullClause(_)
                | FunctionArgumentClause::JsonReturningClause(_) => {}
                FunctionArgumentClause::Where(_)
                | FunctionArgumentClause::Limit(_)
                | FunctionArgumentClause::OnOverflow(_)
                | FunctionArgumentClause::Having(_)
                | FunctionArgumentClause::Separator(_) => return None,
            }
        }
        let distinct = match duplicate_treatment {
            Some(DuplicateTreatment::Distinct) => true,
            Some(DuplicateTreatment::All) | None => false,
        };
        Some((values, distinct))
    }

    /// A function in FROM: how many rows it returns depends on its arguments.
    pub(super) fn call_in_from(&mut self, arguments: &[FunctionArg], name: &str) -> Value {
        let mut values = vec![Value::free(Source::Computed)];
        for argument in arguments {
            let expr = match argument {
                FunctionArg::Named { name: _, arg, operator: _ }
                | FunctionArg::ExprNamed { name: Expr::Identifier(_), arg, operator: _ }
                | FunctionArg::Unnamed(arg) => arg,
                FunctionArg::ExprNamed { .. } => return self.lost(),
            };
            match expr {
                FunctionArgExpr::Expr(expr) => values.push(self.value(expr)),
                FunctionArgExpr::Wildcard
                | FunctionArgExpr::QualifiedWildcard(_)
                | FunctionArgExpr::WildcardWithOptions(_) => return self.lost(),
            }
        }
        for value in &values {
            self.filter(value, Predicate::Any, "function in FROM");
        }
        Value::made(values, &format!("function {name}"), false)
    }
}
