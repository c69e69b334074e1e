//! A client's roles to one policy.
//!
//! For each label the most permissive handling among the roles that name it counts, else the role `default`'s, else
//! refuse. A limit (rows, values, kinds of statements) that one of the roles states holds, even if another states none;
//! of several the most permissive counts.

use std::sync::Arc;

use ringfence_analysis::builtin;

use crate::budget::Limit;
use crate::decide::{Allow, LabelPolicy};
use crate::handling::Handling;
use crate::kinds::Word;
use crate::raw::{Action, Derived, Filter, LabelRule, Role};

/// All that a client has by its roles.
pub(crate) struct Merged {
    /// Built-in labels, declared ones, and those of values computed from them.
    pub(crate) labels: Vec<LabelPolicy>,
    pub(crate) restricted: bool,
    pub(crate) rows_per_hour: Option<Limit>,
    pub(crate) statements: Option<Box<[Word]>>,
    /// Labels whose roles have different masks, equally permissive.
    pub(crate) masks_met: Vec<Arc<str>>,
}

/// A role and its name.
type Named<'r> = (&'r str, &'r Role);

/// `labels`: all names by number, the built-in ones first.
pub(crate) fn roles(labels: &[Arc<str>], own: &[Named<'_>], default: Option<Named<'_>>) -> Merged {
    let mut masks_met = Vec::new();
    let declared: Vec<LabelPolicy> = labels
        .iter()
        .skip(builtin::NAMES.len())
        .map(|name| {
            let mut rules = rules(name, own.iter().copied());
            if rules.is_empty() {
                rules = self::rules(name, default.into_iter());
            }
            one_label(name, &rules, &mut masks_met)
        })
        .collect();
    let rows_per_hour =
        largest(own.iter().filter_map(|(name, role)| Some((*name, role.rows_per_hour.as_ref()?.value))));
    let statements = statements(own);
    let restricted =
        rows_per_hour.is_some() || statements.is_some() || declared.iter().any(|label| !label.is_unlimited());
    let builtin = labels
        .iter()
        .take(builtin::NAMES.len())
        .map(|name| if restricted { LabelPolicy::refused(name) } else { LabelPolicy::unlimited(name) });
    let computed = declared.iter().map(LabelPolicy::computed);
    Merged {
        labels: builtin.chain(declared.iter().cloned()).chain(computed).collect(),
        restricted,
        rows_per_hour,
        statements,
        masks_met,
    }
}

/// What the roles that name the label say of it.
fn rules<'r>(label: &str, roles: impl Iterator<Item = Named<'r>>) -> Vec<(&'r str, &'r LabelRule)> {
    roles
        .filter_map(|(name, role)| {
            let (_, rule) = role.labels.iter().find(|(key, _)| key.text == label)?;
            Some((name, rule))
        })
        .collect()
}

/// One label over a client's roles.
///
/// What shows values (read, copy, explain) comes only from the roles with the handling that counts: a role that may copy
/// a dropped column must not let another role's plain values be copied. What changes values (insert, update, delete,
/// ddl), `filter` and `derived` come from any of them.
fn one_label(name: &Arc<str>, rules: &[(&str, &LabelRule)], masks_met: &mut Vec<Arc<str>>) -> LabelPolicy {
    let Some(most) = rules.iter().map(|(_, rule)| &rule.handling).min() else {
        return LabelPolicy::refused(name);
    };
    let meet = matches!(most, Handling::Mask(_))
        && rules.iter().any(|(_, rule)| matches!(rule.handling, Handling::Mask(_)) && rule.handling != *most);
    if meet {
        masks_met.push(Arc::clone(name));
    }
    let mut merged = LabelPolicy {
        handling: if meet { Handling::Drop } else { most.clone() },
        allow: Allow::default(),
        values_per_hour: largest(
            rules.iter().filter_map(|(role, rule)| Some((*role, rule.values_per_hour.as_ref()?.value))),
        ),
        ..LabelPolicy::refused(name)
    };
    for (_, rule) in rules {
        let own = rule.allow();
        merged.allow.insert |= own.insert;
        merged.allow.update |= own.update;
        merged.allow.delete |= own.delete;
        merged.allow.ddl |= own.ddl;
        if rule.handling.rank() == most.rank() {
            merged.allow.read |= own.read;
            merged.allow.copy |= own.copy;
            merged.allow.explain |= own.explain;
        }
        merged.update_stated |= rule.allow.is_some() && own.update;
        merged.derived_drop |= rule.derived.as_ref().is_some_and(|derived| derived.value == Derived::Drop);
        merged.filter = merged.filter.max(rule.filter());
    }
    // Whoever may not compare gets tokens that cannot be compared: a value that the client stores itself would
    // otherwise have the token of everybody's equal one (soundness 2).
    if merged.handling == Handling::Tokenize && merged.filter == Filter::None {
        merged.handling = Handling::Encrypt;
    }
    merged
}

fn largest<'r>(limits: impl Iterator<Item = (&'r str, u64)>) -> Option<Limit> {
    let (role, most) = limits.max_by_key(|(_, most)| *most)?;
    Some(Limit { most, role: role.into() })
}

fn statements(own: &[Named<'_>]) -> Option<Box<[Word]>> {
    let stated: Vec<&Vec<Word>> = own.iter().filter_map(|(_, role)| role.statements.as_ref()).collect();
    if stated.is_empty() {
        return None;
    }
    let mut words: Vec<Word> = stated.into_iter().flatten().copied().collect();
    words.sort_unstable();
    words.dedup();
    Some(words.into())
}

impl LabelRule {
    pub(crate) fn filter(&self) -> Filter {
        match (&self.filter, &self.handling) {
            (Some(filter), _) => filter.value,
            (None, Handling::Plain) => Filter::Any,
            (None, _) => Filter::None,
        }
    }

    /// As written, else by handling. Written-back handled values destroy data, so `update` is on only where the value
    /// shown is the value stored, or is recognised when it comes back (`rf1_` tokens).
    fn allow(&self) -> Allow {
        let Some(actions) = &self.allow else {
            return Allow {
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
