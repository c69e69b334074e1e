//! The classification as understood: labels, roles merged into one policy per client, and which columns are labelled.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ringfence_analysis::LabelId;
use ringfence_analysis::builtin;

use crate::decide::{Allow, ClientPolicy, LabelPolicy};
use crate::error::{ConfigError, Mistakes, Place, snippet, suggestion};
use crate::handling::Handling;
use crate::raw::{self, Action, At, BadToken, Declassify, Filter, LabelRule, Role, Unclassified, Upstream};

/// Extensions whose functions run no SQL, read no files and keep what they are given to themselves. Not among them:
/// dblink, postgres_fdw, file_fdw, tablefunc, xml2, postgis (they run SQL or reach elsewhere).
pub const TRUSTED_EXTENSIONS: &[&str] = &[
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "earthdistance",
    "fuzzystrmatch",
    "hstore",
    "intarray",
    "isn",
    "ltree",
    "pg_trgm",
    "pgcrypto",
    "plpgsql",
    "seg",
    "unaccent",
    "uuid-ossp",
    "vector",
];

/// The role that counts for labels which none of a client's roles names.
const DEFAULT_ROLE: &str = "default";

/// A classification that is consistent in itself. Whether it fits a database is `bind`'s question.
#[derive(Debug)]
pub struct Policy {
    /// The file's name, for messages.
    pub file: Box<str>,
    text: Box<str>,
    labels: Arc<[Arc<str>]>,
    /// Entries of `columns:`, and of `databases:`.
    pub(crate) tables: Vec<TableEntry>,
    clients: BTreeMap<Box<str>, ClientEntry>,
    pub unclassified: Unclassified,
    pub trusted_extensions: Vec<String>,
    pub declassify: Declassify,
    pub on_bad_token: BadToken,
    /// A type that cannot carry its handling is an error.
    pub strict_types: bool,
    /// What is not wrong, but should be known.
    pub warnings: Vec<ConfigError>,
}

/// One client, with what is needed to connect for it.
#[derive(Debug)]
pub struct ClientEntry {
    pub policy: Arc<ClientPolicy>,
    /// Its own login at the server; `None` is the server's default login.
    pub upstream: Option<Upstream>,
    /// Which roles the handling of each declared label comes from, in words: index = `LabelId`.
    pub given_by: Vec<Box<str>>,
}

/// One entry of `columns:`.
#[derive(Debug)]
pub(crate) struct TableEntry {
    /// `None`: in every database.
    pub(crate) database: Option<Box<str>>,
    pub(crate) schema: Box<str>,
    pub(crate) name: Box<str>,
    pub(crate) at: Place,
    pub(crate) columns: Vec<ColumnEntry>,
}

#[derive(Debug)]
pub(crate) struct ColumnEntry {
    pub(crate) name: Box<str>,
    pub(crate) at: Place,
    pub(crate) label: LabelId,
}

/// Reads a classification. Every mistake that can be found is in the error, in the order of the file.
pub fn parse(text: &str, file: &str) -> Result<Policy, Vec<ConfigError>> {
    let mut mistakes = Mistakes::new(file, text);
    let Some(raw) = raw::parse(text, &mut mistakes) else {
        return Err(mistakes.into_errors());
    };
    let mut warnings = Mistakes::new(file, text);
    let policy = understand(raw, text, file, &mut mistakes, &mut warnings);
    let mut policy = mistakes.into_result(policy)?;
    policy.warnings = warnings.into_errors();
    Ok(policy)
}

impl Policy {
    /// All labels by number: the built-in ones, the declared ones, and for each declared one that of values computed
    /// from it.
    pub fn labels(&self) -> &Arc<[Arc<str>]> {
        &self.labels
    }

    pub fn label_id(&self, name: &str) -> Option<LabelId> {
        label_id(&self.labels, name)
    }

    /// The label of a value that the database computes from one with this label (a generated column): plain for those
    /// who see the label in plain, refused to the others, since a handling applies to an unmodified value only.
    pub(crate) fn computed(&self, label: LabelId) -> LabelId {
        let declared = (self.labels.len() - builtin::NAMES.len()) / 2;
        if usize::from(label.0) < builtin::NAMES.len() || self.is_computed(label) {
            return label;
        }
        u16::try_from(usize::from(label.0) + declared).map_or(builtin::STATISTICS, LabelId)
    }

