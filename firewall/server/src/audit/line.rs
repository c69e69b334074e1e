//! One event to one line of JSON. Names, counts and verdicts; never a value, never a literal of the text.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use ringfence_analysis::facts::Statement;
use ringfence_analysis::{Catalog, ColumnId, LabelId};

use super::clock::Clock;
use crate::shared::ConnectionContext;
use ringfence_engine::{Event, Plan, Verdict};

/// How the numbers of a plan are called: relations by OID, labels by number.
#[derive(Debug, Clone)]
pub struct Names {
    pub catalog: Arc<Catalog>,
    pub labels: Arc<[Arc<str>]>,
}

/// Finds the names for the plans of one world.
pub trait NameSource: Send + Sync {
    /// `None`: that world is long gone.
    fn names(&self, world: u64) -> Option<Names>;
    /// The newest of a database, for events without a plan.
    fn newest(&self, database: &str) -> Option<Names>;
}

/// What all lines of a connection say about it, made once.
fn who(context: &ConnectionContext) -> &str {
    context.audit_prefix.get_or_init(|| {
        let mut out = String::with_capacity(200);
        key(&mut out, "client", &context.client);
        key(&mut out, "kid", &context.kid);
        key(&mut out, "address", &context.address.to_string());
        key(&mut out, "database", &context.database);
        key(&mut out, "upstream_login", &context.upstream_login);
        number(&mut out, "connection", u64::from(context.id));
        out.into()
    })
}

/// A statement's line. `names` is asked only if something has a name.
pub(super) fn statement(
    out: &mut String,
    clock: &mut Clock,
    now: Instant,
    context: &ConnectionContext,
    event: &Event,
    names: impl FnOnce() -> Option<Names>,
) {
    begin(out, clock, now, "statement");
    out.push_str(who(context));
    number(out, "upstream_pid", u64::try_from(context.upstream_pid()).unwrap_or(0));
    out.push_str(",\"fingerprint\":\"");
    hex(out, event.fingerprint);
    out.push('"');
    let plain = event.handled.is_empty() && event.detections.is_empty();
    match event.plan.as_deref() {
        // The same for every statement with that plan.
        Some(plan) if plain && event.statement == 0 => match plan.note.get() {
            Some(note) => out.push_str(note),
            None => {
                let from = out.len();
                let names = names();
                described(out, Some(plan), event, names.as_ref());
                if names.is_some() {
                    let _ = plan.note.set(out.get(from..).unwrap_or_default().into());
                }
            }
        },
        None if plain => {}
        plan => described(out, plan, event, names().as_ref()),
    }
    number(out, "rows", event.rows);
    match event.verdict {
        Verdict::Passed => out.push_str(",\"verdict\":\"passed\""),
        Verdict::Handled => key(out, "verdict", "handled"),
        Verdict::Refused(rule) => {
            key(out, "verdict", "refused");
            key(out, "rule", rule.name());
        }
        Verdict::Observed(rule) => {
            key(out, "verdict", "observed");
            key(out, "rule", rule.name());
        }
        Verdict::Failed(state) => {
            key(out, "verdict", "failed");
            key(out, "sqlstate", std::str::from_utf8(&state).unwrap_or("?????"));
        }
    }
    number(out, "duration_us", u64::try_from(event.duration.as_micros()).unwrap_or(u64::MAX));
    out.push_str("}\n");
}

/// Kind, tables, labels, and what was done to labelled columns.
fn described(out: &mut String, plan: Option<&Plan>, event: &Event, names: Option<&Names>) {
    let facts = plan.and_then(|plan| plan.statement(event.statement));
    if let Some(facts) = facts {
        key(out, "kind", facts.verb);
        tables(out, facts, names);
    }
    labels(out, facts, event, names);
    if !event.handled.is_empty() {
        handling(out, event, names);
    }
    if !event.detections.is_empty() {
        detections(out, event, names);
    }
}

/// The line of a connection that began or ended.
pub(super) fn connection(
    out: &mut String,
    clock: &mut Clock,
    now: Instant,
    what: &str,
    context: &ConnectionContext,
    reason: Option<&str>,
) {
    begin(out, clock, now, what);
    out.push_str(who(context));
    if let Some(reason) = reason {
        key(out, "reason", reason);
    }
    out.push_str("}\n");
}

/// A failed login: the name as it was given, cut.
pub(super) fn login_failed(
    out: &mut String,
    clock: &mut Clock,
    now: Instant,
    login: &str,
    address: SocketAddr,
    reason: &str,
) {
    begin(out, clock, now, "login_failed");
    let cut: String = login.chars().take(64).collect();
    key(out, "login", &cut);
    key(out, "address", &address.to_string());
    key(out, "reason", reason);
    out.push_str("}\n");
}

/// An administrator's act.
pub(super) fn admin(out: &mut String, clock: &mut Clock, now: Instant, action: &str, client: &str, kids: &[Arc<str>]) {
    begin(out, clock, now, "admin");
    key(out, "action", action);
    key(out, "client", client);
    out.push_str(",\"kids\":");
    list(out, kids.iter().map(|k| &**k));
    out.push_str("}\n");
}

fn begin(out: &mut String, clock: &mut Clock, now: Instant, event: &str) {
    out.push_str("{\"time\":\"");
    clock.write(out, now);
    out.push_str("\",\"event\":\"");
    out.push_str(event);
    out.push('"');
}

