//! The classification file as written: every key checked, every value typed, every place kept. References between its
//! parts (labels, roles) are checked in `policy`.

use std::time::Duration;

use crate::error::{Mistakes, Place, suggestion};
use crate::handling::{Handling, Mask};
use crate::node::{Key, Node, Value};

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
}

#[derive(Debug, Clone)]
pub(crate) struct LabelRule {
    pub(crate) handling: Handling,
    pub(crate) filter: Option<At<Filter>>,
    pub(crate) derived_drop: Option<Place>,
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
];
pub(crate) const LABEL_KEYS: &[&str] = &["at_rest", "search"];
pub(crate) const DATABASE_KEYS: &[&str] = &["columns"];
pub(crate) const ROLE_KEYS: &[&str] = &["admin", "rows_per_hour"];
pub(crate) const RULE_KEYS: &[&str] = &["handling", "with", "mask", "filter", "derived", "allow", "values_per_hour"];
pub(crate) const CLIENT_KEYS: &[&str] = &["roles", "upstream", "statement_timeout", "max_connections", "enforce"];
pub(crate) const UPSTREAM_KEYS: &[&str] = &["user", "password_file"];
pub(crate) const DECLASSIFY_KEYS: &[&str] = &["functions", "aggregates"];

pub(crate) const HANDLINGS: &[&str] = &["plain", "mask", "tokenize", "encrypt", "drop", "refuse"];
pub(crate) const MASKS: &[&str] = &["last4", "first6last4", "email", "fixed"];
pub(crate) const FILTERS: &[&str] = &["none", "equality", "any"];
pub(crate) const ACTIONS: &[&str] = &["read", "insert", "update", "delete", "copy", "ddl", "explain"];

/// Longest name of a label, role or client, in bytes.
const LONGEST_NAME: usize = 63;

/// Reads the whole file; what is wrong goes to `mistakes`.
pub(crate) fn read(root: &Node, mistakes: &mut Mistakes<'_>) -> File {
    let mut reader = Reader { mistakes };
    let fields = reader.fields(root, "the file", FILE_KEYS);
    reader.version(root, fields.get("version"));
    let mut file = File {
        labels: fields.get("labels").map(|n| reader.labels(n)).unwrap_or_default(),
        columns: fields.get("columns").map(|n| reader.tables(n)).unwrap_or_default(),
        databases: fields.get("databases").map(|n| reader.databases(n)).unwrap_or_default(),
        roles: fields.get("roles").map(|n| reader.roles(n)).unwrap_or_default(),
        clients: fields.get("clients").map(|n| reader.clients(n)).unwrap_or_default(),
        unclassified: fields.get("unclassified").map(|n| reader.unclassified(n)).unwrap_or_default(),
        trusted_extensions: fields.get("trusted_extensions").map(|n| reader.texts(n, "an extension's name")),
        declassify: fields.get("declassify").map(|n| reader.declassify(n)).unwrap_or_default(),
        notifications: fields.get("notifications").map(|n| reader.texts(n, "a channel's name")).unwrap_or_default(),
        ..File::default()
    };
    if let Some(word) = fields.get("on_bad_token").and_then(|n| reader.choice(n, &["error", "null"])) {
        file.on_bad_token = if word == "null" { BadToken::Null } else { BadToken::Error };
    }
    if let Some(word) = fields.get("audit_on_failure").and_then(|n| reader.choice(n, &["refuse", "continue"])) {
        file.continue_without_audit = word == "continue";
    }
    if let Some(strict) = fields.get("strict_types").and_then(|n| reader.boolean(n)) {
        file.strict_types = strict;
    }
    for channel in &file.notifications {
        if channel.value.starts_with("ringfence") {
            reader.mistakes.add(
                channel.at,
                format!("the channel \"{}\" belongs to the firewall", channel.value),
                String::from("channels whose names begin with \"ringfence\" never reach clients; remove it"),
            );
        }
    }
    file
}

struct Reader<'r, 'm> {
    mistakes: &'r mut Mistakes<'m>,
}

/// The entries of a map with known keys.
struct Fields<'n>(&'n [(Key, Node)]);

impl<'n> Fields<'n> {
    fn get(&self, name: &str) -> Option<&'n Node> {
        self.entry(name).map(|(_, node)| node)
    }

    fn entry(&self, name: &str) -> Option<&'n (Key, Node)> {
        self.0.iter().find(|(key, _)| key.text == name)
    }
}