    pub(crate) fn is_computed(&self, label: LabelId) -> bool {
        usize::from(label.0) >= builtin::NAMES.len() + (self.labels.len() - builtin::NAMES.len()) / 2
    }

    pub fn label_name(&self, label: LabelId) -> &str {
        self.labels.get(usize::from(label.0)).map_or("?", |name| name)
    }

    /// Whether the file declares any label at all.
    pub fn has_labels(&self) -> bool {
        self.labels.len() > builtin::NAMES.len()
    }

    pub fn client(&self, name: &str) -> Option<&ClientEntry> {
        self.clients.get(name)
    }

    pub fn clients(&self) -> impl Iterator<Item = (&str, &ClientEntry)> {
        self.clients.iter().map(|(name, entry)| (&**name, entry))
    }

    /// Databases that `databases:` names.
    pub fn databases(&self) -> impl Iterator<Item = &str> {
        let mut names: Vec<&str> = self.tables.iter().filter_map(|t| t.database.as_deref()).collect();
        names.dedup();
        names.into_iter()
    }

    /// A mistake at a place of this file.
    pub(crate) fn error_at(&self, at: Place, message: String, fix: Option<String>) -> ConfigError {
        ConfigError {
            file: self.file.to_string(),
            line: at.line,
            column: at.column,
            message,
            fix,
            snippet: snippet(&self.text, at.line),
        }
    }
}

fn understand(
    raw: raw::File,
    text: &str,
    file: &str,
    mistakes: &mut Mistakes<'_>,
    warnings: &mut Mistakes<'_>,
) -> Policy {
    let labels: Arc<[Arc<str>]> =
        builtin::NAMES.iter().copied().chain(raw.labels.iter().map(|key| key.text.as_str())).map(Arc::from).collect();
    if labels.len() > usize::from(u16::MAX / 2) {
        mistakes.add(Place::default(), "too many labels", None::<String>);
    }

    let mut tables = Vec::new();
    for table in raw.columns {
        tables.push(table_entry(None, table, &labels, mistakes));
    }
    for (database, entries) in raw.databases {
        for table in entries {
            tables.push(table_entry(Some(&database.text), table, &labels, mistakes));
        }
    }
    one_label_each(&tables, &labels, mistakes);

    let roles: HashMap<String, Role> = raw.roles.into_iter().map(|(key, role)| (key.text, role)).collect();
    for role in roles.values() {
        check_role(role, &labels, mistakes, warnings);
    }

    let notifications: Vec<Box<str>> = raw.notifications.iter().map(|t| t.value.as_str().into()).collect();
    let mut clients = BTreeMap::new();
    for (key, client) in raw.clients {
        let mut own = Vec::new();
        for role in &client.roles {
            match roles.get(&role.value) {
                Some(found) => own.push(found),
                None => mistakes.add(
                    role.at,
                    format!("unknown role \"{}\"", role.value),
                    suggestion(&role.value, roles.keys().map(String::as_str)),
                ),
            }
        }
        let default = roles.get(DEFAULT_ROLE);
        let merged: Vec<LabelPolicy> = labels
            .iter()
            .enumerate()
            .map(|(at, name)| {
                if at < builtin::NAMES.len() {
                    return LabelPolicy::refused(name);
                }
                let merged = merge(name, &own, default);
                if merged.masks_met {
                    warnings.add(
                        key.at,
                        format!("roles of client \"{}\" mask label {name} differently, so it is dropped", key.text),
                        String::from("let one role mask it, or give the roles the same mask"),
                    );
                }
                merged.policy
            })
            .collect();
        let restricted = merged
            .iter()
            .skip(builtin::NAMES.len())
            .any(|label| label.handling != Handling::Plain || !label.allow.is_everything());
        let mut merged = merged;
        let computed: Vec<LabelPolicy> = merged.iter().skip(builtin::NAMES.len()).map(LabelPolicy::computed).collect();
        merged.extend(computed);
        if !restricted {
            for label in merged.iter_mut().take(builtin::NAMES.len()) {
                label.handling = Handling::Plain;
                label.allow = Allow::everything();
                label.filter = Filter::Any;
            }
        }
        let policy = ClientPolicy {
            name: key.text.as_str().into(),
            restricted,
            observe: client.observe,
            admin: own.iter().any(|role| role.admin),
            statement_timeout: client.statement_timeout,
            max_connections: client.max_connections,
            labels: merged,
            notification_channels: notifications.clone(),
            continue_without_audit: raw.continue_without_audit,
        };
        let roles = client.roles.iter().filter_map(|role| Some((role.value.as_str(), roles.get(&role.value)?)));
        let given_by = crate::given::by(&labels, &roles.collect::<Vec<_>>(), default);
        let entry = ClientEntry { policy: Arc::new(policy), upstream: client.upstream, given_by };
        clients.insert(key.text.into(), entry);
    }

    let computed = labels.iter().skip(builtin::NAMES.len()).map(|name| Arc::from(computed_name(name)));
    let labels = labels.iter().cloned().chain(computed).collect();
    Policy {
        file: file.into(),
        text: text.into(),
        labels,
        tables,
        clients,
        unclassified: raw.unclassified,
        trusted_extensions: raw.trusted_extensions.map_or_else(
            || TRUSTED_EXTENSIONS.iter().map(|name| (*name).to_owned()).collect(),
            |list| list.into_iter().map(|t| t.value).collect(),
        ),
        declassify: raw.declassify,
        on_bad_token: raw.on_bad_token,
        strict_types: raw.strict_types,
        warnings: Vec::new(),
    }
}

