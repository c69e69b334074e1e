//! A replay as people read it.

use crate::replay::{Change, JudgedBy, Replay};
use crate::table::Table;

/// So much of a statement is shown.
const SHOWN: usize = 48;

impl Replay {
    /// Aligned tables. `colour`: for a terminal.
    pub fn render(&self, colour: bool) -> String {
        let mut out = String::new();
        if self.judged_by == JudgedBy::Labels {
            out.push_str(
                "note: an audit log holds no text, so its statements cannot be analysed again: what follows is judged by the\n\
                 \x20     labels, handlings and tables that its lines name. Replay the SQL itself to be sure.\n",
            );
        }
        for note in &self.notes {
            out.push_str(&format!("note: {note}\n"));
        }
        if !out.is_empty() {
            out.push('\n');
        }
        if !self.changes.is_empty() {
            let mut table = Table::new(&["CHANGE", "CLIENT", "COUNT", "STATEMENT", "OLD", "NEW", "WHY"]);
            for change in &self.changes {
                table.row(vec![
                    change.what.words().to_owned(),
                    change.client.clone(),
                    change.count.to_string(),
                    statement(change),
                    change.old.short(),
                    change.new.short(),
                    change.why.clone(),
                ]);
            }
            out.push_str(&table.render(colour));
            out.push('\n');
        }
        let counts = &self.counts;
        out.push_str(&format!(
            "{} statements, {} decisions: {} unchanged, {} newly refused, {} newly allowed, {} handled otherwise, {} refused otherwise",
            self.statements,
            self.decisions,
            self.unchanged,
            counts.newly_refused,
            counts.newly_allowed,
            counts.handled_otherwise,
            counts.refused_otherwise
        ));
        if counts.uncertain > 0 {
            out.push_str(&format!(", {} that the log does not tell", counts.uncertain));
        }
        out.push('\n');
        out
    }
}

fn statement(change: &Change) -> String {
    match (change.line, &change.text) {
        (Some(line), Some(text)) => format!("line {line}: {}", shortened(text)),
        _ => format!("{} {}", change.kind, change.fingerprint),
    }
}

/// The beginning of a text, on one line.
pub fn shortened(text: &str) -> String {
    let mut out: String = String::with_capacity(SHOWN + 3);
    let mut length = 0;
    for word in text.split_whitespace() {
        let wide = word.chars().count();
        if length > 0 {
            out.push(' ');
            length += 1;
        }
        if length + wide > SHOWN {
            out.extend(word.chars().filter(|c| !c.is_control()).take(SHOWN.saturating_sub(length)));
            out.push('…');
            return out;
        }
        out.extend(word.chars().filter(|c| !c.is_control()));
        length += wide;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::shortened;

    #[test]
    fn long_statements_are_cut() {
        assert_eq!(shortened("SELECT  1\n\tFROM t"), "SELECT 1 FROM t");
        assert!(shortened(&"x".repeat(100)).ends_with("x…"));
        assert_eq!(shortened(&"é ".repeat(100)).chars().count(), 49);
    }
}
