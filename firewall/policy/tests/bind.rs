//! The policy over a catalog: which column gets which label, and what does not fit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use common::{COUNTRIES, PG_PROC, PG_STATS, TRANSACTIONS, USERS, catalog, id, policy, relations, sample, table};
use ringfence_analysis::catalog::RelationKind;
use ringfence_analysis::{Catalog, ColumnId, builtin};
use ringfence_policy::{Policy, Record, Severity, bind};

fn label<'p>(policy: &'p Policy, catalog: &Catalog, column: ColumnId) -> Option<&'p str> {
    catalog.column(column).unwrap().label.map(|label| policy.label_name(label))
}

const HEAD: &str = "version: 1\nlabels: { pci: {}, pii: {} }\nroles: { default: { pci: encrypt, pii: drop } }\nclients: { app: { roles: [default] } }\n";

fn with(rest: &str) -> Policy {
    policy(&format!("{HEAD}{rest}"))
}

#[test]
fn declared_and_built_in_labels() {
    let policy = sample();
    let mut catalog = catalog(relations());
    let binding = bind(&policy, &mut catalog, &[]);
    assert!(binding.diagnostics.is_empty(), "{:#?}", binding.diagnostics);
    assert!(binding.alerts.is_empty());
    let expected = [None, Some("pci"), Some("pii"), Some("secret"), None];
    for (at, expected) in expected.into_iter().enumerate() {
        assert_eq!(label(&policy, &catalog, id(USERS, at as i16 + 1)), expected);
    }
    assert_eq!(catalog.column(id(PG_STATS, 2)).unwrap().label, Some(builtin::STATISTICS));
    assert_eq!(catalog.column(id(PG_PROC, 2)).unwrap().label, Some(builtin::CATALOG_TEXT));
    let records: Vec<(ColumnId, &str)> = binding.new_records.iter().map(|r| (r.column, &*r.label)).collect();
    assert_eq!(records, [(id(USERS, 2), "pci"), (id(USERS, 3), "pii"), (id(USERS, 4), "secret")]);
}

#[test]
fn a_second_bind_changes_nothing() {
    let policy = sample();
    let mut catalog = catalog(relations());
    let first = bind(&policy, &mut catalog, &[]);
    let second = bind(&policy, &mut catalog, &first.new_records);
    assert!(second.new_records.is_empty() && second.alerts.is_empty() && second.diagnostics.is_empty());
    assert_eq!(label(&policy, &catalog, id(USERS, 2)), Some("pci"));
}

#[test]
fn what_does_not_exist_is_named_with_its_place_and_what_may_be_meant() {
    let policy = with(
        "columns:\n  public.user: { email: pii }\n  pubic.users: { email: pii }\n  public.users: { emial: pii, id: pii }\n  pg_catalog.pg_proc: {}\n",
    );
    let mut catalog = catalog(relations());
    let found = bind(&policy, &mut catalog, &[]).diagnostics;
    let told: Vec<(u32, u32, Severity, &str, Option<&str>)> = found
        .iter()
        .map(|d| (d.what.line, d.what.column, d.severity, d.what.message.as_str(), d.what.fix.as_deref()))
        .collect();
    assert_eq!(
        told,
        [
            (
                6,
                3,
                Severity::Error,
                "there is no table public.user in database \"bank\"",
                Some("did you mean public.users?")
            ),
            (
                7,
                3,
                Severity::Error,
                "there is no table pubic.users in database \"bank\"",
                Some("did you mean public.users?")
            ),
            (8, 19, Severity::Error, "table public.users has no column emial", Some("did you mean \"email\"?")),
            (
                9,
                3,
                Severity::Error,
                "pg_catalog.pg_proc is the server's own",
                Some("remove it; system relations have built-in labels")
            ),
        ]
    );
    // What does exist is labelled all the same.
    assert_eq!(label(&policy, &catalog, id(USERS, 1)), Some("pii"));
}

#[test]
fn types_that_cannot_carry_a_handling_are_warned_of_or_with_strict_types_wrong() {
    for (strict, severity) in [("false", Severity::Warning), ("true", Severity::Error)] {
        let policy = with(&format!(
            "columns: {{ public.transactions: {{ amount: pci, user_id: pii }} }}\nstrict_types: {strict}\n"
        ));
        let mut catalog = catalog(relations());
        let found = bind(&policy, &mut catalog, &[]).diagnostics;
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0].severity, severity);
        assert!(found[0].what.message.contains("cannot carry encrypt: app get NULL"), "{}", found[0].what.message);
        assert_eq!((found[0].what.line, found[0].what.column), (5, 35));
    }
}

