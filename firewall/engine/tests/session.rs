//! The session between scripted peers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use ringfence_analysis::facts::Rule;
use ringfence_engine::Verdict;
use ringfence_wire::encode;
use ringfence_wire::frontend::Target;
use support::{Stage, TRANSACTIONS, USERS, contains, field, row, tags};

const CARD: &[u8] = b"4111111111111111";

fn card_description(out: &mut Vec<u8>) {
    encode::row_description(out, [field("id", USERS, 1, 23), field("credit_card", USERS, 3, 25)]);
}

fn bind(out: &mut Vec<u8>, portal: &[u8], statement: &[u8]) {
    encode::bind(out, portal, statement, [], [], []);
}

#[test]
fn a_simple_query_is_handled_by_the_servers_word() {
    let mut stage = Stage::new("api");
    let sent = stage.client(|out| encode::query(out, b"select id, credit_card from users"));
    assert_eq!(tags(&sent), "Q");
    let seen = stage.server(|out| {
        card_description(out);
        row(out, &[Some(b"1"), Some(CARD)]);
        row(out, &[Some(b"2"), None]);
        encode::command_complete(out, b"SELECT 2");
        encode::ready_for_query(out, b'I');
    });
    assert_eq!(tags(&seen), "TDDCZ");
    assert!(!contains(&seen, "411111"), "the card's beginning is masked");
    assert!(contains(&seen, "1111"));
    let event = stage.session.next_event().unwrap();
    assert_eq!((event.verdict, event.rows, event.handled.len()), (Verdict::Handled, 2, 1));
    assert!(stage.session.is_idle());
}

#[test]
fn an_undescribed_portal_is_described_before_it_runs() {
    let mut stage = Stage::new("api");
    let sent = stage.client(|out| {
        encode::parse(out, b"", b"select id, credit_card from users", &[]);
        bind(out, b"", b"");
        encode::execute(out, b"", 0);
        encode::sync(out);
    });
    assert_eq!(tags(&sent), "PBDES");
    let seen = stage.server(|out| {
        encode::parse_complete(out);
        encode::bind_complete(out);
        card_description(out);
        row(out, &[Some(b"1"), Some(CARD)]);
        encode::command_complete(out, b"SELECT 1");
        encode::ready_for_query(out, b'I');
    });
    assert_eq!(tags(&seen), "12DCZ", "the client did not ask for the description");
    assert!(!contains(&seen, "411111"));
}

#[test]
fn a_described_portal_is_not_described_again() {
    let mut stage = Stage::new("api");
    let sent = stage.client(|out| {
        encode::parse(out, b"s", b"select id, credit_card from users", &[]);
        bind(out, b"p", b"s");
        encode::describe(out, Target::Portal, b"p");
        encode::execute(out, b"p", 1);
        encode::execute(out, b"p", 1);
        encode::sync(out);
    });
    assert_eq!(tags(&sent), "PBDEES");
    let seen = stage.server(|out| {
        encode::parse_complete(out);
        encode::bind_complete(out);
        card_description(out);
        row(out, &[Some(b"1"), Some(CARD)]);
        encode::portal_suspended(out);
        row(out, &[Some(b"2"), Some(CARD)]);
        encode::command_complete(out, b"SELECT 1");
        encode::ready_for_query(out, b'I');
    });
    assert_eq!(tags(&seen), "12TDsDCZ");
    assert!(!contains(&seen, "411111"));
}

#[test]
fn a_refused_query_fails_on_the_server_and_the_reason_is_ours() {
    let mut stage = Stage::new("api");
    let sent = stage.client(|out| encode::query(out, b"select id from users where credit_card = '4111111111111111'"));
    assert_eq!(tags(&sent), "ES", "an Execute that fails, and a Sync");
    assert!(!contains(&sent, "4111"));
    let seen = stage.server(|out| {
        encode::error(out, &[(b'S', "ERROR"), (b'C', "34000"), (b'M', "portal \"ringfence refused\" does not exist")]);
        encode::ready_for_query(out, b'E');
    });
    assert_eq!(tags(&seen), "EZ");
    assert!(contains(&seen, "42501") && contains(&seen, "credit_card") && contains(&seen, "pci"));
    assert!(!contains(&seen, "34000") && !contains(&seen, "4111"));
    assert_eq!(stage.session.next_event().unwrap().verdict, Verdict::Refused(Rule::Filter));
}