impl Reader<'_, '_> {
    fn version(&mut self, root: &Node, node: Option<&Node>) {
        let fix = String::from("begin the file with `version: 1`");
        match node {
            None => self.mistakes.add(root.at, "`version` is missing", fix),
            Some(Node { value: Value::Integer(1), .. }) => {}
            Some(node) => self.mistakes.add(node.at, "the only version is 1", fix),
        }
    }

    fn labels(&mut self, node: &Node) -> Vec<Key> {
        let mut labels = Vec::new();
        for (name, value) in self.map(node, "labels") {
            self.name(name, "label");
            if ringfence_analysis::builtin::NAMES.contains(&name.text.as_str()) {
                self.mistakes.add(
                    name.at,
                    format!("\"{}\" is a built-in label", name.text),
                    String::from("choose another name; built-in labels need no entry"),
                );
                continue;
            }
            if ROLE_KEYS.contains(&name.text.as_str()) {
                self.mistakes.add(
                    name.at,
                    format!("a label cannot be named \"{}\": that is a setting of roles", name.text),
                    String::from("choose another name"),
                );
                continue;
            }
            for (key, _) in self.fields(value, "a label", LABEL_KEYS).0 {
                if LABEL_KEYS.contains(&key.text.as_str()) {
                    self.mistakes.add(
                        key.at,
                        format!("`{}` is not available yet: this version does not encrypt at rest", key.text),
                        format!("remove `{}`; the handling `encrypt` protects what clients are shown", key.text),
                    );
                }
            }
            labels.push(name.clone());
        }
        labels
    }

    fn databases(&mut self, node: &Node) -> Vec<(Key, Vec<Table>)> {
        let mut databases = Vec::new();
        for (name, value) in self.map(node, "databases") {
            let fields = self.fields(value, "a database", DATABASE_KEYS);
            let tables = fields.get("columns").map(|n| self.tables(n)).unwrap_or_default();
            databases.push((name.clone(), tables));
        }
        databases
    }

    fn tables(&mut self, node: &Node) -> Vec<Table> {
        let mut tables = Vec::new();
        for (key, value) in self.map(node, "columns") {
            let Some((schema, name)) = qualified(&key.text) else {
                self.mistakes.add(
                    key.at,
                    format!("\"{}\" does not name a table as schema.table", key.text),
                    format!(
                        "write public.{0} if it is in the schema public (names with dots in double quotes)",
                        key.text
                    ),
                );
                continue;
            };
            let mut columns = Vec::new();
            for (column, label) in self.map(value, "a table's columns") {
                if let Some(label) = self.text(label, "a label") {
                    columns.push((column.clone(), label));
                }
            }
            tables.push(Table { schema, name, at: key.at, columns });
        }
        tables
    }

    fn roles(&mut self, node: &Node) -> Vec<(Key, Role)> {
        let mut roles = Vec::new();
        for (name, value) in self.map(node, "roles") {
            self.name(name, "role");
            let mut role = Role::default();
            for (key, value) in self.map(value, "a role") {
                match key.text.as_str() {
                    "admin" => role.admin = self.boolean(value).unwrap_or_default(),
                    "rows_per_hour" => role.rows_per_hour = self.positive(value),
                    _ => {
                        if let Some(rule) = self.rule(value) {
                            role.labels.push((key.clone(), rule));
                        }
                    }
                }
            }
            roles.push((name.clone(), role));
        }
        roles
    }

