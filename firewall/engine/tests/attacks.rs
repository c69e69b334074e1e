//! Clients that play the protocol against the session: names that fail half-way, COPY that fails before its end, portals
//! older than the policy, memory. See THREATS.md, classes 4, 10 and 11.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::sync::Arc;

use ringfence_analysis::Catalog;
use ringfence_engine::{Limits, Session, World};
use ringfence_wire::encode;
use ringfence_wire::frontend::Target;
use support::{Recorded, Stage, TRANSACTIONS, USERS, contains, field, row, tags, transactions, users};

const CARD: &[u8] = b"4111111111111111";
const CARDS: &[u8] = b"select id, credit_card from users";
const FREE: &[u8] = b"select 1, 'free'";

/// Both sides as the server's relay plays them: what the session does not take is offered again.
struct Play {
    stage: Stage,
    held: Vec<u8>,
}

impl Play {
    fn new() -> Self {
        Self { stage: Stage::new("api"), held: Vec::new() }
    }

    /// The client sends; tags of what went upstream.
    fn client(&mut self, build: impl FnOnce(&mut Vec<u8>)) -> String {
        build(&mut self.held);
        self.stage.out.server.clear();
        self.offer();
        tags(&self.stage.out.server)
    }

    fn offer(&mut self) {
        let taken = self.stage.session.client_bytes(self.stage.now, &self.held, &mut self.stage.out).expect("no fault");
        self.held.drain(..taken);
    }

    /// The server sends; what went to the client, and the tags of what went upstream after it.
    fn server(&mut self, build: impl FnOnce(&mut Vec<u8>)) -> (Vec<u8>, String) {
        self.stage.out.server.clear();
        let seen = self.stage.server(build);
        self.offer();
        (seen, tags(&self.stage.out.server))
    }

    fn prepared(&mut self, name: &[u8], text: &[u8]) {
        self.client(|out| {
            encode::parse(out, name, text, &[]);
            encode::sync(out);
        });
        self.server(|out| {
            encode::parse_complete(out);
            encode::ready_for_query(out, b'I');
        });
    }

    /// Runs the prepared statement; the server's columns come without origin, as an expression's do.
    fn runs_without_origin(&mut self, name: &[u8]) -> Vec<u8> {
        let sent = self.client(|out| {
            encode::bind(out, b"", name, [], [], []);
            encode::execute(out, b"", 0);
            encode::sync(out);
        });
        if !sent.starts_with('B') {
            return Vec::new();
        }
        let (seen, _) = self.server(|out| {
            encode::bind_complete(out);
            cards_without_origin(out);
            encode::ready_for_query(out, b'I');
        });
        seen
    }
}

fn cards_without_origin(out: &mut Vec<u8>) {
    encode::row_description(out, [field("id", 0, 0, 23), field("credit_card", 0, 0, 25)]);
    row(out, &[Some(b"1"), Some(CARD)]);
    encode::command_complete(out, b"SELECT 1");
}

fn fails(out: &mut Vec<u8>, sqlstate: &str) {
    encode::error(out, &[(b'S', "ERROR"), (b'V', "ERROR"), (b'C', sqlstate), (b'M', "x")]);
}

#[test]
fn an_earlier_failure_does_not_undo_a_later_definition() {
    for name in [&b""[..], b"s"] {
        let mut play = Play::new();
        play.prepared(name, FREE);
        let sent = play.client(|out| {
            encode::parse(out, name, b"select 2, 'free'", &[]);
            encode::sync(out);
            encode::close(out, Target::Statement, name);
            encode::parse(out, name, CARDS, &[]);
            encode::sync(out);
        });
        assert_eq!(sent, "PSCPS");
        play.server(|out| {
            fails(out, "42P05");
            encode::ready_for_query(out, b'I');
            encode::close_complete(out);
            encode::parse_complete(out);
            encode::ready_for_query(out, b'I');
        });
        // The name means the cards now; the facts of the free text would let them through.
        assert!(!contains(&play.runs_without_origin(name), "4111"));
    }
}

