//! No text may abort or hang the process, and whatever is refused is refused by an answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use common::Bank;
use ringfence_analysis::facts::{Kind, Use};
use ringfence_analysis::{SyntaxError, analyse};

fn repeated(head: &str, part: &str, times: usize, tail: &str) -> String {
    format!("{head}{}{tail}", part.repeat(times))
}

#[test]
fn depth_and_length_end_in_an_answer() {
    let bank = Bank::load();
    let texts = [
        repeated("SELECT 1", "+1", 10_000, ""),
        repeated("SELECT 1", "+1", 200_000, ""),
        repeated("SELECT email FROM users WHERE a", "+1", 10_000, " = 3"),
        repeated("SELECT email FROM users WHERE id = 1", " OR id = 1", 10_000, ""),
        repeated("SELECT id FROM orders WHERE id IN (1", ",2", 100_000, ")"),
        repeated("SELECT 1", " UNION SELECT 1", 1_000, ""),
        repeated("SELECT email FROM users", " UNION ALL SELECT email FROM users", 1_000, ""),
        repeated("SELECT ", "(", 10_000, "1") + &")".repeat(10_000),
        repeated("SELECT ", "(", 200, "email") + &")".repeat(200) + " FROM users",
        repeated("SELECT '1'", "::text", 10_000, ""),
        repeated("SELECT ", "NOT ", 10_000, "true"),
        repeated("SELECT ", "- ", 10_000, "1"),
        repeated("SELECT ", "(SELECT ", 3_000, "1") + &")".repeat(3_000),
        repeated("SELECT ", "CASE WHEN true THEN ", 3_000, "1") + &" END".repeat(3_000),
        repeated("SELECT * FROM ", "(SELECT * FROM ", 2_000, "users") + &") s".repeat(2_000),
        repeated("WITH a0 AS (SELECT email FROM users)", ", a AS (SELECT * FROM a0)", 500, " SELECT * FROM a"),
        repeated("SELECT ", "f(", 5_000, "1") + &")".repeat(5_000),
        repeated("SELECT 1", ";SELECT 1", 10_000, ""),
        repeated("SELECT ", "a[1].", 3_000, "b"),
        repeated("SELECT * FROM users", " NATURAL JOIN users", 1_000, ""),
        repeated("SELECT 'a'", "||'b'", 20_000, ""),
        repeated("", "/*", 50_000, ""),
        repeated("SELECT ", "+", 100_000, "1"),
        repeated("SELECT 1", " /*", 20_000, ""),
        repeated("SELECT ", "$a", 20_000, "$"),
        repeated("", "'", 50_001, ""),
        repeated("INSERT INTO users (id, email) VALUES (1,$1)", ",(1,$1)", 20_000, " RETURNING email"),
    ];
    for text in texts {
        // A small stack, as a worker thread's.
        let bank_catalog = bank.catalog.clone();
        let session = bank.session.clone();
        let shown = text.chars().take(60).collect::<String>();
        let result = std::thread::Builder::new()
            .stack_size(1 << 20)
            .spawn(move || analyse(&text, &bank_catalog, &session).map(drop))
            .unwrap()
            .join();
        assert!(result.is_ok(), "{shown}");
    }
}

#[test]
fn deep_text_over_labels_is_refused() {
    let bank = Bank::load();
    let text = repeated("SELECT * FROM ", "(SELECT * FROM ", 400, "users") + &") s".repeat(400);
    let analysis = analyse(&text, &bank.catalog, &bank.session).unwrap();
    let columns = &analysis.statements[0].columns;
    assert!(!columns.is_empty());
    assert!(columns.iter().all(|used| matches!(used.how, Use::Violation(_))));
}

