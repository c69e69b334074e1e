//! COPY: what it copies, and in which framing. What is sent has no description of its own, so the query whose
//! description is that of the rows is found here (soundness 12).

use std::ops::Range;

use super::seen::Place;
use super::walk::{QueryPlace, Walker};
use super::{Node, nodes};
use crate::facts::{Access, CopyFormat, CopyFraming, CopyOut, CopySource, ForceQuote, Kind, Rule};

impl<'a> Walker<'a> {
    pub(super) fn copy(&mut self, copy: &'a nodes::CopyStmt) {
        if copy.is_from {
            self.is(Kind::CopyIn, "COPY");
            self.seen.writes = true;
        } else {
            self.is(Kind::CopyOut, "COPY");
        }
        if copy.is_program {
            self.seen.violation(Rule::Admin, "COPY PROGRAM", Some(self.seen.range.start));
        } else if copy.filename().is_some() {
            self.seen.violation(Rule::Admin, "COPY with a server file", Some(self.seen.range.start));
        }
        for option in copy.options() {
            self.generic(Node::DefElem(option), Place::of(Rule::Copy, "COPY option"));
        }
        let names: Vec<&'a str> = copy.attlist().iter().filter_map(name).collect();
        if let Some(relation) = copy.relation() {
            let access = if copy.is_from { Access::Insert } else { Access::Read };
            self.relation_item(relation, access);
        }
        match copy.query() {
            Node::None => {}
            query => {
                let kept = (self.seen.kind, self.seen.verb);
                self.statement(query, QueryPlace { bare: Place::OUTPUT, outermost: true });
                (self.seen.kind, self.seen.verb) = kept;
            }
        }
        self.expression(copy.where_clause(), Place::filter("COPY WHERE"));
        if !copy.is_from {
            let source = match copy.relation() {
                Some(relation) => Ok(CopySource::Table(rows_of(relation, &names).into())),
                None => inner_query(self.text, &self.seen.range).map(CopySource::Query),
            };
            self.seen.copy_out = Some(CopyOut { source, framing: framing(copy) });
            self.seen.copy_table = copy.relation().map(|_| names);
        }
    }
}

fn name(node: Node<'_>) -> Option<&str> {
    match node {
        Node::String(name) => name.sval(),
        _ => None,
    }
}

/// The query that returns what COPY of a table sends: of this table only, in this order.
fn rows_of(relation: &nodes::RangeVar, columns: &[&str]) -> String {
    let mut text = String::from("SELECT ");
    if columns.is_empty() {
        text.push('*');
    }
    for (at, column) in columns.iter().enumerate() {
        text.push_str(if at == 0 { "" } else { ", " });
        quote(column, &mut text);
    }
    text.push_str(" FROM ONLY ");
    for part in [relation.catalogname(), relation.schemaname()].into_iter().flatten() {
        quote(part, &mut text);
        text.push('.');
    }
    quote(relation.relname().unwrap_or_default(), &mut text);
    text
}

fn quote(name: &str, out: &mut String) {
    out.push('"');
    out.push_str(&name.replace('"', "\"\""));
    out.push('"');
}

/// Where the query of `COPY (query) TO` stands. Found by counting parentheses, and believed only if the parser reads
/// it as one statement by itself, and as the query of a COPY: then it reads the same tokens there.
fn inner_query(text: &str, statement: &Range<usize>) -> Result<Range<usize>, &'static str> {
    const UNCLEAR: &str = "COPY whose query cannot be told from the text around it";
    let whole = text.get(statement.clone()).ok_or(UNCLEAR)?;
    let keyword = whole.len() - after_comments(whole).len();
    let verb = whole.get(keyword..keyword + 4).filter(|verb| verb.eq_ignore_ascii_case("copy")).ok_or(UNCLEAR)?;
    let rest = after_comments(whole.get(keyword + verb.len()..).unwrap_or_default());
    let inside = rest.strip_prefix('(').ok_or(UNCLEAR)?;
    let start = whole.len() - inside.len();
    let query = inside.get(..closing(inside).ok_or(UNCLEAR)?).ok_or(UNCLEAR)?;
    let one = |text: &str| {
        super::cost::is_linear(text) && pg_raw_parse::parse(text).is_ok_and(|parsed| parsed.into_inner().len() == 1)
    };
    if one(query) && one(&format!("COPY ({query}) TO STDOUT")) {
        let start = statement.start + start;
        Ok(start..start + query.len())
    } else {
        Err(UNCLEAR)
    }
}

