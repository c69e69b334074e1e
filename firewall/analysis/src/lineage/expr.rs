//! Expressions: the value of each.

use super::Lineage;
use super::value::{Source, Value};
use crate::arbiter::with_stack;
use crate::facts::Predicate;
use crate::parse::ast::{
    AccessExpr, Array, BinaryOperator, CaseWhen, CharacterLength, DataType, Expr, Ident, Interval, Query, Subscript,
    TypedString, UnaryOperator,
};

impl Lineage<'_, '_, '_, '_> {
    /// The value of an expression.
    pub(super) fn value(&mut self, expr: &Expr) -> Value {
        if !self.spend(1) {
            return self.lost();
        }
        with_stack(|| self.value_here(expr))
    }

    /// An expression made of others.
    fn made<'e>(&mut self, parts: impl IntoIterator<Item = &'e Expr>, construct: &str, droppable: bool) -> Value {
        let mut values = Vec::new();
        for part in parts {
            values.push(self.value(part));
        }
        Value::made(values, construct, droppable)
    }

    fn value_here(&mut self, expr: &Expr) -> Value {
        match expr {
            Expr::Identifier(ident) => {
                if is_default(ident) {
                    return Value::free(Source::Given);
                }
                self.resolve(std::slice::from_ref(ident))
            }
            Expr::CompoundIdentifier(idents) => self.resolve(idents),
            Expr::CompoundFieldAccess { root, access_chain } => self.access(root, access_chain),
            Expr::Nested(inner) => self.value(inner),
            Expr::Value(_) => Value::free(Source::Given),
            Expr::TypedString(TypedString { data_type: _, value: _, uses_odbc_syntax: _ }) => {
                Value::free(Source::Given)
            }
            Expr::Interval(Interval { value, .. }) => {
                let value = self.value(value);
                if value.is_given() { value } else { Value::made([value], "interval", false) }
            }
            Expr::IsFalse(inner)
            | Expr::IsNotFalse(inner)
            | Expr::IsTrue(inner)
            | Expr::IsNotTrue(inner)
            | Expr::IsUnknown(inner)
            | Expr::IsNotUnknown(inner) => self.made([&**inner], "boolean test", false),
            Expr::IsNull(inner) | Expr::IsNotNull(inner) => self.made([&**inner], "IS NULL", false),
            Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
                self.made([&**left, &**right], "IS DISTINCT FROM", false)
            }
            Expr::IsJson { expr, kind: _, unique_keys: _, negated: _ } => self.made([&**expr], "IS JSON", false),
            Expr::IsNormalized { expr, form: _, negated: _ } => self.made([&**expr], "IS NORMALIZED", false),
            Expr::InList { expr, list, negated: _ } => self.made(std::iter::once(&**expr).chain(list), "IN", false),
            Expr::InSubquery { expr, subquery, negated: _ } => {
                let left = self.value(expr);
                let right = self.subquery(subquery);
                Value::made([left, right], "IN", false)
            }
            Expr::Between { expr, negated: _, low, high } => self.made([&**expr, low, high], "BETWEEN", false),
            Expr::BinaryOp { left, op, right } => self.operation(left, op, right),
            Expr::Like { negated: _, any: _, expr, pattern, escape_char }
            | Expr::ILike { negated: _, any: _, expr, pattern, escape_char }
            | Expr::SimilarTo { negated: _, expr, pattern, escape_char } => {
                self.made([&**expr, &**pattern].into_iter().chain(escape_char.as_deref()), "LIKE", false)
            }
            Expr::RLike { negated: _, expr, pattern, regexp: _ } => self.made([&**expr, &**pattern], "RLIKE", false),
            Expr::AnyOp { left, compare_op: _, right, is_some: _ } => self.quantified(left, right, "ANY"),
            Expr::AllOp { left, compare_op: _, right } => self.quantified(left, right, "ALL"),
            Expr::UnaryOp { op, expr } => {
                let value = self.value(expr);
                if value.is_given() && matches!(op, UnaryOperator::Minus | UnaryOperator::Plus) {
                    return value;
                }
                Value::made([value], &format!("operator {op}"), false)
            }
            Expr::Cast { kind: _, expr, data_type, format } => {
                if format.is_some() {
                    return self.lost();
                }
                let value = self.value(expr);
                if value.is_given() {
                    return value;
                }
                Value::made([value], "cast", is_text(data_type))
            }
            Expr::AtTimeZone { timestamp, time_zone } => self.made([&**timestamp, time_zone], "AT TIME ZONE", false),
            Expr::Extract { field: _, syntax: _, expr } => self.made([&**expr], "EXTRACT", false),
            Expr::Ceil { expr, field: _ } | Expr::Floor { expr, field: _ } => self.made([&**expr], "rounding", false),
            Expr::Position { expr, r#in } => self.made([&**expr, r#in], "POSITION", false),
            Expr::Substring { expr, substring_from, substring_for, special: _, shorthand: _ } => {
                let parts = [Some(expr), substring_from.as_ref(), substring_for.as_ref()];
                self.made(parts.into_iter().flatten().map(|part| &**part), "SUBSTRING", false)
            }
            Expr::Trim { trim_where: _, trim_what, expr, trim_characters } => {
                let parts = std::iter::once(&**expr).chain(trim_what.as_deref());
                self.made(parts.chain(trim_characters.iter().flatten()), "TRIM", false)
            }
            Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                let parts = [&**expr, &**overlay_what, &**overlay_from];
                self.made(parts.into_iter().chain(overlay_for.as_deref()), "OVERLAY", false)
            }
            Expr::Collate { expr, collation: _ } => self.made([&**expr], "COLLATE", true),
            Expr::Function(function) => self.call(function),
            Expr::Case { case_token: _, end_token: _, operand, conditions, else_result } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref())
            }
            Expr::Exists { subquery, negated: _ } => {
                let filtering = std::mem::replace(&mut self.filtering, true);
                self.query(subquery).unread();
                self.filtering = filtering;
                Value::free(Source::Computed)
            }
            Expr::Subquery(query) => self.subquery(query),
            Expr::GroupingSets(sets) | Expr::Cube(sets) | Expr::Rollup(sets) => {
                self.made(sets.iter().flatten(), "grouping set", false)
            }
            Expr::Tuple(values) => self.made(values, "row", false),
            Expr::Array(Array { elem, named: _ }) => {
                let mut values = Vec::with_capacity(elem.len());
                for one in elem {
                    values.push(self.value(one));
                }
                if values.iter().all(Value::is_given) {
                    return Value::free(Source::Given);
                }
                Value::made(values, "ARRAY", false)
            }
            Expr::JsonAccess { .. }
            | Expr::InUnnest { .. }
            | Expr::Convert { .. }
            | Expr::Prefixed { .. }
            | Expr::Struct { .. }
            | Expr::Named { .. }
            | Expr::Dictionary(_)
            | Expr::Map(_)
            | Expr::MatchAgainst { .. }
            | Expr::Wildcard(_)
            | Expr::QualifiedWildcard(..)
            | Expr::OuterJoin(_)
            | Expr::Prior(_)
            | Expr::Lambda(_)
            | Expr::MemberOf(_) => self.lost(),
        }
    }

    fn operation(&mut self, left: &Expr, op: &BinaryOperator, right: &Expr) -> Value {
        let left = self.value(left);
        let right = self.value(right);
        if left.is_free() && right.is_free() {
            return Value::made([left, right], "", false);
        }
        let grows = left.shares(&right);
        let values = [left, right];
        let droppable = matches!(op, BinaryOperator::StringConcat) && !grows && self.are_texts(&values);
        Value::made(values, &format!("operator {op}"), droppable)
    }

    fn quantified(&mut self, left: &Expr, right: &Expr, construct: &str) -> Value {
        let left = self.value(left);
        let right = self.value(right);
        Value::made([left, right], construct, false)
    }

    /// A scalar subquery.
    pub(super) fn subquery(&mut self, query: &Query) -> Value {
        let columns = self.query(query).passed();
        self.whole(&columns).carried()
    }

    /// What a CASE asks decides about its result.
    fn case(&mut self, operand: Option<&Expr>, arms: &[CaseWhen], otherwise: Option<&Expr>) -> Value {
        let filtering = std::mem::replace(&mut self.filtering, true);
        if let Some(operand) = operand {
            let operand = self.value(operand);
            self.filter(&operand, Predicate::Any, "CASE");
            operand.discarded();
        }
        for arm in arms {
            let condition = self.value(&arm.condition);
            self.filter(&condition, Predicate::Any, "CASE");
            condition.discarded();
        }
        self.filtering = filtering;
        let mut results = vec![Value::free(Source::Column)];
        for result in arms.iter().map(|arm| &arm.result).chain(otherwise) {
            results.push(self.value(result));
        }
        Value::made(results, "CASE", true)
    }

    /// `t.a[1]`, `(row).field`.
    fn access(&mut self, root: &Expr, chain: &[AccessExpr]) -> Value {
        let mut names: Vec<Ident> = Vec::new();
        if let Expr::Identifier(ident) = root {
            names.push(ident.clone());
        }
        if let Expr::CompoundIdentifier(idents) = root {
            names.extend(idents.iter().cloned());
        }
        let mut rest = chain;
        while !names.is_empty()
            && let [AccessExpr::Dot(Expr::Identifier(ident)), others @ ..] = rest
        {
            names.push(ident.clone());
            rest = others;
        }
        let mut values = vec![if names.is_empty() { self.value(root) } else { self.resolve(&names) }];
        for access in rest {
            match access {
                // A field's name: the arbiter has it as a name that may be a column or a function.
                AccessExpr::Dot(_) => {}
                AccessExpr::Subscript(Subscript::Index { index }) => values.push(self.value(index)),
                AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride }) => {
                    for bound in [lower_bound, upper_bound, stride].into_iter().flatten() {
                        values.push(self.value(bound));
                    }
                }
            }
        }
        Value::made(values, "subscript or field", false)
    }
}

/// DEFAULT as a value: the second parser takes it for a name, which it cannot be without quotes.
fn is_default(ident: &Ident) -> bool {
    ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default")
}

/// Types whose input function takes any text as it is.
fn is_text(data_type: &DataType) -> bool {
    let unlimited = |length: &Option<CharacterLength>| length.is_none();
    if let DataType::Varchar(length) | DataType::CharacterVarying(length) | DataType::CharVarying(length) = data_type {
        return unlimited(length);
    }
    matches!(data_type, DataType::Text)
}
