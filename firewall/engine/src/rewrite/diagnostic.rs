//! Errors and notices that could carry protected values are rebuilt field by field: SQLSTATE, severity, position and
//! harmless names stay, the texts are our own (soundness 17).
//!
//! What is safe to keep is told by what the server puts beside it. Only the parser gives a position in the client's text
//! without a context or an inner query: its complaint can quote nothing but that text and names. Whatever functions and
//! triggers raise has a context, so that names in fields without one are the server's own.

use ringfence_analysis::Catalog;
use ringfence_policy::ClientPolicy;
use ringfence_wire::backend::{Diagnostic, field};
use ringfence_wire::encode;

use super::messages;

/// The diagnostic's schema and table fields name a relation with columns that this client may not see plain.
pub(crate) fn names_labelled_relation(diagnostic: &Diagnostic<'_>, catalog: &Catalog, client: &ClientPolicy) -> bool {
    let Some(table) = diagnostic.get(field::TABLE) else { return false };
    let Ok(table) = std::str::from_utf8(table) else { return true };
    catalog
        .by_name(table)
        .any(|relation| relation.columns.iter().any(|c| c.label.is_some_and(|label| !client.is_plain(label))))
}

/// Nothing had run: it can only quote the client's own text, and names.
pub(crate) fn is_of_the_text(diagnostic: &Diagnostic<'_>) -> bool {
    let position = diagnostic.get(field::POSITION).is_some_and(is_number);
    let of_something_inside = [field::WHERE, field::INTERNAL_QUERY, field::INTERNAL_POSITION]
        .into_iter()
        .any(|code| diagnostic.get(code).is_some());
    position && !of_something_inside
}

/// Appends the rebuilt message.
pub(crate) fn rebuilt(out: &mut Vec<u8>, diagnostic: &Diagnostic<'_>, catalog: &Catalog, error: bool) {
    let code = diagnostic.get(field::CODE).filter(|code| is_sqlstate(code)).unwrap_or(b"XX000");
    let severity = diagnostic.get(field::SEVERITY_PLAIN).filter(|word| SEVERITIES.contains(word)).unwrap_or(if error {
        b"ERROR"
    } else {
        b"NOTICE"
    });
    let names = Names::of(diagnostic, catalog);
    let message = message(diagnostic, code, &names, catalog, error);
    let mut fields: Vec<(u8, &[u8])> = vec![
        (field::SEVERITY, severity),
        (field::SEVERITY_PLAIN, severity),
        (field::CODE, code),
        (field::MESSAGE, message.as_bytes()),
        (field::DETAIL, b"The server's own words are withheld: the transaction touches protected columns."),
    ];
    // A position is the client's own.
    let position = diagnostic.get(field::POSITION).filter(|text| is_number(text));
    fields.extend(position.map(|text| (field::POSITION, text)));
    let named = [
        (field::SCHEMA, names.schema),
        (field::TABLE, names.table),
        (field::COLUMN, names.column),
        (field::DATA_TYPE, names.data_type),
        (field::CONSTRAINT, names.constraint),
    ];
    fields.extend(named.into_iter().filter_map(|(code, name)| Some((code, name?.as_bytes()))));
    if error {
        encode::error(out, &fields);
    } else {
        encode::notice(out, &fields);
    }
}

const SEVERITIES: [&[u8]; 8] = [b"ERROR", b"FATAL", b"PANIC", b"WARNING", b"NOTICE", b"DEBUG", b"INFO", b"LOG"];

/// Fields that name things, as far as they are known to be names: RAISE … USING can put a value into any of them, but not
/// without a context.
#[derive(Debug, Default)]
struct Names<'a> {
    schema: Option<&'a str>,
    table: Option<&'a str>,
    column: Option<&'a str>,
    data_type: Option<&'a str>,
    constraint: Option<&'a str>,
}

impl<'a> Names<'a> {
    fn of(diagnostic: &Diagnostic<'a>, catalog: &Catalog) -> Self {
        let get = |code| diagnostic.get(code).and_then(|name| std::str::from_utf8(name).ok());
        let the_servers = get(field::WHERE).is_none();
        let relation = |name: &str| catalog.by_name(name).next();
        let table = get(field::TABLE).filter(|name| the_servers || relation(name).is_some());
        let known = table.and_then(relation);
        let in_table = |name: &&str| known.is_some_and(|table| table.column(name).is_some());
        Self {
            schema: get(field::SCHEMA).filter(|name| the_servers || known.is_some_and(|r| &*r.schema == *name)),
            table,
            column: get(field::COLUMN).filter(|name| the_servers || in_table(name)),
            data_type: get(field::DATA_TYPE).filter(|_| the_servers),
            // Unique constraints are named as their index is.
            constraint: get(field::CONSTRAINT).filter(|name| the_servers || relation(name).is_some()),
        }
    }

    /// The template with its names, if all of them are known.
    fn fill(&self, template: &str) -> Option<String> {
        let mut text = template.to_owned();
        let places = [("{table}", self.table), ("{column}", self.column), ("{constraint}", self.constraint)];
        for (place, name) in places {
            if template.contains(place) {
                text = text.replace(place, name?);
            }
        }
        Some(text)
    }
}

/// What happened, in words that hold no value.
fn message(diagnostic: &Diagnostic<'_>, code: &[u8], names: &Names<'_>, catalog: &Catalog, error: bool) -> String {
    let said = diagnostic.get(field::MESSAGE).and_then(|message| std::str::from_utf8(message).ok()).unwrap_or_default();
    if let Some(kept) = kept(said, catalog) {
        return kept;
    }
    match messages::template(code) {
        Some((template, otherwise)) => names.fill(template).unwrap_or_else(|| otherwise.to_owned()),
        None => messages::class(code, error).to_owned(),
    }
}

/// The server's own words, or their beginning, where they are known to hold no value.
fn kept(said: &str, catalog: &Catalog) -> Option<String> {
    if messages::KEPT.contains(&said) {
        return Some(said.to_owned());
    }
    let behind =
        |prefixes: &[&'static str]| prefixes.iter().find_map(|prefix| Some((*prefix, said.strip_prefix(prefix)?)));
    if let Some((_, rest)) = behind(messages::OF_TYPE) {
        let (name, modifier) =
            rest.split_once('(').map_or((rest, None), |(name, digits)| (name, digits.strip_suffix(')')));
        let limited = modifier.is_some_and(|digits| is_number(digits.as_bytes()));
        return (messages::TYPES.contains(&name) && (limited || !rest.contains('('))).then(|| said.to_owned());
    }
    if let Some((prefix, rest)) = behind(messages::VALUE_OF_TYPE) {
        let name = rest.split(':').next().unwrap_or_default();
        return messages::TYPES.contains(&name).then(|| format!("{prefix}{name}"));
    }
    let (_, name) = behind(messages::OF_NAME)?;
    catalog.by_name(name).next().is_some().then(|| said.to_owned())
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.len() <= 10 && text.iter().all(u8::is_ascii_digit)
}

/// RAISE … USING ERRCODE takes any five of these.
fn is_sqlstate(code: &[u8]) -> bool {
    code.len() == 5 && code.iter().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
}
