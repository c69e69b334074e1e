//! Golden cases: a statement, and the facts that a person expects of it. `tests/golden/README.md` describes the format.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use common::Bank;
use ringfence_analysis::facts::{Effect, Output, Statement, Use};
use ringfence_analysis::{ColumnId, LabelId, analyse};

#[test]
fn golden() {
    let bank = Bank::load();
    let mut failures = String::new();
    let mut count = 0;
    for (file, text) in common::case_files() {
        for case in text.split("\n== ").skip(1) {
            let (title, rest) = case.split_once('\n').unwrap();
            let (sql, expected) = rest.split_once("\n--\n").unwrap_or_else(|| panic!("{file}: {title}: no --"));
            count += 1;
            let expected: Vec<&str> =
                expected.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
            let got = describe(&bank, sql);
            if let Err(why) = compare(&expected, &got) {
                let got = got.join("\n    ");
                writeln!(failures, "{file}: {title}\n  {sql}\n  expected {expected:?}\n    {got}\n  {why}\n").unwrap();
            }
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
    assert!(count >= 400, "{count} cases");
}

/// Facts of a text as lines.
fn describe(bank: &Bank, sql: &str) -> Vec<String> {
    let analysis = match analyse(sql, &bank.catalog, &bank.session) {
        Ok(analysis) => analysis,
        Err(error) => {
            let at = error.position.map_or_else(|| "?".into(), |p| p.to_string());
            return vec![format!("error {} at {at}", error.sqlstate)];
        }
    };
    let mut lines = Vec::new();
    if analysis.setting_dependent {
        lines.push("~setting dependent".into());
    }
    for (index, statement) in analysis.statements.iter().enumerate() {
        if index > 0 {
            lines.push(";".into());
        }
        statement_lines(bank, statement, &mut lines);
    }
    lines
}

fn statement_lines(bank: &Bank, statement: &Statement, lines: &mut Vec<String>) {
    let column = |id: ColumnId| {
        let relation = bank.catalog.by_oid(id.relation).unwrap();
        format!("{}.{}", relation.name, bank.catalog.column(id).unwrap().name)
    };
    let label = |label: LabelId| bank.label_name(label);
    if statement.columns.is_empty() && statement.violations.is_empty() {
        lines.push("pass".into());
    }
    for used in &statement.columns {
        lines.push(match &used.how {
            Use::Output => format!("output {}", column(used.column)),
            Use::Stored(_) => format!("store {}", column(used.column)),
            Use::Derived { droppable, at } => {
                format!(
                    "derived {} {}{}",
                    column(used.column),
                    at.construct,
                    if *droppable { " droppable" } else { "" }
                )
            }
            Use::Filter { needs, at } => format!("filter {needs:?} {} {}", column(used.column), at.construct),
            Use::Violation(v) => {
                format!("refuse {:?} {} {}", v.rule, column(used.column), v.construct)
            }
        });
    }
    for v in &statement.violations {
        lines.push(format!("refuse {:?} - {}", v.rule, v.construct));
    }
    for unknown in &statement.unknown {
        lines.push(format!("unknown {unknown}"));
    }
    for (number, id, _) in &statement.stored_parameters {
        lines.push(format!("parameter ${number} {}", column(*id)));
    }
    lines.push(match &statement.outputs {
        None => "~outputs unknown".into(),
        Some(outputs) => format!(
            "~outputs {}",
            outputs
                .iter()
                .map(|output| match output {
                    Output::Free => "free".into(),
                    Output::Bare(set) => {
                        let set: Vec<_> = set.iter().map(|(c, _)| column(*c)).collect();
                        format!("bare({})", set.join("|"))
                    }
                    Output::Carried(set) => {
                        let set: Vec<_> = set.iter().map(|(c, _)| column(*c)).collect();
                        format!("carried({})", set.join("|"))
                    }
                    Output::Derived { labels, droppable } => {
                        let set: Vec<_> = labels.iter().map(|l| label(*l)).collect();
                        format!("derived({}){}", set.join(","), if *droppable { "?" } else { "" })
                    }
                    Output::CatalogText => "text".into(),
                })
                .collect::<Vec<_>>()
                .join(" ")
        ),
    });
    lines.push(format!("~kind {:?}", statement.kind));
    lines.push(format!("~verb {}", statement.verb));
    if let Effect::Catalog { creates } = &statement.effect {
        let names: Vec<_> = creates.iter().map(|created| &created.name).collect();
        lines.push(format!("~effect Catalog {{ creates: {names:?} }}"));
        for created in creates {
            for of in created.columns.iter().flatten() {
                let set: Vec<_> = of.columns.iter().map(|(c, _)| column(*c)).collect();
                lines.push(format!("~creates {}.{} {}", created.name, of.name, set.join("|")).trim_end().to_owned());
            }
        }
    } else {
        lines.push(format!("~effect {:?}", statement.effect));
    }
    if statement.unexplained {
        lines.push("~unexplained".into());
    }
    if statement.writes {
        lines.push("~writes".into());
    }
    if statement.taints {
        lines.push("~taints".into());
    }
}

/// Compares statement by statement. Lines with `~` count only if the case mentions them (without it); all others must
/// be exactly those. A line matches every fact that begins with it; `not …` says that an optional fact is absent.
fn compare(expected: &[&str], got: &[String]) -> Result<(), String> {
    let got: Vec<&str> = got.iter().map(String::as_str).collect();
    let expected: Vec<&[&str]> = expected.split(|line| *line == ";").collect();
    let got: Vec<&[&str]> = got.split(|line| *line == ";").collect();
    if expected.len() != got.len() {
        return Err(format!("{} statements", got.len()));
    }
    expected.iter().zip(got).try_for_each(|(expected, got)| compare_one(expected, got))
}

fn compare_one(expected: &[&str], got: &[&str]) -> Result<(), String> {
    let facts: BTreeSet<&str> = got.iter().copied().filter(|l| !l.starts_with('~')).collect();
    let optional: BTreeSet<&str> = got.iter().filter_map(|l| l.strip_prefix('~')).collect();
    let mut left = facts.clone();
    for line in expected {
        if let Some(absent) = line.strip_prefix("not ") {
            if optional.contains(absent) {
                return Err(format!("unwanted: {absent}"));
            }
            continue;
        }
        if optional.contains(line) {
            continue;
        }
        let begins =
            |l: &&str| l.strip_prefix(line).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '.']));
        let matching: Vec<&str> = facts.iter().copied().filter(begins).collect();
        if matching.is_empty() {
            return Err(format!("missing: {line}"));
        }
        for line in matching {
            left.remove(line);
        }
    }
    if left.is_empty() { Ok(()) } else { Err(format!("unexpected: {left:?}")) }
}