#[test]
fn a_name_is_not_bound_before_it_is_known_what_it_means() {
    let mut play = Play::new();
    play.prepared(b"s", CARDS);
    let sent = play.client(|out| {
        // Fails: the name is taken. What follows its Sync would run the old statement.
        encode::parse(out, b"s", FREE, &[]);
        encode::sync(out);
        encode::bind(out, b"", b"s", [], [], []);
        encode::execute(out, b"", 0);
        encode::sync(out);
    });
    assert_eq!(sent, "PS", "the Bind waits");
    let (_, sent) = play.server(|out| {
        fails(out, "42P05");
        encode::ready_for_query(out, b'I');
    });
    assert_eq!(sent, "BDES");
    let (seen, _) = play.server(|out| {
        encode::bind_complete(out);
        cards_without_origin(out);
        encode::ready_for_query(out, b'I');
    });
    assert!(!contains(&seen, "4111"));
}

#[test]
fn a_portal_is_not_run_before_it_is_known_what_it_means() {
    let mut play = Play::new();
    play.prepared(b"free", FREE);
    play.client(|out| encode::query(out, b"declare c cursor with hold for select id, credit_card from users"));
    play.server(|out| {
        encode::command_complete(out, b"DECLARE CURSOR");
        encode::ready_for_query(out, b'I');
    });
    let sent = play.client(|out| {
        encode::bind(out, b"c", b"free", [], [], []);
        encode::sync(out);
        encode::execute(out, b"c", 0);
        encode::sync(out);
    });
    assert_eq!(sent, "BS");
    let (_, sent) = play.server(|out| {
        fails(out, "42P03");
        encode::ready_for_query(out, b'I');
    });
    assert_eq!(sent, "DES", "the cursor again");
    let (seen, _) = play.server(|out| {
        cards_without_origin(out);
        encode::ready_for_query(out, b'I');
    });
    assert_eq!(tags(&seen), "EZ");
    assert!(!contains(&seen, "4111"));
}

#[test]
fn a_prepare_that_failed_is_not_brought_back_by_what_was_skipped() {
    let mut play = Play::new();
    play.prepared(b"s", CARDS);
    play.client(|out| {
        encode::parse(out, b"", b"prepare s as select 1, 'free'", &[]);
        encode::bind(out, b"", b"", [], [], []);
        encode::execute(out, b"", 0);
        encode::parse(out, b"s", FREE, &[]);
        encode::sync(out);
    });
    play.server(|out| {
        encode::parse_complete(out);
        encode::bind_complete(out);
        fails(out, "42P05");
        encode::ready_for_query(out, b'I');
    });
    assert!(!contains(&play.runs_without_origin(b"s"), "4111"));
}

#[test]
fn a_prepare_that_failed_is_not_brought_back_by_a_parse_that_failed() {
    let mut play = Play::new();
    play.prepared(b"s", CARDS);
    play.client(|out| {
        encode::query(out, b"prepare s as select 1, 'free'");
        encode::parse(out, b"s", FREE, &[]);
        encode::sync(out);
    });
    play.server(|out| {
        fails(out, "42P05");
        encode::ready_for_query(out, b'I');
        fails(out, "42P05");
        encode::ready_for_query(out, b'I');
    });
    assert!(!contains(&play.runs_without_origin(b"s"), "4111"));
}

#[test]
fn a_copy_that_fails_early_does_not_shift_the_replies() {
    let mut play = Play::new();
    let sent = play.client(|out| {
        encode::parse(out, b"", b"copy transactions from stdin", &[]);
        encode::bind(out, b"", b"", [], [], []);
        encode::execute(out, b"", 0);
        // The server fails here, answers both Syncs, and reports the update's error after the second.
        encode::copy_data(out, b"no number\trent\n");
        encode::sync(out);
        encode::copy_done(out);
        encode::sync(out);
        encode::query(out, b"update users set email = 'new@example.com' where id = 1");
    });
    assert_eq!(sent, "PBEd", "what COPY swallows only if it works waits");
    let (seen, sent) = play.server(|out| {
        encode::parse_complete(out);
        encode::bind_complete(out);
        encode::copy_response(out, b'G', 0, [0, 0]);
        fails(out, "22P02");
    });
    assert_eq!((tags(&seen).as_str(), sent.as_str()), ("12GE", "ScSQ"));
    let (seen, _) = play.server(|out| {
        encode::ready_for_query(out, b'I');
        encode::ready_for_query(out, b'I');
        encode::error(
            out,
            &[(b'S', "ERROR"), (b'V', "ERROR"), (b'C', "P0001"), (b'M', "the card was 4111111111111111")],
        );
        encode::ready_for_query(out, b'I');
    });
    assert_eq!(tags(&seen), "ZZEZ");
    assert!(!contains(&seen, "4111"));
    assert!(play.stage.session.is_idle());
}

