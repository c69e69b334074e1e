//! A stand-in for PostgreSQL: it knows a handful of statements and answers as the real one would, protocol state
//! included. Values of protected columns, and everything that could be computed from them, hold the canary.

use std::collections::{HashMap, VecDeque};

use ringfence_wire::backend::{self, Field};
use ringfence_wire::encode::{self, DataRowBuilder};
use ringfence_wire::frame::Frames;
use ringfence_wire::frontend::{self, Bind, Close, Describe, Execute, Parse, Query, Target, name_key};

/// Must never reach a restricted client.
pub(crate) const CANARY: &str = "CANARY4111111";
/// OIDs of the two tables.
pub(crate) const USERS: u32 = 20_001;
pub(crate) const PLACES: u32 = 20_002;

const ROWS: usize = 3;
const TEXT: u32 = 25;
const INT4: u32 = 23;

pub(crate) struct Column {
    name: &'static str,
    origin: (u32, i16),
    type_oid: u32,
    secret: bool,
}

const fn column(name: &'static str, table: u32, attnum: i16, type_oid: u32) -> Column {
    Column { name, origin: (table, attnum), type_oid, secret: table == USERS && attnum > 1 }
}

/// Computed from something protected.
const fn computed(name: &'static str) -> Column {
    Column { name, origin: (0, 0), type_oid: TEXT, secret: true }
}

const ID: Column = column("id", USERS, 1, INT4);
const CARD: Column = column("credit_card", USERS, 2, TEXT);
const EMAIL: Column = column("email", USERS, 3, TEXT);
const HASH: Column = column("password_hash", USERS, 4, TEXT);
const PLACE: Column = column("id", PLACES, 1, INT4);
const CITY: Column = column("city", PLACES, 2, TEXT);

