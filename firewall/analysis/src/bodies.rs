//! Functions outside the manifest: what their bodies name, whether they can be read at all.
//!
//! This is about one function at a time and knows no labels; `reach` follows calls and adds labels up. SQL bodies are
//! read by the server's own grammar, PL/pgSQL bodies word by word. What cannot be read is opaque.

mod plpgsql;
mod sql;
pub(crate) mod tokens;

use foldhash::HashSet;

use crate::catalog::{Catalog, Function, FunctionKind, Relation};
use crate::functions::{self, Class};

/// What one body names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Direct {
    /// Why nothing else can be said.
    pub opaque: Option<Box<str>>,
    /// Relations, and whether they are (or may be) written.
    pub relations: Vec<(u32, bool)>,
    /// Functions outside the server's own, by OID.
    pub calls: Vec<u32>,
    /// Names that may be columns.
    pub words: HashSet<Box<str>>,
    /// Rows may be used as a whole, so that columns need not be named.
    pub rows: bool,
    /// It looks at the texts of errors, which can quote rows.
    pub catches: bool,
}

/// Whether calling a function gives no labelled value and no answer about one.
pub(crate) fn harmless(function: &Function, catalog: &Catalog) -> bool {
    catalog.reached(function.oid).is_harmless()
}

/// Whether a function that somebody else's default or rule calls could hand out labelled values.
pub(crate) fn may_tell(function: &Function, catalog: &Catalog) -> bool {
    !harmless(function, catalog)
}

/// Reads one function.
pub(crate) fn direct(function: &Function, catalog: &Catalog) -> Direct {
    let mut direct = Direct::default();
    if catalog.trusts(function) || catalog.declassifies(function) {
        return direct;
    }
    if catalog.client_roles.contains(&function.owner) {
        // What it names now is still worth knowing.
        direct.opaque("a client's login can replace it");
    }
    for setting in &function.settings {
        let name = setting.split('=').next().unwrap_or_default();
        // What the body means would depend on it.
        if matches!(name, "standard_conforming_strings" | "role" | "session_authorization" | "backslash_quote") {
            direct.opaque("it changes a setting that it is read by");
        }
    }
    if let Some(defaults) = &function.defaults {
        sql::read(&format!("SELECT {defaults}"), function, catalog, &mut direct);
    }
    if function.kind == FunctionKind::Aggregate {
        aggregate(function, &mut direct);
        return direct;
    }
    match (&*function.language, function.body.as_deref()) {
        ("sql", Some(body)) => sql::read(&sql::statements(body), function, catalog, &mut direct),
        ("plpgsql", Some(body)) => plpgsql::read(body, function, catalog, &mut direct),
        ("sql" | "plpgsql", None) => direct.opaque("its body is not known"),
        _ => direct.opaque("its language cannot be read"),
    }
    direct
}

fn aggregate(function: &Function, direct: &mut Direct) {
    direct.calls.extend(&function.parts);
    if function.parts.is_empty() && function.server_parts.is_empty() {
        direct.opaque("its parts are not known");
    }
    for name in &function.server_parts {
        // `array_append` and the like; transition functions that are of no use elsewhere are named so.
        let internal = name.ends_with("_accum") || name.ends_with("_transfn") || name.ends_with("_finalfn");
        if !internal && functions::class(name) != Some(Class::Pure) {
            direct.opaque(&format!("it uses {name}"));
        }
    }
}

impl Direct {
    fn opaque(&mut self, why: &str) {
        self.opaque.get_or_insert_with(|| why.into());
    }

    fn relation(&mut self, relation: &Relation, written: bool) {
        match self.relations.iter_mut().find(|(oid, _)| *oid == relation.oid) {
            Some((_, known)) => *known |= written,
            None => self.relations.push((relation.oid, written)),
        }
    }

    /// A call, by name: every function outside the server's own that it may mean, and the server's.
    fn call(&mut self, schema: Option<&str>, name: &str, own: &Function, catalog: &Catalog) -> bool {
        if schema == Some("information_schema") {
            return true;
        }
        let mut known = false;
        for function in catalog.functions(name).iter().filter(|f| schema.is_none_or(|s| s == &*f.schema)) {
            known = true;
            if function.oid != own.oid && !self.calls.contains(&function.oid) {
                self.calls.push(function.oid);
            }
        }
        if schema.is_some_and(|schema| schema != "pg_catalog") {
            return known;
        }
        match functions::class(name) {
            Some(Class::Pure | Class::Describes) => true,
            Some(Class::Session) if matches!(name, "nextval" | "currval" | "lastval" | "setval") => true,
            Some(Class::Session | Class::CatalogText | Class::Refused) => {
                self.opaque(&format!("it calls {name}"));
                true
            }
            None => known,
        }
    }

    /// Operators, types and domains that users made, as far as the names are theirs.
    fn named(&mut self, name: &str, what: Named, catalog: &Catalog) {
        let element = name.trim_start_matches('_');
        let types = [(&catalog.foreign_types, &catalog.calls.types), (&catalog.active_domains, &catalog.calls.domains)];
        let sets = match what {
            Named::Operator => &[(&catalog.foreign_operators, &catalog.calls.operators)][..],
            Named::Type => &types[..],
        };
        for (foreign, calls) in sets {
            for name in [name, element] {
                match calls.get(name) {
                    Some(functions) => self.calls.extend(functions),
                    None if foreign.contains(name) => self.opaque(&format!("it uses {name}")),
                    None => {}
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Named {
    Operator,
    Type,
}
