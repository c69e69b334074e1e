//! Audit lines hold no text, so what another policy makes of a statement is judged by the labels, handlings and tables
//! that its line names. What those do not tell is said to be so.

use std::collections::BTreeMap;

use ringfence_analysis::{Catalog, Relation};
use ringfence_policy::explain::words;
use ringfence_policy::{Allow, Handling, LabelPolicy, effective_handling};
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
    let doubts = doubts(one, seats.old, new, refused);
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

/// A difference that may matter, and of which the line does not say whether it does.
struct Doubt {
    about: About,
    text: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    Filter,
    Derived,
    Allow,
    Handling,
    Columns,
}

/// What in the policies' difference could turn this statement's decision round.
fn doubts(one: &Recorded, old: Option<Seat<'_>>, new: Seat<'_>, refused: bool) -> Vec<String> {
    let mut found = Vec::new();
    for name in &one.labels {
        let policy = |seat: Seat<'_>| seat.entry.policy.labels.iter().find(|label| *label.name == **name).cloned();
        match (old.and_then(policy), policy(new)) {
            (_, None) => found.push(Doubt { about: About::Handling, text: format!("label {name} is no more") }),
            (None, Some(_)) => {
                found.push(Doubt { about: About::Handling, text: format!("label {name} was not there") })
            }
            // What was refused can only be let through by more rights, and the other way round.
            (Some(before), Some(after)) if refused => widened(name, &before, &after, &mut found),
            (Some(before), Some(after)) => widened(name, &after, &before, &mut found),
        }
    }
    if !refused {
        found.extend(new_labels(one, old, new));
    }
    let rule = one.rule.as_deref().filter(|_| refused);
    found.into_iter().filter(|doubt| rule.is_none_or(|rule| concerns(rule, doubt.about))).map(|d| d.text).collect()
}

/// Rights on a label that `more` has and `less` has not.
fn widened(name: &str, less: &LabelPolicy, more: &LabelPolicy, found: &mut Vec<Doubt>) {
    let mut doubt = |about, text| found.push(Doubt { about, text });
    let gained = |has: fn(Allow) -> bool| has(more.allow) && !has(less.allow);
    let rights: [fn(Allow) -> bool; 7] =
        [|a| a.read, |a| a.insert, |a| a.update, |a| a.delete, |a| a.copy, |a| a.ddl, |a| a.explain];
    if rights.into_iter().any(gained) {
        doubt(About::Allow, format!("the permissions on label {name} change"));
    }
    if more.filter > less.filter {
        doubt(About::Filter, format!("`filter` of label {name} changes"));
    }
    if more.derived_drop && !less.derived_drop {
        doubt(About::Derived, format!("`derived` of label {name} changes"));
    }
    if more.handling == Handling::Plain && less.handling != Handling::Plain {
        doubt(About::Handling, format!("label {name} is plain for the client on one side only"));
    }
}

/// Whether a refusal by this rule could go away by such a difference.
fn concerns(rule: &str, about: About) -> bool {
    match rule {
        "filter" => matches!(about, About::Filter | About::Handling),
        "derived" | "combined" => matches!(about, About::Derived | About::Handling),
        "handling" | "ddl" | "copy" => matches!(about, About::Allow | About::Handling),
        "function" | "admin" | "setting" | "statement-kind" | "protocol" | "parser" | "limit" | "audit"
        | "shadowed-name" | "unknown-name" | "unknown-relation" => false,
        _ => about == About::Handling,
    }
}

/// Columns that have a label only now: the line does not say whether the statement reaches them.
fn new_labels(one: &Recorded, old: Option<Seat<'_>>, new: Seat<'_>) -> Vec<Doubt> {
    let mut found = Vec::new();
    for relation in tables(one, new) {
        let had = old.and_then(|seat| relation_in(&seat.world.catalog, relation));
        let added: Vec<String> = relation
            .columns
            .iter()
            .filter_map(|column| Some((column, column.label?)))
            .filter(|(column, _)| had.and_then(|had| had.column(&column.name)).is_none_or(|c| c.label.is_none()))
            .map(|(column, label)| format!("{} ({})", column.name, new.entry.policy.label_name(label)))
            .collect();
        if !added.is_empty() {
            let text = format!("labels of {}.{} are new: {}", relation.schema, relation.name, added.join(", "));
            found.push(Doubt { about: About::Columns, text });
        }
    }
    found
}

fn relation_in<'a>(catalog: &'a Catalog, other: &Relation) -> Option<&'a Relation> {
    catalog.by_name(&other.name).find(|relation| relation.schema == other.schema)
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

#[cfg(test)]
mod tests {
    use super::About;
    use super::concerns;

    #[test]
    fn what_no_label_excuses_stays_refused() {
        for about in [About::Filter, About::Derived, About::Allow, About::Handling, About::Columns] {
            assert!(!concerns("function", about) && !concerns("admin", about));
        }
        assert!(concerns("filter", About::Filter) && !concerns("derived", About::Filter));
    }

    #[test]
    fn every_rule_by_name_is_known_to_the_analysis() {
        let names: Vec<&str> = ringfence_analysis::facts::Rule::ALL.iter().map(|rule| rule.name()).collect();
        for rule in [
            "filter",
            "derived",
            "combined",
            "handling",
            "ddl",
            "copy",
            "function",
            "admin",
            "setting",
            "statement-kind",
            "protocol",
            "parser",
            "limit",
            "audit",
            "shadowed-name",
            "unknown-name",
            "unknown-relation",
        ] {
            assert!(names.contains(&rule), "{rule}");
        }
    }
}
