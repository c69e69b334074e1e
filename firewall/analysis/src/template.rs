//! Texts that differ only in values: what is found out about one of them holds for all.
//!
//! A template is a text with its spots (`arbiter::spots`) left open. A text fits if it is, byte for byte, the template,
//! and holds at each spot a literal of the same kind that no version of the server and no setting reads otherwise: one
//! to nine digits, or ASCII between two quotes without a quote or a backslash. What stands around a spot keeps tokens
//! apart, so the server's lexer sees the same tokens in both, and its grammar, which knows tokens by their kinds, makes
//! the same tree. The facts of a text depend on its literals only outside of spots, unless a labelled column is stored
//! or compared: whether that is so is the caller's to know.

use crate::arbiter::{Literal, spots};

/// Longer literals and texts with more spots go the whole way.
const MAX_LITERAL: usize = 4_096;
const MAX_SPOTS: usize = 128;
/// More digits may be another type.
const MAX_DIGITS: usize = 9;

/// See the module.
#[derive(Debug)]
pub struct Template {
    /// What stands before each spot, and the kind of the spot.
    parts: Vec<(Box<[u8]>, Literal)>,
    /// What stands behind the last one.
    end: Box<[u8]>,
}

impl Template {
    /// The template of a text that can be parsed; `None` if it has no spot.
    pub fn of(text: &str) -> Option<Self> {
        if text.bytes().any(|byte| byte == b'\\' || byte >= 0x80) {
            return None;
        }
        let bytes = text.as_bytes();
        let mut parts: Vec<(Box<[u8]>, Literal)> = Vec::new();
        let mut from = 0;
        for (at, literal) in spots(text) {
            let Some(len) = bytes.get(at..).and_then(|rest| plain(rest, literal)) else { continue };
            let before = at.checked_sub(1).and_then(|before| bytes.get(before));
            let apart = before
                .is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'(' | b',' | b'=' | b'<' | b'>'))
                && bytes.get(at + len).is_none_or(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b')' | b',' | b';'));
            if !apart || at < from {
                continue;
            }
            parts.push((bytes.get(from..at)?.into(), literal));
            from = at + len;
        }
        if parts.is_empty() || parts.len() > MAX_SPOTS {
            return None;
        }
        Some(Self { parts, end: bytes.get(from..)?.into() })
    }

    /// Whether the text is this template with values of its own.
    pub fn fits(&self, text: &[u8]) -> bool {
        let mut rest = text;
        for (before, literal) in &self.parts {
            let Some(after) = rest.strip_prefix(&**before) else { return false };
            let Some(len) = plain(after, *literal) else { return false };
            rest = after.get(len..).unwrap_or_default();
        }
        *rest == *self.end
    }

    /// Another text that fits.
    pub fn example(&self) -> String {
        let mut out = Vec::new();
        for (before, literal) in &self.parts {
            out.extend_from_slice(before);
            out.extend_from_slice(match literal {
                Literal::Integer => b"7",
                Literal::Text => b"'rf1_ DEFAULT'",
            });
        }
        out.extend_from_slice(&self.end);
        String::from_utf8(out).unwrap_or_default()
    }

    /// Bytes that it takes, reckoned.
    pub fn weight(&self) -> usize {
        128 + self.end.len() + self.parts.iter().map(|(before, _)| 32 + before.len()).sum::<usize>()
    }
}

