//! What is wrong with a classification, where, and what to write instead.

use std::fmt;

/// A place in the file. Line and column count from 1, columns in characters; 0 is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

/// One mistake in a classification file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    pub file: String,
    /// From 1; 0 where the mistake has no place (an empty file).
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    pub message: String,
    /// What to write instead.
    pub fix: Option<String>,
    /// The line of the file that it is on.
    pub snippet: Option<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.file, self.message)?;
        } else {
            write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        }
        if let Some(snippet) = &self.snippet {
            let number = self.line.to_string();
            let margin = " ".repeat(number.len());
            let indent = " ".repeat(usize::try_from(self.column).unwrap_or(1).saturating_sub(1));
            write!(f, "\n {margin} |\n {number} | {snippet}\n {margin} | {indent}^")?;
        }
        if let Some(fix) = &self.fix {
            write!(f, "\n  fix: {fix}")?;
        }
        Ok(())
    }
}

/// Collects mistakes while reading goes on, so that one run names them all.
#[derive(Debug)]
pub(crate) struct Mistakes<'a> {
    file: &'a str,
    text: &'a str,
    found: Vec<ConfigError>,
}

/// Beyond this many, more mistakes help nobody.
const MOST: usize = 50;
/// Longer lines are not shown.
const LONGEST_SNIPPET: usize = 200;

impl<'a> Mistakes<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, found: Vec::new() }
    }

    pub(crate) fn add(&mut self, at: Place, message: impl Into<String>, fix: impl Into<Option<String>>) {
        if self.found.len() < MOST {
            let error = self.error(at, message.into(), fix.into());
            self.found.push(error);
        }
    }

    pub(crate) fn into_result<T>(self, value: T) -> Result<T, Vec<ConfigError>> {
        if self.found.is_empty() { Ok(value) } else { Err(self.into_errors()) }
    }

    /// In the order of the file.
    pub(crate) fn into_errors(mut self) -> Vec<ConfigError> {
        self.found.sort_by_key(|e| (e.line, e.column));
        self.found
    }

    fn error(&self, at: Place, message: String, fix: Option<String>) -> ConfigError {
        ConfigError {
            file: self.file.into(),
            line: at.line,
            column: at.column,
            message,
            fix,
            snippet: snippet(self.text, at.line),
        }
    }
}

pub(crate) fn snippet(text: &str, line: u32) -> Option<String> {
    let at = usize::try_from(line).ok()?.checked_sub(1)?;
    let line = text.lines().nth(at)?.replace('\t', " ");
    (line.chars().count() <= LONGEST_SNIPPET).then_some(line)
}

/// The candidate that was probably meant.
pub(crate) fn closest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let most = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean "x"?`, or the list of what there is.
pub(crate) fn suggestion<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str> + Clone) -> Option<String> {
    if let Some(found) = closest(word, candidates.clone()) {
        return Some(format!("did you mean \"{found}\"?"));
    }
    let all: Vec<&str> = candidates.into_iter().take(20).collect();
    (!all.is_empty()).then(|| format!("one of: {}", all.join(", ")))
}

/// Insertions, deletions, replacements and swaps of neighbours between the words, without regard to case.
fn distance(a: &str, b: &str) -> usize {
    let lower = |word: &str| -> Vec<char> { word.chars().flat_map(char::to_lowercase).take(64).collect() };
    let (a, b) = (lower(a), lower(b));
    let cell = |rows: &[Vec<usize>], i: usize, j: usize| rows.get(i).and_then(|row| row.get(j)).copied().unwrap_or(0);
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for (i, ca) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let replaced = cell(&rows, i, j) + usize::from(ca != cb);
            let deleted = cell(&rows, i, j + 1) + 1;
            let inserted = row.last().copied().unwrap_or(0) + 1;
            let mut best = replaced.min(deleted).min(inserted);
            if i > 0 && j > 0 && a.get(i - 1) == Some(cb) && b.get(j - 1) == Some(ca) {
                best = best.min(cell(&rows, i - 1, j - 1) + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    cell(&rows, a.len(), b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("pci", "pci", 0),
            ("PCI", "pci", 0),
            ("pcii", "pci", 1),
            ("kitten", "sitting", 3),
            ("", "abc", 3),
            ("pic", "pci", 1),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
        assert_eq!(closest("encypt", ["plain", "encrypt"]), Some("encrypt"));
        assert_eq!(closest("zzz", ["plain", "encrypt"]), None);
    }
}
