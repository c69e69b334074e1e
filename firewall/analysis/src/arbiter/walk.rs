//! The walk over queries and expressions. Every node is visited; what is special about a place travels down as
//! a [`Place`], the rule that a labelled column would break there.

use std::ops::Range;

use smallvec::SmallVec;

use super::children::children;
use super::seen::{ColumnRef, FunctionRef, Item, NameRef, Place, RelationRef, Seen};
use super::{ConstValue, Node, nodes, raw, with_stack};
use crate::facts::{Access, Rule};

/// A byte offset of the grammar (-1: unknown) as one of ours.
pub(super) fn offset(location: i32) -> usize {
    usize::try_from(location).unwrap_or(usize::MAX)
}

/// A statement's bytes without surrounding white space.
pub(super) fn trimmed(text: &str, start: i32, len: i32) -> Range<usize> {
    let start = offset(start).min(text.len());
    let end = match usize::try_from(len) {
        Ok(len) if len > 0 => (start + len).min(text.len()),
        _ => text.len(),
    };
    let slice = text.get(start..end).unwrap_or_default();
    let blank = |c: char| c.is_ascii_whitespace() || c == '\x0b';
    let lead = slice.len() - slice.trim_start_matches(blank).len();
    let kept = slice.trim_matches(blank).len();
    start + lead..start + lead + kept
}

pub(super) struct Walker<'a> {
    pub(super) text: &'a str,
    pub(super) seen: Seen<'a>,
    /// Indices of the CTEs in scope, innermost last.
    pub(super) scope: Vec<usize>,
    pub(super) depth: usize,
    /// Names of the columns of the query that was walked last.
    pub(super) exposed: Vec<&'a str>,
}

/// How a query's own select list stands.
#[derive(Clone, Copy)]
pub(super) struct QueryPlace {
    /// A bare column of the select list.
    pub bare: Place,
    /// Its select list is the outermost: catalog texts are noted by position.
    pub outermost: bool,
}

impl<'a> Walker<'a> {
    pub(super) fn new(text: &'a str, seen: Seen<'a>) -> Self {
        Self { text, seen, scope: Vec::new(), depth: 0, exposed: Vec::new() }
    }

    /// One level deeper; false if it is too deep to be walked.
    pub(super) fn enter(&mut self) -> bool {
        if self.depth >= super::MAX_WALK {
            if self.seen.depth == self.depth {
                self.seen.violation(Rule::Limit, "nesting", None);
                self.seen.depth += 1;
            }
            return false;
        }
        self.depth += 1;
        self.seen.depth = self.seen.depth.max(self.depth);
        true
    }

    /// Any node in an expression.
    pub(super) fn expression(&mut self, node: Node<'a>, place: Place) {
        if !self.enter() {
            return;
        }
        with_stack(|| self.expression_here(node, place));
        self.depth -= 1;
    }

