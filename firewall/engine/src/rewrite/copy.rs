//! COPY data on its way to the client: rows in text, CSV or binary framing, cut into messages anywhere.
//!
//! What is not handled is passed on byte for byte as it comes; of a handled value the bytes are kept until it ends. The
//! framing is followed exactly as the server writes it; anything else ends the COPY with an error.

use std::sync::Arc;

use memchr::{memchr2, memchr3};
use ringfence_analysis::facts::{CopyFormat, CopyFraming, Rule};
use ringfence_policy::Refusal;

use super::describe::{RowPlan, Work};
use super::desk::{Desk, Stop};

/// Rewrites the rows of one COPY.
#[derive(Debug)]
pub(crate) struct CopyRewriter {
    plan: Arc<RowPlan>,
    framing: CopyFraming,
    /// Columns of a row.
    columns: usize,
    /// Positions whose values CSV always quotes.
    quoted: Box<[bool]>,
    /// Longest value that is kept.
    limit: usize,
    /// The next column, and its part in the plan.
    column: usize,
    next: usize,
    /// The row at hand names the columns.
    header: bool,
    /// Bytes of the value, or of the framing, that has not ended.
    kept: Vec<u8>,
    /// What is written for a value, before it is escaped.
    value: Vec<u8>,
    place: Place,
    rows: u64,
}

/// Where in a row the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the beginning of a value (text, CSV).
    Value,
    /// Within one.
    Within,
    /// Behind a backslash (text).
    Escaped,
    /// Within quotes (CSV).
    Quoted,
    /// Behind what may be the closing quote, or escape the next byte (CSV).
    Quote,
    Escape,
    /// Binary: header, number of columns, length of a value, bytes of one that passes or is kept, the end.
    Header,
    Count,
    Length,
    Passing(usize),
    Keeping(usize),
    End,
}

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
const HEADER: usize = 19;

