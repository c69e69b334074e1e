//! Bytes to a script: what the client sends, when the server is heard, what happens besides.

use ringfence_wire::backend::Field;
use ringfence_wire::encode::{self, DataRowBuilder};
use ringfence_wire::frontend::Target;

use crate::server::{PLACES, TEXTS, USERS};

#[derive(Debug)]
pub(crate) enum Action {
    /// One message, or any bytes.
    Client(Vec<u8>),
    /// The server's pending words arrive.
    Hear,
    /// The server says what it has no reason to say.
    Server(Vec<u8>),
    /// A NOTIFY by someone else, with a payload that this client may not see.
    Notification,
    /// `standard_conforming_strings` is reported.
    Strings(bool),
    /// A new snapshot, unasked for.
    World,
}

#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) restricted: bool,
    pub(crate) actions: Vec<Action>,
    /// The client keeps to the protocol.
    pub(crate) polite: bool,
    /// The server may say anything at any time.
    pub(crate) hostile: bool,
    /// Nothing protected is touched, and nothing happens that a client could notice.
    pub(crate) open: bool,
    /// A cursor is declared in SQL, and a named portal is executed: if they are the same one, its rows are withheld.
    declares: bool,
    executes_named: bool,
    /// Extended-protocol messages since the last Sync.
    unsynced: bool,
    /// Settings change while the client speaks, or a Query comes without the Sync before it: it matters who is heard first.
    pub(crate) races: bool,
    /// The client may be asked for COPY data and send something else.
    pub(crate) copies: bool,
}

const NAMES: [&[u8]; 3] = [b"", b"a", b"b"];
const PORTALS: [&[u8]; 3] = [b"", b"x", b"y"];
const LONGEST: usize = 64;

pub(crate) fn read(bytes: &[u8]) -> Script {
    let mut bytes = bytes.iter().copied();
    let mut script = Script {
        restricted: true,
        actions: Vec::new(),
        polite: true,
        open: true,
        copies: false,
        races: false,
        hostile: false,
        unsynced: false,
        declares: false,
        executes_named: false,
    };
    let first = bytes.next().unwrap_or_default();
    script.restricted = first % 4 != 0;
    script.hostile = first % 8 == 7;
    while script.actions.len() < LONGEST
        && let Some(kind) = bytes.next()
    {
        one(kind, &mut bytes, &mut script);
    }
    script.open &= !(script.declares && script.executes_named);
    script
}

