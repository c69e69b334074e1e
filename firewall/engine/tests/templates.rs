//! A plan that several texts share decides as each text's own would.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod support;

use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;
use ringfence_engine::{PlanCache, World};
use ringfence_wire::encode;
use support::{Recorded, session_with, transactions, users, world};

const TEXTS: &[&str] = &[
    "SELECT description FROM transactions WHERE id = {}",
    "SELECT description FROM transactions WHERE id = {} AND description = {};",
    "SELECT description FROM transactions WHERE id IN ({}, {}) ORDER BY {} LIMIT {}",
    "SELECT t.description, {} FROM transactions t WHERE {} < t.id GROUP BY {}",
    "SELECT description FROM transactions WHERE description LIKE {} OR id BETWEEN {} AND {}",
    "SELECT description FROM transactions WHERE id = {}\n{}",
    "SELECT description FROM transactions WHERE id={} --{}",
    "SELECT description FROM transactions WHERE id= {} /*{}*/ OFFSET {}",
    "SELECT u.id FROM users u JOIN transactions t ON t.id = {} AND u.id = t.id WHERE t.description = {}",
    "SELECT email FROM users WHERE id = {}",
    "SELECT id FROM users WHERE password_hash = {}",
    "SELECT id FROM users WHERE credit_card = {} OR id = {}",
    "SELECT credit_card FROM users WHERE id = {} LIMIT {}",
    "INSERT INTO transactions (id, description) VALUES ({}, {})",
    "INSERT INTO users (id, credit_card) VALUES ({}, {})",
    "INSERT INTO users VALUES ({}, {}, {}, {})",
    "UPDATE transactions SET description = {} WHERE id = {}",
    "UPDATE users SET password_hash = {} WHERE id = {}",
    "DELETE FROM transactions WHERE id = {} AND description <> {}",
    "DELETE FROM transactions USING users u WHERE u.credit_card = {}",
    "SELECT set_config({}, {}, false)",
    "SELECT 1 FROM transactions WHERE set_config({}, {}, true) = {}",
    "SELECT 1 FROM transactions WHERE description = set_config('application_name', {}, true)",
    "SELECT pg_notify({}, {})",
    "SELECT pg_get_viewdef({}) = {}",
    "SELECT 1 FROM pg_class WHERE pg_get_expr(relpartbound, oid) = {}",
    "SELECT 1 FROM transactions WHERE nextval({}) = {}",
    "SELECT query_to_xml({}, true, true, {})",
    "SELECT 1 FROM transactions WHERE description = {} UNION SELECT id FROM users WHERE id = {}",
    "SELECT description FROM transactions WHERE id = {}; SELECT id FROM users WHERE id = {}",
    "SELECT description FROM nowhere WHERE id = {}",
    "SELECT description FROM transactions WHERE id = {}::int AND description = date {}",
    "SET work_mem = {}",
    "EXPLAIN SELECT description FROM transactions WHERE id = {}",
    "SELECT (SELECT description FROM transactions WHERE id = {}) FROM users WHERE id = {}",
    "SELECT x.id FROM (SELECT id FROM users WHERE id = {}) x WHERE x.id = {}",
    "WITH w AS (SELECT id FROM transactions WHERE id = {}) SELECT id FROM w WHERE id = {}",
];

