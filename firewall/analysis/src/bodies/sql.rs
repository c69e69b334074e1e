//! SQL bodies, by the server's own grammar.

use std::borrow::Cow;

use super::{Direct, Named};
use crate::arbiter;
use crate::arbiter::seen::{Seen, StoreColumn};
use crate::catalog::{Catalog, Function};
use crate::facts::{Access, Kind};
use crate::functions;

/// The statements of a body: as they are, or out of the printed form of one that was parsed when it was created.
pub(super) fn statements(body: &str) -> Cow<'_, str> {
    let body = body.trim();
    if let Some(inner) = body.strip_prefix("BEGIN ATOMIC").and_then(|rest| rest.strip_suffix("END")) {
        return Cow::Borrowed(inner);
    }
    match body.strip_prefix("RETURN ") {
        Some(expression) => Cow::Owned(format!("SELECT {expression}")),
        None => Cow::Borrowed(body),
    }
}

pub(super) fn read(text: &str, function: &Function, catalog: &Catalog, direct: &mut Direct) {
    let statements = arbiter::statements(text, |seen| statement(&seen, function, catalog, direct));
    match statements {
        Ok(all) if all.is_empty() && !text.trim().is_empty() => direct.opaque("its body cannot be read"),
        Ok(_) => {}
        Err(_) => direct.opaque("its body cannot be read"),
    }
}

fn statement(seen: &Seen<'_>, function: &Function, catalog: &Catalog, direct: &mut Direct) {
    match seen.kind {
        Kind::Empty | Kind::Select | Kind::Insert | Kind::Update | Kind::Delete => {}
        Kind::Merge => direct.rows = true,
        _ => direct.opaque(&format!("it runs {}", seen.verb)),
    }
    if let Some(violation) = seen.violations.first() {
        direct.opaque(&format!("it uses {}", violation.construct));
    }
    if seen.newer_syntax.is_some_and(|(version, _)| catalog.server_version < version) {
        direct.opaque("this server reads its body otherwise");
    }
    for relation in seen.relations.iter().filter(|relation| relation.cte.is_none()) {
        let mut known = false;
        let candidates = catalog.by_name(relation.name).filter(|candidate| match relation.schema {
            None => true,
            Some("pg_temp") => candidate.temporary,
            Some(schema) => schema == &*candidate.schema,
        });
        for candidate in candidates {
            known = true;
            direct.relation(candidate, !matches!(relation.access, Access::Read | Access::Lock));
        }
        if !known {
            direct.opaque(&format!("it names {}, which is not there", relation.name));
        }
    }
    for call in &seen.functions {
        // Sampling methods have names of their own.
        let sample = call.place.construct == "TABLESAMPLE" && matches!(call.name, "system" | "bernoulli");
        if !sample && !direct.call(call.schema, call.name, function, catalog) {
            direct.opaque(&format!("it calls {}", call.name));
        }
        direct.words.insert(call.name.into());
    }
    for column in &seen.columns {
        direct.rows |= column.star;
        for part in &column.parts {
            direct.words.insert((*part).into());
        }
        let Some(last) = column.parts.last() else { continue };
        direct.rows |= seen.items.iter().any(|item| item.alias == *last)
            || seen.relations.iter().any(|relation| relation.name == *last);
        // `row.name` and `(…).name` may be calls.
        if (column.parts.len() > 1 || column.field)
            && (functions::class(last).is_some() || !catalog.functions(last).is_empty())
            && !direct.call(None, last, function, catalog)
        {
            direct.opaque(&format!("it calls {last}"));
        }
    }
    direct.rows |=
        seen.items.iter().any(|item| !item.names.is_empty()) || seen.merges.iter().any(|merge| merge.natural);
    for name in seen.merges.iter().flat_map(|merge| &merge.names) {
        direct.words.insert((*name).into());
    }
    for store in &seen.stores {
        match store.column {
            StoreColumn::Named(name) => _ = direct.words.insert(name.into()),
            StoreColumn::At(_) | StoreColumn::All => direct.rows = true,
        }
    }
    for operator in seen.operators.iter().filter(|o| o.schema != Some("pg_catalog")) {
        direct.named(operator.name, Named::Operator, catalog);
    }
    for used in seen.types.iter().filter(|t| t.schema != Some("pg_catalog")) {
        direct.named(used.name, Named::Type, catalog);
    }
}