fn one(kind: u8, bytes: &mut impl Iterator<Item = u8>, script: &mut Script) {
    let mut next = || usize::from(bytes.next().unwrap_or_default());
    let pick = |names: [&'static [u8]; 3], at: usize| names[at % 3];
    let mut out = Vec::new();
    script.unsynced |= kind % 22 < 10;
    match kind % 22 {
        0 | 1 => {
            let (name, text) = (pick(NAMES, next()), &TEXTS[next() % TEXTS.len()]);
            script.open &= text.open;
            script.note(text.sql);
            encode::parse(&mut out, name, text.sql.as_bytes(), &[]);
        }
        2 | 3 => {
            let (portal, statement, format) = (pick(PORTALS, next()), pick(NAMES, next()), next());
            let formats: &[i16] = match format % 4 {
                0 => &[1],
                1 => &[0, 1],
                _ => &[],
            };
            encode::bind(&mut out, portal, statement, [], [], formats.iter().copied());
        }
        4 => encode::describe(&mut out, Target::Statement, pick(NAMES, next())),
        5 => encode::describe(&mut out, Target::Portal, pick(PORTALS, next())),
        6 | 7 => {
            let (portal, rows) = (pick(PORTALS, next()), next() % 3);
            script.executes_named |= !portal.is_empty();
            encode::execute(&mut out, portal, i32::try_from(rows).unwrap_or_default());
        }
        8 => encode::close(&mut out, Target::Statement, pick(NAMES, next())),
        9 => encode::close(&mut out, Target::Portal, pick(PORTALS, next())),
        10 | 11 => {
            script.unsynced = false;
            encode::sync(&mut out);
        }
        12 => encode::flush(&mut out),
        13 | 14 => {
            let texts: Vec<&str> = (0..=next() % 3)
                .map(|_| {
                    let text = &TEXTS[next() % TEXTS.len()];
                    script.open &= text.open;
                    script.note(text.sql);
                    text.sql
                })
                .collect();
            script.query();
            encode::query(&mut out, texts.join("; ").as_bytes());
        }
        15 => match next() % 3 {
            0 => encode::copy_data(&mut out, b"1\tx\n"),
            1 => encode::copy_done(&mut out),
            _ => encode::copy_fail(&mut out, b"no"),
        },
        16 => return script.actions.push(Action::Hear),
        17 => match next() % 4 {
            0 => return script.actions.push(Action::World),
            1 => {
                script.open = false;
                return script.actions.push(Action::Notification);
            }
            flag => {
                script.open = false;
                script.races = true;
                return script.actions.push(Action::Strings(flag == 2));
            }
        },
        18 => {
            // A whole extended query.
            script.unsynced = false;
            let text = &TEXTS[next() % TEXTS.len()];
            script.open &= text.open;
            script.note(text.sql);
            for message in [
                encoded(|out| encode::parse(out, b"", text.sql.as_bytes(), &[])),
                encoded(|out| encode::bind(out, b"", b"", [], [], [])),
                encoded(|out| encode::describe(out, Target::Portal, b"")),
                encoded(|out| encode::execute(out, b"", 0)),
                encoded(encode::sync),
            ] {
                script.actions.push(Action::Client(message));
            }
            return;
        }
        19 => {
            // A COPY as drivers do it.
            script.query();
            script.actions.extend([
                Action::Client(encoded(|out| encode::query(out, b"copy places from stdin"))),
                Action::Hear,
                Action::Client(encoded(|out| encode::copy_data(out, b"1\tx\n"))),
            ]);
            if next() % 2 == 0 {
                encode::copy_done(&mut out);
            } else {
                encode::copy_fail(&mut out, b"no");
            }
        }
        20 if script.hostile => {
            script.polite = false;
            let message = server_message(&mut next);
            return script.actions.push(Action::Server(message));
        }
        20 => return script.actions.push(Action::Hear),
        _ => {
            script.polite = false;
            script.open = false;
            script.copies = true;
            let length = next() % 16;
            out.extend((0..length).map(|_| u8::try_from(next()).unwrap_or_default()));
        }
    }
    script.actions.push(Action::Client(out));
}

fn server_message(next: &mut impl FnMut() -> usize) -> Vec<u8> {
    let mut out = Vec::new();
    match next() % 16 {
        0 => encode::parse_complete(&mut out),
        1 => encode::bind_complete(&mut out),
        2 => encode::close_complete(&mut out),
        3 => encode::no_data(&mut out),
        4 => encode::portal_suspended(&mut out),
        5 => encode::parameter_description(&mut out, [25]),
        6 => {
            // A known table, the other one, a computed column, or a table that no snapshot has.
            let table_oid = [USERS, PLACES, 0, 99_999][next() % 4];
            let attnum = i16::try_from(next() % 6).unwrap_or_default();
            let field = Field { name: b"c", table_oid, attnum, type_oid: 25, type_len: -1, typmod: -1, format: 0 };
            encode::row_description(&mut out, std::iter::repeat_n(field, next() % 3));
        }
        7 => {
            let mut row = DataRowBuilder::begin(&mut out);
            for _ in 0..next() % 3 {
                row.col(b"value");
            }
            row.finish().expect("a short row");
        }
        8 => encode::command_complete(&mut out, b"SELECT 1"),
        9 => encode::ready_for_query(&mut out, b"ITE"[next() % 3]),
        10 => encode::error(&mut out, &[(b'S', "ERROR"), (b'C', "22012"), (b'M', "m")]),
        11 => encode::copy_response(&mut out, b"GHW"[next() % 3], 0, [0]),
        12 => encode::copy_data(&mut out, b"x"),
        13 => encode::copy_done(&mut out),
        14 => encode::empty_query_response(&mut out),
        _ => out.extend((0..next() % 12).map(|_| u8::try_from(next()).unwrap_or_default())),
    }
    out
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

impl Script {
    /// Drivers send Sync before a Query. Where it is missing and an error makes the server skip the Query, the session
    /// has forgotten the unnamed statement and the server has not: refused, though the server would do it.
    fn query(&mut self) {
        self.open &= !self.unsynced;
        self.races |= self.unsynced;
    }

    fn note(&mut self, sql: &str) {
        self.copies |= sql.contains("from stdin");
        self.declares |= sql.starts_with("declare");
    }
}