#[test]
fn what_follows_a_refused_parse_is_skipped_to_sync() {
    let mut stage = Stage::new("api");
    let sent = stage.client(|out| {
        encode::parse(out, b"ok", b"select 1", &[]);
        encode::parse(out, b"bad", b"select upper(credit_card) from users", &[]);
        bind(out, b"", b"bad");
        encode::execute(out, b"", 0);
        encode::sync(out);
    });
    assert!(!contains(&sent, "upper"));
    let seen = stage.server(|out| {
        encode::parse_complete(out);
        encode::error(out, &[(b'S', "ERROR"), (b'C', "34000"), (b'M', "x")]);
        encode::ready_for_query(out, b'I');
    });
    assert_eq!(tags(&seen), "1EZ");
    // The refused name was never made; the other one was.
    let sent = stage.client(|out| {
        bind(out, b"", b"ok");
        encode::sync(out);
    });
    assert_eq!(tags(&sent), "BS");
}

#[test]
fn a_name_whose_parse_was_skipped_means_what_it_meant_before() {
    let mut stage = Stage::new("api");
    stage.client(|out| {
        encode::parse(out, b"s", b"select id, credit_card from users", &[]);
        encode::sync(out);
    });
    stage.server(|out| {
        encode::parse_complete(out);
        encode::ready_for_query(out, b'I');
    });
    // The first statement fails, so the server never closes or replaces "s".
    stage.client(|out| {
        encode::parse(out, b"", b"select 1/0", &[]);
        bind(out, b"", b"");
        encode::execute(out, b"", 0);
        encode::close(out, Target::Statement, b"s");
        encode::parse(out, b"s", b"select 1, 'free'", &[]);
        encode::sync(out);
    });
    stage.server(|out| {
        encode::parse_complete(out);
        encode::error(out, &[(b'S', "ERROR"), (b'C', "22012"), (b'M', "division by zero")]);
        encode::ready_for_query(out, b'I');
    });
    stage.client(|out| {
        bind(out, b"", b"s");
        encode::execute(out, b"", 0);
        encode::sync(out);
    });
    let seen = stage.server(|out| {
        encode::bind_complete(out);
        // An origin-less second column would be free in the skipped statement; it is not in this one.
        encode::row_description(out, [field("id", USERS, 1, 23), field("credit_card", 0, 0, 25)]);
        row(out, &[Some(b"1"), Some(CARD)]);
        encode::command_complete(out, b"SELECT 1");
        encode::ready_for_query(out, b'I');
    });
    assert_eq!(tags(&seen), "2EZ");
    assert!(!contains(&seen, "4111"));
}

#[test]
fn rows_that_the_server_describes_otherwise_are_withheld() {
    let mut stage = Stage::new("api");
    stage.client(|out| encode::query(out, b"select id, credit_card from users"));
    let seen = stage.server(|out| {
        encode::row_description(out, [field("id", USERS, 1, 23), field("credit_card", 0, 0, 25)]);
        row(out, &[Some(b"1"), Some(CARD)]);
        encode::command_complete(out, b"SELECT 1");
        encode::ready_for_query(out, b'I');
    });
    assert_eq!(tags(&seen), "EZ");
    assert!(contains(&seen, "42501") && !contains(&seen, "4111"));
    assert_eq!(stage.session.next_event().unwrap().verdict, Verdict::Refused(Rule::Origin));
}

#[test]
fn the_servers_word_beats_the_analysis() {
    let mut stage = Stage::new("api");
    // A swap of tables behind the firewall's back: the text names an unlabelled table.
    stage.client(|out| encode::query(out, b"select id, description from transactions"));
    let seen = stage.server(|out| {
        card_description(out);
        row(out, &[Some(b"1"), Some(CARD)]);
        encode::command_complete(out, b"SELECT 1");
        encode::ready_for_query(out, b'I');
    });
    assert_eq!(tags(&seen), "TDCZ");
    assert!(!contains(&seen, "411111"));
    assert_eq!(stage.session.take_counts().1, 1, "the disagreement is counted");
}

