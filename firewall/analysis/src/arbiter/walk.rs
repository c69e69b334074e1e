//! The walk over queries and expressions. Every node is visited; what is special about a place travels down as
//! a [`Place`], the rule that a labelled column would break there.

use std::ops::Range;

use smallvec::SmallVec;

use super::children::children;
use super::seen::{
    ColumnRef, Cte, FunctionRef, Item, Merge, NameRef, Ordinal, Place, RelationRef, Seen,
};
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
    scope: Vec<usize>,
    depth: usize,
    /// Names of the columns of the query that was walked last.
    exposed: Vec<&'a str>,
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
        Self {
            text,
            seen,
            scope: Vec::new(),
            depth: 0,
            exposed: Vec::new(),
        }
    }

    /// One level deeper; false if it is too deep to be walked.
    fn enter(&mut self) -> bool {
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
        let inner = Place {
            output: false,
            text: false,
            ..place
        };
        match node {
            Node::None => {}
            Node::ColumnRef(column) => {
                // Not bare: whoever finds a column alone in a select list records it there.
                let place = Place {
                    output: false,
                    ..place
                };
                self.column(column, place, 0..0);
            }
            Node::A_Const(constant) => self.constant(constant),
            Node::FuncCall(call) => self.call(call, place),
            Node::A_Expr(operation) => {
                self.operator(operation.name(), operation.location);
                let inner = within(inner, "operator expression");
                // psql asks so which partition is the default one.
                if literal(operation.rexpr()) == Some("DEFAULT")
                    && qualified(operation.name()) == (None, "=")
                {
                    let tested = Place {
                        text: true,
                        tested: true,
                        ..inner
                    };
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
                let text = place.text && cast.type_name().is_some_and(|name| is_text(name));
                self.expression(
                    cast.arg(),
                    Place {
                        text,
                        ..within(inner, "cast")
                    },
                );
            }
            Node::TypeName(name) => self.type_name(name),
            Node::SubLink(link) => self.sublink(link, place),
            Node::CaseExpr(case) => {
                let inner = within(inner, "CASE");
                self.expression(case.arg(), inner);
                for arm in case.args() {
                    if let Node::CaseWhen(arm) = arm {
                        self.expression(arm.expr(), inner);
                        self.expression(
                            arm.result(),
                            Place {
                                text: place.text,
                                ..inner
                            },
                        );
                    } else {
                        self.expression(arm, inner);
                    }
                }
                self.expression(
                    case.defresult(),
                    Place {
                        text: place.text,
                        ..inner
                    },
                );
            }
            Node::CoalesceExpr(coalesce) => {
                for arm in coalesce.args() {
                    self.expression(
                        arm,
                        Place {
                            text: place.text,
                            ..within(inner, "COALESCE")
                        },
                    );
                }
            }
            Node::NullTest(test) => {
                // Whether a definition exists is no secret.
                self.expression(
                    test.arg(),
                    Place {
                        text: true,
                        tested: true,
                        ..within(inner, "IS NULL")
                    },
                );
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
                self.query(
                    select,
                    QueryPlace {
                        bare,
                        outermost: false,
                    },
                );
            }
            Node::RangeVar(relation) => {
                self.relation(relation, Access::Read);
            }
            Node::RangeSubselect(_)
            | Node::RangeFunction(_)
            | Node::RangeTableFunc(_)
            | Node::RangeTableSample(_)
            | Node::JsonTable(_)
            | Node::JoinExpr(_) => self.from_item(node, false),
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

    fn constant(&mut self, constant: &'a nodes::A_Const) {
        if let Some(ConstValue::Integer(_) | ConstValue::Float(_)) = constant.val() {
            let at = offset(constant.location);
            let bytes = self.text.as_bytes();
            // `0x1f`, `0b1`, `1_000`: Postgres 16 reads one number, 15 a number and an alias.
            let mut rest = bytes.iter().skip(at).take(64);
            let first = rest.next().copied();
            let second = rest.next().copied();
            let based = first == Some(b'0')
                && second.is_some_and(|b| matches!(b, b'x' | b'X' | b'b' | b'B' | b'o' | b'O'));
            let grouped = bytes
                .iter()
                .skip(at)
                .find(|b| !b.is_ascii_digit())
                .is_some_and(|b| *b == b'_');
            if based || grouped {
                self.seen.newer(160_000, at);
            }
        }
    }

    fn call(&mut self, call: &'a nodes::FuncCall, place: Place) {
        let (schema, name) = qualified(call.funcname());
        let first = call.args().iter().next().and_then(literal);
        self.seen.functions.push(FunctionRef {
            schema,
            name,
            position: offset(call.location),
            literal: first,
            place,
        });
        // pg_get_expr(adbin, …): the argument is as harmless as the result.
        // So is what trim(trailing ';' from …) leaves.
        let trimmed = name == "rtrim" && call.args().get(1).and_then(self::literal) == Some(";");
        let text = place.text && (trimmed || crate::functions::is_catalog_text(name));
        let rule = if place.rule == Rule::Filter {
            Place {
                text,
                ..Place::filter(place.construct)
            }
        } else {
            Place {
                output: false,
                text,
                ..within(place, "function argument")
            }
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
        let compared = !matches!(
            link.sub_link_type,
            EXPR_SUBLINK | ARRAY_SUBLINK | EXISTS_SUBLINK
        );
        let test = if compared {
            Place::filter("subquery comparison")
        } else {
            within(place, "subquery")
        };
        self.expression(
            link.testexpr(),
            Place {
                output: false,
                text: false,
                ..test
            },
        );
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
            Node::SelectStmt(select) => self.query(
                select,
                QueryPlace {
                    bare,
                    outermost: false,
                },
            ),
            other => self.expression(other, bare),
        }
    }

    /// A name after a dot: `(row).name`, which is also a call of `name(row)`.
    fn column_field(&mut self, name: &'a nodes::String, place: Place) {
        if let Some(name) = name.sval() {
            self.seen.columns.push(ColumnRef {
                parts: smallvec::smallvec![name],
                star: false,
                position: usize::MAX,
                place,
                from: 0..0,
            });
        }
    }

    pub(super) fn column(
        &mut self,
        column: &'a nodes::ColumnRef,
        place: Place,
        from: Range<usize>,
    ) -> usize {
        let mut parts = SmallVec::new();
        let mut star = false;
        for field in column.fields() {
            match field {
                Node::String(part) => parts.extend(part.sval()),
                Node::A_Star(_) => star = true,
                _ => self.unread("column reference"),
            }
        }
        self.seen.columns.push(ColumnRef {
            parts,
            star,
            position: offset(column.location),
            place,
            from,
        });
        self.seen.columns.len() - 1
    }

    pub(super) fn operator(&mut self, name: &'a super::List, location: i32) {
        if name.is_empty() {
            return;
        }
        let (schema, name) = qualified(name);
        self.seen.operators.push(NameRef {
            schema,
            name,
            position: offset(location),
        });
    }

    pub(super) fn type_name(&mut self, name: &'a nodes::TypeName) {
        let mut parts = name.names().iter().filter_map(nodes::String::sval);
        let last = parts.next_back().unwrap_or_default();
        self.seen.types.push(NameRef {
            schema: parts.next_back(),
            name: last,
            position: offset(name.location),
        });
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
            self.scope
                .iter()
                .rev()
                .copied()
                .find(|&at| self.seen.ctes.get(at).is_some_and(|cte| cte.name == name))
        } else {
            None
        };
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

    /// Enters a WITH clause; returns what [`Self::leave`] needs.
    pub(super) fn with(&mut self, clause: Option<&'a nodes::WithClause>) -> usize {
        let before = self.scope.len();
        let Some(clause) = clause else {
            return before;
        };
        if clause.recursive {
            // Every name is in scope everywhere.
            let first = self.seen.ctes.len();
            for cte in clause.ctes() {
                self.seen.ctes.push(Cte {
                    name: cte.ctename().unwrap_or_default(),
                    relations: 0..0,
                    columns: 0..0,
                    exposed: Vec::new(),
                });
                self.scope.push(self.seen.ctes.len() - 1);
            }
            for (index, cte) in clause.ctes().iter().enumerate() {
                self.cte(cte, first + index, true);
            }
        } else {
            for cte in clause.ctes() {
                let at = self.seen.ctes.len();
                self.seen.ctes.push(Cte {
                    name: cte.ctename().unwrap_or_default(),
                    relations: 0..0,
                    columns: 0..0,
                    exposed: Vec::new(),
                });
                self.cte(cte, at, false);
                self.scope.push(at);
            }
        }
        before
    }

    pub(super) fn leave(&mut self, before: usize) {
        self.scope.truncate(before);
    }

    fn cte(&mut self, cte: &'a nodes::CommonTableExpr, at: usize, recursive: bool) {
        let first = self.seen.relations.len();
        let columns = self.seen.columns.len();
        match cte.ctequery() {
            Node::SelectStmt(select) => self.query(
                select,
                QueryPlace {
                    bare: Place {
                        text: false,
                        ..Place::OUTPUT
                    },
                    outermost: false,
                },
            ),
            other => self.data_modifying(other),
        }
        let relations = first..self.seen.relations.len();
        let recurses = recursive
            && (first..relations.end).any(|r| {
                self.seen
                    .relations
                    .get(r)
                    .is_some_and(|r| r.cte == Some(at))
            });
        if recurses {
            for column in self.seen.columns.iter_mut().skip(columns) {
                if column.place.output {
                    column.place = Place::of(Rule::Combined, "WITH RECURSIVE");
                }
            }
        }
        if let Some(search) = cte.search_clause() {
            self.generic(Node::CTESearchClause(search), Place::filter("SEARCH"));
            self.unread("SEARCH clause");
        }
        if let Some(cycle) = cte.cycle_clause() {
            self.generic(Node::CTECycleClause(cycle), Place::filter("CYCLE"));
            self.unread("CYCLE clause");
        }
        let names: SmallVec<[&'a str; 2]> = cte
            .aliascolnames()
            .iter()
            .filter_map(Node::as_str)
            .collect();
        let columns = columns..self.seen.columns.len();
        let exposed = std::mem::take(&mut self.exposed);
        self.seen.items.push(Item {
            alias: cte.ctename().unwrap_or_default(),
            exposed: exposed.clone(),
            columns: columns.clone(),
            names,
            relations: relations.clone(),
            base: false,
            join: false,
        });
        if let Some(cte) = self.seen.ctes.get_mut(at) {
            cte.exposed = exposed;
            cte.columns = columns;
            cte.relations = relations;
        }
    }

    /// INSERT, UPDATE, DELETE or MERGE, alone or in WITH.
    pub(super) fn data_modifying(&mut self, node: Node<'a>) {
        self.seen.writes = true;
        match node {
            Node::InsertStmt(insert) => self.insert(insert),
            Node::UpdateStmt(update) => self.update(update),
            Node::DeleteStmt(delete) => self.delete(delete),
            Node::MergeStmt(merge) => self.merge(merge),
            other => {
                self.generic(other, Place::of(Rule::Parser, "statement"));
                self.unread("statement in WITH");
            }
        }
    }

    /// A SELECT, VALUES, TABLE or set operation.
    pub(super) fn query(&mut self, select: &'a nodes::SelectStmt, place: QueryPlace) {
        if !self.enter() {
            return;
        }
        with_stack(|| self.query_here(select, place));
        self.depth -= 1;
    }

    fn query_here(&mut self, select: &'a nodes::SelectStmt, place: QueryPlace) {
        let scope = self.with(select.with_clause());
        let mut targets: SmallVec<[Option<usize>; 8]> = SmallVec::new();
        let mut exposed = Vec::new();
        if select.op == raw::SetOperation::SETOP_NONE {
            self.select(select, place, &mut targets);
            exposed = std::mem::take(&mut self.exposed);
        } else {
            let bare = Place {
                output: false,
                ..if place.bare.output {
                    Place {
                        text: place.bare.text,
                        ..Place::of(Rule::Combined, "set operation")
                    }
                } else {
                    place.bare
                }
            };
            for arm in [select.larg(), select.rarg()].into_iter().flatten() {
                self.query(
                    arm,
                    QueryPlace {
                        bare,
                        outermost: place.outermost,
                    },
                );
                if exposed.is_empty() {
                    exposed = std::mem::take(&mut self.exposed);
                }
            }
        }
        for sort in select.sort_clause() {
            self.operator(sort.use_op(), sort.location);
            self.sort_key(sort.node(), "ORDER BY", &targets);
        }
        self.expression(select.limit_offset(), Place::filter("OFFSET"));
        self.expression(select.limit_count(), Place::filter("LIMIT"));
        // FOR UPDATE OF names FROM items, not relations.
        self.leave(scope);
        self.exposed = exposed;
    }

    /// One SELECT without its ORDER BY; notes which column each select-list item is.
    fn select(
        &mut self,
        select: &'a nodes::SelectStmt,
        place: QueryPlace,
        targets: &mut SmallVec<[Option<usize>; 8]>,
    ) {
        let from = self.seen.relations.len();
        for item in select.from_clause() {
            self.from_item(item, place.bare.output);
        }
        let from = from..self.seen.relations.len();

        let mut bare = place.bare;
        if let Some(into) = select.into_clause() {
            bare = Place::of(Rule::Flow, "SELECT INTO");
            if let Some(target) = into.rel() {
                let at = self.relation(target, Access::Ddl);
                if let Some(target) = self.seen.relations.get_mut(at) {
                    target.may_miss = true;
                }
            }
        }
        let grouped =
            !select.group_clause().is_empty() || !matches!(select.having_clause(), Node::None);
        let restricted = if !select.distinct_clause().is_empty() {
            Some("DISTINCT")
        } else if grouped {
            Some("GROUP BY")
        } else {
            None
        };
        if let (Some(construct), true) = (restricted, bare.output) {
            bare = Place {
                text: bare.text,
                ..Place::filter(construct)
            };
        }
        let mut texts: Vec<bool> = Vec::new();
        let mut starred = false;
        let mut exposed = Vec::new();
        for target in select.target_list() {
            let before = (self.seen.functions.len(), self.seen.columns.len());
            self.exposed.clear();
            targets.push(self.target(target, bare, from.clone()));
            exposed.extend(target.name().or_else(|| implied_name(target.val())));
            if place.outermost {
                starred |=
                    targets.last().copied().flatten().is_some_and(|at| {
                        self.seen.columns.get(at).is_some_and(|column| column.star)
                    });
                let text = self.holds_text(before.0, before.1);
                texts.push(text);
            }
        }
        self.seen.starred |= starred;
        if place.outermost && !starred {
            match &mut self.seen.text_outputs {
                // Arms of a set operation: the same column in any of them.
                Some(known) => {
                    for (known, text) in known.iter_mut().zip(&texts) {
                        *known |= text;
                    }
                }
                none => *none = Some(texts),
            }
        }
        self.expression(select.where_clause(), Place::filter("WHERE"));
        for key in select.distinct_clause() {
            self.sort_key(key, "DISTINCT ON", targets);
        }
        for key in select.group_clause() {
            self.sort_key(key, "GROUP BY", targets);
        }
        self.expression(select.having_clause(), Place::filter("HAVING"));
        for window in select.window_clause() {
            self.expression(window, Place::filter("WINDOW"));
        }
        for row in select.values_lists() {
            for value in row.as_node_list().into_iter().flatten() {
                self.expression(
                    value,
                    Place {
                        output: false,
                        text: false,
                        ..within(place.bare, "VALUES")
                    },
                );
            }
        }
        self.exposed = exposed;
    }

    /// Whether anything from these marks on is a catalog text in a place where its value is the output.
    fn holds_text(&self, functions: usize, columns: usize) -> bool {
        let functions = self.seen.functions.iter().skip(functions);
        let columns = self.seen.columns.iter().skip(columns);
        functions
            .into_iter()
            .any(|f| {
                f.place.text
                    && !f.place.tested
                    && crate::functions::is_catalog_text(f.name)
            })
            || columns.into_iter().any(|c| {
                c.place.text
                    && c.parts
                        .last()
                        .is_some_and(|p| crate::builtin::may_be_text(p))
            })
    }

    /// One item of a select or RETURNING list; the index of its column if it is one.
    pub(super) fn target(
        &mut self,
        target: &'a nodes::ResTarget,
        bare: Place,
        from: Range<usize>,
    ) -> Option<usize> {
        if let Node::ColumnRef(column) = target.val() {
            let at = self.column(column, bare, from);
            if let Some(name) = target.name() {
                self.seen.renames.push((name, at));
            }
            return Some(at);
        }
        let place = if bare.output || matches!(bare.rule, Rule::Combined) {
            Place {
                text: bare.text,
                ..Place::of(Rule::Derived, "select list expression")
            }
        } else {
            bare
        };
        self.expression(target.val(), place);
        None
    }

    /// A key of ORDER BY, GROUP BY or DISTINCT ON: an expression, or a position in the select list.
    fn sort_key(&mut self, key: Node<'a>, construct: &'static str, targets: &[Option<usize>]) {
        if let Node::A_Const(constant) = key
            && let Some(ConstValue::Integer(number)) = constant.val()
        {
            self.constant(constant);
            let mut columns = SmallVec::new();
            // The server takes no longer select list.
            for (index, target) in targets.iter().take(1664).enumerate() {
                let star = target
                    .is_some_and(|at| self.seen.columns.get(at).is_some_and(|column| column.star));
                let last = index + 1 >= usize::try_from(number).unwrap_or(0);
                if star || last {
                    columns.extend(*target);
                }
                if last {
                    break;
                }
            }
            self.seen.ordinals.push(Ordinal {
                position: offset(constant.location),
                columns,
                construct,
            });
            return;
        }
        self.expression(key, Place::filter(construct));
    }

    pub(super) fn from_item(&mut self, node: Node<'a>, feeding: bool) {
        if !self.enter() {
            return;
        }
        with_stack(|| self.from_item_here(node, feeding));
        self.depth -= 1;
    }

    fn from_item_here(&mut self, node: Node<'a>, feeding: bool) {
        let first = (self.seen.relations.len(), self.seen.columns.len());
        self.exposed.clear();
        match node {
            Node::RangeVar(relation) => {
                self.relation_item(relation, Access::Read);
            }
            Node::RangeSubselect(subselect) => {
                let bare = if feeding {
                    Place {
                        text: false,
                        ..Place::OUTPUT
                    }
                } else {
                    Place::of(Rule::Derived, "subquery")
                };
                match subselect.subquery() {
                    Node::SelectStmt(select) => self.query(
                        select,
                        QueryPlace {
                            bare,
                            outermost: false,
                        },
                    ),
                    other => self.expression(other, bare),
                }
                self.item(subselect.alias(), first, false);
            }
            Node::JoinExpr(join) => {
                self.from_item(join.larg(), feeding);
                self.from_item(join.rarg(), feeding);
                let relations = first.0..self.seen.relations.len();
                let names: SmallVec<[&'a str; 2]> = join
                    .using_clause()
                    .iter()
                    .filter_map(nodes::String::sval)
                    .collect();
                if join.is_natural || !names.is_empty() {
                    self.seen.merges.push(Merge {
                        names,
                        natural: join.is_natural,
                        relations,
                    });
                }
                self.expression(join.quals(), Place::filter("ON"));
                self.exposed.clear();
                self.item(join.alias(), first, true);
                self.item(join.join_using_alias(), first, true);
            }
            Node::RangeFunction(function) => {
                for pair in function.functions() {
                    for part in pair.as_node_list().into_iter().flatten() {
                        match part {
                            Node::NodeList(definitions) => definitions.iter().for_each(|d| {
                                self.expression(d, Place::of(Rule::Derived, "column definition"));
                            }),
                            call => {
                                self.expression(call, Place::of(Rule::Derived, "function in FROM"))
                            }
                        }
                    }
                }
                for definition in function.coldeflist() {
                    self.exposed.extend(definition.colname());
                    self.generic(
                        Node::ColumnDef(definition),
                        Place::of(Rule::Derived, "column definition"),
                    );
                }
                self.item(function.alias(), first, false);
            }
            Node::RangeTableSample(sample) => {
                self.from_item(sample.relation(), feeding);
                let (schema, name) = qualified(sample.method());
                self.seen.functions.push(FunctionRef {
                    schema,
                    name,
                    position: offset(sample.location),
                    literal: None,
                    place: Place::of(Rule::Derived, "TABLESAMPLE"),
                });
                for argument in sample.args() {
                    self.expression(argument, Place::filter("TABLESAMPLE"));
                }
                self.expression(sample.repeatable(), Place::filter("TABLESAMPLE"));
            }
            Node::RangeTableFunc(function) => {
                self.generic(node, Place::of(Rule::Derived, "XMLTABLE"));
                self.item(function.alias(), first, false);
            }
            Node::JsonTable(table) => {
                self.seen.newer(170_000, usize::MAX);
                self.generic(node, Place::of(Rule::Derived, "JSON_TABLE"));
                self.item(table.alias(), first, false);
            }
            other => self.expression(other, Place::of(Rule::Derived, "FROM")),
        }
    }

    /// Notes the alias of the FROM item whose relations and columns begin at `first`.
    fn item(&mut self, given: Option<&'a nodes::Alias>, first: (usize, usize), join: bool) {
        if given.is_none() {
            return;
        }
        let (alias, names) = alias(given, "");
        self.seen.items.push(Item {
            alias,
            names,
            relations: first.0..self.seen.relations.len(),
            columns: first.1..self.seen.columns.len(),
            exposed: std::mem::take(&mut self.exposed),
            base: false,
            join,
        });
    }
}

/// The name that a select-list item without alias gets, if it is a simple one.
fn implied_name<'a>(node: Node<'a>) -> Option<&'a str> {
    match node {
        Node::ColumnRef(column) => column.fields().iter().next_back().and_then(Node::as_str),
        Node::FuncCall(call) => Some(qualified(call.funcname()).1),
        _ => None,
    }
}

fn alias<'a>(
    alias: Option<&'a nodes::Alias>,
    otherwise: &'a str,
) -> (&'a str, SmallVec<[&'a str; 2]>) {
    match alias {
        Some(alias) => (
            alias.aliasname().unwrap_or(otherwise),
            alias.colnames().iter().filter_map(Node::as_str).collect(),
        ),
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
        && name
            .names()
            .iter()
            .filter_map(nodes::String::sval)
            .next_back()
            .is_some_and(|last| last == "text")
}

/// The same place one level down: a filter stays one, anything else becomes an expression.
fn within(place: Place, construct: &'static str) -> Place {
    match place.rule {
        Rule::Filter | Rule::Flow | Rule::Copy | Rule::StoredExpression | Rule::Ddl => Place {
            output: false,
            ..place
        },
        _ => Place {
            rule: Rule::Derived,
            construct,
            output: false,
            text: place.text,
            tested: place.tested,
        },
    }
}