    /// A handling: a word, or a map.
    fn rule(&mut self, node: &Node) -> Option<LabelRule> {
        if let Value::Text(word) = &node.value {
            let handling = self.handling(node.at, word, None)?;
            return Some(LabelRule { handling, filter: None, derived_drop: None, allow: None, values_per_hour: None });
        }
        if !matches!(node.value, Value::Map(_)) {
            self.mistakes.add(
                node.at,
                format!("a handling is a word or a map; this is {}", node.value.kind()),
                format!("one of: {}", HANDLINGS.join(", ")),
            );
            return None;
        }
        let fields = self.fields(node, "a handling", RULE_KEYS);
        let handling = match (fields.entry("handling"), fields.entry("mask")) {
            (None, None) => {
                self.mistakes.add(
                    node.at,
                    "`handling` is missing",
                    format!("add `handling:` with one of: {}", HANDLINGS.join(", ")),
                );
                None
            }
            (Some(_), Some((mask, _))) => {
                self.mistakes.add(
                    mask.at,
                    "`mask: …` is short for `handling: mask, with: …`; both are given",
                    String::from("remove one of them"),
                );
                None
            }
            (None, Some((_, mask))) => {
                if let Some((with, _)) = fields.entry("with") {
                    self.mistakes.add(with.at, "`with` repeats `mask`", String::from("remove `with`"));
                }
                self.mask(mask).map(Handling::Mask)
            }
            (Some((_, handling)), None) => self
                .text(handling, "a handling")
                .and_then(|word| self.handling(word.at, &word.value, fields.entry("with"))),
        };
        let filter = fields.get("filter").and_then(|n| self.filter(n));
        let derived = fields.get("derived").and_then(|n| Some((n.at, self.choice(n, &["refuse", "drop"])?)));
        let allow = fields.get("allow").map(|n| At { value: self.actions(n), at: n.at });
        let values_per_hour = fields.get("values_per_hour").and_then(|n| self.positive(n));
        let handling = handling?;
        if let (Handling::Plain, Some(filter)) = (&handling, &filter)
            && filter.value != Filter::Any
        {
            self.mistakes.add(
                filter.at,
                "who sees a label in plain can always filter by it",
                String::from("remove `filter`, or choose another handling"),
            );
        }
        Some(LabelRule {
            handling,
            filter,
            derived_drop: derived.filter(|(_, word)| *word == "drop").map(|(at, _)| at),
            allow,
            values_per_hour,
        })
    }

    fn handling(&mut self, at: Place, word: &str, with: Option<&(Key, Node)>) -> Option<Handling> {
        let handling = match word {
            "plain" => Handling::Plain,
            "tokenize" => Handling::Tokenize,
            "encrypt" => Handling::Encrypt,
            "drop" => Handling::Drop,
            "refuse" => Handling::Refuse,
            "mask" => {
                let Some((_, mask)) = with else {
                    self.mistakes.add(
                        at,
                        "`mask` needs to know which",
                        format!("write {{ mask: last4 }}; masks are: {}", MASKS.join(", ")),
                    );
                    return None;
                };
                return self.mask(mask).map(Handling::Mask);
            }
            _ => {
                let fix = if MASKS.contains(&word) {
                    Some(format!("write {{ mask: {word} }}"))
                } else {
                    suggestion(word, HANDLINGS.iter().copied())
                };
                self.mistakes.add(at, format!("unknown handling \"{word}\""), fix);
                return None;
            }
        };
        if let Some((with, _)) = with {
            self.mistakes.add(
                with.at,
                format!("`with` says which mask, and the handling is {word}"),
                String::from("remove `with`"),
            );
        }
        Some(handling)
    }

    fn mask(&mut self, node: &Node) -> Option<Mask> {
        if let Value::Map(_) = node.value {
            let fields = self.fields(node, "a mask", &["fixed"]);
            let Some(text) = fields.get("fixed") else {
                self.mistakes.add(node.at, "`fixed` is missing", String::from("write { fixed: \"***\" }"));
                return None;
            };
            return self.text(text, "the text to show").map(|t| Mask::Fixed(t.value.into()));
        }
        match self.choice(node, MASKS)? {
            "last4" => Some(Mask::Last4),
            "first6last4" => Some(Mask::First6Last4),
            "email" => Some(Mask::Email),
            _ => Some(Mask::Fixed("***".into())),
        }
    }

    fn filter(&mut self, node: &Node) -> Option<At<Filter>> {
        let value = match self.choice(node, FILTERS)? {
            "equality" => Filter::Equality,
            "any" => Filter::Any,
            _ => Filter::None,
        };
        Some(At { value, at: node.at })
    }

    fn actions(&mut self, node: &Node) -> Vec<Action> {
        let mut actions = Vec::new();
        for node in self.list(node, "what is allowed") {
            actions.extend(self.choice(node, ACTIONS).map(|word| match word {
                "insert" => Action::Insert,
                "update" => Action::Update,
                "delete" => Action::Delete,
                "copy" => Action::Copy,
                "ddl" => Action::Ddl,
                "explain" => Action::Explain,
                _ => Action::Read,
            }));
        }
        actions
    }

