//! What the analysis of a new text costs, next to what the two parsers cost by themselves: the query of an ORM that joins
//! two tables, one with labelled columns, and returns ten columns.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringfence_analysis::{Template, analyse, shape};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

const JOIN: &str = r#"SELECT "users"."id" AS "users_id", "users"."email" AS "users_email", "users"."credit_card" AS "users_credit_card",
 "users"."country" AS "users_country", "users"."num_logins" AS "users_num_logins",
 "orders_1"."id" AS "orders_1_id", "orders_1"."user_id" AS "orders_1_user_id", "orders_1"."amount" AS "orders_1_amount",
 "orders_1"."note" AS "orders_1_note", "orders_1"."status" AS "orders_1_status"
 FROM "users" LEFT OUTER JOIN "orders" AS "orders_1" ON "users"."id" = "orders_1"."user_id"
 WHERE "users"."id" = $1 AND "orders_1"."amount" > $2 ORDER BY "orders_1"."status" DESC LIMIT 20"#;

const PLAIN: &str = "SELECT note FROM orders WHERE id = 4711;";

const VALUES: [&str; 8] = [
    "SELECT note FROM orders WHERE id = 1711;",
    "SELECT note FROM orders WHERE id = 2711;",
    "SELECT note FROM orders WHERE id = 3711;",
    "SELECT note FROM orders WHERE id = 4711;",
    "SELECT note FROM orders WHERE id = 5711;",
    "SELECT note FROM orders WHERE id = 6711;",
    "SELECT note FROM orders WHERE id = 7711;",
    "SELECT note FROM orders WHERE id = 8711;",
];

fn parsers(text: &str) {
    black_box(pg_raw_parse::parse(text).expect("valid"));
    black_box(Parser::parse_sql(&PostgreSqlDialect {}, text).expect("valid"));
}

fn texts(c: &mut Criterion) {
    let bank = common::Bank::load();
    let join = analyse(JOIN, &bank.catalog, &bank.session).expect("valid");
    assert!(join.statements[0].columns.len() >= 2, "something labelled is reached: {:?}", join.statements[0].columns);
    for (name, text) in [("join of ten columns", JOIN), ("one row, nothing labelled", PLAIN)] {
        let mut group = c.benchmark_group(name);
        group.bench_function("both parsers alone", |b| b.iter(|| parsers(black_box(text))));
        group.bench_function("analysis", |b| b.iter(|| analyse(black_box(text), &bank.catalog, &bank.session)));
        group.finish();
    }
    let mut group = c.benchmark_group("without parsing");
    let template = Template::of(PLAIN).expect("it has a value");
    group.bench_function("template fits", |b| b.iter(|| template.fits(black_box(PLAIN.as_bytes()))));
    // The thread remembers texts that begin like this.
    let mut at = 0_u32;
    group.bench_function("fingerprint of a text with another value", |b| {
        b.iter(|| {
            at = (at + 1) % 8;
            shape(black_box(VALUES[at as usize].as_bytes()))
        });
    });
    group.finish();
}

criterion_group!(benches, texts);
criterion_main!(benches);