#[test]
fn an_unknown_origin_waits_for_a_fresh_catalog() {
    let mut stage = Stage::new("api");
    stage.client(|out| encode::query(out, b"select id from transactions"));
    let mut bytes = Vec::new();
    encode::row_description(&mut bytes, [field("id", 99_999, 1, 23)]);
    row(&mut bytes, &[Some(b"1")]);
    encode::command_complete(&mut bytes, b"SELECT 1");
    encode::ready_for_query(&mut bytes, b'I');
    let taken = stage.session.server_bytes(stage.now, &bytes, &mut stage.out).unwrap();
    assert_eq!(taken, 0);
    assert!(stage.out.client.is_empty());
    stage.refresh();
    stage.session.server_bytes(stage.now, &bytes, &mut stage.out).unwrap();
    assert_eq!(tags(&stage.out.client), "EZ", "a table that nobody knows yields no rows");
}

#[test]
fn copy_without_a_decision_breaks_the_connection() {
    let mut stage = Stage::new("api");
    stage.client(|out| encode::query(out, b"select id from transactions"));
    stage.server_fault(|out| encode::copy_response(out, b'H', 0, [0]));
}

#[test]
fn syncs_that_copy_swallows_are_not_awaited() {
    let mut stage = Stage::new("operator");
    stage.client(|out| {
        encode::parse(out, b"", b"copy transactions from stdin", &[]);
        bind(out, b"", b"");
        encode::execute(out, b"", 0);
        encode::sync(out);
    });
    let seen = stage.server(|out| {
        encode::parse_complete(out);
        encode::bind_complete(out);
        encode::copy_response(out, b'G', 0, [0, 0]);
    });
    assert_eq!(tags(&seen), "12G");
    let sent = stage.client(|out| {
        encode::copy_data(out, b"1\tx\n");
        encode::copy_done(out);
        encode::sync(out);
    });
    assert_eq!(tags(&sent), "dcS");
    stage.server(|out| {
        encode::command_complete(out, b"COPY 1");
        encode::ready_for_query(out, b'I');
    });
    assert!(stage.session.is_idle(), "one ReadyForQuery answers both Syncs");
}

#[test]
fn diagnostics_of_a_tainted_transaction_are_rebuilt() {
    let mut stage = Stage::new("api");
    stage.client(|out| encode::query(out, b"update users set email = 'new@example.com' where id = 1"));
    let seen = stage.server(|out| {
        encode::error(
            out,
            &[
                (b'S', "ERROR"),
                (b'V', "ERROR"),
                (b'C', "23514"),
                (b'M', "new row for relation \"users\" violates check constraint \"4111111111111111\""),
                (b'D', "Failing row contains (1, alice@example.com, 4111111111111111)."),
                (b't', "users"),
                (b'n', "4111111111111111"),
                (b'W', "PL/pgSQL function f() line 1 at RAISE"),
            ],
        );
        encode::ready_for_query(out, b'I');
    });
    assert_eq!(tags(&seen), "EZ");
    assert!(contains(&seen, "23514") && contains(&seen, "users"));
    assert!(!contains(&seen, "4111") && !contains(&seen, "alice"));
}

/// What the server says of an update of a protected column, and the message that is left of it.
fn rebuilt(said: &[(u8, &str)]) -> Vec<u8> {
    let mut stage = Stage::new("api");
    stage.client(|out| encode::query(out, b"update users set email = 'new@example.com' where id = 1"));
    stage.server(|out| {
        encode::error(out, said);
        encode::ready_for_query(out, b'I');
    })
}

