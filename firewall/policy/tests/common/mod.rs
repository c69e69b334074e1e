//! A small bank: catalog, policy and statements to decide.
#![allow(clippy::unwrap_used, clippy::panic, dead_code)]

use ringfence_analysis::catalog::RelationKind;
use ringfence_analysis::facts::{Effect, Kind, Statement, Violation};
use ringfence_analysis::{Catalog, Column, ColumnId, Relation};
use ringfence_policy::{Policy, parse};

pub(crate) const USERS: u32 = 20_000;
pub(crate) const TRANSACTIONS: u32 = 20_100;
pub(crate) const COUNTRIES: u32 = 20_200;
pub(crate) const PG_STATS: u32 = 12_000;
pub(crate) const PG_PROC: u32 = 1_255;

const INT4: u32 = 23;
const TEXT: u32 = 25;

pub(crate) fn columns(list: &[(&str, u32)]) -> Vec<Column> {
    list.iter()
        .enumerate()
        .map(|(at, &(name, type_oid))| Column {
            attnum: i16::try_from(at + 1).unwrap(),
            name: name.into(),
            type_oid,
            typmod: -1,
            type_name: match type_oid {
                INT4 => "integer",
                TEXT => "text",
                3802 => "jsonb",
                _ => "something",
            }
            .into(),
            label: None,
        })
        .collect()
}

pub(crate) fn table(oid: u32, schema: &str, name: &str, list: &[(&str, u32)]) -> Relation {
    Relation {
        oid,
        schema: schema.into(),
        name: name.into(),
        kind: RelationKind::Table,
        system: schema == "pg_catalog",
        columns: columns(list),
        row_type: if schema == "pg_catalog" { 0 } else { oid + 2 },
        ..Relation::default()
    }
}

pub(crate) fn relations() -> Vec<Relation> {
    let users = table(
        USERS,
        "public",
        "users",
        &[("id", INT4), ("credit_card", TEXT), ("email", TEXT), ("password_hash", TEXT), ("country", TEXT)],
    );
    let transactions =
        table(TRANSACTIONS, "public", "transactions", &[("id", INT4), ("user_id", INT4), ("amount", 1700)]);
    let countries = table(COUNTRIES, "public", "countries", &[("code", TEXT), ("name", TEXT)]);
    let stats = table(PG_STATS, "pg_catalog", "pg_stats", &[("tablename", 19), ("most_common_vals", 2277)]);
    let proc = table(PG_PROC, "pg_catalog", "pg_proc", &[("proname", 19), ("prosrc", TEXT)]);
    vec![users, transactions, countries, stats, proc]
}

pub(crate) fn catalog(relations: Vec<Relation>) -> Catalog {
    let mut catalog = Catalog::new(relations, Vec::new());
    catalog.database = "bank".into();
    catalog
}

pub(crate) fn policy(text: &str) -> Policy {
    parse(text, "c.yaml").unwrap_or_else(|errors| panic!("{errors:#?}"))
}

pub(crate) fn sample() -> Policy {
    policy(include_str!("../../../../classification.yaml"))
}

pub(crate) fn id(relation: u32, attnum: i16) -> ColumnId {
    ColumnId { relation, attnum }
}

pub(crate) fn statement(kind: Kind, verb: &'static str) -> Statement {
    Statement {
        range: 0..0,
        kind,
        verb,
        fingerprint: 0,
        relations: Vec::new(),
        unknown: Vec::new(),
        columns: Vec::new(),
        violations: Vec::<Violation>::new(),
        outputs: None,
        described: Vec::new(),
        stored_parameters: Default::default(),
        copy_out: None,
        effect: Effect::None,
        writes: false,
        taints: false,
        unexplained: false,
    }
}
