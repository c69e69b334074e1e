//! A catalog from the output of `pg_dump --schema-only`, for explanations without a server. OIDs are made up.
//!
//! What a dump does not say is told apart from what it says: a statement that nothing here understands is a warning
//! with its line.

mod build;
mod finish;
mod query;
mod system;
mod types;

use foldhash::HashSet;

use crate::arbiter::dump::{Definition, definitions};
use crate::catalog::Catalog;
use crate::script::{self, Skipped, What};
use build::Builder;

/// What a dump does not hold.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The database's name: entries of a classification may be for one database.
    pub database: String,
    /// Logins under which the firewall reaches the server: what they own, they can change.
    pub logins: Vec<String>,
    pub trusted_extensions: HashSet<Box<str>>,
}

/// A dump as read.
#[derive(Debug)]
pub struct Dump {
    pub catalog: Catalog,
    pub warnings: Vec<Warning>,
    /// Some function has an owner, who may be a login of the firewall.
    pub owned_functions: bool,
}

/// Something in a dump that was not understood, or left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// From 1.
    pub line: usize,
    pub message: String,
}

/// Versions before this one are not served, and a dump that does not say is taken to be of it.
const OLDEST: u32 = 130_000;
const PRESUMED: u32 = 150_000;

/// Reads a dump in plain format.
pub fn read(text: &str, context: &Context) -> Dump {
    let script = script::split(text);
    let mut builder = Builder::new(&context.trusted_extensions);
    for piece in &script.pieces {
        builder.line = piece.line;
        let foreign = foreign_table(piece.text);
        let text = foreign.as_deref().unwrap_or(piece.text);
        match definitions(text) {
            Ok(found) => {
                for definition in found {
                    if matches!(definition, Definition::Unknown) {
                        builder.warn(format!("not understood, and left out: {}", beginning(piece.text)));
                    } else {
                        builder.add(definition, piece.text, foreign.is_some());
                    }
                }
            }
            Err(error) => builder.warn(format!("cannot be read ({}): {}", error.message, beginning(piece.text))),
        }
    }
    for Skipped { line, what } in &script.skipped {
        builder.line = *line;
        match what {
            What::Data(lines) => {
                builder.warn(format!("{lines} rows were skipped: only the schema is needed (pg_dump --schema-only)"))
            }
            // What pg_dump itself writes.
            What::Command(name) if matches!(&**name, "\\restrict" | "\\unrestrict" | "\\connect") => {}
            What::Command(name) => builder.warn(format!("the psql command {name} was skipped")),
        }
    }
    let owned_functions = builder.owned_functions();
    let (mut catalog, mut warnings) = builder.finish(&context.logins);
    catalog.server_version = version(text);
    catalog.database = context.database.as_str().into();
    catalog.trusted_extensions = context.trusted_extensions.clone();
    warnings.sort_by_key(|warning| warning.line);
    Dump { catalog, warnings, owned_functions }
}

/// `-- Dumped from database version 15.8 (Debian …)`
fn version(text: &str) -> u32 {
    let said = text.lines().take(100).find_map(|line| line.strip_prefix("-- Dumped from database version "));
    let mut numbers = said.unwrap_or_default().split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if major < 1_000 && minor < 10_000 => (major * 10_000 + minor).max(OLDEST),
        (Some(Ok(major)), _) if major < 1_000 => (major * 10_000).max(OLDEST),
        _ => PRESUMED,
    }
}

/// A foreign table reads like a table, but for where it is.
fn foreign_table(text: &str) -> Option<String> {
    let mut words = script::words(text);
    let mut next = |expected: &str| {
        words.next().filter(|range| text.get(range.clone()).is_some_and(|word| word.eq_ignore_ascii_case(expected)))
    };
    let (_, _, table) = (next("create")?, next("foreign")?, next("table")?);
    let server = script::words(text).find(|range| {
        range.start > table.end && text.get(range.clone()).is_some_and(|word| word.eq_ignore_ascii_case("server"))
    })?;
    // Options in brackets may not be known to CREATE TABLE; the parser says so.
    Some(format!("CREATE TABLE{}", text.get(table.end..server.start)?))
}

/// The first words of a statement, without what stands in quotes.
fn beginning(text: &str) -> String {
    let words: Vec<&str> = text
        .split_whitespace()
        .take(6)
        .take_while(|word| !word.contains('\''))
        .map(|word| word.get(..40).unwrap_or(word))
        .collect();
    format!("{} …", words.join(" "))
}
