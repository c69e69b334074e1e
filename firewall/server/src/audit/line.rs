//! One event to one line of JSON. Names, counts and verdicts; never a value, never a literal of the text.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use ringfence_analysis::facts::Statement;
use ringfence_analysis::{Catalog, ColumnId, LabelId};

use crate::shared::ConnectionContext;
use ringfence_engine::{Event, Verdict};

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

/// What all lines of a connection begin with, after the time.
pub(super) fn prefix(context: &ConnectionContext) -> String {
    let mut out = String::with_capacity(200);
    key(&mut out, "client", &context.client);
    key(&mut out, "kid", &context.kid);
    key(&mut out, "address", &context.address.to_string());
    key(&mut out, "database", &context.database);
    key(&mut out, "upstream_login", &context.upstream_login);
    number(&mut out, "connection", u64::from(context.id));
    out
}

/// A statement's line.
pub(super) fn statement(
    out: &mut String,
    clock: &mut Clock,
    time: SystemTime,
    prefix: &str,
    pid: i32,
    event: &Event,
    names: Option<&Names>,
) {
    begin(out, clock, time, "statement");
    out.push_str(prefix);
    number(out, "upstream_pid", u64::try_from(pid).unwrap_or(0));
    out.push_str(",\"fingerprint\":\"");
    hex(out, event.fingerprint);
    out.push('"');
    let plan = event.plan.as_deref();
    let facts = plan.and_then(|plan| plan.statement(event.statement));
    if let Some(facts) = facts {
        key(out, "kind", facts.verb);
        tables(out, facts, names);
    }
    labels(out, facts, event, names);
    if !event.handled.is_empty() {
        handling(out, event, names);
    }
    number(out, "rows", event.rows);
    match event.verdict {
        Verdict::Passed => key(out, "verdict", "passed"),
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

/// The line of a connection that began or ended.
pub(super) fn connection(
    out: &mut String,
    clock: &mut Clock,
    time: SystemTime,
    what: &str,
    prefix: &str,
    reason: Option<&str>,
) {
    begin(out, clock, time, what);
    out.push_str(prefix);
    if let Some(reason) = reason {
        key(out, "reason", reason);
    }
    out.push_str("}\n");
}

/// A failed login: the name as it was given, cut.
pub(super) fn login_failed(
    out: &mut String,
    clock: &mut Clock,
    time: SystemTime,
    login: &str,
    address: SocketAddr,
    reason: &str,
) {
    begin(out, clock, time, "login_failed");
    let cut: String = login.chars().take(64).collect();
    key(out, "login", &cut);
    key(out, "address", &address.to_string());
    key(out, "reason", reason);
    out.push_str("}\n");
}

/// An administrator's act.
pub(super) fn admin(
    out: &mut String,
    clock: &mut Clock,
    time: SystemTime,
    action: &str,
    client: &str,
    kids: &[Arc<str>],
) {
    begin(out, clock, time, "admin");
    key(out, "action", action);
    key(out, "client", client);
    out.push_str(",\"kids\":");
    list(out, kids.iter().map(|k| &**k));
    out.push_str("}\n");
}

fn begin(out: &mut String, clock: &mut Clock, time: SystemTime, event: &str) {
    out.push_str("{\"time\":\"");
    clock.write(out, time);
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
        if written.contains(&column.column) {
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
    for shift in (0..16).rev() {
        let digit = u32::try_from((value >> (shift * 4)) & 15).unwrap_or(0);
        out.push(char::from_digit(digit, 16).unwrap_or('0'));
    }
}

/// RFC 3339 in UTC with microseconds; the calendar is worked out once a second.
#[derive(Debug, Default)]
pub(super) struct Clock {
    second: Option<u64>,
    text: String,
}

impl Clock {
    fn write(&mut self, out: &mut String, time: SystemTime) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(since.as_secs()) {
            self.second = Some(since.as_secs());
            let stamp = i64::try_from(since.as_secs()).ok().and_then(|s| Timestamp::from_second(s).ok());
            self.text = stamp.unwrap_or_default().to_string();
            self.text.pop(); // Z
        }
        out.push_str(&self.text);
        out.push('.');
        let micros = since.subsec_micros();
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(micros);
        for _ in digits.len()..6 {
            out.push('0');
        }
        out.push_str(digits);
        out.push('Z');
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
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
        };
        let event = Event {
            plan: None,
            statement: 0,
            fingerprint: 0xab,
            rows: 3,
            verdict: Verdict::Failed(*b"42P01"),
            handled: Arc::new([]),
            duration: Duration::from_micros(17),
        };
        let mut out = String::new();
        let time = UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_042);
        statement(&mut out, &mut Clock::default(), time, &prefix(&context), 42, &event, None);
        let line: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(line["client"], "we\"ird\n\u{1}");
        assert_eq!(line["database"], "ba\\nk");
        assert_eq!(line["time"], "2023-11-14T22:13:20.000042Z");
        assert_eq!(line["fingerprint"], "00000000000000ab");
        assert_eq!(line["sqlstate"], "42P01");
        assert_eq!(line["upstream_pid"], 42);
        assert_eq!(out.matches('\n').count(), 1);
    }
}
