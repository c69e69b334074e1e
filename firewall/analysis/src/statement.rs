//! One statement's facts: the arbiter's sets, resolved, judged, and explained by the lineage where it can allow more.

use crate::arbiter::seen::{ColumnRef, FunctionRef, NameRef, Place};
use crate::arbiter::{self, Seen};
use crate::catalog::Catalog;
use crate::facts::{Access, Kind, Output, RelationUse, Rule, Statement, Use};
use crate::found::{Found, known};
use crate::functions::{self, Class};
use crate::lineage::{self, Explained};
use crate::names::SessionNames;
use crate::reach::Why;
use crate::resolve::Resolved;
use crate::settings;

/// Judges what the arbiter saw.
pub(crate) fn judge(text: &str, mut seen: Seen<'_>, catalog: &Catalog, session: &SessionNames) -> Statement {
    let mut effect = std::mem::take(&mut seen.effect);
    let own_violations = std::mem::take(&mut seen.violations);
    let seen = seen;
    let resolved = Resolved::new(&seen, catalog, catalog.index(), session);

    let mut found = Found::default();
    if resolved.any_hot && seen.relations.len() > arbiter::MAX_RELATIONS {
        found.other(Rule::Limit, "number of relations", usize::MAX);
    } else if resolved.any_hot || touches_system(&resolved) {
        found = resolved.find();
    }
    found.violations.extend(own_violations);
    let mut texts = false;
    let own_text = text.get(seen.range.clone()).unwrap_or_default();
    for function in &seen.functions {
        texts |= self::function(function, catalog, own_text, &mut found);
    }
    for (name, column) in resolved.calls() {
        notation(name, column, catalog, own_text, &mut found);
    }
    names(&seen.operators, &catalog.foreign_operators, "operator", &mut found);
    names(&seen.types, &catalog.foreign_types, "type", &mut found);
    names(&seen.types, &catalog.active_domains, "domain", &mut found);
    domains_within(&seen, catalog, &mut found);
    if matches!(seen.kind, Kind::Ddl | Kind::CreateTableAs) {
        row_types(&seen, catalog, &mut found);
    }
    if let Some((version, position)) = seen.newer_syntax
        && catalog.server_version < version
    {
        found.other(Rule::Parser, "syntax that this server reads otherwise", position);
    }

    let open = !found.candidates.is_empty()
        || !found.stores.is_empty()
        || !found.merges.is_empty()
        || !found.ordinals.is_empty()
        || (seen.query && !found.columns.is_empty())
        || (resolved.any_hot && seen.kind == Kind::CreateTableAs);
    let explained = if open { lineage::explain(text, &resolved, &mut found) } else { Explained::default() };
    let unexplained = found.refuse_unexplained();
    let Explained { outputs, mut described, created, .. } = explained;
    let mut outputs = with_texts(outputs, &seen, texts, !catalog.sensitive_texts.is_empty(), &mut found);

    if seen.kind == Kind::CopyOut
        && let Some(names) = &seen.copy_table
    {
        outputs = copied(names, &resolved, catalog);
    }

    if outputs.as_ref().is_none_or(|outputs| outputs.len() != described.len()) {
        described.clear();
    }
    let mut relations = Vec::with_capacity(resolved.candidates.len());
    let mut taints = found.calls_taint;
    for (relation, candidates) in seen.relations.iter().zip(&resolved.candidates) {
        for candidate in candidates {
            let one = RelationUse { oid: candidate.oid, access: relation.access };
            if !relations.contains(&one) {
                relations.push(one);
            }
            if let Some(reach) = catalog.index().of(candidate.oid) {
                let written = !matches!(relation.access, Access::Read | Access::Lock);
                taints |= reach.is_protected() || (written && reach.write_taints);
            }
        }
    }
    if let crate::facts::Effect::Catalog { creates } = &mut effect {
        let labelled = found
            .columns
            .iter()
            .any(|used| matches!(used.how, Use::Violation(_) | Use::Derived { .. } | Use::Filter { .. } | Use::Output));
        match created {
            Some(created) if seen.kind == Kind::CreateTableAs && (created.columns.is_some() || !labelled) => {
                *creates = vec![created];
            }
            // What would hold labelled columns, which ones is not known: no one may take its name for harmless.
            _ if labelled => creates.clear(),
            _ => {}
        }
    }
    if seen.depth > arbiter::MAX_DEPTH && !found.columns.is_empty() {
        found.other(Rule::Limit, "nesting", usize::MAX);
    }
    Statement {
        fingerprint: crate::fingerprint(own_text.as_bytes()),
        range: seen.range.clone(),
        kind: seen.kind,
        verb: seen.verb,
        relations,
        unknown: resolved.unknown.clone(),
        columns: found.columns,
        violations: found.violations,
        outputs,
        described,
        stored_parameters: found.parameters,
        copy_out: seen.copy_out.clone().map(Box::new),
        effect,
        writes: seen.writes || found.calls_write,
        taints,
        unexplained,
    }
}