/// The text behind white space and comments.
fn after_comments(text: &str) -> &str {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.find(['\n', '\r']).and_then(|end| comment.get(end..)).unwrap_or_default();
        } else if rest.starts_with("/*") {
            rest = rest.get(comment(rest)..).unwrap_or_default();
        } else {
            return rest;
        }
    }
}

/// The length of the comment that `text` begins with; they nest.
fn comment(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0usize);
    while let Some(pair) = bytes.get(at..at + 2) {
        match pair {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

/// The offset of the parenthesis that closes one before `text`.
fn closing(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0usize;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = text.get(at..).unwrap_or_default();
        at += match byte {
            b'(' => {
                depth += 1;
                1
            }
            b')' if depth == 0 => return Some(at),
            b')' => {
                depth -= 1;
                1
            }
            b'\'' | b'"' => {
                let escapes = byte == b'\'' && escaping(bytes.get(..at).unwrap_or_default());
                quoted(rest.as_bytes(), byte, escapes)?
            }
            b'-' if rest.starts_with("--") => rest.find(['\n', '\r']).unwrap_or(rest.len()),
            b'/' if rest.starts_with("/*") => comment(rest),
            b'$' => dollars(bytes, at)?,
            _ => 1,
        };
    }
    None
}

/// `E'…'`: backslashes escape.
fn escaping(before: &[u8]) -> bool {
    let [front @ .., b'e' | b'E'] = before else { return false };
    !front.last().is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$') || *b >= 0x80)
}

/// The length of a literal or quoted name; a doubled quote reads as two of them side by side.
fn quoted(text: &[u8], quote: u8, escapes: bool) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'\\' if escapes => at += 2,
            byte if *byte == quote => {
                if escapes && text.get(at + 1) == Some(&quote) {
                    at += 2;
                    continue;
                }
                return Some(at + 1);
            }
            _ => at += 1,
        }
    }
}

/// The length of `$tag$…$tag$`, or 1 for a dollar that begins none.
fn dollars(text: &[u8], at: usize) -> Option<usize> {
    let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || *b >= 0x80;
    if at.checked_sub(1).and_then(|before| text.get(before)).is_some_and(|b| word(b) || *b == b'$') {
        return Some(1);
    }
    let rest = text.get(at..)?;
    let tag = rest.iter().skip(1).take_while(|b| word(b)).count() + 2;
    let Some(opening) = rest.get(..tag).filter(|o| o.ends_with(b"$") && !o.get(1).is_some_and(u8::is_ascii_digit))
    else {
        return Some(1);
    };
    let body = rest.get(tag..)?;
    body.windows(tag).position(|window| window == opening).map(|end| tag + end + tag)
}

