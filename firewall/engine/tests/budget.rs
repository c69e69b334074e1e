//! Limits by the hour: of rows, and of values. What a client compares protected values with counts like values that it was
//! shown.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::time::Duration;

use ringfence_analysis::facts::Rule;
use ringfence_engine::Verdict;
use ringfence_wire::encode;
use support::{Stage, USERS, contains, field, row, tags};

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

/// Asks for cards, gets `rows` of them; what the client sees.
fn cards(stage: &mut Stage, rows: usize) -> Vec<u8> {
    stage.client(|out| encode::query(out, b"select id, credit_card from users"));
    stage.server(|out| {
        encode::row_description(out, [field("id", USERS, 1, 23), field("credit_card", USERS, 3, 25)]);
        for at in 0..rows {
            row(out, &[Some(b"1"), Some(format!("41111111111{at:05}").as_bytes())]);
        }
        encode::command_complete(out, b"SELECT 2");
        encode::ready_for_query(out, b'I');
    })
}

#[test]
fn rows_are_counted_and_the_rest_is_withheld() {
    let mut stage = Stage::new("counted");
    assert_eq!(tags(&cards(&mut stage, 2)), "TDDCZ");
    let seen = cards(&mut stage, 5);
    assert_eq!(tags(&seen), "TDEZ", "one row was left");
    assert!(contains(&seen, "C53400\0") && contains(&seen, "rows_per_hour"));
    assert_eq!(tags(&cards(&mut stage, 1)), "TEZ");
    let verdicts: Vec<Verdict> = std::iter::from_fn(|| stage.session.next_event()).map(|event| event.verdict).collect();
    assert_eq!(verdicts, [Verdict::Handled, Verdict::Refused(Rule::Budget), Verdict::Refused(Rule::Budget)]);
    // Rows without labelled columns are free.
    stage.client(|out| encode::query(out, b"select id from users"));
    let seen = stage.server(|out| {
        encode::row_description(out, [field("id", USERS, 1, 23)]);
        row(out, &[Some(b"1")]);
        encode::command_complete(out, b"SELECT 1");
        encode::ready_for_query(out, b'I');
    });
    assert_eq!(tags(&seen), "TDCZ");
    stage.now += Duration::from_secs(3_661);
    assert_eq!(tags(&cards(&mut stage, 3)), "TDDDCZ");
}

#[test]
fn an_observed_client_gets_its_rows_and_the_audit_log_hears_of_it() {
    let mut stage = Stage::new("watched");
    assert_eq!(tags(&cards(&mut stage, 5)), "TDDDDDCZ");
    assert_eq!(tags(&cards(&mut stage, 0)), "TCZ");
    let verdicts: Vec<Verdict> = std::iter::from_fn(|| stage.session.next_event()).map(|event| event.verdict).collect();
    assert_eq!(verdicts, [Verdict::Observed(Rule::Budget), Verdict::Handled]);
}