#[test]
fn a_sync_inside_a_copy_that_failed_is_answered() {
    let mut play = Play::new();
    play.client(|out| {
        encode::parse(out, b"", b"copy transactions from stdin", &[]);
        encode::bind(out, b"", b"", [], [], []);
        encode::execute(out, b"", 0);
    });
    play.server(|out| {
        encode::parse_complete(out);
        encode::bind_complete(out);
        encode::copy_response(out, b'G', 0, [0, 0]);
    });
    let sent = play.client(|out| {
        encode::copy_data(out, b"no number\trent\n");
        encode::sync(out);
    });
    assert_eq!(sent, "d", "nobody can tell whether the server would swallow it");
    let (_, sent) = play.server(|out| fails(out, "22P02"));
    assert_eq!(sent, "S");
    let (seen, _) = play.server(|out| encode::ready_for_query(out, b'I'));
    assert_eq!(tags(&seen), "Z");
    assert!(play.stage.session.is_idle());
}

#[test]
fn every_copy_of_a_text_has_an_end_of_its_own() {
    let mut play = Play::new();
    let text = b"copy transactions from stdin; copy transactions from stdin";
    let sent = play.client(|out| {
        encode::query(out, text);
        encode::copy_done(out);
        encode::sync(out);
    });
    assert_eq!(sent, "Qc");
    let (_, sent) = play.server(|out| {
        encode::copy_response(out, b'G', 0, [0, 0]);
        encode::command_complete(out, b"COPY 0");
        encode::copy_response(out, b'G', 0, [0, 0]);
    });
    assert_eq!(sent, "", "the second COPY swallows the Sync");
    let sent = play.client(|out| {
        encode::copy_done(out);
        encode::sync(out);
    });
    assert_eq!(sent, "cS");
    play.server(|out| {
        encode::command_complete(out, b"COPY 0");
        encode::ready_for_query(out, b'I');
        encode::ready_for_query(out, b'I');
    });
    assert!(play.stage.session.is_idle());
}

#[test]
fn execute_taints_as_the_statement_behind_it() {
    for sql in [true, false] {
        let mut play = Play::new();
        play.client(|out| encode::query(out, b"prepare p as update users set email = 'new@example.com' where id = 1"));
        play.server(|out| {
            encode::command_complete(out, b"PREPARE");
            encode::ready_for_query(out, b'I');
        });
        play.client(|out| {
            if sql {
                encode::query(out, b"execute p");
            } else {
                encode::parse(out, b"", b"execute p", &[]);
                encode::bind(out, b"", b"", [], [], []);
                encode::execute(out, b"", 0);
                encode::sync(out);
            }
        });
        let (seen, _) = play.server(|out| {
            if !sql {
                encode::parse_complete(out);
                encode::bind_complete(out);
                encode::no_data(out);
            }
            encode::notice(out, &[(b'S', "NOTICE"), (b'C', "00000"), (b'M', "was (1, 4111111111111111)")]);
            encode::error(out, &[(b'S', "ERROR"), (b'C', "P0001"), (b'M', "card 4111111111111111 is blocked")]);
            encode::ready_for_query(out, b'I');
        });
        assert!(tags(&seen).ends_with("NEZ"));
        assert!(!contains(&seen, "4111"), "sql: {sql}");
    }
}

/// The error of an earlier message makes the server skip the description of a COPY, too: the next COPY is described anew.
#[test]
fn a_description_that_was_skipped_is_not_awaited() {
    let mut play = Play::new();
    let copy = |out: &mut Vec<u8>| {
        encode::parse(out, b"", b"copy users to stdout", &[]);
        encode::bind(out, b"", b"", [], [], []);
        encode::execute(out, b"", 0);
        encode::sync(out);
    };
    let sent = play.client(|out| {
        encode::describe(out, Target::Statement, b"nosuch");
        copy(out);
    });
    assert_eq!(sent, "DPBCPDCH");
    play.server(|out| encode::error(out, &[(b'S', "ERROR"), (b'C', "26000"), (b'M', "no such statement")]));
    play.server(|out| encode::ready_for_query(out, b'I'));
    assert_eq!(play.client(copy), "PBCPDCH");
}