/// What is long but not deep is explained, and in proportion to its length.
#[test]
fn long_texts_over_labels_are_explained() {
    let bank = Bank::load();
    let texts = [
        repeated("SELECT email FROM users", " UNION ALL SELECT email FROM users", 200, ""),
        repeated("SELECT email FROM users", " UNION SELECT 'some@example.com'", 250, ""),
        repeated("SELECT id FROM users WHERE id = 1", " OR id = 1 AND email = $1", 10_000, ""),
        repeated("SELECT id FROM users WHERE email IN ('a'", ",'some@example.com'", 50_000, ")"),
        repeated("SELECT id FROM users WHERE (id, email) IN ((1, 'a')", ",(2, 'b')", 20_000, ")"),
        repeated("SELECT email", ", email", 1_600, " FROM users"),
        repeated("SELECT email FROM users ORDER BY id", ", id", 5_000, ""),
        repeated("SELECT concat(email", ", email", 5_000, ") FROM users"),
        repeated("SELECT CASE", " WHEN id = 1 THEN email", 5_000, " END FROM users"),
        repeated("WITH a0 AS (SELECT email FROM users)", ", a0 AS (SELECT * FROM a0)", 200, " SELECT * FROM a0"),
        repeated(
            "INSERT INTO users (id, email) VALUES (1, $1)",
            ", (1, $1)",
            20_000,
            " ON CONFLICT (id) DO UPDATE SET email = excluded.email RETURNING email",
        ),
        repeated("SELECT u.email FROM users u", " JOIN orders o USING (id)", 200, ""),
    ];
    for text in texts {
        let catalog = bank.catalog.clone();
        let session = bank.session.clone();
        let shown = text.chars().take(80).collect::<String>();
        let began = std::time::Instant::now();
        let analysis = std::thread::Builder::new()
            .stack_size(1 << 20)
            .spawn(move || analyse(&text, &catalog, &session))
            .unwrap()
            .join()
            .expect(&shown)
            .unwrap();
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}: {shown}", began.elapsed());
        let statement = &analysis.statements[0];
        assert!(!statement.unexplained && !statement.columns.is_empty(), "{shown}");
        assert!(!statement.columns.iter().any(|used| matches!(used.how, Use::Violation(_))), "{shown}");
    }
}

/// What would be read again and again ends, explained or not.
#[test]
fn nested_recursion_ends() {
    let bank = Bank::load();
    let mut text = String::from("SELECT email FROM users");
    for level in 0..40 {
        text = format!(
            "WITH RECURSIVE r{level} AS (SELECT s.email FROM ({text}) s UNION ALL SELECT email FROM r{level}) SELECT email FROM r{level}"
        );
    }
    let began = std::time::Instant::now();
    let analysis = analyse(&text, &bank.catalog, &bank.session).unwrap();
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(!analysis.statements[0].columns.is_empty());
}

#[test]
fn odd_bytes() {
    let bank = Bank::load();
    let of = |text: &str| analyse(text, &bank.catalog, &bank.session);
    // NUL ends the text for the server; the wire layer refuses it, and so does the parser's binding.
    assert!(of("SELECT 1\0; SELECT email FROM users").is_err());
    for text in ["", " ", ";", ";;", "-- a", "/* a */", " \n\t"] {
        let analysis = of(text).unwrap();
        assert_eq!(analysis.statements[0].kind, Kind::Empty, "{text:?}");
    }
    for text in [
        "SELECT E'\\xff'",
        "SELECT E'\\xc3'",
        "SELECT U&'\\D800'",
        "SELECT U&\"\\0000\"",
        "SELECT E'\\000'",
        "SELECT '\u{feff}'",
        "SELECT \u{a0}1",
        "SELECT \"é\" FROM \"ü\"",
    ] {
        drop(of(text));
    }
}

#[test]
fn syntax_errors_have_the_servers_words_and_place() {
    let bank = Bank::load();
    let error = |text: &str| -> SyntaxError { analyse(text, &bank.catalog, &bank.session).unwrap_err() };
    let cases = [
        ("SELEC 1", "syntax error at or near \"SELEC\"", Some(0)),
        ("SELECT 1 FROM a WHERE", "syntax error at end of input", Some(21)),
        ("SELECT a FROM FROM a", "syntax error at or near \"FROM\"", Some(14)),
        ("SELECT x, x FROM t x x x", "syntax error at or near \"x\"", Some(21)),
        ("SELECT 'abc", "unterminated quoted string at or near \"'abc\"", Some(7)),
        ("SELECT )", "syntax error at or near \")\"", Some(7)),
    ];
    for (text, message, position) in cases {
        let error = error(text);
        assert_eq!((error.message.as_str(), error.position, error.sqlstate), (message, position, "42601"), "{text}");
    }
}

#[test]
fn tools_of_the_server_are_understood() {
    let bank = Bank::load();
    // With definitions to hide, three listings that splice them into other text are refused.
    let mut refused = 0;
    for text in common::statements("tools.sql") {
        let analysis = analyse(&text, &bank.catalog, &bank.session).unwrap();
        for statement in &analysis.statements {
            let ok = statement.violations.is_empty()
                && !statement.columns.iter().any(|used| matches!(used.how, Use::Violation(_)));
            refused += usize::from(!ok);
        }
    }
    assert!(refused <= 4, "{refused}");
    let mut bank = Bank::load();
    bank.catalog.sensitive_texts.clear();
    for text in common::statements("tools.sql") {
        let analysis = analyse(&text, &bank.catalog, &bank.session).unwrap();
        for statement in &analysis.statements {
            assert!(
                statement.violations.is_empty() && statement.columns.is_empty(),
                "{text}\n{:?}",
                statement.violations
            );
        }
    }
}