#[test]
fn the_servers_own_names_are_kept_and_values_are_not() {
    for (code, message, more, kept) in [
        (
            "23514",
            "new row for relation \"users\" violates check constraint \"users_email_check\"",
            &[(b't', "users"), (b'n', "users_email_check")][..],
            "new row for relation \"users\" violates check constraint \"users_email_check\"",
        ),
        (
            "23502",
            "null value in column \"email\" of relation \"users\" violates not-null constraint",
            &[(b't', "users"), (b'c', "email")],
            "null value in column \"email\" of relation \"users\" violates not-null constraint",
        ),
        ("22P02", "invalid input syntax for type integer: \"4111\"", &[], "invalid input syntax for type integer\0"),
        ("22P02", "invalid input syntax for type 4111: \"4111\"", &[], "invalid input syntax for a type\0"),
        (
            "22001",
            "value too long for type character varying(30)",
            &[],
            "value too long for type character varying(30)\0",
        ),
        ("22001", "value too long for type character varying(30, 4111)", &[], "value too long for its type\0"),
        ("22003", "value \"41114111\" is out of range for type smallint", &[], "numeric value out of range\0"),
        ("22012", "division by zero", &[], "division by zero\0"),
        ("42501", "permission denied for table users", &[], "permission denied for table users\0"),
        ("42501", "permission denied for table 4111", &[], "permission denied\0"),
        ("P0001", "card 4111", &[(b'W', "PL/pgSQL function f()"), (b'P', "3")], "raised by a function or trigger\0"),
        ("ZZ999", "card 4111", &[(b'c', "4111"), (b'W', "f()")], "the server reported an error\0"),
    ] {
        let mut said = vec![
            (b'S', "ERROR"),
            (b'V', "ERROR"),
            (b'C', code),
            (b'M', message),
            (b'D', "Failing row contains (4111)."),
        ];
        said.extend_from_slice(more);
        let seen = rebuilt(&said);
        assert!(contains(&seen, kept), "{message}: {}", String::from_utf8_lossy(&seen));
        assert!(contains(&seen, code) && !contains(&seen, "4111"), "{message}");
    }
}

#[test]
fn what_the_parser_says_of_the_clients_text_is_kept() {
    let said =
        [(b'S', "ERROR"), (b'V', "ERROR"), (b'C', "42703"), (b'M', "column \"emial\" does not exist"), (b'P', "12")];
    let seen = rebuilt(&said);
    assert!(contains(&seen, "column \"emial\" does not exist") && !contains(&seen, "withheld"));
    // Not if it comes from within.
    for inner in [(b'W', "PL/pgSQL function f()"), (b'q', "select emial from users"), (b'p', "8")] {
        let mut said = said.to_vec();
        said.push(inner);
        let seen = rebuilt(&said);
        assert!(!contains(&seen, "emial") && contains(&seen, "withheld") && contains(&seen, "42703"));
    }
}

#[test]
fn diagnostics_that_name_a_labelled_relation_are_rebuilt() {
    let mut stage = Stage::new("api");
    stage.client(|out| encode::query(out, b"delete from transactions"));
    let seen = stage.server(|out| {
        encode::error(
            out,
            &[(b'S', "ERROR"), (b'C', "23502"), (b'M', "null value"), (b'D', "Failing row (4111)"), (b't', "users")],
        );
        encode::ready_for_query(out, b'I');
    });
    assert!(!contains(&seen, "4111"));
}

#[test]
fn notification_payloads_do_not_reach_restricted_clients() {
    for (client, arrives) in [("api", false), ("operator", true)] {
        let mut stage = Stage::new(client);
        let seen = stage.server(|out| encode::notification(out, 7, b"events", b"4111111111111111"));
        assert_eq!(tags(&seen), "A");
        assert_eq!(contains(&seen, "4111"), arrives, "{client}");
    }
}

#[test]
fn settings_that_change_how_texts_are_read_close_the_session_to_statements() {
    let mut stage = Stage::new("api");
    stage.server(|out| encode::parameter_status(out, b"standard_conforming_strings", b"off"));
    let sent = stage.client(|out| encode::query(out, b"select 1"));
    assert_eq!(tags(&sent), "ES");
    let mut stage = Stage::new("operator");
    stage.server(|out| encode::parameter_status(out, b"standard_conforming_strings", b"off"));
    assert_eq!(tags(&stage.client(|out| encode::query(out, b"select 1"))), "Q");
}

