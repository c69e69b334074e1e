//! The schemas of `tests/golden`, as a catalog.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, dead_code, unreachable_pub)]

use std::collections::HashMap;
use std::path::PathBuf;

use ringfence_analysis::catalog::{Column, Function, RelationKind};
use ringfence_analysis::{Catalog, LabelId, Relation, SessionNames, builtin};

pub struct Bank {
    pub catalog: Catalog,
    pub session: SessionNames,
    labels: Vec<String>,
}

impl Bank {
    pub fn load() -> Self {
        let mut labels: Vec<String> = builtin::NAMES.iter().map(|n| (*n).to_owned()).collect();
        let mut relations: Vec<Relation> = Vec::new();
        let mut functions = Vec::new();
        let mut by_name: HashMap<String, u32> = HashMap::new();
        let mut session = SessionNames::default();
        let mut others = Vec::new();
        let mut next = 16_400;
        let mut label_of = |name: &str| {
            let at = labels.iter().position(|l| l == name).unwrap_or_else(|| {
                labels.push(name.to_owned());
                labels.len() - 1
            });
            LabelId(u16::try_from(at).unwrap())
        };
        let text = read("system.schema") + &read("bank.schema");
        for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let mut clauses = line.split(" ; ");
            let words: Vec<&str> = clauses.next().unwrap().split(' ').collect();
            match words[0] {
                "function" => {
                    let (schema, name) = words[1].split_once('.').unwrap();
                    let extension = (words.get(4) == Some(&"extension")).then(|| words[5].into());
                    functions.push(Function {
                        oid: 20_000 + u32::try_from(functions.len()).unwrap(),
                        schema: schema.into(),
                        name: name.into(),
                        owner: words[3].parse().unwrap(),
                        language: words[2].into(),
                        body: extension.is_none().then(|| words[4..].join(" ").into()),
                        extension,
                        ..Function::default()
                    });
                }
                "operator" | "type" | "domain" => others.push((words[0].to_owned(), words[1].to_owned())),
                "overlay" => session.insert(words[1]),
                kind => {
                    let (schema, name) = words[1].split_once('.').unwrap();
                    next += 10;
                    let oid = next;
                    by_name.insert(words[1].to_owned(), oid);
                    let mut relation = Relation {
                        oid,
                        schema: schema.into(),
                        name: name.into(),
                        kind: match kind {
                            "view" => RelationKind::View,
                            "matview" => RelationKind::MaterializedView,
                            _ => RelationKind::Table,
                        },
                        owner: 10,
                        system: matches!(schema, "pg_catalog" | "information_schema"),
                        row_type: oid + 1,
                        ..Relation::default()
                    };
                    for (at, column) in words[2..].iter().enumerate() {
                        let (name, rest) = column.split_once(':').unwrap();
                        let (type_name, label) = rest.split_once('=').map_or((rest, None), |(t, l)| (t, Some(l)));
                        let own_type = type_name.contains('.') && !type_name.starts_with("information_schema");
                        relation.columns.push(Column {
                            attnum: i16::try_from(at + 1).unwrap(),
                            name: name.into(),
                            type_oid: if own_type { 99_999 } else { 25 },
                            typmod: -1,
                            type_name: type_name.into(),
                            label: label.map(&mut label_of),
                        });
                    }
                    for clause in clauses {
                        let (word, rest) = clause.split_once(' ').unwrap();
                        if word == "constrained" {
                            let number =
                                |name: &str| relation.columns.iter().find(|c| &*c.name == name).unwrap().attnum;
                            relation.constrained = rest.split(' ').map(number).collect();
                            continue;
                        }
                        let oids = rest.split(' ').map(|n| n.parse().unwrap_or_else(|_| by_name[n]));
                        match word {
                            "reads" => relation.reads.extend(oids),
                            "calls" => relation.calls.extend(oids),
                            "parent" => relation.parents.extend(oids),
                            "rule" => {
                                relation.ruled = true;
                                relation.write_reaches.extend(oids);
                            }
                            "default" => {
                                let numbers: Vec<u32> = oids.collect();
                                relation.default_calls.push((i16::try_from(numbers[0]).unwrap(), numbers[1]));
                            }
                            "write_reaches" => relation.write_reaches.extend(oids),
                            other => panic!("{other}"),
                        }
                    }
                    relations.push(relation);
                }
            }
        }
        let mut catalog = Catalog::new(relations, functions);
        catalog.server_version = 150_018;
        catalog.database = "bank".into();
        catalog.sensitive_texts.insert(ringfence_analysis::text_hash(b"lower(email)"));
        catalog.client_roles.insert(777);
        catalog.trusted_extensions.insert("pgcrypto".into());
        for (kind, name) in others {
            let name = name.into();
            match kind.as_str() {
                "operator" => catalog.foreign_operators.insert(name),
                "type" => catalog.foreign_types.insert(name),
                _ => catalog.active_domains.insert(name),
            };
        }
        Self { catalog, session, labels }
    }

    pub fn label_name(&self, label: LabelId) -> String {
        self.labels[usize::from(label.0)].clone()
    }
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(directory().join(name)).unwrap()
}

/// Every `*.case` file: (name, text).
pub fn case_files() -> Vec<(String, String)> {
    let mut names: Vec<String> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".case"))
        .collect();
    names.sort();
    names.into_iter().map(|name| (name.clone(), format!("\n{}", read(&name)))).collect()
}

/// A file of statements, separated by lines with `;;` alone.
pub fn statements(name: &str) -> Vec<String> {
    read(name).split("\n;;\n").map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect()
}
