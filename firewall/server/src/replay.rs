//! Replays: captured statements, decided under the classification in force and under another.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ringfence_analysis::script::{self, Skipped, What as Left};
use ringfence_engine::World;
use ringfence_policy::ClientEntry;
use ringfence_report::explain::{Explanation, Verdict};
use ringfence_report::replay::{Change, Counts, JudgedBy, Outcome, Recorded, Replay, What};
use ringfence_report::shortened;

use crate::explain;

mod labels;

/// A client under a policy, in a world of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seat<'a> {
    pub(crate) entry: &'a ClientEntry,
    pub(crate) world: &'a World,
}

/// Before and after: `None` where the policy does not know the client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seats<'a> {
    pub(crate) old: Option<Seat<'a>>,
    pub(crate) new: Option<Seat<'a>>,
}

/// Longer files of statements are not replayed by a server.
pub(crate) const LONGEST: usize = 8 << 20;
/// So many unreadable statements are named.
const NAMED: usize = 5;

/// Statements by text, for each of the clients.
pub(crate) fn texts<'a>(sql: &str, clients: &'a [(String, Seats<'a>)]) -> Replay {
    let script = script::split(sql);
    // (text, line, count), in the order of the file.
    let mut distinct: Vec<(&str, usize, u64)> = Vec::new();
    let mut known: HashMap<&str, usize> = HashMap::new();
    for piece in &script.pieces {
        let at = *known.entry(piece.text).or_insert(distinct.len());
        match distinct.get_mut(at) {
            Some((_, _, count)) => *count += 1,
            None => distinct.push((piece.text, piece.line, 1)),
        }
    }
    let mut replay = empty(JudgedBy::Text, distinct.len());
    replay.notes = notes(&script.skipped);
    let mut unread: Vec<usize> = Vec::new();
    for (text, line, count) in distinct {
        for (client, seats) in clients {
            let (old, new) = (decided(seats.old, text), decided(seats.new, text));
            let facts = old.1.as_ref().or(new.1.as_ref());
            if facts.is_some_and(|facts| facts.statements.is_empty()) && unread.last() != Some(&line) {
                unread.push(line);
            }
            let first = facts.and_then(|facts| facts.statements.first());
            let found = Found {
                client,
                fingerprint: first.map_or_else(String::new, |statement| statement.fingerprint.clone()),
                kind: first.map_or_else(String::new, |statement| statement.kind.clone()),
                count,
                line: Some(line),
                text: Some(shortened(text)),
            };
            replay.take(found, compared(&old.0, &new.0), old.0, new.0);
        }
    }
    if !unread.is_empty() {
        let lines: Vec<String> = unread.iter().take(NAMED).map(ToString::to_string).collect();
        let more = if unread.len() > NAMED { ", …" } else { "" };
        replay.notes.push(format!("{} statements could not be read (line {}{more})", unread.len(), lines.join(", ")));
    }
    replay
}

/// Statements by what the audit log says of them.
pub(crate) fn recorded<'a>(all: &[Recorded], seats: impl Fn(&str, &str) -> Seats<'a>) -> Replay {
    let mut replay = empty(JudgedBy::Labels, all.len());
    for one in all {
        let seats = seats(&one.database, &one.client);
        let (old, new, what, why) = labels::judge(one, seats);
        let found = Found {
            client: &one.client,
            fingerprint: one.fingerprint.clone(),
            kind: one.kind.clone(),
            count: one.count,
            line: None,
            text: None,
        };
        replay.take(found, what.map(|what| (what, why)), old, new);
    }
    replay
}

fn empty(judged_by: JudgedBy, statements: usize) -> Replay {
    Replay {
        judged_by,
        statements,
        decisions: 0,
        unchanged: 0,
        counts: Counts::default(),
        changes: Vec::new(),
        notes: Vec::new(),
    }
}

struct Found<'a> {
    client: &'a str,
    fingerprint: String,
    kind: String,
    count: u64,
    line: Option<usize>,
    text: Option<String>,
}