    fn clients(&mut self, node: &Node) -> Vec<(Key, Client)> {
        let mut clients = Vec::new();
        for (name, value) in self.map(node, "clients") {
            self.name(name, "client");
            let fields = self.fields(value, "a client", CLIENT_KEYS);
            if fields.get("roles").is_none() {
                self.mistakes.add(
                    name.at,
                    format!("the client \"{}\" has no roles", name.text),
                    String::from("add `roles: [default]`"),
                );
            }
            let client = Client {
                roles: fields.get("roles").map(|n| self.texts(n, "a role")).unwrap_or_default(),
                upstream: fields.get("upstream").and_then(|n| self.upstream(n)),
                statement_timeout: fields.get("statement_timeout").and_then(|n| self.duration(n)),
                max_connections: fields
                    .get("max_connections")
                    .and_then(|n| self.positive(n))
                    .map(|n| u32::try_from(n.value).unwrap_or(u32::MAX)),
                observe: fields
                    .get("enforce")
                    .and_then(|n| self.choice(n, &["refuse", "observe"]))
                    .is_some_and(|word| word == "observe"),
            };
            clients.push((name.clone(), client));
        }
        clients
    }

    fn upstream(&mut self, node: &Node) -> Option<Upstream> {
        let fields = self.fields(node, "upstream", UPSTREAM_KEYS);
        let password_file = fields.get("password_file").and_then(|n| self.text(n, "a file")).map(|t| t.value);
        let Some(user) = fields.get("user") else {
            self.mistakes.add(
                node.at,
                "`user` is missing",
                String::from("write upstream: { user: …, password_file: … }"),
            );
            return None;
        };
        let user = self.text(user, "a login")?.value;
        Some(Upstream { user, password_file })
    }

    fn unclassified(&mut self, node: &Node) -> Unclassified {
        let words = &["allow", "refuse"];
        let mut unclassified = Unclassified::default();
        if let Value::Map(_) = node.value {
            for (schema, word) in self.map(node, "unclassified") {
                if let Some(word) = self.choice(word, words) {
                    unclassified.schemas.push((schema.text.clone(), word == "refuse"));
                }
            }
        } else if let Some(word) = self.choice(node, words) {
            unclassified.refuse = word == "refuse";
        }
        unclassified
    }

    fn declassify(&mut self, node: &Node) -> Declassify {
        let fields = self.fields(node, "declassify", DECLASSIFY_KEYS);
        let functions = fields.get("functions").map(|n| self.texts(n, "a function")).unwrap_or_default();
        for function in &functions {
            if qualified(&function.value).is_none() {
                self.mistakes.add(
                    function.at,
                    format!("\"{}\" does not name a function as schema.function", function.value),
                    format!("write public.{}", function.value),
                );
            }
        }
        let aggregates = fields.get("aggregates").map(|n| self.texts(n, "an aggregate")).unwrap_or_default();
        let texts = |list: Vec<At<String>>| list.into_iter().map(|t| t.value).collect();
        Declassify { functions: texts(functions), aggregates: texts(aggregates) }
    }

    /// Names of labels, roles and clients appear in logins, tokens, metrics and messages.
    fn name(&mut self, key: &Key, what: &str) {
        let first = key.text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        let rest = key.text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        if !first || !rest || key.text.len() > LONGEST_NAME {
            self.mistakes.add(
                key.at,
                format!("\"{}\" cannot be the name of a {what}", key.text),
                String::from("letters, digits, `_`, `-` and `.`, a letter first, at most 63"),
            );
        }
    }

