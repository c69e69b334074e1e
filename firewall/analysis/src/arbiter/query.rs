//! The walk over queries: WITH, select lists, FROM.

use std::ops::Range;

use smallvec::SmallVec;

use super::seen::{Cte, FunctionRef, Item, Merge, Ordinal, Place};
use super::walk::{QueryPlace, Walker, alias, offset, qualified, within};
use super::{ConstValue, MAX_TARGETS, Node, nodes, raw, with_stack};
use crate::facts::{Access, Rule};

impl<'a> Walker<'a> {
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
            Node::SelectStmt(select) => {
                self.query(select, QueryPlace { bare: Place { text: false, ..Place::OUTPUT }, outermost: false })
            }
            other => self.data_modifying(other),
        }
        let relations = first..self.seen.relations.len();
        let recurses =
            recursive && (first..relations.end).any(|r| self.seen.relations.get(r).is_some_and(|r| r.cte == Some(at)));
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
        let names: SmallVec<[&'a str; 2]> = cte.aliascolnames().iter().filter_map(Node::as_str).collect();
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
                    Place { text: place.bare.text, ..Place::of(Rule::Combined, "set operation") }
                } else {
                    place.bare
                }
            };
            for arm in [select.larg(), select.rarg()].into_iter().flatten() {
                self.query(arm, QueryPlace { bare, outermost: place.outermost });
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
    fn select(&mut self, select: &'a nodes::SelectStmt, place: QueryPlace, targets: &mut SmallVec<[Option<usize>; 8]>) {
        let table = self.table_command(select);
        let from = self.seen.relations.len();
        for item in select.from_clause() {
            self.range_item(item, place.bare.output);
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
        let grouped = !select.group_clause().is_empty() || !matches!(select.having_clause(), Node::None);
        let restricted = if !select.distinct_clause().is_empty() {
            Some("DISTINCT")
        } else if grouped {
            Some("GROUP BY")
        } else {
            None
        };
        if let (Some(construct), true) = (restricted, bare.output) {
            bare = Place { text: bare.text, ..Place::filter(construct) };
        }
        let mut texts: Vec<bool> = Vec::new();
        let mut starred = false;
        let mut exposed = Vec::new();
        if select.target_list().len() > MAX_TARGETS {
            self.seen.violation(Rule::Limit, "number of columns", None);
        }
        for target in select.target_list().iter().take(MAX_TARGETS) {
            let before = (self.seen.functions.len(), self.seen.columns.len());
            self.exposed.clear();
            targets.push(self.target(target, bare, from.clone()));
            if let (Some(position), Some(Some(at))) = (table, targets.last())
                && let Some(column) = self.seen.columns.get_mut(*at)
            {
                column.position = position;
            }
            exposed.extend(target.name().or_else(|| implied_name(target.val())));
            if place.outermost {
                starred |= targets
                    .last()
                    .copied()
                    .flatten()
                    .is_some_and(|at| self.seen.columns.get(at).is_some_and(|column| column.star));
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
                self.expression(value, Place { output: false, text: false, ..within(place.bare, "VALUES") });
            }
        }
        self.exposed = exposed;
    }

    /// `TABLE name` is `SELECT * FROM name`; its star has no place in the text but that word's.
    fn table_command(&mut self, select: &'a nodes::SelectStmt) -> Option<usize> {
        let Node::RangeVar(relation) = select.from_clause().iter().next()? else { return None };
        let Node::ColumnRef(star) = select.target_list().iter().next()?.val() else { return None };
        if star.location >= 0 {
            return None;
        }
        let at = offset(relation.location);
        let only = if relation.inh { None } else { self.word_before(at, "only") };
        let word = self.word_before(only.map_or(at, |only| only.start), "table")?;
        self.edit(word.clone(), "SELECT * FROM");
        Some(word.start)
    }

    /// Whether anything from these marks on is a catalog text in a place where its value is the output.
    fn holds_text(&self, functions: usize, columns: usize) -> bool {
        let functions = self.seen.functions.iter().skip(functions);
        let columns = self.seen.columns.iter().skip(columns);
        functions.into_iter().any(|f| f.place.text && !f.place.tested && crate::functions::is_catalog_text(f.name))
            || columns
                .into_iter()
                .any(|c| c.place.text && c.parts.last().is_some_and(|p| crate::builtin::may_be_text(p)))
    }

    /// One item of a select or RETURNING list; the index of its column if it is one.
    pub(super) fn target(&mut self, target: &'a nodes::ResTarget, bare: Place, from: Range<usize>) -> Option<usize> {
        if let Node::ColumnRef(column) = target.val() {
            let at = self.column(column, bare, from);
            if let Some(name) = target.name() {
                self.seen.renames.push((name, at));
            }
            return Some(at);
        }
        let place = if bare.output || matches!(bare.rule, Rule::Combined) {
            Place { text: bare.text, ..Place::of(Rule::Derived, "select list expression") }
        } else {
            bare
        };
        let first = self.seen.columns.len();
        self.expression(target.val(), place);
        if let Some(name) = target.name() {
            self.seen.renames.extend((first..self.seen.columns.len()).map(|at| (name, at)));
        }
        None
    }

    /// A key of ORDER BY, GROUP BY or DISTINCT ON: an expression, or a position in the select list.
    fn sort_key(&mut self, key: Node<'a>, construct: &'static str, targets: &[Option<usize>]) {
        if let Node::A_Const(constant) = key
            && let Some(ConstValue::Integer(number)) = constant.val()
        {
            self.constant(constant);
            let mut columns = SmallVec::new();
            for (index, target) in targets.iter().enumerate() {
                let star = target.is_some_and(|at| self.seen.columns.get(at).is_some_and(|column| column.star));
                let last = index + 1 >= usize::try_from(number).unwrap_or(0);
                if star || last {
                    columns.extend(*target);
                }
                if last {
                    break;
                }
            }
            self.seen.ordinals.push(Ordinal { position: offset(constant.location), columns, construct });
            return;
        }
        self.expression(key, Place::filter(construct));
    }

    pub(super) fn range_item(&mut self, node: Node<'a>, feeding: bool) {
        if !self.enter() {
            return;
        }
        with_stack(|| self.range_item_here(node, feeding));
        self.depth -= 1;
    }

    fn range_item_here(&mut self, node: Node<'a>, feeding: bool) {
        let first = (self.seen.relations.len(), self.seen.columns.len());
        self.exposed.clear();
        match node {
            Node::RangeVar(relation) => {
                self.relation_item(relation, Access::Read);
            }
            Node::RangeSubselect(subselect) => {
                let bare =
                    if feeding { Place { text: false, ..Place::OUTPUT } } else { Place::of(Rule::Derived, "subquery") };
                match subselect.subquery() {
                    Node::SelectStmt(select) => self.query(select, QueryPlace { bare, outermost: false }),
                    other => self.expression(other, bare),
                }
                self.item(subselect.alias(), first, false);
            }
            Node::JoinExpr(join) => {
                self.range_item(join.larg(), feeding);
                self.range_item(join.rarg(), feeding);
                let relations = first.0..self.seen.relations.len();
                let names: SmallVec<[&'a str; 2]> =
                    join.using_clause().iter().filter_map(nodes::String::sval).collect();
                if join.is_natural || !names.is_empty() {
                    self.implied(&["="], -1);
                    self.seen.merges.push(Merge { names, natural: join.is_natural, relations });
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
                            call => self.expression(call, Place::of(Rule::Derived, "function in FROM")),
                        }
                    }
                }
                // Subqueries in the arguments expose nothing.
                self.exposed.clear();
                self.seen.unnamed_functions |= function.alias().is_none();
                for definition in function.coldeflist() {
                    self.exposed.extend(definition.colname());
                    self.generic(Node::ColumnDef(definition), Place::of(Rule::Derived, "column definition"));
                }
                self.item(function.alias(), first, false);
            }
            Node::RangeTableSample(sample) => {
                self.range_item(sample.relation(), feeding);
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
                self.exposed.clear();
                self.item(function.alias(), first, false);
            }
            Node::JsonTable(table) => {
                self.seen.newer(170_000, usize::MAX);
                self.generic(node, Place::of(Rule::Derived, "JSON_TABLE"));
                self.exposed.clear();
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