fn tables(out: &mut String, facts: &Statement, names: Option<&Names>) {
    if facts.relations.is_empty() {
        return;
    }
    let mut oids: Vec<u32> = facts.relations.iter().map(|r| r.oid).collect();
    oids.sort_unstable();
    oids.dedup();
    out.push_str(",\"tables\":");
    list(out, oids.iter().map(|&oid| relation_name(names, oid)));
}

fn labels(out: &mut String, facts: Option<&Statement>, event: &Event, names: Option<&Names>) {
    let mut found: Vec<LabelId> = event.handled.iter().map(|h| h.label).collect();
    found.extend(facts.into_iter().flat_map(|f| f.columns.iter().map(|c| c.label)));
    found.sort_unstable();
    found.dedup();
    if !found.is_empty() {
        out.push_str(",\"labels\":");
        list(out, found.iter().map(|&label| label_name(names, label)));
    }
}

fn handling(out: &mut String, event: &Event, names: Option<&Names>) {
    out.push_str(",\"handling\":{");
    let mut written: Vec<ColumnId> = Vec::new();
    for column in event.handled.iter() {
        // An expression over labels has no column to name.
        if column.column.relation == 0 || written.contains(&column.column) {
            continue;
        }
        if !written.is_empty() {
            out.push(',');
        }
        written.push(column.column);
        string(out, &column_name(names, column.column));
        out.push(':');
        string(out, column.handling);
    }
    out.push('}');
}

/// What was found where nobody has labelled anything: `{"column":…,"looks_like":"pan","rows":3}`.
fn detections(out: &mut String, event: &Event, names: Option<&Names>) {
    out.push_str(",\"detected\":[");
    for (at, found) in event.detections.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str("{\"column\":");
        match found.column {
            Some(column) => string(out, &column_name(names, column)),
            None => string(out, &format!("result column {}", found.position + 1)),
        }
        key(out, "looks_like", found.shape.name());
        number(out, "rows", found.rows);
        out.push('}');
    }
    out.push(']');
}

fn relation_name(names: Option<&Names>, oid: u32) -> String {
    match names.and_then(|n| n.catalog.by_oid(oid)) {
        Some(relation) => format!("{}.{}", relation.schema, relation.name),
        None => format!("oid {oid}"),
    }
}

fn column_name(names: Option<&Names>, id: ColumnId) -> String {
    let table = relation_name(names, id.relation);
    match names.and_then(|n| n.catalog.column(id)) {
        Some(column) => format!("{table}.{}", column.name),
        None => format!("{table}.{}", id.attnum),
    }
}

fn label_name(names: Option<&Names>, label: LabelId) -> String {
    match names.and_then(|n| n.labels.get(usize::from(label.0))) {
        Some(name) => name.to_string(),
        None => format!("label {}", label.0),
    }
}

fn list<T: AsRef<str>>(out: &mut String, items: impl Iterator<Item = T>) {
    out.push('[');
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.push(',');
        }
        string(out, item.as_ref());
    }
    out.push(']');
}

fn key(out: &mut String, name: &str, value: &str) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
    string(out, value);
}

fn number(out: &mut String, name: &str, value: u64) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
    out.push_str(itoa::Buffer::new().format(value));
}

/// A JSON string; control characters escaped, so that no name can forge a line.
fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c < ' ' || c == '\u{7f}' || c == '\u{2028}' || c == '\u{2029}' => {
                out.push_str("\\u");
                let code = u32::from(c);
                for shift in [12, 8, 4, 0] {
                    out.push(char::from_digit((code >> shift) & 15, 16).unwrap_or('0'));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn hex(out: &mut String, value: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 16];
    for (at, digit) in text.iter_mut().enumerate() {
        let nibble = (value >> (60 - 4 * at)) & 15;
        *digit = DIGITS.get(usize::try_from(nibble).unwrap_or(0)).copied().unwrap_or(b'0');
    }
    out.push_str(std::str::from_utf8(&text).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use std::sync::OnceLock;
    use std::sync::atomic::AtomicI32;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_is_json_whatever_the_names() {
        let context = ConnectionContext {
            id: 7,
            client: "we\"ird\n\u{1}".into(),
            kid: "k3f9x2aa".into(),
            address: "127.0.0.1:5".parse().unwrap(),
            database: "ba\\nk".into(),
            upstream_login: "app".into(),
            upstream_pid: AtomicI32::new(42),
            application_name: "psql".into(),
            tls: true,
            audit_prefix: OnceLock::new(),
        };
        let event = Event {
            plan: None,
            statement: 0,
            fingerprint: 0xab,
            rows: 3,
            verdict: Verdict::Failed(*b"42P01"),
            handled: Arc::new([]),
            detections: Arc::new([]),
            duration: Duration::from_micros(17),
        };
        let mut out = String::new();
        statement(&mut out, &mut Clock::default(), Instant::now(), &context, &event, || None);
        let line: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(line["client"], "we\"ird\n\u{1}");
        assert_eq!(line["database"], "ba\\nk");
        assert!(line["time"].as_str().is_some_and(|time| time.len() == 27 && time.ends_with('Z')));
        assert_eq!(line["fingerprint"], "00000000000000ab");
        assert_eq!(line["sqlstate"], "42P01");
        assert_eq!(line["upstream_pid"], 42);
        assert_eq!(out.matches('\n').count(), 1);
    }
}
