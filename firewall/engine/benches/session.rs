//! What the session costs: one cycle of `pgbench -S`, and rows with and without handled columns.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringfence_engine::Session;
use ringfence_wire::encode;
use ringfence_wire::frontend::Target;
use support::{Recorded, TRANSACTIONS, USERS, field, row, session};

/// Rows in one read of the server's socket.
const ROWS: usize = 300;

fn play(session: &mut Session, out: &mut Recorded, now: Instant, client: &[u8], server: &[u8]) {
    out.client.clear();
    out.server.clear();
    session.client_bytes(now, black_box(client), out).expect("no fault");
    session.server_bytes(now, black_box(server), out).expect("no fault");
    while let Some(event) = session.next_event() {
        black_box(event);
    }
}

fn simple() -> (Vec<u8>, Vec<u8>) {
    let (mut client, mut server) = (Vec::new(), Vec::new());
    encode::query(&mut client, b"SELECT description FROM transactions WHERE id = 4711;");
    encode::row_description(&mut server, [field("description", TRANSACTIONS, 2, 25)]);
    row(&mut server, &[Some(b"4711")]);
    encode::command_complete(&mut server, b"SELECT 1");
    encode::ready_for_query(&mut server, b'I');
    (client, server)
}

fn extended() -> (Vec<u8>, Vec<u8>) {
    let (mut client, mut server) = (Vec::new(), Vec::new());
    encode::parse(&mut client, b"", b"SELECT description FROM transactions WHERE id = $1;", &[]);
    encode::bind(&mut client, b"", b"", [], [Some(&b"4711"[..])], [0]);
    encode::describe(&mut client, Target::Portal, b"");
    encode::execute(&mut client, b"", 0);
    encode::sync(&mut client);
    encode::parse_complete(&mut server);
    encode::bind_complete(&mut server);
    encode::row_description(&mut server, [field("description", TRANSACTIONS, 2, 25)]);
    row(&mut server, &[Some(b"4711")]);
    encode::command_complete(&mut server, b"SELECT 1");
    encode::ready_for_query(&mut server, b'I');
    (client, server)
}

fn cycles(c: &mut Criterion) {
    let now = Instant::now();
    let mut group = c.benchmark_group("cycle");
    for (name, (client, server)) in [("simple", simple()), ("extended", extended())] {
        for who in ["operator", "api"] {
            let (mut session, mut out) = (session(who), Recorded::default());
            group.bench_function(format!("{name}/{who}"), |b| {
                b.iter(|| play(&mut session, &mut out, now, &client, &server));
            });
        }
    }
    // Every text is a new one, as with `pgbench -S` in the simple protocol.
    let (mut session, mut out) = (session("api"), Recorded::default());
    let (_, server) = simple();
    let mut at = 0_u64;
    group.bench_function("simple/api, each text new", |b| {
        b.iter(|| {
            at += 1;
            let mut client = Vec::with_capacity(128);
            encode::query(&mut client, format!("SELECT description FROM transactions WHERE id = {at};").as_bytes());
            play(&mut session, &mut out, now, &client, &server);
        });
    });
    group.finish();
}

/// Ten columns, about 120 bytes; `handled`: two of them are labelled.
fn rows(handled: bool) -> (Vec<u8>, Vec<u8>) {
    let (mut client, mut server) = (Vec::new(), Vec::new());
    let filler = "description as a, description as b, description as c, description as d, description as e, \
                  description as f, description as g, t.id";
    let labelled = if handled { "credit_card, password_hash" } else { "u.id, email" };
    encode::query(&mut client, format!("select {filler}, {labelled} from transactions t, users u").as_bytes());
    let mut fields: Vec<_> = ["a", "b", "c", "d", "e", "f", "g"].map(|name| field(name, TRANSACTIONS, 2, 25)).into();
    fields.push(field("id", TRANSACTIONS, 1, 23));
    if handled {
        fields.extend([field("credit_card", USERS, 3, 25), field("password_hash", USERS, 4, 25)]);
    } else {
        fields.extend([field("id", USERS, 1, 23), field("email", USERS, 2, 25)]);
    }
    encode::row_description(&mut server, fields);
    for _ in 0..ROWS {
        let mut values = vec![Some(&b"0123456789"[..]); 8];
        values.extend([Some(&b"4111111111111111"[..]), Some(&b"0123456789abcdef"[..])]);
        row(&mut server, &values);
    }
    encode::command_complete(&mut server, format!("SELECT {ROWS}").as_bytes());
    encode::ready_for_query(&mut server, b'I');
    (client, server)
}

fn results(c: &mut Criterion) {
    let now = Instant::now();
    let mut group = c.benchmark_group("rows");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, who, handled) in [
        ("unrestricted", "operator", true),
        ("restricted, none handled", "api", false),
        ("restricted, two handled", "api", true),
    ] {
        let (client, server) = rows(handled);
        let (mut session, mut out) = (session(who), Recorded::default());
        group.bench_function(name, |b| b.iter(|| play(&mut session, &mut out, now, &client, &server)));
    }
    group.finish();
}

criterion_group!(benches, cycles, results);
criterion_main!(benches);
