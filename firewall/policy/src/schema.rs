//! The JSON schema of `classification.yaml`, for editors and CI. These types are only described, never filled: the
//! reader (`raw`) keeps places and reports every mistake at once. A test holds the two together.

use std::collections::BTreeMap;

use schemars::JsonSchema;

/// The schema as pretty-printed JSON.
pub fn json_schema() -> String {
    serde_json::to_string_pretty(&schemars::schema_for!(Classification)).unwrap_or_default()
}

/// Which columns hold which class of data, and what each client sees of it.
#[derive(Debug, JsonSchema)]
#[schemars(title = "Ringfence classification", deny_unknown_fields)]
pub struct Classification {
    /// The version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: u8,
    /// Classes of data, by name. A file without labels is valid; its clients are unrestricted.
    pub labels: Option<BTreeMap<String, Option<Label>>>,
    /// Labelled columns, by `schema.table`: column name to label. An empty map says that somebody has looked at the
    /// table. Names are as the server stores them; names with dots stand in double quotes.
    pub columns: Option<BTreeMap<String, Option<BTreeMap<String, String>>>>,
    /// Labelled columns of one database only, by the database's name.
    pub databases: Option<BTreeMap<String, Database>>,
    /// What holders of a role see of each label. The role `default` counts for labels that none of a client's roles names.
    pub roles: Option<BTreeMap<String, Role>>,
    /// Who may connect.
    pub clients: Option<BTreeMap<String, Client>>,
    /// What restricted clients may do with tables that `columns` does not name: a word, or a word for each schema.
    /// Default: allow.
    pub unclassified: Option<Unclassified>,
    /// Extensions whose functions may be used freely. Default: a list of well-known ones that run no SQL.
    pub trusted_extensions: Option<Vec<String>>,
    /// What may see labelled values and give back something that is not labelled.
    pub declassify: Option<Declassify>,
    /// What a client that sees plain gets for a token that does not open. Default: error.
    pub on_bad_token: Option<BadToken>,
    /// Whether statements that reach no labelled column go on while the audit log cannot be written. Default: refuse.
    pub audit_on_failure: Option<AuditFailure>,
    /// Channels whose notification payloads reach restricted clients; on others they arrive empty.
    pub notifications: Option<Vec<String>>,
    /// A column whose type cannot carry its handling is an error, not a warning. Default: false.
    pub strict_types: Option<bool>,
    /// What is done where an unlabelled result column shows a restricted client what looks like protected data.
    pub detectors: Option<Detectors>,
}

/// A class of data. Encryption at rest is not available in this version.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Label {}

/// Columns of one database.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Database {
    /// As at the top level.
    pub columns: Option<BTreeMap<String, Option<BTreeMap<String, String>>>>,
}

/// Label names to handlings, and the settings below.
#[derive(Debug, JsonSchema)]
pub struct Role {
    /// May manage roles, grants and the server.
    pub admin: Option<bool>,
    /// Most result rows with labelled columns an hour, over all connections of a client to one replica.
    #[schemars(range(min = 1))]
    pub rows_per_hour: Option<u64>,
    /// The kinds of statements that the role's clients may send. Default: all that restricted clients may. Transaction
    /// control, SET, SHOW and what is run by name (EXECUTE, FETCH) need no word.
    pub statements: Option<Vec<StatementName>>,
    /// What happens to values of a label.
    #[schemars(flatten)]
    pub labels: BTreeMap<String, Rule>,
}

/// What happens to a label's values on their way to a client.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub enum Rule {
    /// A handling by itself.
    Word(Word),
    /// A handling with its settings.
    Map(RuleMap),
}

/// From permissive to strict.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum Word {
    /// Unchanged.
    Plain,
    /// The same value, always the same token (for those with `filter: equality`; else as encrypt); text, integers and
    /// uuid.
    Tokenize,
    /// A random `rf1_` token each time; text.
    Encrypt,
    /// NULL.
    Drop,
    /// The statement is refused.
    Refuse,
}

/// A handling with its settings.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RuleMap {
    /// Either this or `mask`.
    pub handling: Option<HandlingName>,
    /// Which mask, if the handling is `mask`.
    pub with: Option<Mask>,
    /// Short for `handling: mask, with: …`.
    pub mask: Option<Mask>,
    /// Which predicates may depend on the values. Default: none, unless plain.
    pub filter: Option<FilterName>,
    /// What happens to expressions over the values. Default: refuse.
    pub derived: Option<Derived>,
    /// What may be done with the label's columns. Default: all but ddl; not update where the value shown is not the
    /// value stored.
    pub allow: Option<Vec<ActionName>>,
    /// Most different values an hour, shown in any form or guessed, over all connections of a client to one replica.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub values_per_hour: Option<u64>,
}

/// A handling's name.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum HandlingName {
    Plain,
    Mask,
    Tokenize,
    Encrypt,
    Drop,
    Refuse,
}

/// What a mask leaves visible.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub enum Mask {
    /// By name.
    Named(MaskName),
    /// A text of your own instead of the value.
    Fixed(FixedMask),
}

