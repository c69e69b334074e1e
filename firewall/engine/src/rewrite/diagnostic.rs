//! Errors and notices that could carry protected values are rebuilt: SQLSTATE, severity, position and harmless names
//! stay, the texts are our own (soundness 17).

use ringfence_analysis::Catalog;
use ringfence_policy::ClientPolicy;
use ringfence_wire::backend::{Diagnostic, field};
use ringfence_wire::encode;

/// The diagnostic's schema and table fields name a relation with columns that this client may not see plain.
pub(crate) fn names_labelled_relation(diagnostic: &Diagnostic<'_>, catalog: &Catalog, client: &ClientPolicy) -> bool {
    let Some(table) = diagnostic.get(field::TABLE) else { return false };
    let Ok(table) = std::str::from_utf8(table) else { return true };
    catalog
        .by_name(table)
        .any(|relation| relation.columns.iter().any(|c| c.label.is_some_and(|label| !client.is_plain(label))))
}

/// Appends the rebuilt message.
pub(crate) fn rebuilt(out: &mut Vec<u8>, diagnostic: &Diagnostic<'_>, catalog: &Catalog, error: bool) {
    let code = diagnostic.get(field::CODE).unwrap_or(b"XX000");
    let severity =
        diagnostic.get(field::SEVERITY_PLAIN).or_else(|| diagnostic.get(field::SEVERITY)).unwrap_or(b"ERROR");
    let mut fields: Vec<(u8, &[u8])> = vec![
        (field::SEVERITY, severity),
        (field::SEVERITY_PLAIN, severity),
        (field::CODE, code),
        (field::MESSAGE, message(code, error).as_bytes()),
        (field::DETAIL, b"The server's own words are withheld: the transaction touches protected columns."),
    ];
    // A position is the client's own. Names are kept if the catalog has them: RAISE … USING can put a value there.
    let position = diagnostic.get(field::POSITION).filter(|text| text.iter().all(u8::is_ascii_digit));
    fields.extend(position.map(|text| (field::POSITION, text)));
    let relation = |code| {
        let text = diagnostic.get(code)?;
        let found = catalog.by_name(std::str::from_utf8(text).ok()?).next()?;
        Some((text, found))
    };
    if let Some((table, found)) = relation(field::TABLE) {
        if diagnostic.get(field::SCHEMA) == Some(found.schema.as_bytes()) {
            fields.push((field::SCHEMA, found.schema.as_bytes()));
        }
        fields.push((field::TABLE, table));
        let column = diagnostic.get(field::COLUMN).filter(|c| found.columns.iter().any(|k| k.name.as_bytes() == *c));
        fields.extend(column.map(|name| (field::COLUMN, name)));
    }
    // Unique constraints are named as their index is.
    fields.extend(relation(field::CONSTRAINT).map(|(name, _)| (field::CONSTRAINT, name)));
    if error {
        encode::error(out, &fields);
    } else {
        encode::notice(out, &fields);
    }
}

/// What the SQLSTATE means, in words that hold no value.
fn message(code: &[u8], error: bool) -> &'static str {
    match code {
        b"22P02" => "invalid input syntax for a type",
        b"22001" => "value too long for its type",
        b"22003" => "numeric value out of range",
        b"22007" | b"22008" => "invalid date or time",
        b"22012" => "division by zero",
        b"22021" => "invalid byte sequence for the encoding",
        b"23502" => "null value in a column violates a not-null constraint",
        b"23503" => "insert, update or delete violates a foreign key constraint",
        b"23505" => "duplicate key value violates a unique constraint",
        b"23514" => "new row violates a check constraint",
        b"23P01" => "conflicting key value violates an exclusion constraint",
        b"25P02" => "current transaction is aborted, commands ignored until end of transaction block",
        b"25001" => "the command cannot run inside a transaction block",
        b"25006" => "cannot write in a read-only transaction",
        b"40001" => "could not serialize access",
        b"40P01" => "deadlock detected",
        b"42601" => "syntax error",
        b"42P01" => "relation does not exist",
        b"42703" => "column does not exist",
        b"42883" => "function or operator does not exist",
        b"42702" => "column reference is ambiguous",
        b"42803" => "grouping error",
        b"42804" => "data types do not match",
        b"42P18" => "could not determine a data type",
        b"42501" => "permission denied",
        b"42P05" => "prepared statement already exists",
        b"26000" => "prepared statement does not exist",
        b"34000" => "portal or cursor does not exist",
        b"55P03" => "lock not available",
        b"57014" => "canceling statement due to timeout or user request",
        b"57P01" => "terminating connection due to administrator command",
        b"P0001" => "raised by a function or trigger",
        _ => match code.get(..2).unwrap_or_default() {
            b"00" => "notice withheld",
            b"01" => "warning withheld",
            b"08" => "connection failure",
            b"21" => "cardinality violation",
            b"22" => "data exception",
            b"23" => "constraint violation",
            b"25" => "invalid transaction state",
            b"40" => "transaction rolled back",
            b"42" => "syntax error or access rule violation",
            b"53" => "insufficient resources",
            b"54" => "program limit exceeded",
            b"57" => "operator intervention",
            _ if error => "the server reported an error",
            _ => "the server sent a notice",
        },
    }
}