#[test]
fn entries_of_another_database_do_not_count() {
    let policy = with(
        "databases:\n  shop: { columns: { public.users: { email: pii }, public.gone: {} } }\n  bank: { columns: { public.users: { credit_card: pci } } }\n",
    );
    let mut catalog = catalog(relations());
    assert!(bind(&policy, &mut catalog, &[]).diagnostics.is_empty());
    assert_eq!(label(&policy, &catalog, id(USERS, 2)), Some("pci"));
    assert_eq!(label(&policy, &catalog, id(USERS, 3)), None);
}

#[test]
fn labels_spread_to_partitions_and_parents_by_name() {
    let mut all = relations();
    // The partition has its columns in another order.
    let mut part = table(20_300, "public", "users_1", &[("email", 25), ("id", 23), ("credit_card", 25)]);
    part.parents = vec![USERS];
    let mut below = table(20_310, "public", "users_1_a", &[("credit_card", 25)]);
    below.parents = vec![20_300];
    all.extend([part, below]);
    let policy = with("columns: { public.users: { email: pii }, public.users_1_a: { credit_card: pci } }\n");
    let mut catalog = catalog(all);
    let binding = bind(&policy, &mut catalog, &[]);
    assert!(binding.diagnostics.is_empty());
    assert_eq!(label(&policy, &catalog, id(20_300, 1)), Some("pii"));
    assert_eq!(label(&policy, &catalog, id(20_300, 2)), None);
    assert_eq!(label(&policy, &catalog, id(20_300, 3)), Some("pci"));
    assert_eq!(label(&policy, &catalog, id(USERS, 2)), Some("pci"));
    assert_eq!(binding.new_records.len(), 5);
}

#[test]
fn relatives_with_two_labels_are_wrong_and_nobodys() {
    let mut all = relations();
    let mut part = table(20_300, "public", "users_1", &[("email", 25)]);
    part.parents = vec![USERS];
    all.push(part);
    let policy = with("columns: { public.users: { email: pii }, public.users_1: { email: pci } }\n");
    let mut catalog = catalog(all);
    let binding = bind(&policy, &mut catalog, &[]);
    assert_eq!(binding.diagnostics.len(), 1, "{:#?}", binding.diagnostics);
    assert_eq!(binding.diagnostics[0].severity, Severity::Error);
    for column in [id(USERS, 3), id(20_300, 1)] {
        assert_eq!(catalog.column(column).unwrap().label, Some(builtin::STATISTICS));
    }
    assert!(binding.new_records.is_empty());
}

#[test]
fn a_foreign_key_takes_the_label_of_what_it_references() {
    let mut all = relations();
    all[0].references = vec![(5, COUNTRIES, 1)];
    let policy = with("columns: { public.countries: { code: pii } }\n");
    let mut catalog = catalog(all);
    bind(&policy, &mut catalog, &[]);
    assert_eq!(label(&policy, &catalog, id(USERS, 5)), Some("pii"));
}

#[test]
fn columns_that_hold_rows_of_a_labelled_relation_are_labelled() {
    let mut all = relations();
    // users has the row type USERS + 2; 20402 is an array of it.
    all.push(table(20_400, "public", "log", &[("id", 23), ("old", USERS + 2), ("many", 20_402)]));
    let one = with("columns: { public.users: { email: pii } }\n");
    let two = with("columns: { public.users: { email: pii, credit_card: pci } }\n");
    for (policy, expected) in [(one, "pii"), (two, "statistics")] {
        let mut catalog = catalog(all.clone());
        catalog.row_types.insert(20_402, USERS + 2);
        bind(&policy, &mut catalog, &[]);
        assert_eq!(label(&policy, &catalog, id(20_400, 1)), None);
        assert_eq!(label(&policy, &catalog, id(20_400, 2)), Some(expected));
        assert_eq!(label(&policy, &catalog, id(20_400, 3)), Some(expected));
    }
}

#[test]
fn a_record_keeps_its_label_when_the_column_is_renamed() {
    let mut all = relations();
    all[0].columns[1].name = "cc".into();
    let policy = with("columns: { public.users: { email: pii } }\n");
    let records = [Record { column: id(USERS, 2), label: "pci".into() }];
    let mut catalog = catalog(all);
    let binding = bind(&policy, &mut catalog, &records);
    assert_eq!(label(&policy, &catalog, id(USERS, 2)), Some("pci"));
    assert_eq!(binding.alerts.len(), 1);
    assert_eq!(binding.alerts[0].name, "public.users.cc");
    assert!(binding.alerts[0].fix.contains("rfctl label release public.users.cc"));
    assert_eq!(binding.new_records, [Record { column: id(USERS, 3), label: "pii".into() }]);
}

