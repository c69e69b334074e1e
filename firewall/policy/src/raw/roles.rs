//! Roles, and what they say of each label.

use super::reader::Reader;
use super::{ACTIONS, Action, At, DERIVED, Derived, FILTERS, Filter, HANDLINGS, LabelRule, MASKS, RULE_KEYS, Role};
use crate::error::{Place, suggestion};
use crate::handling::{Handling, Mask};
use crate::kinds::Word;
use crate::node::{Key, Node, Value};

/// Each takes some 30 bytes for every client that has the limit.
const MOST_VALUES: u64 = 1_000_000;

impl Reader<'_, '_> {
    pub(super) fn roles(&mut self, node: &Node) -> Vec<(Key, Role)> {
        let mut roles = Vec::new();
        for (name, value) in self.map(node, "roles") {
            self.name(name, "role");
            let mut role = Role::default();
            for (key, value) in self.map(value, "a role") {
                match key.text.as_str() {
                    "admin" => role.admin = self.boolean(value).unwrap_or_default(),
                    "rows_per_hour" => role.rows_per_hour = self.positive(value),
                    "statements" => role.statements = Some(self.statements(value)),
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
            return Some(LabelRule { handling, filter: None, derived: None, allow: None, values_per_hour: None });
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
        let derived = fields.get("derived").and_then(|n| self.derived(n));
        let allow = fields.get("allow").map(|n| At { value: self.actions(n), at: n.at });
        let values_per_hour = fields.get("values_per_hour").and_then(|n| self.values_per_hour(n));
        let handling = handling?;
        if let (Handling::Plain | Handling::Refuse, Some(derived)) = (&handling, &derived)
            && derived.value == Derived::Drop
        {
            self.mistakes.add(
                derived.at,
                format!("`derived: drop` means nothing where the handling is {}", handling.name()),
                String::from("remove `derived`, or choose another handling"),
            );
        }
        Some(LabelRule { handling, filter, derived, allow, values_per_hour })
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

    fn derived(&mut self, node: &Node) -> Option<At<Derived>> {
        let word = self.choice(node, DERIVED)?;
        Some(At { value: if word == "drop" { Derived::Drop } else { Derived::Refuse }, at: node.at })
    }

    fn values_per_hour(&mut self, node: &Node) -> Option<At<u64>> {
        let limit = self.positive(node)?;
        if limit.value > MOST_VALUES {
            self.mistakes.add(
                node.at,
                format!("at most {MOST_VALUES} different values an hour can be counted"),
                format!("write {MOST_VALUES} or less, or leave the limit out"),
            );
            return None;
        }
        Some(limit)
    }

    fn statements(&mut self, node: &Node) -> Vec<Word> {
        let words: Vec<&str> = Word::ALL.iter().map(|word| word.name()).collect();
        let mut allowed = Vec::new();
        for node in self.list(node, "kinds of statements") {
            let chosen = self.choice(node, &words);
            allowed.extend(Word::ALL.into_iter().find(|word| Some(word.name()) == chosen));
        }
        allowed
    }
}
