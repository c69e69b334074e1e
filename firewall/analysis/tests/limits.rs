//! Texts that ask for more work than they are long.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::time::{Duration, Instant};

use ringfence_analysis::analyse;

fn list(count: usize, item: impl Fn(usize) -> String) -> String {
    (0..count).map(item).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_work_grows_as_the_text_does() {
    let bank = common::Bank::load();
    let names = |count| list(count, |i| format!("credit_card a{i}"));
    let texts = [
        format!("SELECT 1 FROM (SELECT {} FROM users) x", names(50_000)),
        format!("SELECT 1 FROM {}", list(200, |i| format!("(SELECT {} FROM users) x{i}", names(250)))),
        format!("SELECT 1 FROM users WHERE {}true", format!("EXISTS (SELECT {}) AND ", names(1_000)).repeat(50)),
        format!("SELECT {} FROM {}", list(20_000, |_| "*".into()), list(100, |i| format!("users u{i}"))),
        format!("SELECT {} FROM {}", list(1_600, |_| "*".into()), list(100, |i| format!("users u{i}"))),
        format!(
            "WITH RECURSIVE {}, c200 AS (SELECT {} FROM users) SELECT 1",
            list(200, |i| format!("c{i} AS (SELECT {} FROM c{})", list(100, |n| format!("a{n} a{n}")), i + 1)),
            names(100)
        ),
        format!("SELECT {} FROM users u", list(100_000, |i| format!("u.c{i}"))),
        format!("SELECT 1 FROM users a({})", list(100_000, |i| format!("n{i}"))),
    ];
    for text in texts {
        let began = Instant::now();
        analyse(&text, &bank.catalog, &bank.session).unwrap();
        let took = began.elapsed();
        assert!(took < Duration::from_secs(30), "{} bytes took {took:?}: {}", text.len(), &text[..80]);
    }
}