/// The options, if they mean something that is known here. (What the server refuses itself never sends a row.)
fn framing(copy: &nodes::CopyStmt) -> Result<CopyFraming, &'static str> {
    let (mut format, mut delimiter, mut null, mut quote, mut escape) = (None, None, None, None, None);
    let (mut header, mut force_quote) = (false, ForceQuote::None);
    for option in copy.options() {
        let text = name(option.arg());
        let byte = || match text.unwrap_or_default().as_bytes() {
            [byte] => Ok(Some(*byte)),
            _ => Err("COPY with a delimiter, quote or escape of other than one byte"),
        };
        match option.defname().unwrap_or_default() {
            "format" => {
                format = Some(match text {
                    Some("text") => CopyFormat::Text,
                    Some("csv") => CopyFormat::Csv,
                    Some("binary") => CopyFormat::Binary,
                    _ => return Err("COPY in an unknown format"),
                });
            }
            "delimiter" => delimiter = byte()?,
            "quote" => quote = byte()?,
            "escape" => escape = byte()?,
            "null" => null = Some(text.ok_or("COPY with NULL that is not a literal")?),
            "header" => header = truth(option.arg()).ok_or("COPY with HEADER that is neither true nor false")?,
            "force_quote" => {
                force_quote = match option.arg() {
                    Node::A_Star(_) => ForceQuote::All,
                    Node::NodeList(names) => {
                        ForceQuote::Columns(names.iter().filter_map(name).map(Box::from).collect())
                    }
                    _ => return Err("COPY with FORCE_QUOTE of something unknown"),
                };
            }
            "encoding" => {
                let plain: String = text.unwrap_or_default().chars().filter(char::is_ascii_alphanumeric).collect();
                if !matches!(plain.to_ascii_lowercase().as_str(), "utf8" | "unicode") {
                    return Err("COPY in an encoding other than UTF8");
                }
            }
            _ => return Err("COPY with an unknown option"),
        }
    }
    let format = format.unwrap_or(CopyFormat::Text);
    let csv = format == CopyFormat::Csv;
    let quote = quote.unwrap_or(b'"');
    Ok(CopyFraming {
        format,
        delimiter: delimiter.unwrap_or(if csv { b',' } else { b'\t' }),
        null: null.unwrap_or(if csv { "" } else { "\\N" }).as_bytes().into(),
        quote,
        escape: escape.unwrap_or(quote),
        header,
        force_quote,
    })
}

/// A boolean option, as the server reads it.
fn truth(argument: Node<'_>) -> Option<bool> {
    match argument {
        Node::None => Some(true),
        Node::Boolean(value) => Some(value.boolval),
        Node::Integer(value) if value.ival == 0 || value.ival == 1 => Some(value.ival == 1),
        Node::String(word) => match word.sval()?.to_ascii_lowercase().as_str() {
            "true" | "on" => Some(true),
            "false" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn query(text: &str) -> Option<&str> {
        let end = text.trim_end().len();
        inner_query(text, &(0..end)).ok().map(|range| &text[range])
    }

    #[test]
    fn the_query_is_found_whatever_it_quotes() {
        for inside in [
            "select 1",
            " select ')', e'\\')', \")\" from t /* ) /* ) */ */ where a = $x$ ) $$ ) $x$ ",
            "select $1::text, (a)::int, 'it''s )' from t -- )\n",
            "insert into t values ((1)) returning (a)",
            "select u&'\\0029)', type ')', e'a'')'",
        ] {
            let text = format!("/* a /* ( */ */ -- (\n COPY /* ( */ ({inside}) TO STDOUT (format csv)");
            assert_eq!(query(&text), Some(inside), "{text}");
        }
    }

    #[test]
    fn what_the_parser_would_read_otherwise_is_not_believed() {
        // Not a COPY of a query, or none at all.
        for text in ["copy t to stdout", "copy (select 1", "copy binary (select 1) to stdout", "copy () to stdout"] {
            assert_eq!(query(text), None, "{text}");
        }
        assert_eq!(closing("select 1 -- )"), None);
    }

    #[test]
    fn names_are_quoted() {
        let parsed = pg_raw_parse::parse("copy \"S\".\"a\"\"b\" (x, \"Y\") to stdout").unwrap().into_inner();
        let Some(statement) = parsed.iter().next() else { unreachable!() };
        let Node::CopyStmt(copy) = statement.stmt() else { unreachable!() };
        let names: Vec<&str> = copy.attlist().iter().filter_map(name).collect();
        assert_eq!(rows_of(copy.relation().unwrap(), &names), "SELECT \"x\", \"Y\" FROM ONLY \"S\".\"a\"\"b\"");
    }
}
