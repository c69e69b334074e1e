//! PL/pgSQL bodies, word by word. Says too much rather than too little: a word that could be a relation, a call or a
//! column is one.

use foldhash::HashSet;

use super::tokens::{self, Token};
use super::{Direct, Named};
use crate::catalog::{Catalog, Function, Relation, RelationKind};

/// Statements that are not followed, where one begins.
const COMMANDS: &[&str] = &[
    "alter",
    "analyze",
    "checkpoint",
    "cluster",
    "comment",
    "commit",
    "copy",
    "create",
    "deallocate",
    "discard",
    "do",
    "drop",
    "explain",
    "grant",
    "import",
    "listen",
    "load",
    "lock",
    "notify",
    "prepare",
    "reassign",
    "refresh",
    "reindex",
    "release",
    "reset",
    "revoke",
    "rollback",
    "savepoint",
    "security",
    "set",
    "show",
    "start",
    "truncate",
    "unlisten",
    "vacuum",
];

/// Words before a parenthesis that call nothing, or nothing but what the manifest has under another name.
const NO_CALLS: &[&str] = &[
    "all",
    "and",
    "any",
    "array",
    "as",
    "assert",
    "bit",
    "between",
    "by",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "conflict",
    "cross",
    "cube",
    "cursor",
    "dec",
    "decimal",
    "delete",
    "distinct",
    "else",
    "elseif",
    "elsif",
    "end",
    "except",
    "exists",
    "exit",
    "extract",
    "filter",
    "float",
    "for",
    "from",
    "full",
    "greatest",
    "group",
    "grouping",
    "having",
    "if",
    "ilike",
    "in",
    "inner",
    "insert",
    "intersect",
    "interval",
    "into",
    "is",
    "join",
    "lateral",
    "least",
    "left",
    "like",
    "limit",
    "loop",
    "materialized",
    "nchar",
    "not",
    "notnull",
    "nullif",
    "numeric",
    "offset",
    "on",
    "only",
    "operator",
    "or",
    "order",
    "outer",
    "over",
    "overlay",
    "partition",
    "perform",
    "position",
    "precision",
    "query",
    "raise",
    "range",
    "return",
    "returning",
    "right",
    "rollup",
    "row",
    "rows",
    "select",
    "set",
    "sets",
    "similar",
    "some",
    "substring",
    "then",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "treat",
    "trim",
    "union",
    "unique",
    "update",
    "using",
    "values",
    "varbit",
    "varchar",
    "varying",
    "when",
    "where",
    "while",
    "with",
    "within",
    "xmlelement",
    "xmlforest",
    "xmlattributes",
    "xmlconcat",
    "xmlpi",
    "xmlroot",
    "xmlparse",
    "xmlserialize",
    "bpchar",
    "interval",
    "slice",
    "reverse",
    "execute",
];

/// Words that may follow a relation and are no alias of it.
const NO_ALIASES: &[&str] = &[
    "on",
    "where",
    "join",
    "set",
    "left",
    "right",
    "full",
    "inner",
    "cross",
    "natural",
    "group",
    "order",
    "limit",
    "using",
    "values",
    "select",
    "returning",
    "for",
    "into",
    "union",
    "except",
    "intersect",
    "having",
    "window",
    "offset",
    "fetch",
    "loop",
    "default",
    "overriding",
    "tablesample",
    "then",
    "and",
    "or",
    "when",
];

/// What follows a star that stands for columns.
const AFTER_STAR: &[&str] = &[
    "from",
    "into",
    "where",
    "union",
    "intersect",
    "except",
    "order",
    "group",
    "limit",
    "having",
    "window",
    "offset",
    "fetch",
    "for",
    "returning",
    "loop",
    "then",
];

/// The operators behind LIKE, BETWEEN, IN, CASE, ORDER BY, DISTINCT and JOIN … USING.
const IMPLICIT: &[&str] = &["=", "<>", "<", ">", "<=", ">=", "~~", "!~~", "~~*", "!~~*", "~"];

pub(super) fn read(body: &str, function: &Function, catalog: &Catalog, direct: &mut Direct) {
    match tokens::of(body) {
        Some(tokens) => Scan { tokens: &tokens, function, catalog, direct, cursors: cursors(&tokens) }.run(),
        None => direct.opaque("its body cannot be read"),
    }
}

struct Scan<'a> {
    tokens: &'a [Token],
    function: &'a Function,
    catalog: &'a Catalog,
    direct: &'a mut Direct,
    cursors: HashSet<&'a str>,
}