const LITERALS: &[&str] = &[
    "1",
    "2",
    "3",
    "42",
    "007",
    "999999999",
    "1234567890",
    "99999999999999",
    "1.5",
    ".5",
    "1.",
    "1e3",
    "0x1f",
    "0b1",
    "1_000",
    "-1",
    "+1",
    "'a'",
    "'b'",
    "''",
    "'it''s'",
    "'back\\slash'",
    "'é'",
    "'DEFAULT'",
    "'rf1_x'",
    "'role'",
    "'application_name'",
    "'ringfence_x'",
    "'pg_authid'",
    "'; DROP TABLE users --'",
    "'/*'",
    "E'a'",
    "E'a\\''",
    "U&'a'",
    "N'a'",
    "B'1'",
    "X'1'",
    "$$a$$",
    "$t$a$t$",
    "$1",
    "NULL",
    "true",
    "email",
    "password_hash",
    "u",
    "id",
    "'a'::text",
    "'users'::regclass",
    "'a' 'b'",
    "'a'\n'b'",
    "1 OR 1",
    "1 UNION SELECT 1",
    "lower('a')",
    "(SELECT password_hash FROM users)",
    "1/**/",
    "1--\n",
    "\"a\"",
    "*",
    ":x",
    "?",
];

fn fill(text: &str, literals: &[&str]) -> String {
    let mut parts = text.split("{}");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for (part, literal) in parts.zip(literals.iter().cycle()) {
        out.push_str(literal);
        out.push_str(part);
    }
    out
}

/// What a new session sends to both sides for the query.
fn answer(world: &Arc<World>, plans: &Arc<PlanCache>, text: &str) -> Recorded {
    let mut session = session_with("api", Arc::clone(world), Arc::clone(plans));
    let (mut message, mut out) = (Vec::new(), Recorded::default());
    encode::query(&mut message, text.as_bytes());
    session.client_bytes(Instant::now(), &message, &mut out).unwrap();
    // The refusal itself shows when the server answers what was sent in its place.
    let mut error = Vec::new();
    encode::error(&mut error, &[(b'S', &b"ERROR"[..]), (b'C', b"34000"), (b'M', b"no such portal")]);
    encode::ready_for_query(&mut error, b'I');
    let _ = session.server_bytes(Instant::now(), &error, &mut out);
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn shared_plans_decide_as_own_ones(
        asked in prop::collection::vec((0..TEXTS.len(), prop::collection::vec(prop_oneof![3 => 0..4_usize, 2 => 17..20_usize, 3 => 0..LITERALS.len()], 4)), 40),
    ) {
        let world = world(vec![users(), transactions()]);
        let shared = Arc::new(PlanCache::new(1 << 20));
        for (text, literals) in asked {
            let literals: Vec<&str> = literals.into_iter().map(|at| LITERALS[at]).collect();
            // The text itself last, so that what went before has made it a template.
            for rotation in 0..4 {
                let mut rotated = literals.clone();
                rotated.rotate_left(rotation);
                let text = fill(TEXTS[text], &rotated);
                let own = Arc::new(PlanCache::new(1 << 20));
                prop_assert_eq!(answer(&world, &shared, &text), answer(&world, &own, &text), "{}", text);
            }
        }
    }
}

#[test]
fn every_pair_of_literals_is_decided_alike() {
    let world = world(vec![users(), transactions()]);
    for text in TEXTS {
        for first in ["1", "'a'"] {
            let shared = Arc::new(PlanCache::new(1 << 20));
            for _ in 0..3 {
                answer(&world, &shared, &fill(text, &[first]));
            }
            for literal in LITERALS {
                let text = fill(text, &[literal]);
                let own = Arc::new(PlanCache::new(1 << 20));
                assert_eq!(answer(&world, &shared, &text), answer(&world, &own, &text), "{text}");
            }
        }
    }
}

#[test]
fn a_text_with_other_values_is_a_hit() {
    let world = world(vec![users(), transactions()]);
    let plans = Arc::new(PlanCache::new(1 << 20));
    for at in 0..100 {
        answer(&world, &plans, &format!("SELECT description FROM transactions WHERE id = {at}"));
    }
    let (hits, misses) = plans.counts();
    assert!(hits >= 97 && misses <= 3, "{hits} hits, {misses} misses");
    // Where something labelled is near, every text is looked at.
    for at in 0..100 {
        answer(&world, &plans, &format!("SELECT email FROM users WHERE id = {at}"));
    }
    assert_eq!(plans.counts().0, hits);
}