    /// A map with any keys. Reports duplicates, and keeps the first.
    fn map<'n>(&mut self, node: &'n Node, what: &str) -> Vec<&'n (Key, Node)> {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            other => {
                self.mistakes.add(node.at, format!("{what}: expected a map, found {}", other.kind()), None::<String>);
                &[]
            }
        };
        let mut kept: Vec<&'n (Key, Node)> = Vec::with_capacity(entries.len());
        let mut seen = std::collections::HashMap::with_capacity(entries.len());
        for entry in entries {
            let (key, _) = entry;
            match seen.entry(key.text.as_str()) {
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(key.at);
                    kept.push(entry);
                }
                std::collections::hash_map::Entry::Occupied(first) => {
                    self.mistakes.add(
                        key.at,
                        format!("duplicate key \"{}\"", key.text),
                        format!("it is first given in line {}; remove one", first.get().line),
                    );
                }
            }
        }
        kept
    }

    /// A map with known keys.
    fn fields<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> Fields<'n> {
        for (key, _) in self.map(node, what) {
            if !known.contains(&key.text.as_str()) {
                self.mistakes.add(
                    key.at,
                    format!("unknown key \"{}\" in {what}", key.text),
                    suggestion(&key.text, known.iter().copied()),
                );
            }
        }
        match &node.value {
            Value::Map(entries) => Fields(entries),
            _ => Fields(&[]),
        }
    }

    fn list<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        match &node.value {
            Value::List(list) => list,
            Value::Null => &[],
            other => {
                self.mistakes.add(
                    node.at,
                    format!("{what}: expected a list, found {}", other.kind()),
                    String::from("write it in brackets: [a, b]"),
                );
                &[]
            }
        }
    }

    fn texts(&mut self, node: &Node, what: &str) -> Vec<At<String>> {
        let mut texts = Vec::new();
        for node in self.list(node, what) {
            texts.extend(self.text(node, what));
        }
        texts
    }

    fn text(&mut self, node: &Node, what: &str) -> Option<At<String>> {
        match &node.value {
            Value::Text(text) if !text.is_empty() => Some(At { value: text.clone(), at: node.at }),
            other => {
                let found = if matches!(other, Value::Text(_)) { "an empty word" } else { other.kind() };
                let fix = matches!(other, Value::Integer(_) | Value::Float | Value::Bool(_))
                    .then(|| String::from("put it in quotes"));
                self.mistakes.add(node.at, format!("expected {what}, found {found}"), fix);
                None
            }
        }
    }

    fn choice<'w>(&mut self, node: &Node, words: &[&'w str]) -> Option<&'w str> {
        let written = match &node.value {
            Value::Text(text) => text.as_str(),
            // YAML's own words, when they are among the choices.
            Value::Null => "null",
            other => {
                self.mistakes.add(
                    node.at,
                    format!("expected a word, found {}", other.kind()),
                    format!("one of: {}", words.join(", ")),
                );
                return None;
            }
        };
        let found = words.iter().copied().find(|word| *word == written);
        if found.is_none() {
            self.mistakes.add(
                node.at,
                format!("unknown word \"{written}\""),
                suggestion(written, words.iter().copied()),
            );
        }
        found
    }

    fn boolean(&mut self, node: &Node) -> Option<bool> {
        if let Value::Bool(value) = node.value {
            return Some(value);
        }
        self.mistakes.add(node.at, format!("expected true or false, found {}", node.value.kind()), None::<String>);
        None
    }

    fn positive(&mut self, node: &Node) -> Option<At<u64>> {
        if let Value::Integer(number) = node.value
            && let Ok(value @ 1..) = u64::try_from(number)
        {
            return Some(At { value, at: node.at });
        }
        self.mistakes.add(node.at, "expected a whole number above zero", None::<String>);
        None
    }

    fn duration(&mut self, node: &Node) -> Option<Duration> {
        let parsed = match &node.value {
            Value::Text(text) => parse_duration(text),
            _ => None,
        };
        if parsed.is_none() {
            self.mistakes.add(
                node.at,
                "expected a duration",
                String::from("a whole number above zero and a unit: 500ms, 60s, 5m, 2h, 90d"),
            );
        }
        parsed
    }
}

/// `500ms`, `60s`, `5m`, `2h`, `90d`.
fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok().filter(|n| *n > 0)?;
    let seconds = match unit.trim_start() {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

/// `schema.table`; either part may stand in double quotes.
fn qualified(text: &str) -> Option<(String, String)> {
    let (schema, rest) = identifier(text)?;
    let (name, rest) = identifier(rest.strip_prefix('.')?)?;
    (rest.is_empty() && !schema.is_empty() && !name.is_empty()).then_some((schema, name))
}

/// One identifier and what follows it. Names are taken as the server stores them: nothing is folded.
fn identifier(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(['.', '"']).unwrap_or(text.len());
        let (name, rest) = text.split_at_checked(end)?;
        return Some((name.to_owned(), rest));
    };
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, after)),
        }
    }
}

/// Syntax first, then content: a file that is no YAML has one mistake, any other has all of them.
pub(crate) fn parse(text: &str, mistakes: &mut Mistakes<'_>) -> Option<File> {
    match crate::node::read(text) {
        Ok(Some(root)) => return Some(read(&root, mistakes)),
        Ok(None) => mistakes.add(
            Place::default(),
            "the file is empty",
            String::from("begin it with `version: 1`; `ringfence schema` prints what may follow"),
        ),
        Err((at, message)) => mistakes.add(at, message, None),
    }
    None
}
