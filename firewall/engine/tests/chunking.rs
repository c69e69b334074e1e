//! Whatever pieces the two byte streams arrive in, the output is the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::time::Instant;

use proptest::prelude::*;
use ringfence_engine::Session;
use ringfence_wire::backend::Field;
use ringfence_wire::encode;
use ringfence_wire::frontend::Target;
use support::{Recorded, TRANSACTIONS, USERS, field, row, session};

/// One side says something, whole.
#[derive(Debug, Clone)]
enum Turn {
    Client(Vec<u8>),
    Server(Vec<u8>),
}

fn client(build: impl FnOnce(&mut Vec<u8>)) -> Turn {
    let mut bytes = Vec::new();
    build(&mut bytes);
    Turn::Client(bytes)
}

fn server(build: impl FnOnce(&mut Vec<u8>)) -> Turn {
    let mut bytes = Vec::new();
    build(&mut bytes);
    Turn::Server(bytes)
}

/// What the server answers when the firewall asks what a COPY will send.
fn copy_described(out: &mut Vec<u8>, fields: &[Field<'_>]) {
    encode::close_complete(out);
    encode::parse_complete(out);
    encode::parameter_description(out, []);
    encode::row_description(out, fields.iter().copied());
    encode::close_complete(out);
}

/// Simple, extended, refused, failing, COPY both ways, asynchronous messages.
fn conversation() -> Vec<Turn> {
    let describe = |out: &mut Vec<u8>| {
        encode::row_description(out, [field("id", USERS, 1, 23), field("credit_card", USERS, 3, 25)]);
    };
    vec![
        server(|out| {
            encode::parameter_status(out, b"client_encoding", b"UTF8");
            encode::ready_for_query(out, b'I');
        }),
        client(|out| encode::query(out, b"select id, credit_card from users")),
        server(|out| {
            describe(out);
            for at in 0..20 {
                row(out, &[Some(format!("{at}").as_bytes()), Some(b"4111111111111111")]);
            }
            encode::notification(out, 1, b"c", b"payload");
            encode::command_complete(out, b"SELECT 20");
            encode::ready_for_query(out, b'I');
        }),
        client(|out| {
            encode::parse(out, b"a", b"select id, credit_card from users where id = $1", &[23]);
            encode::bind(out, b"", b"a", [1], [Some(&[0, 0, 0, 1][..])], [1]);
            encode::execute(out, b"", 0);
            encode::describe(out, Target::Statement, b"a");
            encode::parse(out, b"", b"select md5(credit_card) from users", &[]);
            encode::bind(out, b"", b"", [], [], []);
            encode::execute(out, b"", 0);
            encode::sync(out);
            encode::query(out, b"select 1; select description from transactions; select 2");
        }),
        server(|out| {
            encode::parse_complete(out);
            encode::bind_complete(out);
            describe(out);
            row(out, &[Some(b"1"), Some(b"4111111111111111")]);
            encode::command_complete(out, b"SELECT 1");
            encode::parameter_description(out, [23]);
            describe(out);
            encode::error(out, &[(b'S', "ERROR"), (b'C', "34000"), (b'M', "no portal")]);
            encode::ready_for_query(out, b'I');
            encode::row_description(out, [field("?column?", 0, 0, 23)]);
            row(out, &[Some(b"1")]);
            encode::command_complete(out, b"SELECT 1");
            encode::row_description(out, [field("description", support::TRANSACTIONS, 2, 25)]);
            row(out, &[Some(&vec![b'x'; 70_000])]);
            row(out, &[None]);
            encode::command_complete(out, b"SELECT 2");
            encode::row_description(out, [field("?column?", 0, 0, 23)]);
            row(out, &[Some(b"2")]);
            encode::command_complete(out, b"SELECT 1");
            encode::ready_for_query(out, b'I');
        }),
        client(|out| encode::query(out, b"copy transactions to stdout")),
        server(|out| {
            copy_described(out, &[field("id", TRANSACTIONS, 1, 23), field("description", TRANSACTIONS, 2, 25)])
        }),
        server(|out| {
            encode::copy_response(out, b'H', 0, [0, 0]);
            for _ in 0..5 {
                encode::copy_data(out, b"1\trent\n");
            }
            encode::copy_done(out);
            encode::command_complete(out, b"COPY 5");
            encode::ready_for_query(out, b'I');
        }),
        client(|out| encode::query(out, b"copy users (id, credit_card) to stdout (format csv, header)")),
        server(|out| copy_described(out, &[field("id", USERS, 1, 23), field("credit_card", USERS, 3, 25)])),
        server(|out| {
            encode::copy_response(out, b'H', 0, [0, 0]);
            // Rows need not end where messages do.
            for piece in ["id,credit_card\n1,411111", "1111111111\n", "2,\n3", ",\"4111\"", "\"1111,x\"\n", "4,abc\n"] {
                encode::copy_data(out, piece.as_bytes());
            }
            encode::copy_done(out);
            encode::command_complete(out, b"COPY 4");
            encode::ready_for_query(out, b'I');
        }),
        client(|out| {
            encode::parse(out, b"", b"copy (select credit_card from users) to stdout (format binary)", &[]);
            encode::bind(out, b"", b"", [], [], []);
            encode::execute(out, b"", 0);
            encode::sync(out);
        }),
        server(|out| {
            encode::parse_complete(out);
            encode::bind_complete(out);
            copy_described(out, &[field("credit_card", USERS, 3, 25)]);
        }),
        server(|out| {
            encode::copy_response(out, b'H', 1, [1]);
            let mut data = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
            for value in [&b"4111111111111111"[..], b"", b"x"] {
                data.extend_from_slice(&[0, 1]);
                data.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
                data.extend_from_slice(value);
            }
            data.extend_from_slice(&[0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
            for piece in data.chunks(7) {
                encode::copy_data(out, piece);
            }
            encode::copy_done(out);
            encode::command_complete(out, b"COPY 4");
            encode::ready_for_query(out, b'I');
        }),
        client(|out| encode::query(out, b"select credit_card || 'x' from users")),
        server(|out| {
            encode::error(out, &[(b'S', "ERROR"), (b'C', "34000"), (b'M', "no portal")]);
            encode::ready_for_query(out, b'I');
        }),
    ]
}

fn play(mut session: Session, turns: &[Turn], mut sizes: impl Iterator<Item = usize>) -> (Recorded, usize) {
    let now = Instant::now();
    let mut out = Recorded::default();
    // What the session does not take while it waits is offered again once the server has spoken.
    let mut held: Vec<u8> = Vec::new();
    for turn in turns {
        let (bytes, from_client) = match turn {
            Turn::Client(bytes) => (bytes, true),
            Turn::Server(bytes) => (bytes, false),
        };
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(sizes.next().unwrap().clamp(1, rest.len()));
            if from_client {
                held.extend_from_slice(piece);
            } else {
                assert_eq!(session.server_bytes(now, piece, &mut out).expect("no fault"), piece.len());
            }
            let taken = session.client_bytes(now, &held, &mut out).expect("no fault");
            held.drain(..taken);
            rest = later;
        }
    }
    assert!(held.is_empty(), "the session still waits");
    let events = std::iter::from_fn(|| session.next_event()).count();
    (out, events)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_chunking_gives_the_same_output(
        sizes in proptest::collection::vec(prop_oneof![1usize..8, 1usize..200, 1usize..100_000], 1..64),
        restricted in any::<bool>(),
    ) {
        let name = if restricted { "api" } else { "operator" };
        let turns: Vec<Turn> = if restricted { conversation() } else { passing() };
        let whole = play(session(name), &turns, std::iter::repeat(usize::MAX));
        let pieces = play(session(name), &turns, sizes.iter().copied().cycle());
        prop_assert_eq!(whole, pieces);
    }
}

/// What an unrestricted client could have said and heard: no message of ours is in it.
fn passing() -> Vec<Turn> {
    vec![
        client(|out| {
            encode::parse(out, b"", b"select upper(credit_card) from users", &[]);
            encode::bind(out, b"", b"", [], [], []);
            encode::describe(out, Target::Portal, b"");
            encode::execute(out, b"", 0);
            encode::sync(out);
            encode::query(out, b"listen x");
        }),
        server(|out| {
            encode::parse_complete(out);
            encode::bind_complete(out);
            encode::row_description(out, [field("upper", 0, 0, 25)]);
            for _ in 0..50 {
                row(out, &[Some(b"4111111111111111")]);
            }
            encode::command_complete(out, b"SELECT 50");
            encode::ready_for_query(out, b'I');
            encode::command_complete(out, b"LISTEN");
            encode::ready_for_query(out, b'I');
            encode::notification(out, 1, b"x", b"payload");
        }),
    ]
}

#[test]
fn copied_rows_are_handled() {
    let (out, _) = play(session("api"), &conversation(), std::iter::repeat(usize::MAX));
    assert!(!support::contains(&out.client, "411111"));
    let mut data = Vec::new();
    for frame in ringfence_wire::frame::Frames::new(&out.client) {
        let frame = frame.unwrap();
        if frame.tag == b'd' {
            data.extend_from_slice(frame.body);
        }
    }
    let data = String::from_utf8_lossy(&data);
    assert!(data.contains("id,credit_card\n1,************1111\n2,\n3,\"*******11,x\"\n4,***\n"), "{data}");
}

#[test]
fn passing_changes_nothing() {
    let turns = passing();
    let (out, events) = play(session("operator"), &turns, std::iter::repeat(usize::MAX));
    let said = |from_client: bool| -> Vec<u8> {
        turns
            .iter()
            .filter_map(|turn| match turn {
                Turn::Client(bytes) if from_client => Some(bytes.clone()),
                Turn::Server(bytes) if !from_client => Some(bytes.clone()),
                Turn::Client(_) | Turn::Server(_) => None,
            })
            .flatten()
            .collect()
    };
    assert_eq!((out.server, out.client, events), (said(true), said(false), 2));
}
