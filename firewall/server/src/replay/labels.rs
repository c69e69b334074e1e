//! Audit lines hold no text, so what another policy makes of a statement is judged by the labels, handlings and tables
//! that its line names. What those do not tell is said to be so.

use std::collections::BTreeMap;

use ringfence_analysis::{Catalog, LabelId, Relation};
use ringfence_policy::explain::words;
use ringfence_policy::{ClientPolicy, Handling, effective_handling};
use ringfence_report::replay::{Outcome, Recorded, What};

use super::{Seat, Seats, differences, no_client};

/// Before (as recorded), after, what changes, and why.
pub(super) fn judge(one: &Recorded, seats: Seats<'_>) -> (Outcome, Outcome, Option<What>, String) {
    let old = before(one);
    let refused = old.decision == "refuse";
    let Some(new) = seats.new else {
        let known = seats.old.is_some();
        return (
            old,
            no_client(),
            known.then_some(What::NewlyRefused),
            String::from("the new classification has no such client"),
        );
    };
    let mut after = Outcome { rule: None, message: None, ..old.clone() };
    if !new.entry.policy.restricted {
        after.decision = String::from("pass");
        after.handling.values_mut().for_each(|handling| *handling = String::from("plain"));
        let what = if refused {
            Some(What::NewlyAllowed)
        } else {
            (old.decision == "handle").then_some(What::HandledOtherwise)
        };
        return (old, after, what, String::from("the client sees every label in plain now"));
    }
    if let Some(relation) = tables(one, new).find(|relation| relation.unclassified)
        && !refused
    {
        after.decision = String::from("refuse");
        after.rule = Some(String::from("unclassified"));
        let why = format!("table {}.{} is not classified", relation.schema, relation.name);
        return (old, after, Some(What::NewlyRefused), why);
    }
    let doubts = doubts(one, seats.old, new);
    if refused {
        // One more reason may stand behind the one that was recorded.
        let what = (!doubts.is_empty()).then_some(What::Uncertain);
        if what.is_some() {
            after.decision = String::from("?");
        } else {
            after.rule.clone_from(&old.rule);
        }
        return (old, after, what, doubts.join("; "));
    }
    after.handling = handled(one, new);
    if let Some((column, _)) = after.handling.iter().find(|(_, handling)| *handling == "refuse") {
        let why = format!("{column} is refused");
        after.decision = String::from("refuse");
        after.rule = Some(String::from("handling"));
        return (old, after, Some(What::NewlyRefused), why);
    }
    // Only what was a result column, and is one of a label whose other rights are as they were, is certain.
    let handled = differences(&short(&old.handling), &short(&after.handling));
    if !doubts.is_empty() {
        after.decision = String::from("?");
        let why = handled.into_iter().chain(doubts).collect::<Vec<_>>().join("; ");
        return (old, after, Some(What::Uncertain), why);
    }
    if handled.is_empty() {
        return (old, after, None, String::new());
    }
    (old, after, Some(What::HandledOtherwise), handled.join("; "))
}

fn before(one: &Recorded) -> Outcome {
    let decision = match one.verdict.as_str() {
        "refused" => "refuse",
        "handled" => "handle",
        "failed" => "failed",
        _ => "pass",
    };
    Outcome { decision: decision.to_owned(), rule: one.rule.clone(), message: None, handling: one.handling.clone() }
}

/// What the new policy makes of the columns that were handled.
fn handled(one: &Recorded, new: Seat<'_>) -> BTreeMap<String, String> {
    let of = |name: &String| {
        let (table, column) = name.rsplit_once('.')?;
        let column = relation(&new.world.catalog, table)?.column(column)?;
        Some(match column.label {
            None => String::from("untouched"),
            Some(label) => words(effective_handling(&new.entry.policy, label, &new.world.catalog, column.type_oid)),
        })
    };
    one.handling.keys().map(|name| (name.clone(), of(name).unwrap_or_else(|| String::from("?")))).collect()
}

/// The log says `mask`, a policy `mask last4`.
fn short(handling: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let word = |text: &String| text.split(' ').next().unwrap_or_default().to_owned();
    handling.iter().map(|(column, handling)| (column.clone(), word(handling))).collect()
}

/// Differences that may matter, and of which the line does not say whether they do.
fn doubts(one: &Recorded, old: Option<Seat<'_>>, new: Seat<'_>) -> Vec<String> {
    let mut doubts = Vec::new();
    for name in &one.labels {
        let policy = |seat: Seat<'_>| {
            let policy = &seat.entry.policy;
            policy.labels.iter().find(|label| *label.name == **name).cloned()
        };
        match (old.and_then(policy), policy(new)) {
            (_, None) => doubts.push(format!("label {name} is no more")),
            (None, Some(_)) => doubts.push(format!("label {name} was not there")),
            (Some(before), Some(after)) => {
                if before.allow != after.allow {
                    doubts.push(format!("the permissions on label {name} change"));
                }
                if before.filter != after.filter {
                    doubts.push(format!("`filter` of label {name} changes"));
                }
                if before.derived_drop != after.derived_drop {
                    doubts.push(format!("`derived` of label {name} changes"));
                }
                let plain = |handling: &Handling| *handling == Handling::Plain;
                if plain(&before.handling) != plain(&after.handling) {
                    doubts.push(format!(
                        "label {name}: {}, now {}; whether it stands in an expression or a predicate is not recorded",
                        words(&before.handling),
                        words(&after.handling)
                    ));
                }
            }
        }
    }
    for relation in tables(one, new) {
        let had = old.and_then(|seat| seat.world.catalog.by_oid(relation.oid));
        let labels = |relation: &Relation, policy: &ClientPolicy| -> Vec<String> {
            let labels = relation.columns.iter().filter_map(|column| Some((column.name.clone(), column.label?)));
            labels.map(|(column, label): (_, LabelId)| format!("{column} ({})", policy.label_name(label))).collect()
        };
        let before = old.zip(had).map(|(seat, had)| labels(had, &seat.entry.policy)).unwrap_or_default();
        let added: Vec<String> =
            labels(relation, &new.entry.policy).into_iter().filter(|column| !before.contains(column)).collect();
        if !added.is_empty() {
            doubts.push(format!("labels of {}.{} are new: {}", relation.schema, relation.name, added.join(", ")));
        }
    }
    doubts
}

fn tables<'a>(one: &'a Recorded, seat: Seat<'a>) -> impl Iterator<Item = &'a Relation> {
    one.tables.iter().filter_map(move |name| relation(&seat.world.catalog, name)).filter(|relation| !relation.system)
}

/// By `schema.name`; either may hold dots.
fn relation<'a>(catalog: &'a Catalog, name: &str) -> Option<&'a Relation> {
    name.match_indices('.').find_map(|(at, _)| {
        let (schema, rest) = (name.get(..at)?, name.get(at + 1..)?);
        catalog.by_name(rest).find(|relation| &*relation.schema == schema)
    })
}