#[test]
fn names_that_were_swapped_are_refused_to_the_restricted() {
    let policy = with("columns: { public.users: { email: pii, credit_card: pci } }\n");
    let records = [
        Record { column: id(USERS, 2), label: "pii".into() },
        Record { column: id(USERS, 3), label: "gone".into() },
        Record { column: id(99_999, 1), label: "pci".into() },
    ];
    let mut catalog = catalog(relations());
    let binding = bind(&policy, &mut catalog, &records);
    assert_eq!(binding.alerts.len(), 2);
    for attnum in [2, 3] {
        assert_eq!(catalog.column(id(USERS, attnum)).unwrap().label, Some(builtin::STATISTICS));
    }
}

#[test]
fn a_recorded_label_spreads_too() {
    let mut all = relations();
    let mut part = table(20_300, "public", "users_1", &[("email", 25)]);
    part.parents = vec![USERS];
    all.push(part);
    let policy = with("");
    let mut catalog = catalog(all);
    bind(&policy, &mut catalog, &[Record { column: id(USERS, 3), label: "pii".into() }]);
    assert_eq!(label(&policy, &catalog, id(20_300, 1)), Some("pii"));
}

#[test]
fn unclassified_tables_are_those_that_nobody_named() {
    let mut all = relations();
    let mut part = table(20_300, "public", "users_1", &[("email", 25)]);
    part.parents = vec![USERS];
    let mut own = table(20_310, "pg_temp_3", "scratch", &[("a", 25)]);
    own.temporary = true;
    let mut sequence = table(20_320, "public", "users_id_seq", &[]);
    sequence.kind = RelationKind::Sequence;
    all.extend([part, own, sequence, table(20_330, "reporting", "daily", &[("a", 25)])]);
    for (word, expected) in [
        ("allow", vec![]),
        ("refuse", vec![TRANSACTIONS, 20_330]),
        ("{ public: refuse }", vec![TRANSACTIONS]),
        ("{ reporting: refuse }", vec![20_330]),
    ] {
        let policy = with(&format!(
            "columns: {{ public.users: {{ email: pii }}, public.countries: {{}} }}\nunclassified: {word}\n"
        ));
        let mut catalog = catalog(all.clone());
        bind(&policy, &mut catalog, &[]);
        let refused: Vec<u32> = catalog.relations().iter().filter(|r| r.unclassified).map(|r| r.oid).collect();
        assert_eq!(refused, expected, "{word}");
    }
}

#[test]
fn generated_columns_are_plain_only_for_those_who_see_their_source_in_plain() {
    let mut all = relations();
    all[0].columns.push(ringfence_analysis::Column {
        attnum: 6,
        name: "card_copy".into(),
        type_oid: 25,
        ..Default::default()
    });
    all[0].columns.push(ringfence_analysis::Column {
        attnum: 7,
        name: "both".into(),
        type_oid: 25,
        ..Default::default()
    });
    all[0].columns.push(ringfence_analysis::Column {
        attnum: 8,
        name: "free".into(),
        type_oid: 25,
        ..Default::default()
    });
    all[0].columns.push(ringfence_analysis::Column {
        attnum: 9,
        name: "own".into(),
        type_oid: 25,
        ..Default::default()
    });
    all[0].generated = vec![(6, 2), (7, 2), (7, 3), (8, 1), (9, 2)];
    let policy = policy(&format!(
        "{}  issuer: {{ roles: [issuer] }}\ncolumns: {{ public.users: {{ email: pii, credit_card: pci, own: pii }} }}\n",
        HEAD.replace(
            "} }\nclients: { app: { roles: [default] } }\n",
            "}, issuer: { pci: plain, pii: drop } }\nclients:\n  app: { roles: [default] }\n"
        )
    ));
    let mut catalog = catalog(all);
    let binding = bind(&policy, &mut catalog, &[]);
    assert_eq!(label(&policy, &catalog, id(USERS, 6)), Some("pci (computed)"));
    assert_eq!(label(&policy, &catalog, id(USERS, 7)), Some("statistics"));
    assert_eq!(label(&policy, &catalog, id(USERS, 8)), None);
    assert_eq!(label(&policy, &catalog, id(USERS, 9)), Some("pii"));
    let computed = catalog.column(id(USERS, 6)).unwrap().label.unwrap();
    let handling = |client: &str| policy.client(client).unwrap().policy.handling(computed).name();
    assert_eq!((handling("app"), handling("issuer")), ("refuse", "plain"));
    // Laid over the catalog again with its own records, nothing changes.
    let again = bind(&policy, &mut catalog, &binding.new_records);
    assert!(again.new_records.is_empty() && again.alerts.is_empty(), "{again:#?}");
}

#[test]
fn labels_of_computed_values_cannot_be_written() {
    let found = ringfence_policy::parse(
        "version: 1\nlabels: { pci: {} }\ncolumns: { public.users: { email: pci (computed) } }\n",
        "c.yaml",
    );
    assert!(found.unwrap_err()[0].message.contains("unknown label"));
}