    fn expression_here(&mut self, node: Node<'a>, place: Place) {
        let inner = Place { output: false, text: false, ..place };
        match node {
            Node::None => {}
            Node::ColumnRef(column) => {
                // Not bare: whoever finds a column alone in a select list records it there.
                let place = Place { output: false, ..place };
                self.column(column, place, 0..0);
            }
            Node::A_Const(constant) => self.constant(constant),
            Node::FuncCall(call) => self.call(call, place),
            Node::A_Expr(operation) => {
                self.operator(operation.name(), operation.location);
                if matches!(
                    operation.kind,
                    raw::A_Expr_Kind::AEXPR_BETWEEN
                        | raw::A_Expr_Kind::AEXPR_NOT_BETWEEN
                        | raw::A_Expr_Kind::AEXPR_BETWEEN_SYM
                        | raw::A_Expr_Kind::AEXPR_NOT_BETWEEN_SYM
                ) {
                    self.implied(&["<", "<=", ">", ">="], operation.location);
                }
                let inner = within(inner, "operator expression");
                // psql asks so which partition is the default one.
                if literal(operation.rexpr()) == Some("DEFAULT") && qualified(operation.name()) == (None, "=") {
                    let tested = Place { text: true, tested: true, ..inner };
                    return self.expression(operation.lexpr(), tested);
                }
                self.expression(operation.lexpr(), inner);
                self.expression(operation.rexpr(), inner);
            }
            Node::TypeCast(cast) => {
                if let Some(name) = cast.type_name() {
                    self.type_name(name);
                }
                // A cast to text leaves a catalog text as it is.
                let text = place.text && cast.type_name().is_some_and(is_text);
                self.expression(cast.arg(), Place { text, ..within(inner, "cast") });
            }
            Node::TypeName(name) => self.type_name(name),
            Node::SubLink(link) => self.sublink(link, place),
            Node::CaseExpr(case) => {
                let inner = within(inner, "CASE");
                if !matches!(case.arg(), Node::None) {
                    self.implied(&["="], case.location);
                }
                self.expression(case.arg(), inner);
                for arm in case.args() {
                    if let Node::CaseWhen(arm) = arm {
                        self.expression(arm.expr(), inner);
                        self.expression(arm.result(), Place { text: place.text, ..inner });
                    } else {
                        self.expression(arm, inner);
                    }
                }
                self.expression(case.defresult(), Place { text: place.text, ..inner });
            }
            Node::CoalesceExpr(coalesce) => {
                for arm in coalesce.args() {
                    self.expression(arm, Place { text: place.text, ..within(inner, "COALESCE") });
                }
            }
            Node::BoolExpr(terms) => {
                self.seen.terms += terms.args().len();
                self.generic(node, inner);
            }
            Node::NullTest(test) => {
                // Whether a definition exists is no secret.
                self.expression(test.arg(), Place { text: true, tested: true, ..within(inner, "IS NULL") });
            }
            Node::CollateClause(collate) => {
                self.expression(collate.arg(), within(inner, "COLLATE"));
            }
            Node::A_Indirection(indirection) => {
                let inner = within(inner, "subscript or field");
                self.expression(indirection.arg(), inner);
                for part in indirection.indirection() {
                    match part {
                        Node::String(name) => self.column_field(name, inner),
                        other => self.expression(other, inner),
                    }
                }
            }
            Node::WindowDef(window) => self.window(window),
            Node::SortBy(sort) => self.expression(sort.node(), Place::filter("ORDER BY")),
            Node::SelectStmt(select) => {
                let bare = Place::of(place.rule, "subquery");
                self.query(select, QueryPlace { bare, outermost: false });
            }
            Node::RangeVar(relation) => {
                self.relation(relation, Access::Read);
            }
            Node::RangeSubselect(_)
            | Node::RangeFunction(_)
            | Node::RangeTableFunc(_)
            | Node::RangeTableSample(_)
            | Node::JsonTable(_)
            | Node::JoinExpr(_) => self.range_item(node, false),
            Node::JsonParseExpr(_)
            | Node::JsonScalarExpr(_)
            | Node::JsonSerializeExpr(_)
            | Node::JsonObjectConstructor(_)
            | Node::JsonArrayConstructor(_)
            | Node::JsonArrayQueryConstructor(_)
            | Node::JsonObjectAgg(_)
            | Node::JsonArrayAgg(_)
            | Node::JsonIsPredicate(_)
            | Node::JsonFuncExpr(_)
            | Node::MergeSupportFunc(_) => {
                // Functions of these names could exist on a server that does not know the syntax.
                self.seen.newer(170_000, usize::MAX);
                self.generic(node, inner);
            }
            Node::SQLValueFunction(value) => {
                if value.op > raw::SQLValueFunctionOp::SVFOP_CURRENT_SCHEMA {
                    self.unread("SQL value function");
                }
            }
            _ => self.generic(node, inner),
        }
    }

    /// A node without a meaning of its own.
    pub(super) fn generic(&mut self, node: Node<'a>, place: Place) {
        let known = children(node, &mut |child| self.expression(child, place));
        if !known {
            self.unread("unreviewed syntax");
        }
    }

    pub(super) fn unread(&mut self, what: &str) {
        self.seen.violation(Rule::Parser, what, None);
    }

    pub(super) fn constant(&mut self, constant: &'a nodes::A_Const) {
        if let Some(ConstValue::Integer(_) | ConstValue::Float(_)) = constant.val() {
            let at = offset(constant.location);
            let bytes = self.text.as_bytes();
            // `0x1f`, `0b1`, `1_000`: Postgres 16 reads one number, 15 a number and an alias.
            let mut rest = bytes.iter().skip(at).take(64);
            let first = rest.next().copied();
            let second = rest.next().copied();
            let based =
                first == Some(b'0') && second.is_some_and(|b| matches!(b, b'x' | b'X' | b'b' | b'B' | b'o' | b'O'));
            let grouped = bytes.iter().skip(at).find(|b| !b.is_ascii_digit()).is_some_and(|b| *b == b'_');
            if based || grouped {
                self.seen.newer(160_000, at);
            }
        }
    }

