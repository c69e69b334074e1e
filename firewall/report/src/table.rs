//! Columns that line up.

use crate::explain::Verdict;

/// Left-aligned columns, two spaces apart.
#[derive(Debug)]
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns, and no row.
    pub fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// Adds a row: one cell for each column.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// It has no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// `colour`: words that mean life and death are green and red.
    pub fn render(&self, colour: bool) -> String {
        let widths: Vec<usize> = (0..self.head.len())
            .map(|i| {
                let cells = self.rows.iter().filter_map(|row| row.get(i));
                let head = self.head.get(i).map_or(0, |h| h.len());
                cells.map(|cell| width(cell)).chain([head]).max().unwrap_or(0)
            })
            .collect();
        let mut out = String::new();
        line(&mut out, self.head.iter().map(|h| (*h).to_owned()), &widths, |cell| {
            if colour { format!("\x1b[1m{cell}\x1b[0m") } else { cell.to_owned() }
        });
        for row in &self.rows {
            line(&mut out, row.iter().cloned(), &widths, |cell| match cell.trim_end() {
                "live" | "yes" | "pass" | "passes" if colour => format!("\x1b[32m{cell}\x1b[0m"),
                "revoked" | "expired" | "no" | "refuse" | "refused" if colour => format!("\x1b[31m{cell}\x1b[0m"),
                _ => cell.to_owned(),
            });
        }
        out
    }
}

/// Colours, where they are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    pub(crate) fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(crate) fn verdict(self, verdict: Verdict, text: &str) -> String {
        match verdict {
            Verdict::Pass => self.with("32", text),
            Verdict::Handle => self.with("33", text),
            Verdict::Refuse => self.bad(text),
        }
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Every line two spaces to the right.
pub(crate) fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

fn line(out: &mut String, cells: impl Iterator<Item = String>, widths: &[usize], paint: impl Fn(&str) -> String) {
    let mut text = String::new();
    for (cell, &wide) in cells.zip(widths) {
        let padding = wide.saturating_sub(width(&cell));
        text.push_str(&paint(&cell));
        text.extend(std::iter::repeat_n(' ', padding + 2));
    }
    out.push_str(text.trim_end());
    out.push('\n');
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["LOGIN", "STATUS"]);
        table.row(vec!["users-api~k3f9x2aa".into(), "live".into()]);
        table.row(vec!["ö".into(), "revoked".into()]);
        assert_eq!(
            table.render(false),
            "LOGIN               STATUS\nusers-api~k3f9x2aa  live\nö                   revoked\n"
        );
        assert!(table.render(true).contains("\x1b[32mlive\x1b[0m"));
    }
}
