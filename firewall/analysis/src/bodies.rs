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
            && seen.functions.iter().all(|call| {
                let own = catalog.functions(call.name);
                let named = |f: &&Function| call.schema.is_none_or(|s| s == &*f.schema);
                own.iter()
                    .filter(named)
                    .all(|f| catalog.trusts(f) || (f.oid != function.oid && reads_nothing(f, catalog, calls - 1)))
                    && (own.iter().any(|f| named(&f)) || matches!(functions::class(call.name), Some(Class::Pure)))
            })
            && seen.operators.iter().all(|o| !catalog.foreign_operators.contains(o.name))
            && seen.types.iter().all(|t| !catalog.foreign_types.contains(t.name))
    });
    verdicts.is_ok_and(|verdicts| !verdicts.is_empty() && verdicts.into_iter().all(|ok| ok))
}