/// What COPY of a table sends, if it is clear which one is meant.
fn copied(names: &[&str], resolved: &Resolved<'_, '_, '_>, catalog: &Catalog) -> Option<Vec<Output>> {
    let [relation] = resolved.candidates.first()?.as_slice() else { return None };
    let reach = catalog.index().of(relation.oid);
    let output = |index: usize| {
        let label = |why: Why| if let Why::Label(label) = why { Some(label) } else { None };
        let marked = reach.and_then(|r| r.columns.iter().find(|m| m.index == index && label(m.why).is_some()));
        match marked.and_then(|m| Some((m.id, label(m.why)?))) {
            Some(source) => Output::Bare(smallvec::smallvec![source]),
            None => Output::Free,
        }
    };
    if names.is_empty() {
        return Some((0..relation.columns.len()).map(output).collect());
    }
    let place = |name: &&str| relation.columns.iter().position(|column| &*column.name == *name);
    Some(names.iter().map(|name| place(name).map_or(Output::Free, output)).collect())
}

/// Catalog texts of the outermost select list, as outputs.
fn with_texts(
    outputs: Option<Vec<Output>>,
    seen: &Seen<'_>,
    texts: bool,
    sensitive: bool,
    found: &mut Found,
) -> Option<Vec<Output>> {
    let marks = if sensitive { seen.text_outputs.as_deref().unwrap_or_default() } else { &[] };
    let any = marks.iter().any(|mark| *mark);
    match outputs {
        Some(mut outputs) => {
            if outputs.len() == marks.len() {
                for (output, mark) in outputs.iter_mut().zip(marks) {
                    if *mark && *output == Output::Free {
                        *output = Output::CatalogText;
                    }
                }
            } else if texts {
                found.other(Rule::CatalogText, "catalog text beside *", usize::MAX);
            }
            Some(outputs)
        }
        None if texts && (seen.starred || !seen.query) => {
            found.other(Rule::CatalogText, "catalog text beside *", usize::MAX);
            None
        }
        None if any && found.columns.is_empty() => {
            Some(marks.iter().map(|mark| if *mark { Output::CatalogText } else { Output::Free }).collect())
        }
        None => {
            if any {
                found.other(Rule::CatalogText, "catalog text beside labelled columns", usize::MAX);
            }
            None
        }
    }
}

fn touches_system(resolved: &Resolved<'_, '_, '_>) -> bool {
    resolved.seen.relations.iter().zip(&resolved.candidates).any(|(relation, candidates)| {
        candidates.iter().any(|c| c.ruled || !c.asks.is_empty() || !c.default_calls.is_empty() || !c.reads.is_empty())
            && relation.access != Access::Read
            || candidates.iter().any(|c| c.system)
                && (!matches!(relation.access, Access::Read | Access::Lock)
                    || candidates.iter().any(|c| &*c.schema == "pg_toast"))
    })
}

/// Judges one call; true if it is a catalog text where that is allowed.
fn function(call: &FunctionRef<'_>, catalog: &Catalog, text: &str, found: &mut Found) -> bool {
    let refuse = |found: &mut Found| {
        let construct = format!("function {}", call.name);
        found.other(Rule::Function, &construct, call.position);
    };
    // The server's own helpers for its information schema.
    if call.schema == Some("information_schema") {
        return false;
    }
    let mut defined = false;
    for function in catalog.functions(call.name) {
        if call.schema.is_some_and(|schema| schema != &*function.schema) || &*function.schema == "information_schema" {
            continue;
        }
        defined = true;
        let reached = catalog.reached(function.oid);
        found.calls_write |= reached.writes;
        found.calls_taint |= reached.writes || !reached.columns.is_empty();
        if reached.opaque.is_some() {
            refuse(found);
            return false;
        }
        // Whoever sees all that its body reaches may see what it makes of it.
        let construct = format!("function {}", call.name);
        for (column, label) in &reached.columns {
            found.reached((*column, *label), Rule::Function, &construct, call.position);
        }
    }
    if call.schema.is_some_and(|schema| schema != "pg_catalog") {
        if !defined {
            refuse(found);
        }
        return false;
    }
    if call.place.construct == "TABLESAMPLE" && matches!(call.name, "system" | "bernoulli") {
        return false;
    }
    match functions::class(call.name) {
        Some(Class::Pure | Class::Describes) => {}
        Some(Class::Session) => session_function(call, text, found),
        Some(Class::CatalogText) => {
            if catalog.sensitive_texts.is_empty() {
                return false;
            }
            if call.place.text {
                return !call.place.tested;
            }
            found.other(Rule::CatalogText, call.place.construct, call.position);
        }
        Some(Class::Refused) => refuse(found),
        None => {
            if !defined {
                refuse(found);
            }
        }
    }
    false
}

