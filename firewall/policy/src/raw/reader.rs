//! The primitives of reading: maps, lists and words, each with its mistake.

use std::time::Duration;

use super::At;
use crate::error::{Mistakes, suggestion};
use crate::node::{Key, Node, Value};

/// Longest name of a label, role or client, in bytes.
const LONGEST_NAME: usize = 63;

pub(super) struct Reader<'r, 'm> {
    pub(super) mistakes: &'r mut Mistakes<'m>,
}

/// The entries of a map with known keys.
pub(super) struct Fields<'n>(pub(super) &'n [(Key, Node)]);

impl<'n> Fields<'n> {
    pub(super) fn get(&self, name: &str) -> Option<&'n Node> {
        self.entry(name).map(|(_, node)| node)
    }

    pub(super) fn entry(&self, name: &str) -> Option<&'n (Key, Node)> {
        self.0.iter().find(|(key, _)| key.text == name)
    }
}

impl Reader<'_, '_> {
    /// Names of labels, roles and clients appear in logins, tokens, metrics and messages.
    pub(super) fn name(&mut self, key: &Key, what: &str) {
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
    pub(super) fn map<'n>(&mut self, node: &'n Node, what: &str) -> Vec<&'n (Key, Node)> {
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
    pub(super) fn fields<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> Fields<'n> {
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

    pub(super) fn list<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
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

    pub(super) fn texts(&mut self, node: &Node, what: &str) -> Vec<At<String>> {
        let mut texts = Vec::new();
        for node in self.list(node, what) {
            texts.extend(self.text(node, what));
        }
        texts
    }

    pub(super) fn text(&mut self, node: &Node, what: &str) -> Option<At<String>> {
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

    pub(super) fn choice<'w>(&mut self, node: &Node, words: &[&'w str]) -> Option<&'w str> {
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

    pub(super) fn boolean(&mut self, node: &Node) -> Option<bool> {
        if let Value::Bool(value) = node.value {
            return Some(value);
        }
        self.mistakes.add(node.at, format!("expected true or false, found {}", node.value.kind()), None::<String>);
        None
    }

    pub(super) fn positive(&mut self, node: &Node) -> Option<At<u64>> {
        if let Value::Integer(number) = node.value
            && let Ok(value @ 1..) = u64::try_from(number)
        {
            return Some(At { value, at: node.at });
        }
        self.mistakes.add(node.at, "expected a whole number above zero", None::<String>);
        None
    }

    pub(super) fn duration(&mut self, node: &Node) -> Option<Duration> {
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
pub(super) fn qualified(text: &str) -> Option<(String, String)> {
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