/// Names of declared cursors: they take arguments.
fn cursors(tokens: &[Token]) -> HashSet<&str> {
    tokens
        .windows(2)
        .filter_map(|pair| match pair {
            [Token::Word { name, .. }, next] if matches!(next.bare(), "cursor" | "no" | "scroll") => Some(&**name),
            _ => None,
        })
        .collect()
}

impl<'a> Scan<'a> {
    fn before(&self, at: usize, by: usize) -> Option<&'a Token> {
        self.tokens.get(at.checked_sub(by)?)
    }

    fn run(mut self) {
        let writes = self.tokens.iter().any(|t| matches!(t.bare(), "insert" | "update" | "delete" | "merge"));
        let schema_named = self.tokens.iter().any(|t| t.bare() == "information_schema");
        let mut rows_of: HashSet<Box<str>> = HashSet::default();
        // Where a relation is named as one, or given its alias.
        let mut naming: HashSet<usize> = HashSet::default();
        for at in 0..self.tokens.len() {
            let Some(token) = self.tokens.get(at) else { return };
            match token {
                Token::Word { name, quoted } => {
                    self.direct.words.insert(name.clone());
                    self.command(at);
                    if !quoted {
                        self.keyword(name);
                    }
                    self.called(at, name, *quoted);
                    self.direct.named(name, Named::Type, self.catalog);
                    self.relation(at, name, writes, schema_named, &mut rows_of, &mut naming);
                }
                Token::Operator(run) => self.operator(at, run),
                Token::Text | Token::Number | Token::Mark(_) => {}
            }
        }
        for (at, token) in self.tokens.iter().enumerate() {
            if let Token::Word { name, .. } = token
                && rows_of.contains(name)
                && !naming.contains(&at)
                && !self.tokens.get(at + 1).is_some_and(|next| next.is('.'))
            {
                self.direct.rows = true;
            }
        }
        for operator in IMPLICIT {
            self.direct.named(operator, Named::Operator, self.catalog);
        }
    }

    /// The word begins a statement that is not followed.
    fn command(&mut self, at: usize) {
        let Some(word) = self.tokens.get(at).map(Token::bare).filter(|word| COMMANDS.contains(word)) else { return };
        // `start := now()` is an assignment.
        let next = self.tokens.get(at + 1);
        if next.is_some_and(|t| t.is(':') || matches!(t, Token::Operator(run) if &**run == "=")) {
            return;
        }
        let begins = self.before(at, 1).is_none_or(|before| match before {
            Token::Mark(mark) => *mark == ';',
            Token::Operator(run) => &**run == ">>",
            Token::Word { .. } => matches!(before.bare(), "begin" | "then" | "else" | "loop"),
            Token::Text | Token::Number => false,
        });
        if begins {
            self.direct.opaque(&format!("it runs {}", word.to_ascii_uppercase()));
        }
    }

    fn keyword(&mut self, word: &str) {
        match word {
            "execute" => self.direct.opaque("it builds statements"),
            "natural" | "table" | "merge" => self.direct.rows = true,
            "sqlerrm" | "stacked" | "diagnostics" => self.direct.catches = true,
            _ => {}
        }
    }

    fn called(&mut self, at: usize, name: &str, quoted: bool) {
        let qualifier = self.before(at, 1).filter(|t| t.is('.')).and_then(|_| self.before(at, 2));
        let schema = match qualifier.map(Token::bare) {
            Some(schema @ ("pg_catalog" | "information_schema")) => Some(schema.to_owned()),
            _ => None,
        };
        if !self.tokens.get(at + 1).is_some_and(|next| next.is('(')) {
            // `row.name` may be a call.
            if qualifier.is_some() && !self.catalog.functions(name).is_empty() {
                self.direct.call(None, name, self.function, self.catalog);
            }
            return;
        }
        if !quoted && NO_CALLS.contains(&name) || self.cursors.contains(name) {
            let before = self.before(at, 1);
            // An alias with column names.
            self.direct.rows |= self.cursors.contains(name) && before.is_some_and(|t| t.is(')'));
            return;
        }
        let before = self.before(at, 1);
        if before.is_some_and(|t| matches!(t.bare(), "with" | "recursive" | "as") || t.is(')')) {
            self.direct.rows = true;
            return;
        }
        let is_relation = self.catalog.by_name(name).next().is_some();
        if !self.direct.call(schema.as_deref(), name, self.function, self.catalog) && !is_relation {
            self.direct.opaque(&format!("it calls {name}, which is not known"));
        }
    }

    fn operator(&mut self, at: usize, run: &str) {
        let known = self.catalog.foreign_operators.iter().chain(self.catalog.calls.operators.keys());
        let used: Vec<&str> = known
            .map(|name| &**name)
            .filter(|name| run.contains(name) || (*name == "<>" && run.contains("!=")))
            .collect();
        for name in used {
            self.direct.named(name, Named::Operator, self.catalog);
        }
        if !run.contains('*') {
            return;
        }
        let (before, after) = (self.before(at, 1), self.tokens.get(at + 1));
        if before.is_some_and(|t| t.is('(')) && after.is_some_and(|t| t.is(')')) {
            return;
        }
        let operand = |token: &Token| match token {
            Token::Text | Token::Number => true,
            Token::Word { .. } => !matches!(token.bare(), "select" | "all" | "distinct" | "returning" | "query"),
            Token::Mark(mark) => matches!(mark, ')' | ']'),
            Token::Operator(_) => false,
        };
        let follows = |token: &Token| match token {
            Token::Text | Token::Number => true,
            Token::Word { .. } => !AFTER_STAR.contains(&token.bare()),
            Token::Mark(mark) => *mark == '(',
            Token::Operator(_) => false,
        };
        self.direct.rows |= !(before.is_some_and(operand) && after.is_some_and(follows));
    }

    /// The relations that a word may mean.
    fn relation(
        &mut self,
        at: usize,
        name: &str,
        writes: bool,
        schema_named: bool,
        rows_of: &mut HashSet<Box<str>>,
        naming: &mut HashSet<usize>,
    ) {
        if self.of_type(at) {
            naming.insert(at);
            return;
        }
        let dotted = self.before(at, 1).is_some_and(|t| t.is('.'));
        let qualifier = self.before(at, 2).filter(|_| dotted);
        let head = if dotted { self.before(at, 3) } else { self.before(at, 1) };
        let head = head.map_or("", Token::bare);
        let placed = matches!(head, "from" | "join" | "into" | "update" | "using" | "only" | "table");
        let meant = |relation: &&Relation| {
            if matches!(relation.kind, RelationKind::Index | RelationKind::Toast) {
                return false;
            }
            if dotted {
                let Some(Token::Word { name, .. }) = qualifier else { return false };
                return *name == relation.schema || (&**name == "pg_temp" && relation.temporary);
            }
            // Words such as `views` and `columns` are everywhere.
            &*relation.schema != "information_schema" || placed || schema_named
        };
        let mut found = false;
        let catalog = self.catalog;
        for relation in catalog.by_name(name).filter(meant) {
            found = true;
            self.direct.relation(relation, writes);
        }
        if !found {
            return;
        }
        let next = self.tokens.get(at + 1);
        if next.is_some_and(|t| t.is('.')) {
            return;
        }
        let typed = self.before(at, 1).is_some_and(|t| t.is(':'));
        if placed || typed {
            naming.insert(at);
        }
        rows_of.insert(name.into());
        if typed {
            return;
        }
        // INSERT without a list of columns, or the target of SELECT … INTO.
        self.direct.rows |= head == "into" && !next.is_some_and(|t| t.is('('));
        let mut alias = at + 1;
        if next.is_some_and(|t| matches!(t, Token::Operator(run) if &**run == "*")) {
            alias += 1;
        }
        if self.tokens.get(alias).is_some_and(|t| t.bare() == "as") {
            alias += 1;
        }
        if let Some(token @ Token::Word { name, .. }) = self.tokens.get(alias)
            && placed
            && !NO_ALIASES.contains(&token.bare())
        {
            rows_of.insert(name.clone());
            naming.insert(alias);
            // Other names for its columns.
            self.direct.rows |= self.tokens.get(alias + 1).is_some_and(|t| t.is('('));
        }
    }

    /// `users%ROWTYPE`, `users.email%TYPE`: nothing is read.
    fn of_type(&self, at: usize) -> bool {
        let mut next = at + 1;
        while self.tokens.get(next).is_some_and(|t| t.is('.')) {
            next += 2;
        }
        matches!(self.tokens.get(next), Some(Token::Operator(run)) if &**run == "%")
            && self.tokens.get(next + 1).is_some_and(|t| matches!(t.bare(), "type" | "rowtype"))
    }
}
