//! Which of a client's roles a label's handling comes from, in words.

use std::sync::Arc;

use ringfence_analysis::builtin;

use crate::Handling;
use crate::raw::{Filter, LabelRule, Role};

/// Index = `LabelId`; built-in labels are nobody's gift. The rules are those of `policy::merge`.
pub(crate) fn by(labels: &[Arc<str>], own: &[(&str, &Role)], default: Option<&Role>) -> Vec<Box<str>> {
    labels
        .iter()
        .enumerate()
        .map(|(at, label)| if at < builtin::NAMES.len() { "built in".into() } else { of(label, own, default) })
        .collect()
}

fn of(label: &str, own: &[(&str, &Role)], default: Option<&Role>) -> Box<str> {
    let rank = |role: &Role| rule_in(role, label).map(|rule| rule.handling.rank());
    let Some(most) = own.iter().filter_map(|(_, role)| rank(role)).min() else {
        return match default.and_then(rank) {
            Some(_) => "role default (none of the client's roles names the label)".into(),
            None => "no role names the label".into(),
        };
    };
    let counted: Vec<(&str, &LabelRule)> = own
        .iter()
        .filter_map(|(name, role)| Some((*name, rule_in(role, label)?)))
        .filter(|(_, rule)| rule.handling.rank() == most)
        .collect();
    let names: Vec<&str> = counted.iter().map(|(name, _)| *name).collect();
    let mut words = format!("{} {}", if names.len() == 1 { "role" } else { "roles" }, names.join(", "));
    let first = counted.first().map(|(_, rule)| &rule.handling);
    if counted.iter().any(|(_, rule)| Some(&rule.handling) != first) {
        words.push_str(" (whose masks differ)");
    }
    if first == Some(&Handling::Tokenize) && counted.iter().all(|(_, rule)| rule.filter() == Filter::None) {
        words.push_str(" (tokenize without `filter: equality`)");
    }
    words.into()
}

fn rule_in<'r>(role: &'r Role, label: &str) -> Option<&'r LabelRule> {
    role.labels.iter().find(|(key, _)| key.text == label).map(|(_, rule)| rule)
}
