//! Which of a client's roles a label's handling comes from, in words.

use std::sync::Arc;

use ringfence_analysis::builtin;

use crate::raw::Role;

/// Index = `LabelId`; built-in labels are nobody's gift. The rules are those of `policy::merge`.
pub(crate) fn by(labels: &[Arc<str>], own: &[(&str, &Role)], default: Option<&Role>) -> Vec<Box<str>> {
    labels
        .iter()
        .enumerate()
        .map(|(at, label)| if at < builtin::NAMES.len() { "built in".into() } else { of(label, own, default) })
        .collect()
}

fn of(label: &str, own: &[(&str, &Role)], default: Option<&Role>) -> Box<str> {
    let rank =
        |role: &Role| role.labels.iter().find(|(key, _)| key.text == label).map(|(_, rule)| rule.handling.rank());
    let Some(most) = own.iter().filter_map(|(_, role)| rank(role)).min() else {
        return match default.and_then(rank) {
            Some(_) => "role default (none of the client's roles names the label)".into(),
            None => "no role names the label".into(),
        };
    };
    let names: Vec<&str> = own.iter().filter(|(_, role)| rank(role) == Some(most)).map(|(name, _)| *name).collect();
    format!("{} {}", if names.len() == 1 { "role" } else { "roles" }, names.join(", ")).into()
}