/// No label of a file can have this name.
pub(crate) fn computed_name(label: &str) -> String {
    format!("{label} (computed)")
}

fn table_entry(
    database: Option<&str>,
    table: raw::Table,
    labels: &[Arc<str>],
    mistakes: &mut Mistakes<'_>,
) -> TableEntry {
    let mut columns = Vec::new();
    for (column, label) in table.columns {
        if let Some(id) = declared(labels, &label, mistakes) {
            columns.push(ColumnEntry { name: column.text.into(), at: column.at, label: id });
        }
    }
    TableEntry {
        database: database.map(Into::into),
        schema: table.schema.into(),
        name: table.name.into(),
        at: table.at,
        columns,
    }
}

/// A label that the file declares; built-in ones cannot be given to columns.
fn declared(labels: &[Arc<str>], label: &At<String>, mistakes: &mut Mistakes<'_>) -> Option<LabelId> {
    let id = label_id(labels, &label.value).filter(|id| usize::from(id.0) >= builtin::NAMES.len());
    if id.is_none() {
        mistakes.add(label.at, format!("unknown label \"{}\"", label.value), label_fix(&label.value, labels));
    }
    id
}

fn label_fix(word: &str, labels: &[Arc<str>]) -> Option<String> {
    let own = labels.iter().skip(builtin::NAMES.len()).map(|name| &**name);
    suggestion(word, own).or_else(|| Some(format!("declare it under `labels:` as {word}: {{}}")))
}

/// A column has one label: in `columns:` and under its database together.
fn one_label_each(tables: &[TableEntry], labels: &[Arc<str>], mistakes: &mut Mistakes<'_>) {
    type Given<'t> = (Option<&'t str>, LabelId, Place);
    let mut seen: HashMap<(&str, &str, &str), Vec<Given<'_>>> = HashMap::new();
    for table in tables {
        for column in &table.columns {
            let entries = seen.entry((&table.schema, &table.name, &column.name)).or_default();
            let database = table.database.as_deref();
            let other = entries.iter().find(|(other, label, _)| {
                *label != column.label && (other.is_none() || database.is_none() || *other == database)
            });
            if let Some((_, label, at)) = other {
                let name = labels.get(usize::from(label.0)).map_or("?", |name| &**name);
                mistakes.add(
                    column.at,
                    format!(
                        "column {}.{}.{} already has the label {name} (line {})",
                        table.schema, table.name, column.name, at.line
                    ),
                    String::from("a column has one label; remove one entry"),
                );
            }
            entries.push((database, column.label, column.at));
        }
    }
}