impl CopyRewriter {
    /// `columns`: their names, in order.
    pub(crate) fn new(plan: Arc<RowPlan>, framing: CopyFraming, columns: &[Box<str>], limit: usize) -> Self {
        let quoted = columns.iter().map(|name| framing.force_quote.holds(name)).collect();
        let place = if framing.format == CopyFormat::Binary { Place::Header } else { Place::Value };
        Self {
            header: framing.header,
            framing,
            columns: columns.len(),
            quoted,
            limit,
            column: 0,
            next: 0,
            kept: Vec::new(),
            value: Vec::new(),
            place,
            plan,
            rows: 0,
        }
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn is_binary(&self) -> bool {
        self.framing.format == CopyFormat::Binary
    }

    /// Takes a piece of the data and appends what may be sent of it.
    pub(crate) fn feed(&mut self, data: &[u8], desk: &mut Desk<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
        match self.framing.format {
            CopyFormat::Text => self.text(data, desk, out),
            CopyFormat::Csv => self.csv(data, desk, out),
            CopyFormat::Binary => self.binary(data, desk, out),
        }
    }

    /// The data is over: it must end with a row.
    pub(crate) fn finish(&self) -> Result<(), Stop> {
        let whole = match self.framing.format {
            CopyFormat::Text | CopyFormat::Csv => {
                self.place == Place::Value && self.column == 0 && self.kept.is_empty()
            }
            CopyFormat::Binary => self.place == Place::End,
        };
        if whole { Ok(()) } else { Err(unexpected()) }
    }

    /// What is done with the column at hand. Nothing is done with names.
    fn work(plan: &RowPlan, header: bool, next: usize, column: usize) -> Option<&Work> {
        plan.work.get(next).filter(|work| work.position == column && !header)
    }

    fn is_kept(&self) -> bool {
        Self::work(&self.plan, self.header, self.next, self.column).is_some()
    }

    /// Passes bytes of the value at hand on, or keeps them.
    fn take(&mut self, bytes: &[u8], kept: bool, out: &mut Vec<u8>) -> Result<(), Stop> {
        if !kept {
            out.extend_from_slice(bytes);
            return Ok(());
        }
        if self.kept.len() + bytes.len() > self.limit {
            return Err(too_large(self.limit));
        }
        self.kept.extend_from_slice(bytes);
        Ok(())
    }

    /// The value at hand, `raw` decoded, has ended. `self.value` becomes what is sent for it; `false`: NULL.
    fn handle(&mut self, raw: &[u8], desk: &mut Desk<'_>) -> Result<bool, Stop> {
        self.value.clear();
        match Self::work(&self.plan, self.header, self.next, self.column) {
            Some(work) => desk.value(work, raw, &mut self.value),
            None => Ok(false),
        }
    }

    fn next_column(&mut self) {
        if self.plan.work.get(self.next).is_some_and(|work| work.position == self.column) {
            self.next += 1;
        }
        self.column += 1;
    }

    fn begin_row(&mut self, desk: &mut Desk<'_>) -> Result<(), Stop> {
        if self.header {
            return Ok(());
        }
        self.rows += 1;
        desk.row(&self.plan)
    }

    /// A delimiter or newline ended a value (text, CSV).
    fn separate(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), Stop> {
        out.push(byte);
        self.place = Place::Value;
        self.next_column();
        if byte == b'\n' {
            if self.column != self.columns {
                return Err(unexpected());
            }
            (self.column, self.next, self.header) = (0, 0, false);
        } else if self.column >= self.columns {
            return Err(unexpected());
        }
        Ok(())
    }

    fn text(&mut self, data: &[u8], desk: &mut Desk<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
        let delimiter = self.framing.delimiter;
        let mut at = 0;
        while let Some(rest) = data.get(at..).filter(|rest| !rest.is_empty()) {
            if self.place == Place::Value && self.column == 0 {
                self.begin_row(desk)?;
            }
            let kept = self.is_kept();
            if self.place == Place::Escaped {
                self.take(rest.get(..1).unwrap_or_default(), kept, out)?;
                self.place = Place::Within;
                at += 1;
                continue;
            }
            let run = memchr3(delimiter, b'\n', b'\\', rest).unwrap_or(rest.len());
            self.take(rest.get(..run).unwrap_or_default(), kept, out)?;
            self.place = Place::Within;
            at += run;
            match data.get(at) {
                None => return Ok(()),
                Some(b'\\') => {
                    self.take(b"\\", kept, out)?;
                    self.place = Place::Escaped;
                }
                Some(end) => {
                    if kept {
                        self.text_value(desk, out)?;
                    }
                    self.separate(*end, out)?;
                }
            }
            at += 1;
        }
        Ok(())
    }

    /// A kept value in text format, escapes and all.
    fn text_value(&mut self, desk: &mut Desk<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
        let mut raw = std::mem::take(&mut self.kept);
        let sent = raw != *self.framing.null && {
            unescape(&mut raw);
            self.handle(&raw, desk)?
        };
        raw.clear();
        self.kept = raw;
        if !sent {
            out.extend_from_slice(&self.framing.null);
            return Ok(());
        }
        for &byte in &self.value {
            let letter = match byte {
                0x08 => b'b',
                0x0c => b'f',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                0x0b => b'v',
                b'\\' => b'\\',
                byte if byte == self.framing.delimiter => byte,
                byte => {
                    out.push(byte);
                    continue;
                }
            };
            out.extend_from_slice(&[b'\\', letter]);
        }
        Ok(())
    }

    fn csv(&mut self, data: &[u8], desk: &mut Desk<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
        let CopyFraming { delimiter, quote, escape, .. } = self.framing;
        let mut at = 0;
        while let Some(rest) = data.get(at..).filter(|rest| !rest.is_empty()) {
            if self.place == Place::Value && self.column == 0 {
                self.begin_row(desk)?;
            }
            let kept = self.is_kept();
            let byte = rest.first().copied().unwrap_or_default();
            match self.place {
                Place::Value if byte == quote => {
                    self.take(&[byte], kept, out)?;
                    self.place = Place::Quoted;
                    at += 1;
                }
                Place::Quoted => {
                    let run = memchr2(quote, escape, rest).unwrap_or(rest.len());
                    self.take(rest.get(..run).unwrap_or_default(), kept, out)?;
                    at += run;
                    if let Some(&mark) = data.get(at) {
                        self.take(&[mark], kept, out)?;
                        self.place = if mark == quote { Place::Quote } else { Place::Escape };
                        at += 1;
                    }
                }
                Place::Escape if byte == quote || byte == escape => {
                    self.take(&[byte], kept, out)?;
                    self.place = Place::Quoted;
                    at += 1;
                }
                Place::Quote if byte == quote && quote == escape => {
                    self.take(&[byte], kept, out)?;
                    self.place = Place::Quoted;
                    at += 1;
                }
                Place::Quote if byte == delimiter || byte == b'\n' => {
                    self.csv_end(byte, kept, desk, out)?;
                    at += 1;
                }
                Place::Value | Place::Within => {
                    let run = memchr3(delimiter, b'\n', quote, rest).unwrap_or(rest.len());
                    self.take(rest.get(..run).unwrap_or_default(), kept, out)?;
                    self.place = Place::Within;
                    at += run;
                    match data.get(at) {
                        None => return Ok(()),
                        // The server quotes what holds a quote.
                        Some(mark) if *mark == quote => return Err(unexpected()),
                        Some(mark) => self.csv_end(*mark, kept, desk, out)?,
                    }
                    at += 1;
                }
                _ => return Err(unexpected()),
            }
        }
        Ok(())
    }

    fn csv_end(&mut self, byte: u8, kept: bool, desk: &mut Desk<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
        if kept {
            self.csv_value(desk, out)?;
        }
        self.separate(byte, out)
    }

    /// A kept value in CSV, quotes and all. Whether it was quoted must not be seen of what is sent: the server quotes
    /// what equals the client's word for NULL.
    fn csv_value(&mut self, desk: &mut Desk<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
        let CopyFraming { delimiter, quote, escape, .. } = self.framing;
        let mut raw = std::mem::take(&mut self.kept);
        let sent = if raw.first() == Some(&quote) {
            unquote(&mut raw, escape);
            self.handle(&raw, desk)?
        } else {
            raw != *self.framing.null && self.handle(&raw, desk)?
        };
        raw.clear();
        self.kept = raw;
        if !sent {
            out.extend_from_slice(&self.framing.null);
            return Ok(());
        }
        let special = |byte: &u8| [delimiter, quote, b'\n', b'\r'].contains(byte);
        let quoted = self.quoted.get(self.column).is_some_and(|forced| *forced)
            || self.value == *self.framing.null
            || self.value.iter().any(special)
            || (self.columns == 1 && self.value == b"\\.");
        if !quoted {
            out.extend_from_slice(&self.value);
            return Ok(());
        }
        out.push(quote);
        for &byte in &self.value {
            if byte == quote || byte == escape {
                out.push(escape);
            }
            out.push(byte);
        }
        out.push(quote);
        Ok(())
    }

    fn binary(&mut self, data: &[u8], desk: &mut Desk<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
        let mut at = 0;
        while let Some(rest) = data.get(at..).filter(|rest| !rest.is_empty()) {
            let wanted = match self.place {
                Place::Header => HEADER,
                Place::Count => 2,
                Place::Length => 4,
                Place::Keeping(length) => length,
                Place::Passing(left) => {
                    let run = left.min(rest.len());
                    out.extend_from_slice(rest.get(..run).unwrap_or_default());
                    at += run;
                    if run == left {
                        self.end_binary();
                    } else {
                        self.place = Place::Passing(left - run);
                    }
                    continue;
                }
                _ => return Err(unexpected()),
            };
            let take = (wanted - self.kept.len().min(wanted)).min(rest.len());
            self.kept.extend_from_slice(rest.get(..take).unwrap_or_default());
            at += take;
            if self.kept.len() == wanted {
                self.binary_part(desk, out)?;
            }
        }
        Ok(())
    }

    /// A part of the framing, or a kept value, is there whole.
    fn binary_part(&mut self, desk: &mut Desk<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
        let mut part = std::mem::take(&mut self.kept);
        match self.place {
            Place::Header => {
                // No flags, no extension: nothing else is known.
                if part.get(..SIGNATURE.len()) != Some(SIGNATURE) || part.iter().skip(SIGNATURE.len()).any(|b| *b != 0)
                {
                    return Err(unexpected());
                }
                out.extend_from_slice(&part);
                self.place = Place::Count;
            }
            Place::Count => {
                let count = part.first_chunk().map(|bytes| i16::from_be_bytes(*bytes));
                if count == Some(-1) {
                    self.place = Place::End;
                } else if count.and_then(|count| usize::try_from(count).ok()) == Some(self.columns) {
                    self.begin_row(desk)?;
                    (self.column, self.next) = (0, 0);
                    self.place = if self.columns == 0 { Place::Count } else { Place::Length };
                } else {
                    return Err(unexpected());
                }
                out.extend_from_slice(&part);
            }
            Place::Length => {
                let length = part.first_chunk().map(|bytes| i32::from_be_bytes(*bytes)).unwrap_or_default();
                match usize::try_from(length) {
                    Ok(length) if self.is_kept() => {
                        if length > self.limit {
                            return Err(too_large(self.limit));
                        }
                        self.place = Place::Keeping(length);
                        if length == 0 {
                            part.clear();
                            self.binary_value(&part, desk, out)?;
                        }
                    }
                    Ok(length) => {
                        out.extend_from_slice(&part);
                        self.place = Place::Passing(length);
                        if length == 0 {
                            self.end_binary();
                        }
                    }
                    Err(_) if length == -1 => {
                        out.extend_from_slice(&part);
                        self.end_binary();
                    }
                    Err(_) => return Err(unexpected()),
                }
            }
            Place::Keeping(_) => self.binary_value(&part, desk, out)?,
            _ => return Err(unexpected()),
        }
        part.clear();
        self.kept = part;
        Ok(())
    }

    fn binary_value(&mut self, raw: &[u8], desk: &mut Desk<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
        if self.handle(raw, desk)? {
            let length = i32::try_from(self.value.len()).map_err(|_| too_large(self.limit))?;
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&self.value);
        } else {
            out.extend_from_slice(&(-1_i32).to_be_bytes());
        }
        self.end_binary();
        Ok(())
    }

