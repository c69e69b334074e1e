//! Whatever pieces the two byte streams arrive in, the output is the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::time::Instant;

use proptest::prelude::*;
use ringfence_engine::Session;
use ringfence_wire::encode;
use ringfence_wire::frontend::Target;
use support::{Recorded, USERS, field, row, session};

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
            encode::copy_response(out, b'H', 0, [0, 0]);
            for _ in 0..5 {
                encode::copy_data(out, b"1\trent\n");
            }
            encode::copy_done(out);
            encode::command_complete(out, b"COPY 5");
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
    for turn in turns {
        let (bytes, from_client) = match turn {
            Turn::Client(bytes) => (bytes, true),
            Turn::Server(bytes) => (bytes, false),
        };
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(sizes.next().unwrap().clamp(1, rest.len()));
            let taken = if from_client {
                session.client_bytes(now, piece, &mut out)
            } else {
                session.server_bytes(now, piece, &mut out)
            };
            assert_eq!(taken.expect("no fault"), piece.len());
            rest = later;
        }
    }
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