/// A value of a composite type is checked by the domains of its fields.
fn domains_within(seen: &Seen<'_>, catalog: &Catalog, found: &mut Found) {
    if catalog.active_domains.is_empty() {
        return;
    }
    for used in &seen.types {
        for relation in catalog.by_name(used.name.trim_start_matches('_')) {
            let active = relation.columns.iter().find_map(|column| {
                let name = column.type_name.trim_end_matches("[]");
                let name = name.rsplit('.').next().unwrap_or(name).trim_matches('"');
                catalog.active_domains.contains(name).then_some(name)
            });
            if let Some(name) = active {
                found.other(Rule::ShadowedName, &format!("domain {name}"), used.position);
            }
        }
    }
}

/// A relation that could hold labelled rows would be refused to everybody, whoever made it.
fn row_types(seen: &Seen<'_>, catalog: &Catalog, found: &mut Found) {
    for used in &seen.types {
        let name = used.name.strip_prefix('_').unwrap_or(used.name);
        let rows = catalog.by_name(used.name).chain(catalog.by_name(name)).filter(|relation| !relation.system);
        for (relation, reach) in rows.filter_map(|r| Some((r, catalog.index().of(r.oid)?))) {
            if reach.is_protected() {
                found.other(Rule::Ddl, &format!("a column of type {}", relation.name), used.position);
            }
        }
    }
}

/// `row.name` and `(…).name`, where `name` may be a function.
fn notation(name: &str, column: &ColumnRef<'_>, catalog: &Catalog, text: &str, found: &mut Found) {
    if functions::class(name).is_none() && catalog.functions(name).is_empty() {
        return;
    }
    let place = Place::of(Rule::Derived, "function notation");
    let call = FunctionRef { schema: None, name, position: column.position, literal: None, place };
    function(&call, catalog, text, found);
}

fn session_function(call: &FunctionRef<'_>, text: &str, found: &mut Found) {
    match call.name {
        "set_config" => {
            let allowed = match call.literal {
                Some(name) => settings::may_set(name, None),
                None => settings::is_known_statement(text),
            };
            if !allowed {
                let construct = format!("set_config of {}", call.literal.unwrap_or("a computed name"));
                found.other(Rule::Setting, &construct, call.position);
            }
        }
        "pg_notify" => {
            let own = |channel: &str| channel.starts_with("ringfence");
            if call.literal.is_none_or(own) {
                found.other(Rule::Admin, "pg_notify", call.position);
            }
        }
        _ => {}
    }
}

fn names(used: &[NameRef<'_>], foreign: &foldhash::HashSet<Box<str>>, what: &str, found: &mut Found) {
    if foreign.is_empty() {
        return;
    }
    for name in used {
        // An array type is named by its element's name and underscores.
        let element = if what == "operator" { name.name } else { name.name.trim_start_matches('_') };
        if name.schema != Some("pg_catalog") && (foreign.contains(name.name) || foreign.contains(element)) {
            let construct = format!("{what} {}", name.name);
            found.violations.push(crate::facts::Violation {
                rule: Rule::ShadowedName,
                construct: construct.into(),
                position: known(name.position),
            });
        }
    }
}

/// A statement of which nothing is known but that it exists.
pub(crate) fn empty(len: usize) -> Statement {
    Statement {
        range: 0..len,
        kind: Kind::Empty,
        verb: "",
        fingerprint: crate::fingerprint(b""),
        relations: Vec::new(),
        unknown: Vec::new(),
        columns: Vec::new(),
        violations: Vec::new(),
        outputs: None,
        described: Vec::new(),
        stored_parameters: smallvec::SmallVec::new(),
        copy_out: None,
        effect: crate::facts::Effect::None,
        writes: false,
        taints: false,
        unexplained: false,
    }
}
