//! Settings that restricted clients may read and change: an allow-list. Everything else is refused, because a
//! planner setting moves rows about by protected values, and an encoding makes one text read in two ways.

/// Lower case, sorted. (`application_name` and the like are the session's own affair.)
const ALLOWED: &[&str] = &[
    "application_name",
    "array_nulls",
    "backslash_quote",
    "bytea_output",
    "check_function_bodies",
    "client_min_messages",
    "commit_delay",
    "datestyle",
    "deadlock_timeout",
    "default_statistics_target",
    "default_table_access_method",
    "default_tablespace",
    "default_text_search_config",
    "default_toast_compression",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "default_with_oids",
    "escape_string_warning",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "intervalstyle",
    "jit",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "lock_timeout",
    "maintenance_work_mem",
    "quote_all_identifiers",
    "row_security",
    "search_path",
    "statement_timeout",
    "synchronize_seqscans",
    "synchronous_commit",
    "tcp_keepalives_count",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_user_timeout",
    "temp_buffers",
    "temp_tablespaces",
    "timezone",
    "timezone_abbreviations",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_read_only",
    "transaction_timeout",
    "xmlbinary",
    "xmloption",
];

/// Whether a restricted client may change the setting, to this value if it is a literal.
pub fn may_set(name: &str, value: Option<&str>) -> bool {
    let name = name.to_ascii_lowercase();
    if ALLOWED.binary_search(&name.as_str()).is_ok() {
        return true;
    }
    match (name.as_str(), value) {
        // What every restricted session has anyway; drivers send it.
        ("standard_conforming_strings", Some(value)) => {
            matches!(value.to_ascii_lowercase().as_str(), "on" | "true" | "yes" | "1")
        }
        ("client_encoding", Some(value)) => {
            matches!(value.to_ascii_lowercase().as_str(), "utf8" | "utf-8" | "unicode")
        }
        _ => false,
    }
}

/// pg_dump hardens its session with a computed name; the text is its own, to the letter.
const PG_DUMP: &str = "SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings \
                       WHERE name = 'restrict_nonsystem_relation_kind'";

/// A statement whose `set_config` is known although its name is computed.
pub(crate) fn is_known_statement(text: &str) -> bool {
    text == PG_DUMP
}

/// Whether a restricted client may set it back. `standard_conforming_strings` and `client_encoding` can have other
/// defaults in the server's configuration.
pub fn may_reset(name: &str) -> bool {
    may_set(name, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        assert!(ALLOWED.is_sorted());
    }

    #[test]
    fn what_changes_meaning_or_order_is_refused() {
        for name in [
            "enable_seqscan",
            "Enable_IndexScan",
            "random_page_cost",
            "cursor_tuple_fraction",
            "session_replication_role",
            "role",
            "session_authorization",
            "lo_compat_privileges",
            "allow_system_table_mods",
            "app.me",
            "plan_cache_mode",
            "log_statement",
        ] {
            assert!(!may_set(name, Some("on")), "{name}");
        }
        assert!(may_set("SEARCH_PATH", Some("public")));
        assert!(may_set("client_encoding", Some("UTF8")));
        assert!(!may_set("client_encoding", Some("SQL_ASCII")));
        assert!(may_set("standard_conforming_strings", Some("on")));
        assert!(!may_set("standard_conforming_strings", Some("off")));
        assert!(!may_reset("client_encoding"));
    }
}
