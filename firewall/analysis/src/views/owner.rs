//! Conditions of a view over labelled columns. Its owner may select rows by whatever is fixed; compared with what a
//! client can choose (a setting, another column), the view would answer the client's questions (soundness 7).

use foldhash::HashSet;

use crate::bodies::tokens::{self, Token};
use crate::catalog::Catalog;
use crate::functions::{self, Class};

/// Clauses whose conditions are looked at here.
pub(super) const MAY_FILTER: &[&str] = &["WHERE", "ON", "HAVING"];

/// Words of a condition that name nothing.
const KEYWORDS: &[&str] =
    &["is", "not", "null", "and", "or", "any", "all", "array", "true", "false", "distinct", "from", "unknown", "in"];

/// A name and a parenthesis after these are a call.
const BEFORE_CALLS: &[&str] = &[
    "select", "from", "where", "on", "having", "and", "or", "not", "join", "by", "distinct", "all", "when", "then",
    "else", "case", "union", "lateral", "limit", "offset",
];

/// Beside these a group in parentheses is a condition.
const CONNECTIVES: &[&str] = &["and", "or", "not", "where", "on", "having"];

/// Every condition of the query that names one of `labelled` (or an alias of it) compares that column with constants.
pub(super) fn only_constants(text: &str, labelled: HashSet<Box<str>>, catalog: &Catalog) -> Result<(), String> {
    let tokens = tokens::of(text.trim_end().trim_end_matches(';')).ok_or("its query cannot be read")?;
    let mut query = Query { matching: matching(&tokens), tokens, labelled, catalog };
    query.aliases()?;
    for at in 0..query.tokens.len() {
        if query.is_labelled(at) && !query.in_select_list(at) {
            query.condition(at)?;
        }
    }
    Ok(())
}

struct Query<'c> {
    tokens: Vec<Token>,
    /// For every parenthesis, the other one.
    matching: Vec<Option<usize>>,
    labelled: HashSet<Box<str>>,
    catalog: &'c Catalog,
}

fn matching(tokens: &[Token]) -> Vec<Option<usize>> {
    let mut found = vec![None; tokens.len()];
    let mut open = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if token.is('(') {
            open.push(at);
        } else if token.is(')')
            && let Some(begin) = open.pop()
        {
            for (one, other) in [(begin, at), (at, begin)] {
                if let Some(place) = found.get_mut(one) {
                    *place = Some(other);
                }
            }
        }
    }
    found
}

