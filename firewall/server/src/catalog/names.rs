//! Operators, types, casts and domains that users made, and the functions behind them.

use std::collections::HashSet;

use ringfence_analysis::Catalog;
use ringfence_analysis::functions::{self, Class};
use tokio_postgres::{Error, Row};

use super::{FIRST_USER_OID, dependencies};

/// Fills the sets of such names, and what each of them calls.
pub(super) fn add(catalog: &mut Catalog, foreign: &[Row], domains: &[Row]) -> Result<(), Error> {
    // Names for which no list of functions is the whole truth.
    let mut opaque: HashSet<(&str, &str)> = HashSet::new();
    for row in foreign {
        let (kind, name, function): (&str, &str, u32) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let of_server: Option<&str> = row.try_get(3)?;
        let kind = if kind == "operator" { kind } else { "type" };
        let (names, calls) = if kind == "operator" {
            (&mut catalog.foreign_operators, &mut catalog.calls.operators)
        } else {
            (&mut catalog.foreign_types, &mut catalog.calls.types)
        };
        names.insert(name.into());
        let of_cast = row.try_get::<_, &str>(0)? == "cast";
        match (function, of_server) {
            // A cast by the types' own input and output.
            (0, _) if of_cast => _ = calls.entry(name.into()).or_default(),
            (0, _) => _ = opaque.insert((kind, name)),
            (_, Some(function)) if functions::class(function) == Some(Class::Pure) => {
                calls.entry(name.into()).or_default();
            }
            (_, Some(_)) => _ = opaque.insert((kind, name)),
            (function, None) => calls.entry(name.into()).or_default().push(function),
        }
    }
    for (kind, name) in opaque {
        if kind == "operator" {
            catalog.calls.operators.remove(name);
        } else {
            catalog.calls.types.remove(name);
        }
    }
    for row in domains {
        let (name, tree): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
        let called: Vec<u32> = dependencies::function_oids(tree).filter(|&oid| oid >= FIRST_USER_OID).collect();
        if !called.is_empty() {
            catalog.active_domains.insert(name.into());
            catalog.calls.domains.entry(name.into()).or_default().extend(called);
        }
    }
    Ok(())
}