/// The error of an earlier cycle says nothing of the description that is under way.
#[test]
fn a_description_outlives_an_earlier_refusal() {
    let mut play = Play::new();
    let sent = play.client(|out| {
        encode::query(out, b"select upper(credit_card) from users");
        encode::query(out, b"copy users to stdout");
    });
    assert_eq!(sent, "ESCPDCH");
    let (_, sent) = play.server(|out| {
        encode::error(out, &[(b'S', "ERROR"), (b'C', "34000"), (b'M', "x")]);
        encode::ready_for_query(out, b'I');
    });
    assert_eq!(sent, "", "it is asked once");
    let (seen, sent) = play.server(|out| {
        encode::close_complete(out);
        encode::parse_complete(out);
        encode::parameter_description(out, []);
        encode::row_description(out, [field("id", USERS, 1, 23), field("credit_card", USERS, 3, 25)]);
        encode::close_complete(out);
    });
    assert_eq!((tags(&seen), sent), (String::new(), String::from("Q")));
}

#[test]
fn a_portal_older_than_the_policy_is_judged_by_the_new_one() {
    let mut play = Play::new();
    play.client(|out| {
        encode::query(out, b"begin");
        encode::parse(out, b"", b"copy transactions to stdout", &[]);
        encode::bind(out, b"p", b"", [], [], []);
        encode::sync(out);
    });
    play.server(|out| {
        encode::command_complete(out, b"BEGIN");
        encode::ready_for_query(out, b'T');
        encode::parse_complete(out);
        encode::bind_complete(out);
        encode::ready_for_query(out, b'T');
    });
    // Now somebody classifies the table.
    let text = "
version: 1
labels: { pci: {} }
columns: { public.transactions: { description: pci } }
roles: { default: { pci: refuse } }
clients: { api: { roles: [default] } }
";
    let policy = ringfence_policy::parse(text, "classification.yaml").expect("valid");
    let mut catalog = Catalog::new(vec![users(), transactions()], Vec::new());
    catalog.server_version = 150_000;
    catalog.database = "bank".into();
    ringfence_policy::bind(&policy, &mut catalog, &[]);
    let world = Arc::new(World::new(Arc::new(catalog), 2, Arc::from("app")));
    let client = Arc::clone(&policy.client("api").expect("client").policy);
    let stage = &mut play.stage;
    stage.session.world(stage.now, world, client, false, &mut stage.out).expect("no fault");
    let sent = play.client(|out| {
        encode::execute(out, b"p", 0);
        encode::sync(out);
    });
    assert_eq!(sent, "ES");
    assert!(contains(&play.stage.out.server, "ringfence refused"));
}