pub(crate) enum Does {
    Rows(&'static [Column]),
    Command(&'static str),
    Begin,
    End(&'static str),
    /// Fails, and the error's detail shows a row of `users`.
    Violates,
    /// Fails without saying anything of data.
    Fails,
    Notice,
    Prepare(&'static str, &'static str),
    Execute(&'static str),
    Deallocate(&'static str),
    Declare(&'static str, &'static str),
    Fetch(&'static str),
    CloseCursor(&'static str),
    CopyIn,
    CopyOut(&'static [Column]),
}

pub(crate) struct Text {
    pub(crate) sql: &'static str,
    does: Does,
    /// Touches nothing protected: even a restricted client must get exactly what the server says.
    pub(crate) open: bool,
}

const fn open(sql: &'static str, does: Does) -> Text {
    Text { sql, does, open: true }
}

const fn closed(sql: &'static str, does: Does) -> Text {
    Text { sql, does, open: false }
}

/// All that the stand-in knows; anything else is a syntax error to it.
pub(crate) const TEXTS: &[Text] = &[
    open("select id, city from places", Does::Rows(&[PLACE, CITY])),
    open("select 1", Does::Rows(&[Column { name: "?column?", origin: (0, 0), type_oid: INT4, secret: false }])),
    open("begin", Does::Begin),
    open("commit", Does::End("COMMIT")),
    open("rollback", Does::End("ROLLBACK")),
    open("update places set city = 'x'", Does::Command("UPDATE 3")),
    open("insert into places (id, city) values (1, 'x')", Does::Fails),
    open("prepare a as select id, city from places", Does::Prepare("a", "select id, city from places")),
    open("declare x cursor for select id, city from places", Does::Declare("x", "select id, city from places")),
    open("copy places from stdin", Does::CopyIn),
    open("copy places to stdout", Does::CopyOut(&[PLACE, CITY])),
    // What the firewall asks before it sends a COPY.
    open("SELECT * FROM ONLY \"places\"", Does::Rows(&[PLACE, CITY])),
    closed("SELECT * FROM ONLY \"users\"", Does::Rows(&[ID, CARD, EMAIL, HASH])),
    closed("select email from users", Does::Rows(&[EMAIL])),
    open("", Does::Command("")),
    closed("select id from users", Does::Rows(&[ID])),
    closed("select credit_card from users", Does::Rows(&[CARD])),
    closed("select id, credit_card, email, password_hash from users", Does::Rows(&[ID, CARD, EMAIL, HASH])),
    closed("select * from users", Does::Rows(&[ID, CARD, EMAIL, HASH])),
    closed("select password_hash from users", Does::Rows(&[HASH])),
    closed("select upper(credit_card) from users", Does::Rows(&[computed("upper")])),
    closed("select u from users u", Does::Rows(&[computed("u")])),
    closed("select id, (select email from users limit 1) from places", Does::Rows(&[PLACE, computed("email")])),
    closed("select city from places union all select credit_card from users", Does::Rows(&[computed("city")])),
    closed("insert into users (id, credit_card) values (1, '4111111111111111')", Does::Violates),
    closed("update users set id = 2 returning credit_card", Does::Rows(&[CARD])),
    closed("delete from users where id = 1", Does::Notice),
    closed("prepare a as select credit_card from users", Does::Prepare("a", "select credit_card from users")),
    closed("prepare b as select upper(email) from users", Does::Prepare("b", "select upper(credit_card) from users")),
    closed("execute a", Does::Execute("a")),
    closed("execute b", Does::Execute("b")),
    closed("deallocate a", Does::Deallocate("a")),
    closed("declare x cursor for select email from users", Does::Declare("x", "select credit_card from users")),
    closed(
        "declare y cursor for select upper(email) from users",
        Does::Declare("y", "select upper(credit_card) from users"),
    ),
    closed("fetch 1 from x", Does::Fetch("x")),
    closed("fetch 1 from y", Does::Fetch("y")),
    closed("close x", Does::CloseCursor("x")),
    closed("copy users from stdin", Does::CopyIn),
    closed("copy users to stdout", Does::CopyOut(&[ID, CARD, EMAIL, HASH])),
    closed("copy (select email from users) to stdout", Does::CopyOut(&[EMAIL])),
];

fn known(sql: &str) -> Option<&'static Text> {
    TEXTS.iter().find(|text| text.sql == sql.trim())
}

#[derive(Clone, Copy)]
struct Prepared {
    text: Option<&'static Text>,
}

struct Portal {
    text: &'static Text,
    formats: Vec<i16>,
    sent: usize,
}

/// Where a statement came from: that decides what follows it.
#[derive(Clone, Copy, PartialEq)]
enum From {
    Simple,
    Extended,
}

struct Failure;

pub(crate) struct Server {
    input: Vec<u8>,
    /// What it has said and nobody has taken.
    pub(crate) output: VecDeque<u8>,
    statements: HashMap<Vec<u8>, Prepared>,
    portals: HashMap<Vec<u8>, Portal>,
    status: u8,
    skipping: bool,
    copying: Option<From>,
    /// Statements of a simple query after the COPY that is under way.
    rest: Vec<String>,
    pub(crate) gone: bool,
    /// ReadyForQuery messages that it sent.
    pub(crate) readies: usize,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self {
            input: Vec::new(),
            output: VecDeque::new(),
            statements: HashMap::new(),
            portals: HashMap::new(),
            status: b'I',
            skipping: false,
            copying: None,
            rest: Vec::new(),
            gone: false,
            readies: 0,
        }
    }

    /// Takes bytes and answers. `false`: they were no protocol, and it hung up.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> bool {
        self.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.input);
        let mut frames = Frames::new(&input);
        while !self.gone {
            match frames.next() {
                None => break,
                Some(Ok(frame)) if self.message(frame.tag, frame.body).is_some() => {}
                Some(_) => {
                    self.gone = true;
                    self.say(|out| error(out, b"FATAL", "08P01", "invalid message", None));
                    return false;
                }
            }
        }
        self.input = frames.rest().to_vec();
        true
    }

    /// Something that nobody asked for.
    pub(crate) fn say(&mut self, what: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        what(&mut out);
        self.output.extend(out);
    }

    fn message(&mut self, tag: u8, body: &[u8]) -> Option<()> {
        if let Some(from) = self.copying {
            return self.copy_message(from, tag, body);
        }
        if self.skipping && !matches!(tag, frontend::SYNC | frontend::TERMINATE) {
            return Some(());
        }
        match tag {
            frontend::QUERY => {
                let text = Query::parse(body).ok()?.text;
                self.statements.remove(&b""[..]);
                self.portals.remove(&b""[..]);
                let parts = String::from_utf8_lossy(text).split(';').map(str::to_owned).collect();
                self.simple(parts);
            }
            frontend::PARSE => {
                let parse = Parse::parse(body).ok()?;
                let result = self.parse(&parse);
                self.extended(result);
            }
            frontend::BIND => {
                let bind = Bind::parse(body).ok()?;
                let result = self.bind(&bind);
                self.extended(result);
            }
            frontend::DESCRIBE => {
                let describe = Describe::parse(body).ok()?;
                let result = self.describe(&describe);
                self.extended(result);
            }
            frontend::EXECUTE => {
                let execute = Execute::parse(body).ok()?;
                let result = self.execute(&execute);
                self.extended(result);
            }
            frontend::CLOSE => {
                let close = Close::parse(body).ok()?;
                match close.target {
                    Target::Statement => drop(self.statements.remove(name_key(close.name))),
                    Target::Portal => drop(self.portals.remove(name_key(close.name))),
                }
                self.say(encode::close_complete);
            }
            frontend::SYNC => {
                self.skipping = false;
                self.ready();
            }
            frontend::TERMINATE => self.gone = true,
            frontend::FLUSH | frontend::COPY_DATA | frontend::COPY_DONE | frontend::COPY_FAIL => {}
            frontend::FUNCTION_CALL => {
                self.say(|out| error(out, b"ERROR", "0A000", "no such function", None));
                self.ready();
            }
            _ => return None,
        }
        Some(())
    }

    fn copy_message(&mut self, from: From, tag: u8, _: &[u8]) -> Option<()> {
        match tag {
            frontend::COPY_DATA | frontend::SYNC | frontend::FLUSH => return Some(()),
            frontend::COPY_DONE => self.say(|out| encode::command_complete(out, b"COPY 0")),
            frontend::TERMINATE => {
                self.gone = true;
                return Some(());
            }
            // CopyFail, and whatever has no place here.
            _ => {
                self.rest.clear();
                self.fail("57014", "COPY from stdin failed", None);
                if from == From::Extended {
                    self.skipping = true;
                }
            }
        }
        self.copying = None;
        if from == From::Simple {
            let rest = std::mem::take(&mut self.rest);
            if rest.is_empty() { self.ready() } else { self.simple(rest) }
        }
        Some(())
    }

    fn simple(&mut self, mut parts: Vec<String>) {
        if parts.iter().all(|part| part.trim().is_empty()) {
            self.say(encode::empty_query_response);
            return self.ready();
        }
        parts.retain(|part| !part.trim().is_empty());
        // The whole text is parsed before anything runs.
        if parts.iter().any(|part| known(part).is_none()) {
            self.fail("42601", "syntax error", None);
            return self.ready();
        }
        while !parts.is_empty() {
            let part = parts.remove(0);
            let Some(text) = known(&part) else { break };
            if self.run(text, &[], From::Simple).is_err() {
                break;
            }
            if self.copying.is_some() {
                self.rest = parts;
                return;
            }
        }
        self.ready();
    }

    fn extended(&mut self, result: Result<(), Failure>) {
        self.skipping = result.is_err();
    }

    fn ready(&mut self) {
        if self.status == b'I' {
            self.portals.clear();
        }
        self.readies += 1;
        let status = self.status;
        self.say(|out| encode::ready_for_query(out, status));
    }

    fn fail(&mut self, code: &str, message: &str, detail: Option<&str>) -> Failure {
        self.say(|out| error(out, b"ERROR", code, message, detail));
        if self.status == b'T' {
            self.status = b'E';
        }
        if self.status == b'I' {
            self.portals.clear();
        }
        Failure
    }

    /// In a failed transaction only its end is allowed.
    fn allowed(&mut self, text: Option<&Text>) -> Result<(), Failure> {
        if self.status == b'E' && !text.is_some_and(|text| matches!(text.does, Does::End(_))) {
            return Err(self.fail("25P02", "current transaction is aborted", None));
        }
        Ok(())
    }

    fn parse(&mut self, parse: &Parse<'_>) -> Result<(), Failure> {
        let name = name_key(parse.name).to_vec();
        if name.is_empty() {
            self.statements.remove(&name);
        }
        let Some(text) = std::str::from_utf8(parse.text).ok().and_then(known) else {
            return Err(self.fail("42601", "syntax error", None));
        };
        self.allowed(Some(text))?;
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Err(self.fail("42P05", "prepared statement exists", None));
        }
        self.statements.insert(name, Prepared { text: Some(text) });
        self.say(encode::parse_complete);
        Ok(())
    }

    fn bind(&mut self, bind: &Bind<'_>) -> Result<(), Failure> {
        let Some(Prepared { text: Some(text) }) = self.statements.get(name_key(bind.statement)).copied() else {
            return Err(self.fail("26000", "prepared statement does not exist", None));
        };
        self.allowed(Some(text))?;
        let portal = name_key(bind.portal).to_vec();
        if !portal.is_empty() && self.portals.contains_key(&portal) {
            return Err(self.fail("42P03", "cursor already exists", None));
        }
        let columns = self.columns(text).map_or(0, <[Column]>::len);
        let formats = bind.result_formats;
        if formats.len() > 1 && formats.len() != columns {
            return Err(self.fail("08P01", "wrong number of result formats", None));
        }
        let formats = (0..columns).map(|at| formats.of(at).unwrap_or_default()).collect();
        self.portals.insert(portal, Portal { text, formats, sent: 0 });
        self.say(encode::bind_complete);
        Ok(())
    }

    fn describe(&mut self, describe: &Describe<'_>) -> Result<(), Failure> {
        let name = name_key(describe.name);
        let (text, formats) = match describe.target {
            Target::Statement => (self.statements.get(name).and_then(|found| found.text), Vec::new()),
            Target::Portal => match self.portals.get(name) {
                Some(portal) => (Some(portal.text), portal.formats.clone()),
                None => (None, Vec::new()),
            },
        };
        let Some(text) = text else {
            return Err(self.fail("26000", "it does not exist", None));
        };
        let columns = self.columns(text);
        // In a failed transaction only what returns no rows can be described.
        if columns.is_some() {
            self.allowed(Some(text))?;
        }
        if describe.target == Target::Statement {
            self.say(|out| encode::parameter_description(out, []));
        }
        match columns {
            Some(columns) => self.say(|out| row_description(out, columns, &formats)),
            None => self.say(encode::no_data),
        }
        Ok(())
    }

    fn execute(&mut self, execute: &Execute<'_>) -> Result<(), Failure> {
        let name = name_key(execute.portal).to_vec();
        let Some(portal) = self.portals.get(&name) else {
            return Err(self.fail("34000", "portal does not exist", None));
        };
        let (text, formats, sent) = (portal.text, portal.formats.clone(), portal.sent);
        self.allowed(Some(text))?;
        let Does::Rows(columns) = text.does else {
            return self.run(text, &formats, From::Extended);
        };
        let left = ROWS - sent;
        let limit = usize::try_from(execute.max_rows).unwrap_or(0);
        let count = if limit == 0 { left } else { left.min(limit) };
        for _ in 0..count {
            self.say(|out| data_row(out, columns));
        }
        if let Some(portal) = self.portals.get_mut(&name) {
            portal.sent += count;
        }
        if limit != 0 && count == limit {
            self.say(encode::portal_suspended);
        } else {
            self.say(|out| encode::command_complete(out, format!("SELECT {count}").as_bytes()));
        }
        Ok(())
    }

    /// What a statement returns, if it returns rows. An EXECUTE of an EXECUTE returns nothing here.
    fn columns(&self, text: &Text) -> Option<&'static [Column]> {
        let behind = match text.does {
            Does::Execute(name) => self.statements.get(name.as_bytes())?.text?,
            Does::Fetch(name) => self.portals.get(name.as_bytes())?.text,
            Does::Rows(columns) => return Some(columns),
            _ => return None,
        };
        match behind.does {
            Does::Rows(columns) => Some(columns),
            _ => None,
        }
    }

    fn run(&mut self, text: &'static Text, formats: &[i16], from: From) -> Result<(), Failure> {
        self.allowed(Some(text))?;
        match text.does {
            Does::Rows(columns) => self.rows(columns, formats, ROWS, from, "SELECT"),
            Does::Command("") => self.say(encode::empty_query_response),
            Does::Command(tag) => self.done(tag),
            Does::Begin => {
                self.status = b'T';
                self.done("BEGIN");
            }
            Does::End(tag) => {
                let tag = if self.status == b'E' { "ROLLBACK" } else { tag };
                self.status = b'I';
                self.portals.clear();
                self.done(tag);
            }
            Does::Violates => {
                let detail = format!("Key (credit_card)=({CANARY}) already exists.");
                return Err(self.fail("23505", "duplicate key value", Some(&detail)));
            }
            Does::Fails => return Err(self.fail("23505", "duplicate key value", None)),
            Does::Notice => {
                self.say(|out| encode::notice(out, &[(b'S', "NOTICE"), (b'C', "00000"), (b'M', CANARY)]));
                self.done("DELETE 1");
            }
            Does::Prepare(name, sql) => {
                if self.statements.contains_key(name.as_bytes()) {
                    return Err(self.fail("42P05", "prepared statement exists", None));
                }
                self.statements.insert(name.into(), Prepared { text: known(sql) });
                self.done("PREPARE");
            }
            Does::Execute(name) => {
                let Some(columns) = self.columns(text) else {
                    return Err(self.fail("26000", &format!("no statement {name}"), None));
                };
                self.rows(columns, formats, ROWS, from, "SELECT");
            }
            Does::Deallocate(name) => {
                if self.statements.remove(name.as_bytes()).is_none() {
                    return Err(self.fail("26000", "no such statement", None));
                }
                self.done("DEALLOCATE");
            }
            Does::Declare(name, sql) => {
                if self.status != b'T' {
                    return Err(self.fail("25P01", "no transaction", None));
                }
                let Some(text) = known(sql).filter(|_| !self.portals.contains_key(name.as_bytes())) else {
                    return Err(self.fail("42P03", "cursor already exists", None));
                };
                self.portals.insert(name.into(), Portal { text, formats: Vec::new(), sent: 0 });
                self.done("DECLARE CURSOR");
            }
            Does::Fetch(name) => {
                let Some(columns) = self.columns(text) else {
                    return Err(self.fail("34000", &format!("no cursor {name}"), None));
                };
                self.rows(columns, formats, 1, from, "FETCH");
            }
            Does::CloseCursor(name) => {
                if self.portals.remove(name.as_bytes()).is_none() {
                    return Err(self.fail("34000", "no such cursor", None));
                }
                self.done("CLOSE CURSOR");
            }
            Does::CopyIn => {
                self.say(|out| encode::copy_response(out, backend::COPY_IN_RESPONSE, 0, [0, 0]));
                self.copying = Some(from);
            }
            Does::CopyOut(columns) => {
                let row: Vec<&str> = columns.iter().map(|c| if c.secret { CANARY } else { "1" }).collect();
                self.say(|out| {
                    encode::copy_response(out, backend::COPY_OUT_RESPONSE, 0, columns.iter().map(|_| 0));
                    // The second row is cut in two.
                    let rows = format!("{0}\n{0}\n", row.join("\t"));
                    let (first, second) = rows.split_at(rows.len() / 2 + 3.min(rows.len() / 4));
                    encode::copy_data(out, first.as_bytes());
                    encode::copy_data(out, second.as_bytes());
                    encode::copy_done(out);
                });
                self.done("COPY 2");
            }
        }
        Ok(())
    }

    fn done(&mut self, tag: &str) {
        self.say(|out| encode::command_complete(out, tag.as_bytes()));
    }

    fn rows(&mut self, columns: &[Column], formats: &[i16], count: usize, from: From, tag: &str) {
        self.say(|out| {
            if from == From::Simple {
                row_description(out, columns, formats);
            }
            for _ in 0..count {
                data_row(out, columns);
            }
            encode::command_complete(out, format!("{tag} {count}").as_bytes());
        });
    }
}

fn row_description(out: &mut Vec<u8>, columns: &[Column], formats: &[i16]) {
    encode::row_description(
        out,
        columns.iter().enumerate().map(|(at, column)| Field {
            name: column.name.as_bytes(),
            table_oid: column.origin.0,
            attnum: column.origin.1,
            type_oid: column.type_oid,
            type_len: if column.type_oid == INT4 { 4 } else { -1 },
            typmod: -1,
            format: formats.get(at).copied().unwrap_or_default(),
        }),
    );
}

fn data_row(out: &mut Vec<u8>, columns: &[Column]) {
    let mut row = DataRowBuilder::begin(out);
    for column in columns {
        row.col(if column.secret { CANARY.as_bytes() } else { b"1111" });
    }
    row.finish().expect("a short row");
}

fn error(out: &mut Vec<u8>, severity: &[u8], code: &str, message: &str, detail: Option<&str>) {
    let mut fields = vec![(b'S', severity), (b'V', severity), (b'C', code.as_bytes()), (b'M', message.as_bytes())];
    if let Some(detail) = detail {
        fields.push((b'D', detail.as_bytes()));
    }
    encode::error(out, &fields);
}