    fn call(&mut self, call: &'a nodes::FuncCall, place: Place) {
        let (schema, name) = qualified(call.funcname());
        let first = call.args().iter().next().and_then(literal);
        self.seen.functions.push(FunctionRef { schema, name, position: offset(call.location), literal: first, place });
        // pg_get_expr(adbin, …): the argument is as harmless as the result.
        // So is what trim(trailing ';' from …) leaves.
        let trimmed = name == "rtrim" && call.args().get(1).and_then(self::literal) == Some(";");
        let text = place.text && (trimmed || crate::functions::is_catalog_text(name));
        let rule = if place.rule == Rule::Filter {
            Place { text, ..Place::filter(place.construct) }
        } else {
            Place { output: false, text, ..within(place, "function argument") }
        };
        for argument in call.args() {
            self.expression(argument, rule);
        }
        for sort in call.agg_order() {
            self.expression(sort.node(), Place::filter("ORDER BY"));
            self.operator(sort.use_op(), sort.location);
        }
        self.expression(call.agg_filter(), Place::filter("FILTER"));
        if let Some(window) = call.over() {
            self.window(window);
        }
    }

    fn window(&mut self, window: &'a nodes::WindowDef) {
        for expression in window.partition_clause() {
            self.expression(expression, Place::filter("PARTITION BY"));
        }
        for sort in window.order_clause() {
            self.expression(sort.node(), Place::filter("window ORDER BY"));
            self.operator(sort.use_op(), sort.location);
        }
        self.expression(window.start_offset(), Place::filter("window frame"));
        self.expression(window.end_offset(), Place::filter("window frame"));
    }

    fn sublink(&mut self, link: &'a nodes::SubLink, place: Place) {
        use raw::SubLinkType::{ARRAY_SUBLINK, EXISTS_SUBLINK, EXPR_SUBLINK};
        self.operator(link.oper_name(), link.location);
        let compared = !matches!(link.sub_link_type, EXPR_SUBLINK | ARRAY_SUBLINK | EXISTS_SUBLINK);
        if compared && link.oper_name().is_empty() {
            self.implied(&["="], link.location);
        }
        let test = if compared { Place::filter("subquery comparison") } else { within(place, "subquery") };
        self.expression(link.testexpr(), Place { output: false, text: false, ..test });
        let bare = Place {
            output: false,
            text: place.text && link.sub_link_type == EXPR_SUBLINK,
            ..if compared || link.sub_link_type == EXISTS_SUBLINK {
                Place::filter("subquery")
            } else {
                within(place, "subquery")
            }
        };
        match link.subselect() {
            Node::SelectStmt(select) => self.query(select, QueryPlace { bare, outermost: false }),
            other => self.expression(other, bare),
        }
    }

    /// A name after a dot: `(row).name`, which is also a call of `name(row)`.
    fn column_field(&mut self, name: &'a nodes::String, place: Place) {
        if let Some(name) = name.sval() {
            self.seen.columns.push(ColumnRef {
                parts: smallvec::smallvec![name],
                star: false,
                field: true,
                position: usize::MAX,
                place,
                from: 0..0,
            });
        }
    }

    pub(super) fn column(&mut self, column: &'a nodes::ColumnRef, place: Place, from: Range<usize>) -> usize {
        let mut parts = SmallVec::new();
        let mut star = false;
        for field in column.fields() {
            match field {
                Node::String(part) => parts.extend(part.sval()),
                Node::A_Star(_) => star = true,
                _ => self.unread("column reference"),
            }
        }
        self.seen.columns.push(ColumnRef { parts, star, field: false, position: offset(column.location), place, from });
        self.seen.columns.len() - 1
    }

