//! Limits of values by the hour: what a client compares protected values with counts like values that it was shown.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::time::Duration;

use ringfence_wire::encode;
use support::{Stage, contains};

/// Sends the query, and answers it if it went upstream.
fn query(stage: &mut Stage, text: &str) -> Result<(), String> {
    let sent = stage.client(|out| encode::query(out, text.as_bytes()));
    if contains(&sent, "ringfence refused") {
        let seen = stage.server(|out| {
            encode::error(out, &[(b'S', "ERROR"), (b'C', "34000"), (b'M', "portal does not exist")]);
            encode::ready_for_query(out, b'I');
        });
        return Err(String::from_utf8_lossy(&seen).into_owned());
    }
    stage.server(|out| {
        encode::command_complete(out, b"SELECT 0");
        encode::ready_for_query(out, b'I');
    });
    Ok(())
}

/// Binds and runs a statement with one parameter; whether it went upstream.
fn run(stage: &mut Stage, text: &str, value: &str) -> bool {
    let sent = stage.client(|out| {
        encode::parse(out, b"", text.as_bytes(), &[]);
        encode::bind(out, b"", b"", [], [Some(value.as_bytes())], []);
        encode::execute(out, b"", 0);
        encode::sync(out);
    });
    let refused = contains(&sent, "ringfence refused");
    stage.server(|out| {
        encode::parse_complete(out);
        if refused {
            encode::error(out, &[(b'S', "ERROR"), (b'C', "34000"), (b'M', "portal does not exist")]);
        } else {
            encode::bind_complete(out);
            encode::no_data(out);
            encode::command_complete(out, b"SELECT 0");
        }
        encode::ready_for_query(out, b'I');
    });
    !refused
}

#[test]
fn guesses_in_the_text_are_counted() {
    let mut stage = Stage::new("limited");
    query(&mut stage, "select id from users where credit_card in ('a', 'b')").unwrap();
    for _ in 0..10 {
        query(&mut stage, "select id from users where credit_card = 'a'").unwrap();
        query(&mut stage, "select 'x', 'y', 'z', 'w' from users where id = 7").unwrap();
    }
    query(&mut stage, "select id from users where credit_card = 'c'").unwrap();
    let refused = query(&mut stage, "select id from users where credit_card = 'd'").unwrap_err();
    assert!(refused.contains("C53400\0"), "{refused}");
    for part in ["client \"limited\"", "role \"limited\"", "3 different values of label pci", "Rule budget.", "minutes"]
    {
        assert!(refused.contains(part), "{refused}");
    }
    // What was asked before may be asked again, and what needs no value may be asked at any time.
    query(&mut stage, "select id from users where credit_card = 'b'").unwrap();
    query(&mut stage, "select id from users where id = 8").unwrap();
    stage.now += Duration::from_secs(3_601);
    query(&mut stage, "select id from users where credit_card = 'd'").unwrap();
}

#[test]
fn guesses_in_parameters_are_counted() {
    let mut stage = Stage::new("limited");
    let text = "select id from users where credit_card = $1";
    for value in ["a", "b", "a", "c", "b"] {
        assert!(run(&mut stage, text, value), "{value}");
    }
    assert!(!run(&mut stage, text, "d"));
    assert!(run(&mut stage, text, "c"));
    assert!(run(&mut stage, "select id from users where id = $1", "77"));
}

#[test]
fn guesses_through_execute_are_counted() {
    let mut stage = Stage::new("limited");
    query(&mut stage, "prepare p as select id from users where credit_card = $1").unwrap();
    for value in ["a", "b", "c"] {
        query(&mut stage, &format!("execute p('{value}')")).unwrap();
    }
    assert!(query(&mut stage, "execute p('d')").unwrap_err().contains("values_per_hour"));
    query(&mut stage, "execute p('a')").unwrap();
}