/// A portal that runs `text` is described while the name means something free; then the name is made to mean the cards.
#[test]
fn a_portal_that_runs_a_name_is_judged_by_what_it_runs() {
    for (free, run, drop, cards) in [
        (
            "declare c cursor for select id, description from transactions",
            "fetch all from c",
            "close c",
            "declare c cursor for select id, credit_card from users",
        ),
        (
            "prepare c as select id, description from transactions",
            "execute c",
            "deallocate c",
            "prepare c as select id, credit_card from users",
        ),
    ] {
        let of_transactions = |out: &mut Vec<u8>| {
            encode::row_description(out, [field("id", TRANSACTIONS, 1, 23), field("description", TRANSACTIONS, 2, 25)]);
        };
        let of_users = |out: &mut Vec<u8>| {
            encode::row_description(out, [field("id", USERS, 1, 23), field("credit_card", USERS, 3, 25)]);
        };
        let mut play = Play::new();
        let simple = |play: &mut Play, texts: &[&str]| {
            for text in texts {
                assert_eq!(play.client(|out| encode::query(out, text.as_bytes())), "Q", "{text}");
                play.server(|out| {
                    encode::command_complete(out, b"OK");
                    encode::ready_for_query(out, b'T');
                });
            }
        };
        simple(&mut play, &["begin", free]);
        play.client(|out| {
            encode::parse(out, b"", run.as_bytes(), &[]);
            encode::bind(out, b"p", b"", [], [], []);
            encode::describe(out, Target::Portal, b"p");
            encode::sync(out);
        });
        play.server(|out| {
            encode::parse_complete(out);
            encode::bind_complete(out);
            of_transactions(out);
            encode::ready_for_query(out, b'T');
        });
        simple(&mut play, &[drop, cards]);
        let sent = play.client(|out| {
            encode::execute(out, b"p", 1);
            encode::sync(out);
        });
        assert_eq!(sent, "DES", "{run}");
        let (seen, _) = play.server(|out| {
            of_users(out);
            row(out, &[Some(b"1"), Some(CARD)]);
            encode::portal_suspended(out);
            encode::ready_for_query(out, b'T');
        });
        assert_eq!(tags(&seen), "DsZ");
        assert!(!contains(&seen, "411111"), "{run}");
        // The rest of the rows is kept by the portal, whatever the name means from now on.
        simple(&mut play, &[drop, free]);
        let sent = play.client(|out| {
            encode::describe(out, Target::Portal, b"p");
            encode::execute(out, b"p", 0);
            encode::sync(out);
        });
        assert_eq!(sent, "DES");
        let (seen, _) = play.server(|out| {
            of_transactions(out);
            row(out, &[Some(b"2"), Some(CARD)]);
            encode::command_complete(out, b"FETCH 2");
            encode::ready_for_query(out, b'T');
        });
        assert_eq!(tags(&seen), "TDCZ");
        assert!(!contains(&seen, "411111"), "{run}: the rest");
    }
}

#[test]
fn an_explained_cursor_is_none() {
    let mut play = Play::new();
    play.client(|out| encode::query(out, b"declare c cursor with hold for select id, credit_card from users"));
    play.server(|out| {
        encode::command_complete(out, b"DECLARE CURSOR");
        encode::ready_for_query(out, b'I');
    });
    play.client(|out| encode::query(out, b"explain declare c cursor for select 1, 'free'"));
    play.server(|out| {
        encode::row_description(out, [field("QUERY PLAN", 0, 0, 25)]);
        encode::command_complete(out, b"EXPLAIN");
        encode::ready_for_query(out, b'I');
    });
    play.client(|out| encode::query(out, b"fetch all from c"));
    let (seen, _) = play.server(|out| {
        cards_without_origin(out);
        encode::ready_for_query(out, b'I');
    });
    assert_eq!(tags(&seen), "EZ");
    assert!(!contains(&seen, "4111"));
}

#[test]
fn a_cursor_that_outlived_its_table_is_not_an_own_one() {
    let mut play = Play::new();
    play.client(|out| encode::query(out, b"begin; create temp table mine (a int)"));
    play.server(|out| {
        encode::command_complete(out, b"BEGIN");
        encode::command_complete(out, b"CREATE TABLE");
        encode::ready_for_query(out, b'T');
    });
    play.client(|out| encode::query(out, CARDS));
    let mut bytes = Vec::new();
    // The table that the cards were read from is gone since.
    encode::row_description(&mut bytes, [field("id", 99_999, 1, 23), field("credit_card", 99_999, 3, 25)]);
    row(&mut bytes, &[Some(b"1"), Some(CARD)]);
    encode::command_complete(&mut bytes, b"SELECT 1");
    encode::ready_for_query(&mut bytes, b'T');
    let stage = &mut play.stage;
    assert_eq!(stage.session.server_bytes(stage.now, &bytes, &mut stage.out).expect("no fault"), 0);
    stage.refresh();
    stage.session.server_bytes(stage.now, &bytes, &mut stage.out).expect("no fault");
    assert!(!contains(&stage.out.client, "4111"));
}