    /// Operators that the server looks up although the text does not name them.
    pub(super) fn implied(&mut self, names: &[&'static str], location: i32) {
        let position = offset(location);
        self.seen.operators.extend(names.iter().map(|name| NameRef { schema: None, name, position }));
    }

    pub(super) fn operator(&mut self, name: &'a super::List, location: i32) {
        if name.is_empty() {
            return;
        }
        let (schema, name) = qualified(name);
        self.seen.operators.push(NameRef { schema, name, position: offset(location) });
    }

    pub(super) fn type_name(&mut self, name: &'a nodes::TypeName) {
        let mut parts = name.names().iter().filter_map(nodes::String::sval);
        let last = parts.next_back().unwrap_or_default();
        self.seen.types.push(NameRef { schema: parts.next_back(), name: last, position: offset(name.location) });
        for modifier in name.typmods() {
            self.expression(modifier, Place::of(Rule::Derived, "type modifier"));
        }
        if name.pct_type {
            // table.column%TYPE
            self.unread("%TYPE");
        }
    }

    /// A relation name as the statement's scopes resolve it; returns its index.
    pub(super) fn relation(&mut self, relation: &'a nodes::RangeVar, access: Access) -> usize {
        let name = relation.relname().unwrap_or_default();
        let schema = relation.schemaname();
        let cte = if schema.is_none() && access == Access::Read {
            self.scope.iter().rev().copied().find(|&at| self.seen.ctes.get(at).is_some_and(|cte| cte.name == name))
        } else {
            None
        };
        self.unreadable(relation);
        self.seen.relations.push(RelationRef {
            schema,
            name,
            position: offset(relation.location),
            access,
            cte,
            may_miss: false,
        });
        self.seen.relations.len() - 1
    }

    /// ONLY before a table's name, and `*` behind it: the second parser takes them for something else.
    fn unreadable(&mut self, relation: &'a nodes::RangeVar) {
        let at = offset(relation.location);
        if relation.inh {
            let end = at + name_len(self.text.get(at..).unwrap_or_default());
            let rest = self.text.get(end..).unwrap_or_default();
            let blank = rest.len() - rest.trim_ascii_start().len();
            if rest.trim_ascii_start().starts_with('*') {
                self.edit(end + blank..end + blank + 1, "");
            }
            return;
        }
        if let Some(only) = self.word_before(at, "only") {
            self.edit(only, "");
        }
    }

    /// The word that ends before `at`, white space aside, if it is `word`.
    pub(super) fn word_before(&self, at: usize, word: &str) -> Option<Range<usize>> {
        let before = self.text.get(..at)?.trim_ascii_end();
        let start = before.len().checked_sub(word.len())?;
        before.get(start..)?.eq_ignore_ascii_case(word).then_some(start..before.len())
    }

    pub(super) fn edit(&mut self, range: Range<usize>, instead: &'static str) {
        // One that stands elsewhere than the walk goes is left out, and the statement is not explained.
        if self.seen.edits.len() < 32 && self.seen.edits.last().is_none_or(|last| last.range.end <= range.start) {
            self.seen.edits.push(super::seen::Edit { range, instead });
        }
    }

    /// `relation [AS alias [(names)]]`
    pub(super) fn relation_item(&mut self, relation: &'a nodes::RangeVar, access: Access) -> usize {
        let at = self.relation(relation, access);
        let (alias, names) = alias(relation.alias(), relation.relname().unwrap_or_default());
        self.seen.items.push(Item {
            alias,
            names,
            relations: at..at + 1,
            columns: 0..0,
            exposed: Vec::new(),
            base: true,
            join: false,
        });
        at
    }
}

pub(super) fn alias<'a>(alias: Option<&'a nodes::Alias>, otherwise: &'a str) -> (&'a str, SmallVec<[&'a str; 2]>) {
    match alias {
        Some(alias) => {
            (alias.aliasname().unwrap_or(otherwise), alias.colnames().iter().filter_map(Node::as_str).collect())
        }
        None => (otherwise, SmallVec::new()),
    }
}

/// `[schema.]name`; a database name before it is dropped (the server checks that it is the current one).
pub(super) fn qualified(parts: &super::List) -> (Option<&str>, &str) {
    let mut parts = parts.iter().filter_map(Node::as_str);
    let name = parts.next_back().unwrap_or_default();
    (parts.next_back(), name)
}

pub(super) fn literal(node: Node<'_>) -> Option<&str> {
    match node {
        Node::A_Const(constant) => match constant.val() {
            Some(ConstValue::String(text)) => Some(text),
            _ => None,
        },
        Node::TypeCast(cast) => literal(cast.arg()),
        _ => None,
    }
}

fn is_text(name: &nodes::TypeName) -> bool {
    name.array_bounds().is_empty()
        && name.names().iter().filter_map(nodes::String::sval).next_back().is_some_and(|last| last == "text")
}

/// The same place one level down: a filter stays one, anything else becomes an expression.
pub(super) fn within(place: Place, construct: &'static str) -> Place {
    match place.rule {
        Rule::Filter | Rule::Flow | Rule::Copy | Rule::StoredExpression | Rule::Ddl => Place { output: false, ..place },
        _ => Place { rule: Rule::Derived, construct, output: false, text: place.text, tested: place.tested },
    }
}

/// Bytes of the qualified name that a text begins with.
fn name_len(text: &str) -> usize {
    let mut quoted = false;
    let part = |c: char| c == '_' || c == '.' || c == '$' || c.is_alphanumeric();
    let end = text.find(|c: char| {
        quoted ^= c == '"';
        !(quoted || c == '"' || part(c))
    });
    end.unwrap_or(text.len())
}
