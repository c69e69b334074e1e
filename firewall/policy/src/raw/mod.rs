//! The classification file as written: every key checked, every value typed, every place kept. References between its
//! parts (labels, roles) are checked in `policy`.

mod reader;
mod roles;
mod sections;

use std::time::Duration;

use crate::detect::Detect;
use crate::error::{Mistakes, Place};
use crate::handling::Handling;
use crate::kinds::Word;
use crate::node::Key;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) at: Place,
}

#[derive(Debug, Default)]
pub(crate) struct File {
    pub(crate) labels: Vec<Key>,
    pub(crate) columns: Vec<Table>,
    pub(crate) databases: Vec<(Key, Vec<Table>)>,
    pub(crate) roles: Vec<(Key, Role)>,
    pub(crate) clients: Vec<(Key, Client)>,
    pub(crate) unclassified: Unclassified,
    pub(crate) trusted_extensions: Option<Vec<At<String>>>,
    pub(crate) declassify: Declassify,
    pub(crate) on_bad_token: BadToken,
    pub(crate) continue_without_audit: bool,
    pub(crate) notifications: Vec<At<String>>,
    pub(crate) strict_types: bool,
    pub(crate) detectors: Detectors,
}

/// One entry of `columns:`.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) at: Place,
    /// Column name to label name.
    pub(crate) columns: Vec<(Key, At<String>)>,
}

#[derive(Debug, Default)]
pub(crate) struct Role {
    /// Label name to rule.
    pub(crate) labels: Vec<(Key, LabelRule)>,
    pub(crate) admin: bool,
    pub(crate) rows_per_hour: Option<At<u64>>,
    /// Kinds of statements; `None`: all that restricted clients may send.
    pub(crate) statements: Option<Vec<Word>>,
}

#[derive(Debug, Clone)]
pub(crate) struct LabelRule {
    pub(crate) handling: Handling,
    pub(crate) filter: Option<At<Filter>>,
    pub(crate) derived: Option<At<Derived>>,
    pub(crate) allow: Option<At<Vec<Action>>>,
    pub(crate) values_per_hour: Option<At<u64>>,
}

#[derive(Debug, Default)]
pub(crate) struct Client {
    pub(crate) roles: Vec<At<String>>,
    pub(crate) upstream: Option<Upstream>,
    pub(crate) statement_timeout: Option<Duration>,
    pub(crate) max_connections: Option<u32>,
    pub(crate) observe: bool,
    pub(crate) detectors: Detectors,
}

/// As written: what is not named follows the file's, then the default.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Detectors {
    pub(crate) pan: Option<Detect>,
    pub(crate) hash: Option<Detect>,
    pub(crate) private_key: Option<Detect>,
}

/// What happens to expressions over a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Derived {
    Refuse,
    /// NULL, where that tells nothing.
    Drop,
}

/// The client's own login at the server, instead of the default one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    pub user: String,
    /// As written: relative to the classification file.
    pub password_file: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Filter {
    /// No predicate, order or join may depend on the value.
    #[default]
    None,
    /// `=`, IN and joins.
    Equality,
    /// Everything.
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Read,
    Insert,
    Update,
    Delete,
    Copy,
    Ddl,
    Explain,
}

/// What happens to tables that no entry of `columns:` names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unclassified {
    /// For schemas without a word of their own.
    pub refuse: bool,
    /// Schema, and whether its unclassified tables are refused.
    pub schemas: Vec<(String, bool)>,
}

/// What may see labelled values and give back something that is not labelled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declassify {
    /// `schema.function`
    pub functions: Vec<String>,
    pub aggregates: Vec<String>,
}

/// What a client that sees plain gets for a token that does not open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BadToken {
    #[default]
    Error,
    Null,
}

pub(crate) const FILE_KEYS: &[&str] = &[
    "version",
    "labels",
    "columns",
    "databases",
    "roles",
    "clients",
    "unclassified",
    "trusted_extensions",
    "declassify",
    "on_bad_token",
    "audit_on_failure",
    "notifications",
    "strict_types",
    "detectors",
];
pub(crate) const LABEL_KEYS: &[&str] = &["at_rest", "search"];
pub(crate) const DATABASE_KEYS: &[&str] = &["columns"];
pub(crate) const ROLE_KEYS: &[&str] = &["admin", "rows_per_hour", "statements"];
pub(crate) const RULE_KEYS: &[&str] = &["handling", "with", "mask", "filter", "derived", "allow", "values_per_hour"];
pub(crate) const CLIENT_KEYS: &[&str] =
    &["roles", "upstream", "statement_timeout", "max_connections", "enforce", "detectors"];
pub(crate) const DETECTOR_KEYS: &[&str] = &["pan", "hash", "private_key"];
pub(crate) const UPSTREAM_KEYS: &[&str] = &["user", "password_file"];
pub(crate) const DECLASSIFY_KEYS: &[&str] = &["functions", "aggregates"];

pub(crate) const HANDLINGS: &[&str] = &["plain", "mask", "tokenize", "encrypt", "drop", "refuse"];
pub(crate) const MASKS: &[&str] = &["last4", "first6last4", "email", "fixed"];
pub(crate) const FILTERS: &[&str] = &["none", "equality", "any"];
pub(crate) const DERIVED: &[&str] = &["refuse", "drop"];
pub(crate) const DETECTS: &[&str] = &["audit", "block"];
pub(crate) const ACTIONS: &[&str] = &["read", "insert", "update", "delete", "copy", "ddl", "explain"];

/// Syntax first, then content: a file that is no YAML has one mistake, any other has all of them.
pub(crate) fn parse(text: &str, mistakes: &mut Mistakes<'_>) -> Option<File> {
    match crate::node::read(text) {
        Ok(Some(root)) => return Some(sections::read(&root, mistakes)),
        Ok(None) => mistakes.add(
            Place::default(),
            "the file is empty",
            String::from("begin it with `version: 1`; `ringfence schema` prints what may follow"),
        ),
        Err((at, message)) => mistakes.add(at, message, None),
    }
    None
}