fn check_role(role: &Role, labels: &[Arc<str>], mistakes: &mut Mistakes<'_>, warnings: &mut Mistakes<'_>) {
    if let Some(limit) = &role.rows_per_hour {
        warnings.add(limit.at, "`rows_per_hour` is not enforced by this version", None::<String>);
    }
    for (key, rule) in &role.labels {
        let label = At { value: key.text.clone(), at: key.at };
        if label_id(labels, &key.text).is_none_or(|id| usize::from(id.0) < builtin::NAMES.len()) {
            let settings = raw::ROLE_KEYS.iter().copied();
            let known = labels.iter().skip(builtin::NAMES.len()).map(|name| &**name).chain(settings);
            mistakes.add(label.at, format!("unknown label \"{}\"", label.value), suggestion(&label.value, known));
        }
        if let Some(limit) = &rule.values_per_hour {
            warnings.add(limit.at, "`values_per_hour` is not enforced by this version", None::<String>);
        }
        if let Some(at) = rule.derived_drop {
            warnings.add(
                at,
                "`derived: drop` is not available yet: expressions over the label are refused",
                None::<String>,
            );
        }
        if let (Handling::Tokenize, Some(allow)) = (&rule.handling, &rule.allow)
            && rule.filter.as_ref().is_none_or(|f| f.value == Filter::None)
            && allow.value.iter().any(|a| matches!(a, Action::Insert | Action::Update))
        {
            mistakes.add(
                allow.at,
                "who may write values and read their tokens can find out other people's values",
                String::from("add `filter: equality` if that is meant, or take insert and update from `allow`"),
            );
        }
    }
}

fn label_id(labels: &[Arc<str>], name: &str) -> Option<LabelId> {
    let at = labels.iter().position(|label| **label == *name)?;
    u16::try_from(at).ok().map(LabelId)
}

struct Merged {
    policy: LabelPolicy,
    /// Two masks were equally permissive and different.
    masks_met: bool,
}

/// One label over a client's roles.
///
/// The most permissive handling among the roles that name the label counts, else the role `default`'s, else refuse.
/// What shows values (read, copy, explain) comes only from the roles with that handling: a role that may copy a dropped
/// column must not let another role's plain values be copied. What changes values (insert, update, delete, ddl) and
/// `filter` come from any of them.
fn merge(name: &Arc<str>, own: &[&Role], default: Option<&Role>) -> Merged {
    let rule_in = |role: &Role| -> Option<LabelRule> {
        role.labels.iter().find(|(key, _)| key.text == **name).map(|(_, rule)| rule.clone())
    };
    let mut rules: Vec<LabelRule> = own.iter().filter_map(|role| rule_in(role)).collect();
    if rules.is_empty() {
        rules.extend(default.and_then(rule_in));
    }
    let Some(most) = rules.iter().map(|rule| &rule.handling).min() else {
        return Merged { policy: LabelPolicy::refused(name), masks_met: false };
    };
    let masks_met = matches!(most, Handling::Mask(_))
        && rules.iter().any(|rule| matches!(rule.handling, Handling::Mask(_)) && rule.handling != *most);
    let handling = if masks_met { Handling::Drop } else { most.clone() };

    let mut allow = Allow::default();
    let mut filter = Filter::None;
    for rule in &rules {
        let own_filter = rule.filter();
        let own_allow = rule.allow();
        allow.insert |= own_allow.insert;
        allow.update |= own_allow.update;
        allow.delete |= own_allow.delete;
        allow.ddl |= own_allow.ddl;
        if rule.handling.rank() == most.rank() {
            allow.read |= own_allow.read;
            allow.copy |= own_allow.copy;
            allow.explain |= own_allow.explain;
        }
        filter = filter.max(own_filter);
    }
    Merged { policy: LabelPolicy { name: Arc::clone(name), handling, allow, filter }, masks_met }
}

impl LabelRule {
    fn filter(&self) -> Filter {
        match (&self.filter, &self.handling) {
            (Some(filter), _) => filter.value,
            (None, Handling::Plain) => Filter::Any,
            (None, _) => Filter::None,
        }
    }

    /// As written, else by handling. Written-back handled values destroy data, so `update` is on only where the value
    /// shown is the value stored, or is recognised when it comes back (`rf1_` tokens). Who may store values and read
    /// their deterministic tokens can test guesses, so `tokenize` without `filter: equality` stores nothing.
    fn allow(&self) -> Allow {
        let Some(actions) = &self.allow else {
            let guesses = self.handling == Handling::Tokenize && self.filter() == Filter::None;
            return Allow {
                insert: !guesses,
                update: matches!(self.handling, Handling::Plain | Handling::Encrypt),
                ddl: false,
                ..Allow::everything()
            };
        };
        let has = |action| actions.value.contains(&action);
        Allow {
            read: has(Action::Read),
            insert: has(Action::Insert),
            update: has(Action::Update),
            delete: has(Action::Delete),
            copy: has(Action::Copy),
            ddl: has(Action::Ddl),
            explain: has(Action::Explain),
        }
    }
}
