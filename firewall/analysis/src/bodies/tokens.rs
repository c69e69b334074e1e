//! The tokens of a PL/pgSQL body, as the server's scanner cuts them.

use crate::names;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// A keyword or a name, folded; quoted ones are never keywords.
    Word { name: Box<str>, quoted: bool },
    /// A string literal.
    Text,
    /// A number or a parameter.
    Number,
    /// A run of operator characters, which may be several operators.
    Operator(Box<str>),
    /// `( ) [ ] , ; : .`
    Mark(char),
}

impl Token {
    /// The keyword or unquoted name, or nothing.
    pub(crate) fn bare(&self) -> &str {
        match self {
            Self::Word { name, quoted: false } => name,
            _ => "",
        }
    }

    pub(crate) fn is(&self, mark: char) -> bool {
        *self == Self::Mark(mark)
    }
}

const OPERATORS: &str = "+-*/<>=~!@#%^&|`?";

/// Cuts a body into tokens; `None` where it could be read in two ways, or is not finished.
pub(crate) fn of(body: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = body;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = rest.get(first.len_utf8()..)?;
        } else if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.find(['\n', '\r']).and_then(|end| comment.get(end..)).unwrap_or_default();
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = after_comment(comment)?;
        } else if first == '\'' {
            rest = after_string(rest.get(1..)?, false)?;
            tokens.push(Token::Text);
        } else if first == '"' {
            let (name, after) = quoted(rest.get(1..)?)?;
            tokens.push(Token::Word { name: names::cut(&name).into(), quoted: true });
            rest = after;
        } else if first == '$' {
            rest = after_dollar(rest, &mut tokens)?;
        } else if first.is_ascii_digit() {
            let mut end = 0;
            for (at, c) in rest.char_indices() {
                let decimal = c == '.' && rest.get(at + 1..)?.starts_with(|next: char| next.is_ascii_digit());
                if !(c.is_ascii_alphanumeric() || c == '_' || decimal) {
                    break;
                }
                end = at + c.len_utf8();
            }
            rest = rest.get(end..)?;
            tokens.push(Token::Number);
        } else if is_name(first) {
            let end = rest.find(|c: char| !is_name(c) && !c.is_ascii_digit() && c != '$').unwrap_or(rest.len());
            let (word, after) = rest.split_at_checked(end)?;
            rest = match (word, after.chars().next()) {
                ("e" | "E", Some('\'')) => {
                    tokens.push(Token::Text);
                    after_string(after.get(1..)?, true)?
                }
                ("b" | "B" | "x" | "X" | "n" | "N", Some('\'')) => after,
                ("u" | "U", Some('&')) if after.starts_with("&'") || after.starts_with("&\"") => return None,
                _ => {
                    tokens.push(Token::Word { name: names::fold(word, false).into(), quoted: false });
                    after
                }
            };
        } else if OPERATORS.contains(first) {
            let mut end = 0;
            for (at, c) in rest.char_indices() {
                let comment = rest.get(at..)?.starts_with("--") || rest.get(at..)?.starts_with("/*");
                if !OPERATORS.contains(c) || comment {
                    break;
                }
                end = at + 1;
            }
            let (operator, after) = rest.split_at_checked(end)?;
            tokens.push(Token::Operator(operator.into()));
            rest = after;
        } else if "()[],;:.".contains(first) {
            tokens.push(Token::Mark(first));
            rest = rest.get(1..)?;
        } else {
            // A backslash, a control character: whatever the server makes of it.
            return None;
        }
    }
    Some(tokens)
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

/// Comments nest.
fn after_comment(mut rest: &str) -> Option<&str> {
    let mut depth = 1;
    loop {
        let at = rest.find(['/', '*'])?;
        rest = rest.get(at..)?;
        if let Some(inner) = rest.strip_prefix("/*") {
            depth += 1;
            rest = inner;
        } else if let Some(outer) = rest.strip_prefix("*/") {
            depth -= 1;
            rest = outer;
            if depth == 0 {
                return Some(rest);
            }
        } else {
            rest = rest.get(1..)?;
        }
    }
}

fn after_string(mut rest: &str, escapes: bool) -> Option<&str> {
    loop {
        let at = rest.find(['\'', '\\'])?;
        let found = rest.get(at..)?;
        if found.starts_with('\\') {
            // Whether an ordinary string ends after \' is a setting's.
            if !escapes {
                return None;
            }
            let escaped = found.chars().nth(1)?;
            rest = found.get(1 + escaped.len_utf8()..)?;
        } else if let Some(doubled) = found.strip_prefix("''") {
            rest = doubled;
        } else {
            return found.get(1..);
        }
    }
}

fn quoted(rest: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = rest;
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, after)),
        }
    }
}

/// `$1`, or `$tag$ … $tag$`.
fn after_dollar<'a>(rest: &'a str, tokens: &mut Vec<Token>) -> Option<&'a str> {
    let after = rest.get(1..)?;
    if after.starts_with(|c: char| c.is_ascii_digit()) {
        tokens.push(Token::Number);
        return Some(after.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    let end = after.find('$')?;
    let tag = after.get(..end)?;
    if !tag.chars().all(|c| is_name(c) || c.is_ascii_digit()) {
        return None;
    }
    let delimiter = rest.get(..end + 2)?;
    let (_, after) = rest.get(end + 2..)?.split_once(delimiter)?;
    tokens.push(Token::Text);
    Some(after)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn words(body: &str) -> Option<Vec<String>> {
        let words = of(body)?.into_iter().filter_map(|token| match token {
            Token::Word { name, .. } => Some(name.into()),
            _ => None,
        });
        Some(words.collect())
    }

    #[test]
    fn literals_and_comments_hide_their_words() {
        assert_eq!(words("a 'b' E'c\\'d' $$e$$ $f$ g $$ h $f$ -- i\n/* j /* k */ l */ m").unwrap(), ["a", "m"]);
        assert_eq!(
            words("SELECT \"Odd \"\"name\" FROM T1 WHERE x>=-1--\n").unwrap(),
            ["select", "Odd \"name", "from", "t1", "where", "x"]
        );
        assert_eq!(words("FOR i IN 1..10 LOOP x := $1 + 1.5e3; END").unwrap(), ["for", "i", "in", "loop", "x", "end"]);
        assert_eq!(words("x'1F' || n'a'").unwrap(), [""; 0]);
    }

    #[test]
    fn what_reads_in_two_ways_is_not_read() {
        for body in ["'a\\' b'", "U&\"d0061t\"", "u&'x'", "'open", "\"open", "/* open", "$a$ open", "a \\ b"] {
            assert_eq!(of(body), None, "{body}");
        }
    }
}