trait Take {
    fn take(&mut self, found: Found<'_>, change: Option<(What, String)>, old: Outcome, new: Outcome);
}

impl Take for Replay {
    fn take(&mut self, found: Found<'_>, change: Option<(What, String)>, old: Outcome, new: Outcome) {
        self.decisions += 1;
        let Some((what, why)) = change else {
            self.unchanged += 1;
            return;
        };
        self.counts.add(what);
        let Found { client, fingerprint, kind, count, line, text } = found;
        self.changes.push(Change {
            what,
            client: client.to_owned(),
            fingerprint,
            kind,
            count,
            line,
            text,
            old,
            new,
            why,
        });
    }
}

/// What becomes of a text on one side.
fn decided(seat: Option<Seat<'_>>, text: &str) -> (Outcome, Option<Explanation>) {
    let Some(seat) = seat else { return (no_client(), None) };
    let explanation = explain::of(seat.entry, seat.world, text);
    (outcome(&explanation), Some(explanation))
}

fn no_client() -> Outcome {
    Outcome {
        decision: String::from("refuse"),
        rule: None,
        message: Some(String::from("the client is not in the classification")),
        handling: BTreeMap::new(),
    }
}

fn outcome(explanation: &Explanation) -> Outcome {
    let refusal = explanation
        .refusal
        .as_ref()
        .or_else(|| explanation.statements.iter().find_map(|statement| statement.refusal.as_ref()));
    let mut handling = BTreeMap::new();
    if explanation.verdict != Verdict::Refuse {
        for (at, statement) in explanation.statements.iter().enumerate() {
            for output in statement.outputs.iter().flatten().filter(|output| !output.labels.is_empty()) {
                let name = match output.name.as_deref() {
                    _ if !output.from.is_empty() => output.from.join(" or "),
                    Some(name) => name.to_owned(),
                    None => format!("column {} of statement {}", output.position, at + 1),
                };
                handling.insert(name, output.handling.clone());
            }
        }
    }
    Outcome {
        decision: explanation.verdict.word().to_owned(),
        rule: refusal.map(|refusal| refusal.rule.clone()),
        message: refusal.map(|refusal| refusal.message.clone()),
        handling,
    }
}

/// The difference, in words.
fn compared(old: &Outcome, new: &Outcome) -> Option<(What, String)> {
    let message = |outcome: &Outcome| outcome.message.clone().unwrap_or_default();
    match (old.decision.as_str(), new.decision.as_str()) {
        ("refuse", "refuse") if old.rule == new.rule => None,
        ("refuse", "refuse") => Some((What::RefusedOtherwise, message(new))),
        ("refuse", _) => Some((What::NewlyAllowed, format!("was: {}", message(old)))),
        (_, "refuse") => Some((What::NewlyRefused, message(new))),
        _ => {
            let difference = differences(&old.handling, &new.handling);
            (!difference.is_empty()).then(|| (What::HandledOtherwise, difference.join("; ")))
        }
    }
}

/// `public.users.email: plain, now tokenize`
fn differences(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<String> {
    let columns: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let word = |side: &BTreeMap<String, String>, column: &String| {
        side.get(column).cloned().unwrap_or_else(|| String::from("untouched"))
    };
    columns
        .into_iter()
        .map(|column| (column, word(old, column), word(new, column)))
        // Who sees it in plain sees no difference.
        .filter(|(_, old, new)| old != new && !(seen(old) && seen(new)))
        .map(|(column, old, new)| format!("{column}: {old}, now {new}"))
        .collect()
}

fn seen(handling: &str) -> bool {
    matches!(handling, "plain" | "untouched")
}

fn notes(skipped: &[Skipped]) -> Vec<String> {
    skipped
        .iter()
        .take(20)
        .map(|Skipped { line, what }| match what {
            Left::Command(name) => format!("line {line}: the psql command {name} was skipped"),
            Left::Data(lines) => format!("line {line}: {lines} rows of COPY were skipped"),
        })
        .collect()
}