/// The length of the plain literal that `bytes` begin with.
fn plain(bytes: &[u8], literal: Literal) -> Option<usize> {
    match literal {
        Literal::Integer => {
            let len = bytes.iter().take(MAX_DIGITS + 1).take_while(|byte| byte.is_ascii_digit()).count();
            (1..=MAX_DIGITS).contains(&len).then_some(len)
        }
        Literal::Text => {
            let inner = bytes.strip_prefix(b"'")?;
            let ordinary = |byte: &&u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'\'' | b'\\');
            let len = inner.iter().take(MAX_LITERAL).take_while(ordinary).count();
            // Two quotes in a row would be one of the literal's own.
            let closed = inner.get(len) == Some(&b'\'') && inner.get(len + 1) != Some(&b'\'');
            closed.then_some(len + 2)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn template(text: &str) -> Template {
        let template = Template::of(text).unwrap();
        assert!(template.fits(text.as_bytes()) && template.fits(template.example().as_bytes()), "{text}");
        template
    }

    #[test]
    fn values_are_left_open() {
        let t = template("SELECT abalance FROM pgbench_accounts WHERE aid = 12345;");
        assert!(t.fits(b"SELECT abalance FROM pgbench_accounts WHERE aid = 7;"));
        assert!(!t.fits(b"SELECT abalance FROM pgbench_accounts WHERE aid = 7; "));
        let t = template("select a from t where b = 'x' and (c in (1, 2) or d >= 5) limit 10 offset 20");
        assert!(
            t.fits(b"select a from t where b = 'a longer one; -- /*' and (c in (3, 4) or d >= 6) limit 1 offset 0")
        );
        assert!(!t.fits(b"select a from t where b = 'x' and (c in (1, 2, 3) or d >= 5) limit 10 offset 20"));
        assert!(
            template("INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y')")
                .fits(b"INSERT INTO t (a, b) VALUES (0, ''), (3, 'z')")
        );
        assert!(template("UPDATE t SET a = 1 WHERE b = 'x'").fits(b"UPDATE t SET a = 2 WHERE b = 'y'"));
        assert!(
            template("DELETE FROM t WHERE a IN (SELECT b FROM u WHERE c = 1)")
                .fits(b"DELETE FROM t WHERE a IN (SELECT b FROM u WHERE c = 2)")
        );
    }

    #[test]
    fn only_plain_values_fit() {
        let t = template("SELECT a FROM t WHERE b = 'x' AND c = 1 ORDER BY 1");
        for other in [
            "SELECT a FROM t WHERE b = 'it''s' AND c = 1 ORDER BY 1",
            "SELECT a FROM t WHERE b = 'x\\' AND c = 1 ORDER BY 1",
            "SELECT a FROM t WHERE b = 'é' AND c = 1 ORDER BY 1",
            "SELECT a FROM t WHERE b = 'a\nb' AND c = 1 ORDER BY 1",
            "SELECT a FROM t WHERE b = E'x' AND c = 1 ORDER BY 1",
            "SELECT a FROM t WHERE b = $$x$$ AND c = 1 ORDER BY 1",
            "SELECT a FROM t WHERE b = $1 AND c = 1 ORDER BY 1",
            "SELECT a FROM t WHERE b = NULL AND c = 1 ORDER BY 1",
            "SELECT a FROM t WHERE b = 'x' AND c = 1.5 ORDER BY 1",
            "SELECT a FROM t WHERE b = 'x' AND c = 1234567890 ORDER BY 1",
            "SELECT a FROM t WHERE b = 'x' AND c = 0x1f ORDER BY 1",
            "SELECT a FROM t WHERE b = 'x' AND c = 1_000 ORDER BY 1",
            "SELECT a FROM t WHERE b = 'x' AND c = -1 ORDER BY 1",
            "SELECT a FROM t WHERE b = 'x' AND c = 1e5 ORDER BY 1",
            "SELECT a FROM t WHERE b = 'x' AND c = '1' ORDER BY 1",
            "SELECT a FROM t WHERE b = 1 AND c = 1 ORDER BY 1",
            "SELECT a FROM t WHERE b = x AND c = 1 ORDER BY 1",
            "SELECT a FROM t WHERE b = 'x' OR 'y' = 'z' AND c = 1 ORDER BY 1",
            "SELECT a FROM t WHERE b = 'x' AND c = 1 ORDER BY 2",
            "SELECT a FROM t WHERE b = 'x' AND c = ORDER BY 1",
            "SELECT a FROM t WHERE b = 'x' AND c = 1 ORDER BY 1; SELECT 2",
            "SELECT a FROM t WHERE b = 'x",
            "",
        ] {
            assert!(!t.fits(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn what_means_something_is_no_spot() {
        for text in [
            "SELECT 1",
            "SELECT a FROM t ORDER BY 1",
            "SELECT a FROM t GROUP BY 1",
            "SELECT set_config('application_name', 'a', false)",
            "SELECT a FROM t WHERE nextval('s') > 1",
            "SELECT a FROM t WHERE b = f('x')",
            "SELECT a FROM t WHERE b = 'x'::regclass",
            "SELECT a FROM t WHERE b = date '2020-01-01'",
            "SELECT a FROM t WHERE b = interval '1' day",
            "SELECT a FROM t WHERE b = -1",
            "SELECT a FROM t WHERE b = 'DEFAULT'",
            "SELECT a FROM t WHERE b = 'a'\n'b'",
            "SELECT a FROM t WHERE b = 'it''s'",
            "SELECT a FROM t WHERE b = E'x'",
            "SELECT a FROM t WHERE b = N'x'",
            "SELECT a FROM t WHERE b = U&'x'",
            "SELECT a FROM t WHERE b = $$x$$",
            "SELECT a FROM t WHERE b = $1",
            "SELECT a FROM t WHERE b = 1.5",
            "SELECT a FROM t WHERE b = 12345678901",
            "SELECT a FROM t WHERE b = 0x1f",
            "SELECT a FROM t WHERE b = 1--",
            "SELECT a FROM t WHERE b =/**/1/**/",
            "SELECT a FROM t WHERE b = 1 AND c = 'é'",
            "SELECT a FROM t WHERE b = 1; SELECT 2",
            "SET work_mem = 1",
            "COPY t TO STDOUT (DELIMITER ',')",
            "PREPARE p AS SELECT a FROM t WHERE b = 1",
            "DECLARE c CURSOR FOR SELECT a FROM t WHERE b = 1",
            "EXPLAIN SELECT a FROM t WHERE b = 1",
            "CREATE TABLE x AS SELECT a FROM t WHERE b = 1",
            "SELECT a FROM t WHERE",
        ] {
            assert!(Template::of(text).is_none(), "{text}");
        }
    }
}
