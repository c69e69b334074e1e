//! The sections of the file, one method each. Roles have a file of their own.

use super::reader::{Reader, qualified};
use super::{
    At, BadToken, CLIENT_KEYS, Client, DATABASE_KEYS, DECLASSIFY_KEYS, DETECTOR_KEYS, DETECTS, Declassify, Detectors,
    FILE_KEYS, File, LABEL_KEYS, ROLE_KEYS, Table, UPSTREAM_KEYS, Unclassified, Upstream,
};
use crate::detect::Detect;
use crate::error::Mistakes;
use crate::node::{Key, Node, Value};

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
        detectors: fields.get("detectors").map(|n| reader.detectors(n)).unwrap_or_default(),
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
                detectors: fields.get("detectors").map(|n| self.detectors(n)).unwrap_or_default(),
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

    fn detectors(&mut self, node: &Node) -> Detectors {
        let fields = self.fields(node, "detectors", DETECTOR_KEYS);
        let mut detect = |key| {
            let word = self.choice(fields.get(key)?, DETECTS)?;
            Some(if word == "block" { Detect::Block } else { Detect::Audit })
        };
        Detectors { pan: detect("pan"), hash: detect("hash"), private_key: detect("private_key") }
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
}