#[test]
fn names_that_were_not_analysed_cannot_be_used() {
    let mut stage = Stage::new("api");
    for text in ["execute nobody", "fetch all from nobody"] {
        let sent = stage.client(|out| encode::query(out, text.as_bytes()));
        assert_eq!(tags(&sent), "ES", "{text}");
        stage.server(|out| {
            encode::error(out, &[(b'S', "ERROR"), (b'C', "34000"), (b'M', "x")]);
            encode::ready_for_query(out, b'I');
        });
    }
    let sent = stage.client(|out| {
        bind(out, b"ringfence refused", b"");
        encode::sync(out);
    });
    assert_eq!(tags(&sent), "ES");
}

#[test]
fn a_prepared_statement_made_in_sql_is_judged_by_its_own_facts() {
    let mut stage = Stage::new("api");
    stage.client(|out| encode::query(out, b"prepare p as select id, credit_card from users"));
    stage.server(|out| {
        encode::command_complete(out, b"PREPARE");
        encode::ready_for_query(out, b'I');
    });
    let sent = stage.client(|out| encode::query(out, b"execute p"));
    assert_eq!(tags(&sent), "Q");
    let seen = stage.server(|out| {
        card_description(out);
        row(out, &[Some(b"1"), Some(CARD)]);
        encode::command_complete(out, b"SELECT 1");
        encode::ready_for_query(out, b'I');
    });
    assert_eq!(tags(&seen), "TDCZ");
    assert!(!contains(&seen, "411111"));
}

#[test]
fn an_unknown_relation_is_shown_to_the_servers_parser_only() {
    let mut stage = Stage::new("api");
    let mut bytes = Vec::new();
    encode::query(&mut bytes, b"select * from nowhere");
    let taken = stage.session.client_bytes(stage.now, &bytes, &mut stage.out).unwrap();
    assert_eq!(taken, 0, "it waits for a fresh catalog");
    stage.refresh();
    let taken = stage.session.client_bytes(stage.now, &bytes, &mut stage.out).unwrap();
    assert_eq!((taken, tags(&stage.out.server).as_str()), (0, "PS"));
    let seen = stage.server(|out| {
        encode::error(out, &[(b'S', "ERROR"), (b'C', "42P01"), (b'M', "relation \"nowhere\" does not exist")]);
        encode::ready_for_query(out, b'I');
    });
    assert_eq!(tags(&seen), "EZ");
    assert!(contains(&seen, "nowhere"));
    let taken = stage.session.client_bytes(stage.now, &bytes, &mut stage.out).unwrap();
    assert_eq!(taken, bytes.len(), "it was answered");
    assert!(stage.session.is_idle());
}

#[test]
fn unrestricted_clients_pass_byte_for_byte() {
    let mut stage = Stage::new("operator");
    let mut bytes = Vec::new();
    encode::parse(&mut bytes, b"", b"select upper(credit_card) from users where email like $1", &[25]);
    encode::bind(&mut bytes, b"", b"", [], [Some(&b"%x"[..])], []);
    encode::execute(&mut bytes, b"", 0);
    encode::sync(&mut bytes);
    let sent = stage.client(|out| out.extend_from_slice(&bytes));
    assert_eq!(sent, bytes);
    let mut answer = Vec::new();
    encode::parse_complete(&mut answer);
    encode::bind_complete(&mut answer);
    row(&mut answer, &[Some(CARD)]);
    encode::command_complete(&mut answer, b"SELECT 1");
    encode::ready_for_query(&mut answer, b'I');
    let seen = stage.server(|out| out.extend_from_slice(&answer));
    assert_eq!(seen, answer);
    assert_eq!(stage.session.next_event().unwrap().rows, 1);
}

#[test]
fn function_calls_are_refused_to_restricted_clients() {
    let mut stage = Stage::new("api");
    let sent = stage.client(|out| {
        out.extend_from_slice(b"F\0\0\0\x0e\0\0\0\x01\0\0\0\0\0\0");
    });
    assert_eq!(tags(&sent), "ES");
}

#[test]
fn tables_of_other_origin_stay_plain() {
    let mut stage = Stage::new("api");
    stage.client(|out| encode::query(out, b"select id, description, 1 + 1 from transactions"));
    let mut answer = Vec::new();
    encode::row_description(
        &mut answer,
        [field("id", TRANSACTIONS, 1, 23), field("description", TRANSACTIONS, 2, 25), field("?column?", 0, 0, 23)],
    );
    row(&mut answer, &[Some(b"1"), Some(b"rent"), Some(b"2")]);
    encode::command_complete(&mut answer, b"SELECT 1");
    encode::ready_for_query(&mut answer, b'I');
    let seen = stage.server(|out| out.extend_from_slice(&answer));
    assert_eq!(seen, answer);
}