/// Masks by name.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum MaskName {
    /// The last four characters.
    Last4,
    /// The first six and the last four characters.
    First6Last4,
    /// The first character and the domain.
    Email,
    /// `***`
    Fixed,
}

/// A text instead of the value.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct FixedMask {
    /// The text.
    pub fixed: String,
}

/// Which predicates may depend on a label's values.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum FilterName {
    None,
    Equality,
    Any,
}

/// What happens to expressions over a label.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum Derived {
    Refuse,
    /// NULL, where everything between the column and the client is on the reviewed list; else refused.
    Drop,
}

/// Kinds of statements.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum StatementName {
    Select,
    Insert,
    Update,
    Delete,
    Merge,
    Truncate,
    Copy,
    Explain,
    Listen,
    Notify,
    Lock,
    Maintenance,
    Ddl,
}

/// Detectors by name.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Detectors {
    /// Card numbers. Default: audit.
    pub pan: Option<DetectName>,
    /// Password hashes. Default: audit.
    pub hash: Option<DetectName>,
    /// Private keys. Default: audit.
    pub private_key: Option<DetectName>,
}

/// What a detector does; audit log and metrics hear of it in any case.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum DetectName {
    Audit,
    Block,
}

/// What may be done with a label's columns.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum ActionName {
    Read,
    Insert,
    Update,
    Delete,
    Copy,
    Ddl,
    Explain,
}

/// Who may connect, and as what.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Client {
    /// For each label the most permissive handling among them counts.
    pub roles: Vec<String>,
    /// The client's own login at the server. Default: the server's.
    pub upstream: Option<Upstream>,
    /// Such as `60s`.
    #[schemars(regex(pattern = r"^[1-9][0-9]*\s*(ms|s|m|min|h|d)$"))]
    pub statement_timeout: Option<String>,
    /// At once.
    #[schemars(range(min = 1))]
    pub max_connections: Option<u32>,
    /// `observe` records what would be refused and lets it pass: for roll-out. Default: refuse.
    pub enforce: Option<Enforce>,
    /// Instead of the file's.
    pub detectors: Option<Detectors>,
}

/// A login at the server.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Upstream {
    /// The login's name.
    pub user: String,
    /// A file that holds its password; relative to the classification.
    pub password_file: Option<String>,
}

/// Whether refusals hold.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum Enforce {
    Refuse,
    Observe,
}

/// What happens to tables that nobody has looked at.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub enum Unclassified {
    /// Everywhere.
    Word(AllowOrRefuse),
    /// By schema; the others allow.
    Schemas(BTreeMap<String, AllowOrRefuse>),
}

/// Allow or refuse.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum AllowOrRefuse {
    Allow,
    Refuse,
}

/// What may see labelled values and give back something that is not labelled.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Declassify {
    /// As `schema.function`.
    pub functions: Option<Vec<String>>,
    /// By name.
    pub aggregates: Option<Vec<String>>,
}

/// What a token that does not open becomes.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum BadToken {
    Error,
    Null,
}

/// What happens to unlabelled statements while the audit log cannot be written.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum AuditFailure {
    Refuse,
    Continue,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::raw;

    fn keys(object: &serde_json::Value) -> Vec<&str> {
        let mut keys: Vec<&str> = object["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        keys
    }

    fn sorted<'a>(words: &[&'a str]) -> Vec<&'a str> {
        let mut words = words.to_vec();
        words.sort_unstable();
        words
    }

    #[test]
    fn the_schema_has_the_keys_and_words_that_the_reader_knows() {
        let schema: serde_json::Value = serde_json::from_str(&json_schema()).unwrap();
        let defs = &schema["$defs"];
        assert_eq!(keys(&schema), sorted(raw::FILE_KEYS));
        for (name, known) in [
            ("Database", raw::DATABASE_KEYS),
            ("Role", raw::ROLE_KEYS),
            ("RuleMap", raw::RULE_KEYS),
            ("Client", raw::CLIENT_KEYS),
            ("Upstream", raw::UPSTREAM_KEYS),
            ("Declassify", raw::DECLASSIFY_KEYS),
            ("Detectors", raw::DETECTOR_KEYS),
        ] {
            assert_eq!(keys(&defs[name]), sorted(known), "{name}");
        }
        let statements: Vec<&str> = crate::Word::ALL.iter().map(|word| word.name()).collect();
        for (name, known) in [
            ("HandlingName", raw::HANDLINGS),
            ("FilterName", raw::FILTERS),
            ("ActionName", raw::ACTIONS),
            ("DetectName", raw::DETECTS),
            ("StatementName", &statements),
        ] {
            let words: Vec<&str> = defs[name]["enum"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
            assert_eq!(words, known, "{name}");
        }
        let masks: Vec<&str> =
            defs["MaskName"]["oneOf"].as_array().unwrap().iter().map(|w| w["const"].as_str().unwrap()).collect();
        assert_eq!(masks, raw::MASKS);
    }
}
