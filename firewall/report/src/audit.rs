//! Audit logs as replay reads them: the lines of statements, those that say the same counted together.

use std::collections::BTreeMap;
use std::io::{BufRead, Error};

use serde_json::Value;

use crate::replay::Recorded;

/// What a log holds.
#[derive(Debug, Default)]
pub struct Log {
    pub recorded: Vec<Recorded>,
    /// Lines of other events: connections, logins, administrators' acts.
    pub others: u64,
    /// Numbers of lines that are not JSON, the first few.
    pub broken: Vec<usize>,
}

/// So many lines in disorder are named.
const NAMED: usize = 5;

/// Whether a file that begins so is an audit log, not SQL: no statement begins with a brace.
pub fn is_audit(beginning: &str) -> bool {
    beginning.trim_start_matches('\u{feff}').trim_start().starts_with('{')
}

/// Reads a log. `client`: only its lines.
pub fn read(source: impl BufRead, client: Option<&str>) -> Result<Log, Error> {
    let mut log = Log::default();
    let mut counted: BTreeMap<Recorded, u64> = BTreeMap::new();
    for (number, line) in source.lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let Ok(value) = serde_json::from_str::<Value>(&line) else {
            if log.broken.len() < NAMED {
                log.broken.push(number + 1);
            }
            continue;
        };
        if value.get("event").and_then(Value::as_str) != Some("statement") {
            log.others += 1;
            continue;
        }
        let Ok(mut recorded) = serde_json::from_value::<Recorded>(value) else {
            if log.broken.len() < NAMED {
                log.broken.push(number + 1);
            }
            continue;
        };
        if client.is_some_and(|wanted| wanted != recorded.client) {
            continue;
        }
        recorded.count = 0;
        *counted.entry(recorded).or_default() += 1;
    }
    log.recorded = counted.into_iter().map(|(recorded, count)| Recorded { count, ..recorded }).collect();
    Ok(log)
}

impl Log {
    /// What a reader should know of what was left out.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.broken.is_empty() {
            let numbers: Vec<String> = self.broken.iter().map(ToString::to_string).collect();
            notes.push(format!("lines that are no audit lines were skipped (line {}, …)", numbers.join(", ")));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn equal_lines_are_counted() {
        let line = |client: &str, rows: u32| {
            format!(
                "{{\"time\":\"t\",\"event\":\"statement\",\"client\":\"{client}\",\"database\":\"bank\",\"fingerprint\":\"ab\",\
                 \"kind\":\"SELECT\",\"tables\":[\"public.users\"],\"labels\":[\"pci\"],\"handling\":{{\"public.users.credit_card\":\"mask\"}},\
                 \"rows\":{rows},\"verdict\":\"handled\",\"duration_us\":{rows}}}\n"
            )
        };
        let text = format!(
            "{}{}{}{{\"event\":\"connected\"}}\nnonsense\n\n",
            line("analyst", 1),
            line("analyst", 2),
            line("users-api", 1)
        );
        let log = read(text.as_bytes(), None).unwrap();
        let counts: Vec<(&str, u64)> = log.recorded.iter().map(|r| (r.client.as_str(), r.count)).collect();
        assert_eq!(counts, [("analyst", 2), ("users-api", 1)]);
        assert_eq!(log.recorded[0].handling["public.users.credit_card"], "mask");
        assert_eq!((log.others, log.broken.as_slice()), (1, &[5][..]));
        assert_eq!(read(text.as_bytes(), Some("users-api")).unwrap().recorded.len(), 1);
        assert!(is_audit(&text) && !is_audit("SELECT 1"));
    }
}