    fn end_binary(&mut self) {
        self.next_column();
        self.place = if self.column == self.columns { Place::Count } else { Place::Length };
    }
}

/// Whether a value in text format can look like the word for NULL. What begins with a backslash that escapes nothing
/// cannot.
pub(crate) fn is_ambiguous(framing: &CopyFraming) -> bool {
    if framing.format != CopyFormat::Text {
        return false;
    }
    match &*framing.null {
        [b'\\'] => false,
        [b'\\', next, ..] => b"bfnrtv\\".contains(next) || *next == framing.delimiter,
        _ => true,
    }
}

/// Takes the escapes of the text format out.
fn unescape(raw: &mut Vec<u8>) {
    let mut escaped = false;
    raw.retain_mut(|byte| {
        if !escaped {
            escaped = *byte == b'\\';
            return !escaped;
        }
        escaped = false;
        *byte = match *byte {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            other => other,
        };
        true
    });
}

/// Takes the quotes around a CSV value, and the escapes in it, out.
fn unquote(raw: &mut Vec<u8>, escape: u8) {
    raw.pop();
    let (mut first, mut escaped) = (true, false);
    raw.retain(|&byte| {
        if std::mem::take(&mut first) {
            return false;
        }
        if !escaped && byte == escape {
            escaped = true;
            return false;
        }
        escaped = false;
        true
    });
}

fn unexpected() -> Stop {
    Stop::Refused(Box::new(Refusal {
        rule: Rule::Copy,
        sqlstate: "42501",
        message: String::from(
            "the server sends the rows of COPY otherwise than the firewall reads them; the rest is withheld",
        ),
        hint: Some(String::from("Use SELECT instead, or leave out the options.")),
        position: None,
    }))
}

fn too_large(limit: usize) -> Stop {
    Stop::Refused(Box::new(Refusal {
        rule: Rule::Limit,
        sqlstate: "54000",
        message: format!("a handled value is larger than {limit} bytes; its row and what follows are withheld"),
        hint: Some(String::from("Leave the large column out.")),
        position: None,
    }))
}