#[test]
fn a_text_may_use_what_its_first_statements_create() {
    let mut stage = Stage::new("api");
    let text = b"create temp table t (a int); insert into t values (1); select a from t";
    assert_eq!(tags(&stage.client(|out| encode::query(out, text))), "Q");
}

#[test]
fn a_cycle_may_use_what_it_created_itself() {
    let mut stage = Stage::new("api");
    let sent = stage.client(|out| {
        for text in [&b"create temp table t (a int)"[..], b"insert into t values (1)", b"select a from t"] {
            encode::parse(out, b"", text, &[]);
            bind(out, b"", b"");
            encode::execute(out, b"", 0);
        }
        encode::sync(out);
    });
    assert_eq!(tags(&sent), "PBEPBDEPBDES");
}

#[test]
fn a_row_too_large_to_handle_ends_its_statement_only() {
    let mut stage = Stage::new("api");
    stage.client(|out| encode::query(out, b"select id, credit_card from users"));
    let large = vec![b'4'; (64 << 20) + 1];
    let seen = stage.server(|out| {
        card_description(out);
        row(out, &[Some(b"1"), Some(CARD)]);
        row(out, &[Some(b"2"), Some(&large)]);
        row(out, &[Some(b"3"), Some(CARD)]);
        encode::command_complete(out, b"SELECT 3");
        encode::ready_for_query(out, b'I');
    });
    assert_eq!(tags(&seen), "TDEZ");
    assert!(contains(&seen, "54000"));
    assert!(stage.session.is_idle());
}

#[test]
fn databases_of_another_encoding_are_closed_to_restricted_clients() {
    let mut stage = Stage::new("api");
    stage.server(|out| encode::parameter_status(out, b"server_encoding", b"LATIN1"));
    assert_eq!(tags(&stage.client(|out| encode::query(out, b"select 1"))), "ES");
}

#[test]
fn a_prepared_statement_is_planned_again_when_the_session_changes_what_it_names() {
    let mut stage = Stage::new("api");
    stage.client(|out| encode::query(out, b"begin"));
    stage.server(|out| {
        encode::command_complete(out, b"BEGIN");
        encode::ready_for_query(out, b'T');
    });
    let text = b"prepare p as select x.email from (select t.*, u.* from transactions t, users u order by 2) x";
    assert_eq!(tags(&stage.client(|out| encode::query(out, text))), "Q", "2 is transactions.description");
    stage.server(|out| {
        encode::command_complete(out, b"PREPARE");
        encode::ready_for_query(out, b'T');
    });
    stage.client(|out| encode::query(out, b"create temp table transactions ()"));
    stage.server(|out| {
        encode::command_complete(out, b"CREATE TABLE");
        encode::ready_for_query(out, b'T');
    });
    assert_eq!(tags(&stage.client(|out| encode::query(out, b"execute p"))), "ES", "2 may be a labelled column now");
}

#[test]
fn rows_withheld_before_an_error_are_forgotten_with_it() {
    let mut stage = Stage::new("api");
    stage.client(|out| encode::query(out, b"select id, credit_card from users"));
    let large = vec![b'4'; (64 << 20) + 1];
    stage.server(|out| {
        card_description(out);
        row(out, &[Some(b"1"), Some(&large)]);
        encode::error(out, &[(b'S', "ERROR"), (b'C', "57014"), (b'M', "canceled")]);
        encode::ready_for_query(out, b'I');
    });
    stage.client(|out| encode::query(out, b"select id from transactions"));
    let seen = stage.server(|out| {
        encode::row_description(out, [field("id", TRANSACTIONS, 1, 23)]);
        row(out, &[Some(b"1")]);
        encode::command_complete(out, b"SELECT 1");
        encode::ready_for_query(out, b'I');
    });
    assert_eq!(tags(&seen), "TDCZ");
}
