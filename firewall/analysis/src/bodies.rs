//! Functions outside the manifest: harmless if trusted, or if their SQL body is read and reaches nothing.

use crate::arbiter;
use crate::catalog::{Catalog, Function};
use crate::functions::{self, Class};

/// Calls of calls are followed this far.
const MAX_CALLS: usize = 8;

/// Whether a function only does what its arguments allow: its language is SQL, its body names no labelled relation
/// and no view, and calls only such functions; nobody but a role that no client can act as can change it.
pub(crate) fn harmless(function: &Function, catalog: &Catalog) -> bool {
    catalog.trusts(function) || reads_nothing(function, catalog, MAX_CALLS)
}

fn reads_nothing(function: &Function, catalog: &Catalog, calls: usize) -> bool {
    if calls == 0 || &*function.language != "sql" || catalog.client_roles.contains(&function.owner) {
        return false;
    }
    let Some(body) = &function.body else {
        return false;
    };
    // A BEGIN ATOMIC body is not a statement by itself.
    let text = body.trim();
    // `sure`: it is a function.
    let callable = |schema: Option<&str>, name: &str, sure: bool| {
        let own = catalog.functions(name);
        let named = |f: &&Function| schema.is_none_or(|s| s == &*f.schema);
        own.iter()
            .filter(named)
            .all(|f| catalog.trusts(f) || (f.oid != function.oid && reads_nothing(f, catalog, calls - 1)))
            && (!sure || own.iter().any(|f| named(&f)) || matches!(functions::class(name), Some(Class::Pure)))
    };
    let verdicts = arbiter::statements(text, |seen| {
        seen.query
            && !seen.writes
            && seen.violations.is_empty()
            && seen.newer_syntax.is_none()
            && seen.relations.iter().all(|relation| {
                relation.cte.is_some()
                    || catalog.by_name(relation.name).all(|candidate| {
                        !candidate.has_labels()
                            && candidate.reads.is_empty()
                            && candidate.calls.is_empty()
                            && candidate.parents.is_empty()
                            && !candidate.columns.iter().any(|column| {
                                candidate.system && crate::builtin::label(&candidate.name, &column.name).is_some()
                            })
                    }) && catalog.by_name(relation.name).next().is_some()
            })
            && seen.functions.iter().all(|call| callable(call.schema, call.name, true))
            // `row.name` and `(…).name` may be calls.
            && seen.columns.iter().all(|column| match column.parts.as_slice() {
                [name] if !column.field => true,
                [.., name] => callable(None, name, functions::class(name).is_some()),
                [] => true,
            })
            && seen.operators.iter().all(|o| !catalog.foreign_operators.contains(o.name))
            && seen.types.iter().all(|t| !catalog.foreign_types.contains(t.name))
    });
    verdicts.is_ok_and(|verdicts| !verdicts.is_empty() && verdicts.into_iter().all(|ok| ok))
}

/// Whether a function that somebody else's default or rule calls could hand out labelled values: its body names a
/// relation that holds them, builds statements, calls a function that does, or cannot be read.
pub(crate) fn may_tell(function: &Function, catalog: &Catalog) -> bool {
    tells(function, catalog, 3)
}

fn tells(function: &Function, catalog: &Catalog, calls: usize) -> bool {
    if harmless(function, catalog) {
        return false;
    }
    let Some(body) = function.body.as_deref().filter(|_| calls > 0) else {
        return true;
    };
    if !matches!(&*function.language, "sql" | "plpgsql") {
        return true;
    }
    let body = body.to_ascii_lowercase();
    body.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| {
        matches!(word, "execute" | "query_to_xml" | "table_to_xml" | "schema_to_xml" | "database_to_xml" | "dblink")
            || catalog
                .by_name(word)
                .any(|relation| catalog.index().of(relation.oid).is_some_and(crate::reach::Reach::is_protected))
            || catalog.functions(word).iter().any(|f| f.oid != function.oid && tells(f, catalog, calls - 1))
    })
}
