//! The reviewed manifest of the server's own functions, by name: the class of a name is that of its worst overload.
//! A name that is in no list is opaque. The lists are `functions/*.txt`.

use std::sync::OnceLock;

use foldhash::HashMap;

/// What a function of pg_catalog can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Its result depends on its arguments alone (and on time or randomness).
    Pure,
    /// It tells about the server, its catalog or the session, and holds no user data.
    Describes,
    /// It prints definitions, which can hold literals over labelled columns.
    CatalogText,
    /// It changes the session or a sequence.
    Session,
    /// Reviewed and refused.
    Refused,
}

const LISTS: [(&str, Class); 5] = [
    (include_str!("functions/pure.txt"), Class::Pure),
    (include_str!("functions/describes.txt"), Class::Describes),
    (include_str!("functions/catalog_text.txt"), Class::CatalogText),
    (include_str!("functions/session.txt"), Class::Session),
    (include_str!("functions/refused.txt"), Class::Refused),
];

fn manifest() -> &'static HashMap<&'static str, Class> {
    static MANIFEST: OnceLock<HashMap<&'static str, Class>> = OnceLock::new();
    MANIFEST.get_or_init(|| {
        let mut names = HashMap::default();
        for (list, class) in LISTS {
            for name in names_in(list) {
                names.insert(name, class);
            }
        }
        names
    })
}

fn names_in(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The class of a pg_catalog function's name; `None`: not reviewed.
pub fn class(name: &str) -> Option<Class> {
    manifest().get(name).copied()
}

/// `pg_get_expr` and the like.
pub fn is_catalog_text(name: &str) -> bool {
    // Every one begins so, and nearly no other name does.
    name.starts_with("pg_get_") && class(name) == Some(Class::CatalogText)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lists_are_sorted_and_disjoint() {
        let mut seen = std::collections::HashSet::new();
        for (list, _) in LISTS {
            let names: Vec<_> = names_in(list).collect();
            assert!(names.is_sorted());
            for name in names {
                assert!(seen.insert(name), "{name} is in two lists");
            }
        }
    }

    #[test]
    fn what_reads_tables_files_or_others_is_refused() {
        for name in [
            "query_to_xml",
            "table_to_xml",
            "schema_to_xml",
            "database_to_xml",
            "cursor_to_xml",
            "ts_stat",
            "ts_rewrite",
            "pg_read_file",
            "pg_read_binary_file",
            "pg_ls_dir",
            "pg_stat_file",
            "lo_get",
            "lo_import",
            "lo_export",
            "loread",
            "currtid2",
            "pg_logical_slot_get_changes",
            "pg_terminate_backend",
            "pg_cancel_backend",
            "pg_stat_get_activity",
            "pg_prepared_statement",
            "pg_cursor",
            "pg_mcv_list_items",
            "pg_reload_conf",
            "pg_hba_file_rules",
        ] {
            assert_eq!(class(name), Some(Class::Refused), "{name}");
        }
        for name in ["no_such_function", "dblink", "crosstab"] {
            assert_eq!(class(name), None, "{name}");
        }
    }

    #[test]
    fn what_tools_need_is_allowed() {
        for name in [
            "format_type",
            "pg_table_is_visible",
            "pg_get_userbyid",
            "obj_description",
            "has_table_privilege",
            "pg_table_size",
            "current_setting",
            "pg_get_serial_sequence",
        ] {
            assert_eq!(class(name), Some(Class::Describes), "{name}");
        }
        for name in ["lower", "count", "now", "array_agg", "to_char", "coalesce_not"] {
            assert_eq!(class(name).is_some(), name != "coalesce_not", "{name}");
        }
        assert!(is_catalog_text("pg_get_expr"));
        assert!(!is_catalog_text("pg_get_userbyid"));
    }
}