fn limited(limits: Limits) -> Session {
    let policy = support::policy();
    Session::new(ringfence_engine::SessionConfig {
        client: Arc::clone(&policy.client("api").expect("client").policy),
        world: support::world(vec![users(), transactions()]),
        plans: Arc::new(ringfence_engine::PlanCache::new(1 << 20)),
        presenter: Arc::new(ringfence_cipher::Presenter::new(
            ringfence_cipher::key::MasterKey::from_bytes(&std::array::from_fn(|at| at as u8)).expect("key"),
        )),
        audit_healthy: Arc::new(std::sync::atomic::AtomicBool::new(true)),
        control_fresh: Arc::new(std::sync::atomic::AtomicBool::new(true)),
        limits,
        budget: ringfence_policy::Budgets::new().for_client("api"),
    })
}

#[test]
fn refused_texts_are_not_collected_without_end() {
    let mut session = limited(Limits { pending_bytes: 1 << 20, ..Limits::default() });
    let now = std::time::Instant::now();
    let mut out = Recorded::default();
    let long = format!("select upper(credit_card) from users -- {}", "x".repeat(200_000));
    let mut taken = 0;
    for at in 0..20 {
        let mut bytes = Vec::new();
        encode::parse(&mut bytes, b"", format!("{long}{at}").as_bytes(), &[]);
        if session.client_bytes(now, &bytes, &mut out).expect("no fault") == 0 {
            break;
        }
        taken += 1;
    }
    assert!((4..8).contains(&taken), "{taken} texts kept while the server says nothing");
    assert!(session.is_waiting());
}

#[test]
fn names_hold_so_many_bytes() {
    let mut session = limited(Limits { names_bytes: 1 << 20, ..Limits::default() });
    let now = std::time::Instant::now();
    for kind in ["parse", "prepare", "declare"] {
        let mut refused = 0;
        for at in 0..20 {
            let text = format!("select '{}'", "x".repeat(100_000));
            let mut bytes = Vec::new();
            match kind {
                "parse" => encode::parse(&mut bytes, format!("s{at}").as_bytes(), text.as_bytes(), &[]),
                "prepare" => encode::query(&mut bytes, format!("prepare p{at} as {text}").as_bytes()),
                _ => encode::query(&mut bytes, format!("declare c{at} cursor with hold for {text}").as_bytes()),
            }
            if kind == "parse" {
                encode::sync(&mut bytes);
            }
            let mut out = Recorded::default();
            assert_eq!(session.client_bytes(now, &bytes, &mut out).expect("no fault"), bytes.len());
            let mut answer = Vec::new();
            if contains(&out.server, "ringfence refused") {
                refused += 1;
                fails(&mut answer, "34000");
            } else if kind == "parse" {
                encode::parse_complete(&mut answer);
            } else {
                encode::command_complete(&mut answer, b"OK");
            }
            encode::ready_for_query(&mut answer, b'I');
            session.server_bytes(now, &answer, &mut out).expect("no fault");
        }
        assert!(refused >= 14, "{kind}: {refused} of 20 refused");
        // Closing makes room.
        let mut bytes = Vec::new();
        encode::query(&mut bytes, b"discard all");
        let mut out = Recorded::default();
        session.client_bytes(now, &bytes, &mut out).expect("no fault");
        let mut answer = Vec::new();
        encode::command_complete(&mut answer, b"DISCARD ALL");
        encode::ready_for_query(&mut answer, b'I');
        session.server_bytes(now, &answer, &mut out).expect("no fault");
    }
}

#[test]
fn long_names_are_cut_alike_in_sql_and_protocol() {
    // The server keys both by their first 63 bytes.
    let long = "n".repeat(70);
    let mut play = Play::new();
    play.prepared(long.as_bytes(), FREE);
    play.client(|out| {
        encode::query(
            out,
            format!("deallocate {long}yz; prepare {long}ab as select id, credit_card from users").as_bytes(),
        );
    });
    play.server(|out| {
        encode::command_complete(out, b"DEALLOCATE");
        encode::command_complete(out, b"PREPARE");
        encode::ready_for_query(out, b'I');
    });
    assert!(!contains(&play.runs_without_origin(long.as_bytes()), "4111"));
}

#[test]
fn thousands_of_unknown_names_are_read_in_no_time() {
    let names: Vec<String> = (0..30_000).map(|at| format!("a{at}")).collect();
    let text = format!("select 1 from {}", names.join(","));
    let mut play = Play::new();
    let started = std::time::Instant::now();
    encode::query(&mut play.held, text.as_bytes());
    play.offer();
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
}