impl Query<'_> {
    fn bare(&self, at: Option<usize>) -> &str {
        at.and_then(|at| self.tokens.get(at)).map_or("", Token::bare)
    }

    fn is(&self, at: Option<usize>, mark: char) -> bool {
        at.and_then(|at| self.tokens.get(at)).is_some_and(|token| token.is(mark))
    }

    fn is_labelled(&self, at: usize) -> bool {
        match self.tokens.get(at) {
            // A qualifier is no column.
            Some(Token::Word { name, .. }) => self.labelled.contains(name) && !self.is(Some(at + 1), '.'),
            _ => false,
        }
    }

    /// The word before `at` at the same depth of parentheses for which `wanted` holds, where `end` does not come first.
    fn back(&self, at: usize, mut wanted: impl FnMut(&Token) -> bool) -> Option<usize> {
        let mut place = at;
        loop {
            place = place.checked_sub(1)?;
            let token = self.tokens.get(place)?;
            if token.is(')') {
                place = self.matching.get(place).copied().flatten()?;
            } else if token.is('(') {
                return None;
            } else if wanted(token) {
                return Some(place);
            }
        }
    }

    /// Between SELECT and the end of its list, at any depth of expressions but not of queries.
    fn in_select_list(&self, mut at: usize) -> bool {
        loop {
            let clause = self.back(at, |t| {
                matches!(
                    t.bare(),
                    "select" | "from" | "where" | "on" | "having" | "group" | "order" | "limit" | "offset" | "window"
                )
            });
            if let Some(clause) = clause {
                // IS DISTINCT FROM stands in an expression.
                let distinct = self.bare(Some(clause)) == "from" && self.bare(clause.checked_sub(1)) == "distinct";
                if !distinct {
                    return self.bare(Some(clause)) == "select";
                }
                at = clause;
                continue;
            }
            match self.enclosing(at) {
                Some((open, _)) => at = open,
                None => return false,
            }
        }
    }

    /// The parentheses around a token.
    fn enclosing(&self, at: usize) -> Option<(usize, usize)> {
        let mut place = at;
        loop {
            place = place.checked_sub(1)?;
            if self.is(Some(place), ')') {
                place = self.matching.get(place).copied().flatten()?;
            } else if self.is(Some(place), '(') {
                return Some((place, self.matching.get(place).copied().flatten()?));
            }
        }
    }

    /// Other names for labelled columns, in select lists.
    fn aliases(&mut self) -> Result<(), String> {
        for at in 0..self.tokens.len() {
            let word = |place: usize| matches!(self.tokens.get(place), Some(Token::Word { .. }));
            let renames = self.bare(Some(at)) == "as"
                && (word(at + 1) && self.is(Some(at + 2), '(')
                    || self.is(at.checked_sub(1), ')') && self.is(Some(at + 1), '('));
            let joined = self.is(Some(at), ')')
                && word(at + 1)
                && self.is(Some(at + 2), '(')
                && !KEYWORDS.contains(&self.bare(Some(at + 1)))
                && !matches!(self.bare(Some(at + 1)), "as" | "over" | "filter" | "on" | "where" | "having" | "union");
            // `users s(a, b)`; after a keyword it is a call.
            let listed = word(at)
                && word(at + 1)
                && self.is(Some(at + 2), '(')
                && !BEFORE_CALLS.contains(&self.bare(Some(at)))
                && !BEFORE_CALLS.contains(&self.bare(Some(at + 1)))
                && !matches!(self.bare(Some(at + 1)), "varying" | "any" | "in" | "is" | "over" | "filter" | "within");
            if renames || joined || listed || matches!(self.bare(Some(at)), "natural" | "using") {
                return Err("it filters by a labelled column, and gives columns other names".into());
            }
        }
        loop {
            let found: Vec<Box<str>> = (0..self.tokens.len())
                .filter(|at| self.bare(Some(*at)) == "as")
                .filter_map(|at| {
                    let Some(Token::Word { name, .. }) = self.tokens.get(at + 1) else { return None };
                    let begin = self.back(at, |t| t.is(',') || t.bare() == "select")?;
                    let item = begin..at;
                    (!self.labelled.contains(name) && item.into_iter().any(|i| self.is_labelled(i)))
                        .then(|| name.clone())
                })
                .collect();
            if found.is_empty() {
                return Ok(());
            }
            self.labelled.extend(found);
        }
    }

    /// The smallest condition around a labelled column names nothing else.
    fn condition(&self, at: usize) -> Result<(), String> {
        let mut inner = at;
        let (open, close) = loop {
            let Some((open, close)) = self.enclosing(inner) else {
                return Err(self.refusal(at));
            };
            let (before, after) = (open.checked_sub(1), Some(close + 1));
            let ends =
                matches!(self.bare(after), "and" | "or" | "group" | "order" | "limit" | "having" | "where" | "union")
                    || self.tokens.get(close + 1).is_none();
            let closed = self.is(after, ')');
            if CONNECTIVES.contains(&self.bare(before)) && (ends || closed) || self.is(before, '(') && ends {
                break (open, close);
            }
            inner = open;
        };
        let mut column: Option<(&str, &str)> = None;
        for place in open + 1..close {
            let Some(Token::Word { name, quoted }) = self.tokens.get(place) else { continue };
            if self.is(Some(place + 1), '.') || self.in_type(place, open) {
                continue;
            }
            if self.is(Some(place + 1), '(') {
                let pure = functions::class(name) == Some(Class::Pure) && self.catalog.functions(name).is_empty();
                if pure || (!quoted && KEYWORDS.contains(&&**name)) {
                    continue;
                }
            } else if self.is_labelled(place) {
                let qualifier = match (self.is(place.checked_sub(1), '.'), place.checked_sub(2)) {
                    (true, Some(qualifier)) => match self.tokens.get(qualifier) {
                        Some(Token::Word { name, .. }) => &**name,
                        _ => "",
                    },
                    _ => "",
                };
                if *column.get_or_insert((qualifier, name)) == (qualifier, &**name) {
                    continue;
                }
            } else if !quoted && KEYWORDS.contains(&&**name) {
                continue;
            }
            return Err(self.refusal(at));
        }
        Ok(())
    }

    /// `::character varying`: a type's name.
    fn in_type(&self, at: usize, open: usize) -> bool {
        let Some(before) = at.checked_sub(1).filter(|before| *before > open) else { return false };
        match self.tokens.get(before) {
            Some(Token::Mark(':')) => true,
            // `::schema.type`
            Some(Token::Mark('.')) => before.checked_sub(1).is_some_and(|schema| self.in_type(schema, open)),
            Some(Token::Word { .. }) => {
                let more = ["varying", "precision", "without", "with", "time", "zone"];
                more.contains(&self.bare(Some(at))) && self.in_type(before, open)
            }
            _ => false,
        }
    }

    fn refusal(&self, at: usize) -> String {
        let name = match self.tokens.get(at) {
            Some(Token::Word { name, .. }) => name,
            _ => "a labelled column",
        };
        format!("it compares {name} with more than constants")
    }
}
