//! The classification as understood: labels, roles merged into one policy per client, and which columns are labelled.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ringfence_analysis::LabelId;
use ringfence_analysis::builtin;

use crate::decide::ClientPolicy;
use crate::detect::{Detect, Detectors};
use crate::error::{ConfigError, Mistakes, Place, snippet, suggestion};
use crate::handling::Handling;
use crate::merge;
use crate::raw::{self, At, BadToken, Declassify, Filter, Role, Unclassified, Upstream};

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
            match roles.get_key_value(&role.value) {
                Some((name, found)) => own.push((name.as_str(), found)),
                None => mistakes.add(
                    role.at,
                    format!("unknown role \"{}\"", role.value),
                    suggestion(&role.value, roles.keys().map(String::as_str)),
                ),
            }
        }
        let default = roles.get(DEFAULT_ROLE);
        let merged = merge::roles(&labels, &own, default.map(|role| (DEFAULT_ROLE, role)));
        for label in &merged.masks_met {
            warnings.add(
                key.at,
                format!("roles of client \"{}\" mask label {label} differently, so it is dropped", key.text),
                String::from("let one role mask it, or give the roles the same mask"),
            );
        }
        let policy = ClientPolicy {
            name: key.text.as_str().into(),
            restricted: merged.restricted,
            observe: client.observe,
            admin: own.iter().any(|(_, role)| role.admin),
            statements: merged.statements,
            rows_per_hour: merged.rows_per_hour,
            detectors: detectors(client.detectors, raw.detectors),
            statement_timeout: client.statement_timeout,
            max_connections: client.max_connections,
            labels: merged.labels,
            notification_channels: notifications.clone(),
            continue_without_audit: raw.continue_without_audit,
        };
        let given_by = crate::given::by(&labels, &own, default);
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

/// The client's word, else the file's, else audit.
fn detectors(client: raw::Detectors, file: raw::Detectors) -> Detectors {
    let word = |client: Option<Detect>, file: Option<Detect>| client.or(file).unwrap_or_default();
    Detectors {
        pan: word(client.pan, file.pan),
        hash: word(client.hash, file.hash),
        private_key: word(client.private_key, file.private_key),
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
    for (key, rule) in &role.labels {
        let label = At { value: key.text.clone(), at: key.at };
        if label_id(labels, &key.text).is_none_or(|id| usize::from(id.0) < builtin::NAMES.len()) {
            let settings = raw::ROLE_KEYS.iter().copied();
            let known = labels.iter().skip(builtin::NAMES.len()).map(|name| &**name).chain(settings);
            mistakes.add(label.at, format!("unknown label \"{}\"", label.value), suggestion(&label.value, known));
        }
        if rule.handling == Handling::Tokenize && rule.filter() == Filter::None {
            warnings.add(
                key.at,
                format!("label {} is shown as random tokens, not as the same one for the same value", key.text),
                String::from(
                    "who may compare tokens finds out values: add `filter: equality` if that is meant, or write `encrypt`",
                ),
            );
        }
    }
}

fn label_id(labels: &[Arc<str>], name: &str) -> Option<LabelId> {
    let at = labels.iter().position(|label| **label == *name)?;
    u16::try_from(at).ok().map(LabelId)
}
