//! The second parser (`sqlparser`), and the one file that imports it.

pub(crate) use sqlparser::ast;

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserOptions};

/// Longer statements are not explained: what needs an explanation there is refused.
const MAX_TEXT: usize = 1 << 20;
/// Nesting that the arbiter has already measured, with room for the parser's own levels.
const RECURSION: usize = 1024;

/// The one statement in `text`; literals and identifiers keep their written form.
pub(crate) fn statement(text: &str) -> Option<ast::Statement> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let mut statements = Parser::new(&PostgreSqlDialect {})
        .with_options(ParserOptions::new().with_unescape(false))
        .with_recursion_limit(RECURSION)
        .try_with_sql(text)
        .ok()?
        .parse_statements()
        .ok()?;
    let only = statements.pop()?;
    statements.is_empty().then_some(only)
}
