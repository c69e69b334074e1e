//! Every handling with every `filter`, `derived` and use of a column: one table of what is allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use common::{TRANSACTIONS, USERS, catalog, id, policy, relations, statement};
use ringfence_analysis::facts::{
    Access, ColumnUse, Kind, Output, Predicate, RelationUse, Rule, Statement, Use, Violation,
};
use ringfence_analysis::{Catalog, ColumnId, LabelId};
use ringfence_policy::{ClientPolicy, Decision, Handling, Mask, Policy, Refusal, Word, bind, decide};

const HANDLINGS: [&str; 6] = ["plain", "mask, with: last4", "tokenize", "encrypt", "drop", "refuse"];
const FILTERS: [&str; 3] = ["none", "equality", "any"];
const DERIVED: [&str; 2] = ["refuse", "drop"];

const ID: ColumnId = ColumnId { relation: USERS, attnum: 1 };
const CARD: ColumnId = ColumnId { relation: USERS, attnum: 2 };
const EMAIL: ColumnId = ColumnId { relation: USERS, attnum: 3 };

struct Bank {
    policy: Policy,
    catalog: Catalog,
}

impl Bank {
    /// Roles as written; the client `app` has `roles`.
    fn new(roles: &str, of: &str) -> Self {
        let policy = policy(&format!(
            "version: 1\nlabels: {{ pci: {{}}, pii: {{}} }}\nroles: {{ {roles} }}\nclients: {{ app: {{ roles: {of} }} }}\n\
             columns: {{ public.users: {{ id: pii, credit_card: pci, email: pii }} }}\n"
        ));
        let mut catalog = catalog(relations());
        bind(&policy, &mut catalog, &[]);
        Self { policy, catalog }
    }

    /// One rule for pci; pii is plain.
    fn pci(rule: &str) -> Self {
        Self::new(&format!("r: {{ pci: {rule}, pii: plain }}"), "[r]")
    }

    fn client(&self) -> &ClientPolicy {
        &self.policy.client("app").unwrap().policy
    }

    fn label(&self, column: ColumnId) -> LabelId {
        self.catalog.column(column).unwrap().label.unwrap()
    }

    fn decide(&self, statement: &Statement) -> Decision {
        decide(self.client(), &self.catalog, statement)
    }

    fn refusal(&self, statement: &Statement) -> Refusal {
        match self.decide(statement) {
            Decision::Refuse(refusal) => refusal,
            other => panic!("{other:?}"),
        }
    }

    fn using(&self, kind: Kind, column: ColumnId, how: Use) -> Statement {
        let mut using = statement(kind, "SELECT");
        using.columns = vec![ColumnUse { column, label: self.label(column), how }];
        using.relations = vec![RelationUse { oid: USERS, access: Access::Read }];
        using
    }

    fn carried(&self, columns: &[ColumnId]) -> Vec<(ColumnId, LabelId)> {
        columns.iter().map(|column| (*column, self.label(*column))).collect()
    }
}

fn at(rule: Rule, construct: &str) -> Violation {
    Violation { rule, construct: construct.into(), position: Some(7) }
}

fn uses() -> Vec<(&'static str, Use)> {
    vec![
        ("output", Use::Output),
        ("droppable", Use::Derived { droppable: true, at: at(Rule::Derived, "function upper") }),
        ("derived", Use::Derived { droppable: false, at: at(Rule::Derived, "operator /") }),
        ("equality", Use::Filter { needs: Predicate::Equality, at: at(Rule::Filter, "WHERE") }),
        ("order", Use::Filter { needs: Predicate::Any, at: at(Rule::Filter, "ORDER BY") }),
        ("some predicate", Use::Violation(at(Rule::Filter, "HAVING"))),
        ("some set operation", Use::Violation(at(Rule::Combined, "INTERSECT"))),
        ("flow", Use::Violation(at(Rule::Flow, "INSERT … SELECT"))),
        ("insert", Use::Stored(Access::Insert)),
        ("update", Use::Stored(Access::Update)),
    ]
}

/// The policy in words, written once more: (handling, filter, derived, use) to "passes", "handled" or a rule's name.
fn expected(handling: &str, filter: &str, derived: &str, used: &str) -> &'static str {
    let plain = handling == "plain";
    let refused = handling == "refuse";
    // Also where nothing is shown: an answer is not the value.
    let may_filter = |needed: &[&str]| if needed.contains(&filter) { "passes" } else { "filter" };
    match used {
        "output" if plain => "passes",
        "output" if refused => "handling",
        "output" => "handled",
        "droppable" if plain => "passes",
        "droppable" if !refused && derived == "drop" => "passes",
        "derived" if plain => "passes",
        "droppable" | "derived" => "derived",
        "equality" => may_filter(&["equality", "any"]),
        "order" => may_filter(&["any"]),
        "some predicate" if plain => may_filter(&["any"]),
        "some predicate" => "filter",
        "some set operation" if plain && filter == "any" => "passes",
        "some set operation" => "combined",
        "flow" if plain => "passes",
        "flow" => "flow",
        "insert" => "passes",
        // What is shown can be told from what is stored only where it is the same, or an rf1_ token.
        "update" if plain || handling == "encrypt" => "passes",
        "update" => "handling",
        other => panic!("{other}"),
    }
}

#[test]
fn handling_by_filter_by_derived_by_use() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for handling in HANDLINGS {
        for filter in FILTERS {
            for derived in DERIVED {
                if derived == "drop" && matches!(handling, "plain" | "refuse") {
                    continue;
                }
                let bank = Bank::pci(&format!("{{ handling: {handling}, filter: {filter}, derived: {derived} }}"));
                for (name, how) in uses() {
                    count += 1;
                    let statement = bank.using(Kind::Select, CARD, how);
                    let expected = expected(handling, filter, derived, name);
                    let got = match bank.decide(&statement) {
                        Decision::Pass => "passes",
                        Decision::Handle => "handled",
                        Decision::Refuse(refusal) => refusal.rule.name(),
                    };
                    if got != expected {
                        wrong.push(format!(
                            "{handling}, filter {filter}, derived {derived}, {name}: {got}, not {expected}"
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(count, (6 * 3 * 2 - 2 * 3) * 10);
}

#[test]
fn filters_default_to_any_where_plain_and_to_none_elsewhere() {
    for (rule, equality, order) in [
        ("plain", true, true),
        ("{ handling: plain, filter: none }", false, false),
        ("{ handling: plain, filter: equality }", true, false),
        ("encrypt", false, false),
        ("{ mask: last4 }", false, false),
        ("drop", false, false),
    ] {
        let bank = Bank::pci(rule);
        for (needs, allowed) in [(Predicate::Equality, equality), (Predicate::Any, order)] {
            let filter = Use::Filter { needs, at: at(Rule::Filter, "WHERE") };
            let decision = bank.decide(&bank.using(Kind::Select, CARD, filter));
            assert_eq!(decision == Decision::Pass, allowed, "{rule} {needs:?}: {decision:?}");
        }
    }
    assert!(Bank::pci("{ handling: plain, filter: none }").client().restricted);
    assert!(!Bank::pci("plain").client().restricted);
}

#[test]
fn the_words_say_which_predicate_and_what_would_be_needed() {
    let order = Use::Filter { needs: Predicate::Any, at: at(Rule::Filter, "ORDER BY") };
    let none = Bank::pci("drop");
    let refusal = none.refusal(&none.using(Kind::Select, CARD, order.clone()));
    assert_eq!(
        refusal.message,
        "column public.users.credit_card (label pci) may not be used in ORDER BY by client \"app\""
    );
    assert_eq!(refusal.position, Some(7));
    assert!(refusal.hint.unwrap().contains("`filter` in the classification"));

    let equality = Bank::pci("{ handling: drop, filter: equality }");
    let refusal = equality.refusal(&equality.using(Kind::Select, CARD, order));
    assert_eq!(
        refusal.message,
        "column public.users.credit_card (label pci) may be compared by client \"app\" only by equality, which ORDER BY is not"
    );
    assert!(refusal.hint.unwrap().contains("`filter: any` of label pci"));

    let upper = |droppable| Use::Derived { droppable, at: at(Rule::Derived, "function upper") };
    let hint = |bank: &Bank, droppable| bank.refusal(&bank.using(Kind::Select, CARD, upper(droppable))).hint.unwrap();
    assert!(hint(&none, true).contains("With `derived: drop` for label pci it would be NULL."));
    assert!(!hint(&none, false).contains("`derived: drop`"));
    assert!(hint(&Bank::pci("{ handling: drop, derived: drop }"), false).contains("covers only functions"));
}

#[test]
fn a_derived_result_is_null_only_if_every_label_allows_it() {
    let derived = |bank: &Bank, droppable| {
        let mut select = statement(Kind::Select, "SELECT");
        let labels = [bank.label(CARD), bank.label(EMAIL)].into_iter().collect();
        select.outputs = Some(vec![Output::Derived { labels, droppable }]);
        bank.decide(&select)
    };
    let both = |pci: &str, pii: &str| Bank::new(&format!("r: {{ pci: {pci}, pii: {pii} }}"), "[r]");
    let drop = "{ handling: drop, derived: drop }";
    let mask = "{ handling: mask, with: last4, derived: drop }";
    for (pci, pii, droppable, expected) in [
        ("plain", "plain", false, Some(Handling::Plain)),
        (drop, "plain", true, Some(Handling::Drop)),
        (drop, mask, true, Some(Handling::Drop)),
        (drop, mask, false, None),
        (drop, "drop", true, None),
        ("plain", "drop", true, None),
        ("plain", "refuse", true, None),
    ] {
        let bank = both(pci, pii);
        let labels = [bank.label(CARD), bank.label(EMAIL)];
        assert_eq!(
            bank.client().derived(&labels, droppable),
            expected.clone().unwrap_or(Handling::Refuse),
            "{pci} {pii}"
        );
        let decision = derived(&bank, droppable);
        match expected {
            Some(Handling::Plain) => assert_eq!(decision, Decision::Pass, "{pci} {pii}"),
            Some(_) => assert_eq!(decision, Decision::Handle, "{pci} {pii}"),
            None => assert!(
                matches!(&decision, Decision::Refuse(r) if r.rule == Rule::Derived),
                "{pci} {pii}: {decision:?}"
            ),
        }
    }
}

#[test]
fn a_value_of_several_columns_gets_the_strictest_handling() {
    let last4 = || Handling::Mask(Mask::Last4);
    for (pci, pii, expected) in [
        ("plain", "plain", Handling::Plain),
        ("plain", "{ mask: last4 }", last4()),
        ("{ mask: last4 }", "{ mask: last4 }", last4()),
        ("{ mask: last4 }", "{ mask: email }", Handling::Drop),
        // One token for the same value of two labels would compare them.
        ("{ mask: last4 }", "{ handling: tokenize, filter: equality }", Handling::Encrypt),
        ("{ handling: tokenize, filter: equality }", "{ handling: tokenize, filter: equality }", Handling::Encrypt),
        ("encrypt", "drop", Handling::Drop),
        ("drop", "refuse", Handling::Refuse),
        ("plain", "{ handling: plain, allow: [insert] }", Handling::Refuse),
    ] {
        let bank = Bank::new(&format!("r: {{ pci: {pci}, pii: {pii} }}"), "[r]");
        assert_eq!(bank.client().meet(&bank.carried(&[CARD, EMAIL])), expected, "{pci} {pii}");
        assert_eq!(bank.client().meet(&bank.carried(&[EMAIL, CARD])), expected, "{pci} {pii}");
        let mut select = statement(Kind::Select, "SELECT");
        select.outputs = Some(vec![Output::Carried(bank.carried(&[CARD, EMAIL]).into())]);
        match bank.decide(&select) {
            Decision::Refuse(refusal) => {
                assert_eq!((expected, refusal.rule), (Handling::Refuse, Rule::Handling), "{pci} {pii}");
            }
            Decision::Handle => assert_ne!(expected, Handling::Plain, "{pci} {pii}"),
            Decision::Pass => assert_eq!(expected, Handling::Plain, "{pci} {pii}"),
        }
    }
    let bank = Bank::pci("{ handling: tokenize, filter: equality }");
    assert_eq!(bank.client().meet(&bank.carried(&[CARD, CARD])), Handling::Tokenize, "one label, one key");
    assert_eq!(bank.client().meet(&[]), Handling::Refuse);
}

#[test]
fn each_permission_is_asked_where_it_is_needed() {
    const ALL: [&str; 7] = ["read", "insert", "update", "delete", "copy", "ddl", "explain"];
    let on = |kind, access| {
        let mut statement = statement(kind, "X");
        statement.relations = vec![RelationUse { oid: USERS, access }];
        statement
    };
    let column = |bank: &Bank, kind, how, access| {
        let mut statement = bank.using(kind, CARD, how);
        statement.relations[0].access = access;
        statement
    };
    let copy = |bank: &Bank| {
        let mut statement = column(bank, Kind::CopyOut, Use::Output, Access::Read);
        statement.outputs = Some(vec![Output::Bare(bank.carried(&[CARD]).into())]);
        statement.copy_out = Some(Box::new(ringfence_analysis::facts::CopyOut {
            source: Err("not asked here"),
            framing: Err("not asked here"),
        }));
        statement
    };
    for missing in ALL {
        let allow: Vec<&str> = ALL.into_iter().filter(|word| *word != missing).collect();
        let bank = Bank::pci(&format!("{{ handling: plain, allow: [{}] }}", allow.join(", ")));
        let filter = Use::Filter { needs: Predicate::Equality, at: at(Rule::Filter, "WHERE") };
        let derived = Use::Derived { droppable: true, at: at(Rule::Derived, "function upper") };
        for (name, statement, needs) in [
            ("SELECT", column(&bank, Kind::Select, Use::Output, Access::Read), &["read"][..]),
            ("WHERE", column(&bank, Kind::Select, filter, Access::Read), &["read"]),
            ("upper()", column(&bank, Kind::Select, derived, Access::Read), &["read"]),
            ("flow", column(&bank, Kind::Insert, Use::Violation(at(Rule::Flow, "x")), Access::Read), &["read"]),
            ("INSERT", column(&bank, Kind::Insert, Use::Stored(Access::Insert), Access::Insert), &["insert"]),
            ("UPDATE", column(&bank, Kind::Update, Use::Stored(Access::Update), Access::Update), &["update"]),
            ("DELETE", on(Kind::Delete, Access::Delete), &["delete"]),
            ("TRUNCATE", on(Kind::Truncate, Access::Delete), &["delete"]),
            ("COPY TO", copy(&bank), &["read", "copy"]),
            ("COPY FROM", on(Kind::CopyIn, Access::Insert), &["insert", "copy"]),
            ("EXPLAIN", column(&bank, Kind::Explain, Use::Output, Access::Read), &["read", "explain"]),
            ("ALTER", on(Kind::Ddl, Access::Ddl), &["ddl"]),
            ("REINDEX", on(Kind::Maintenance, Access::Read), &["ddl"]),
        ] {
            match bank.decide(&statement) {
                Decision::Refuse(refusal) => {
                    assert!(needs.contains(&missing), "{name} without {missing}: {}", refusal.message);
                    for part in ["public.users.credit_card", "label pci", "\"app\""] {
                        assert!(refusal.message.contains(part), "{name} without {missing}: {}", refusal.message);
                    }
                    let hint = refusal.hint.unwrap();
                    assert!(hint.contains("`allow`") && hint.contains(missing), "{name} without {missing}: {hint}");
                }
                Decision::Pass => {
                    assert!(!needs.contains(&missing) || !bank.client().restricted, "{name} without {missing}");
                }
                Decision::Handle => panic!("{name}"),
            }
        }
    }
}

#[test]
fn copy_hands_out_what_is_handled_and_takes_only_what_is_plain() {
    let bank = Bank::pci("{ mask: last4 }");
    let mut out = bank.using(Kind::CopyOut, CARD, Use::Output);
    // Of COPY only the table is known.
    assert_eq!(bank.refusal(&out).rule, Rule::Copy);
    out.copy_out = Some(Box::new(ringfence_analysis::facts::CopyOut {
        source: Ok(ringfence_analysis::facts::CopySource::Query(0..0)),
        framing: Err("not asked here"),
    }));
    assert_eq!(bank.decide(&out), Decision::Handle);
    let mut into = statement(Kind::CopyIn, "COPY");
    into.relations = vec![RelationUse { oid: USERS, access: Access::Insert }];
    let refusal = bank.refusal(&into);
    assert_eq!(refusal.rule, Rule::Copy);
    assert!(refusal.message.contains("does not see in plain") && refusal.hint.unwrap().contains("INSERT"));
    into.relations[0].oid = TRANSACTIONS;
    assert_eq!(bank.decide(&into), Decision::Pass);
}

/// Where a type cannot carry the handling the client reads NULL: a row that is saved as it was shown would lose the value.
#[test]
fn columns_that_read_null_are_updated_only_where_the_file_says_so() {
    let update = |rule: &str, column| {
        let bank = Bank::new(&format!("r: {{ pci: plain, pii: {rule} }}"), "[r]");
        bank.decide(&bank.using(Kind::Update, column, Use::Stored(Access::Update)))
    };
    assert_eq!(update("encrypt", EMAIL), Decision::Pass);
    assert!(matches!(update("encrypt", ID), Decision::Refuse(_)), "an integer cannot carry encrypt");
    assert_eq!(update("{ handling: encrypt, allow: [read, update] }", ID), Decision::Pass);
    assert_eq!(update("{ handling: drop, allow: [read, update] }", EMAIL), Decision::Pass);
}

#[test]
fn roles_confine_to_kinds_of_statements() {
    let bank = Bank::new("r: { pci: plain, pii: plain, statements: [select, insert, explain] }", "[r]");
    assert!(bank.client().restricted);
    let writes = |kind, verb, accesses: &[Access]| {
        let mut statement = statement(kind, verb);
        statement.relations =
            accesses.iter().map(|access| RelationUse { oid: TRANSACTIONS, access: *access }).collect();
        statement
    };
    for (statement, missing) in [
        (writes(Kind::Select, "SELECT", &[Access::Read]), None),
        (writes(Kind::Insert, "INSERT", &[Access::Insert, Access::Read]), None),
        (writes(Kind::Explain, "EXPLAIN", &[Access::Read]), None),
        (writes(Kind::Prepare, "PREPARE", &[Access::Insert]), None),
        (writes(Kind::Begin, "BEGIN", &[]), None),
        (writes(Kind::Set, "SET", &[]), None),
        (writes(Kind::Fetch, "FETCH", &[]), None),
        (writes(Kind::Execute, "EXECUTE", &[]), None),
        (writes(Kind::Delete, "DELETE", &[Access::Delete]), Some("delete")),
        // A WITH that deletes, an EXPLAIN ANALYZE, a PREPARE: the writing is what counts.
        (writes(Kind::Select, "SELECT", &[Access::Read, Access::Delete]), Some("delete")),
        (writes(Kind::Explain, "EXPLAIN", &[Access::Update]), Some("update")),
        (writes(Kind::Prepare, "PREPARE", &[Access::Delete]), Some("delete")),
        (writes(Kind::Insert, "INSERT", &[Access::Insert, Access::Update]), Some("update")),
        (writes(Kind::Merge, "MERGE", &[Access::Insert]), Some("merge")),
        (writes(Kind::CopyOut, "COPY", &[Access::Read]), Some("copy")),
        (writes(Kind::Truncate, "TRUNCATE TABLE", &[Access::Delete]), Some("truncate")),
        (writes(Kind::Lock, "LOCK TABLE", &[Access::Lock]), Some("lock")),
        (writes(Kind::Listen, "LISTEN", &[]), Some("listen")),
        (writes(Kind::Notify, "NOTIFY", &[]), Some("notify")),
        (writes(Kind::Ddl, "CREATE TABLE", &[]), Some("ddl")),
        (writes(Kind::CreateTableAs, "CREATE TABLE AS", &[]), Some("ddl")),
        (writes(Kind::Maintenance, "VACUUM", &[]), Some("maintenance")),
    ] {
        let name = format!("{} {:?}", statement.verb, statement.relations);
        match (bank.decide(&statement), missing) {
            (Decision::Pass, None) => {}
            (Decision::Refuse(refusal), Some(word)) => {
                assert_eq!(refusal.rule, Rule::StatementKind, "{name}");
                assert!(refusal.message.contains("confined to select, insert, explain"), "{}", refusal.message);
                assert_eq!(refusal.hint.unwrap(), format!("Add {word} to `statements` of one of the client's roles."));
            }
            (got, _) => panic!("{name}: {got:?}"),
        }
    }
    // Of two roles that confine, both count; one that does not confine frees of nothing.
    let both = Bank::new(
        "a: { pci: plain, pii: plain, statements: [select] }, b: { statements: [delete] }, c: { pci: plain }",
        "[a, b, c]",
    );
    assert_eq!(both.client().statements.as_deref(), Some(&[Word::Select, Word::Delete][..]));
}

#[test]
fn limits_of_several_roles_are_the_largest_of_those_that_are_stated() {
    let bank = Bank::new(
        "a: { pci: { handling: plain, values_per_hour: 10 }, pii: plain, rows_per_hour: 100 }, \
         b: { pci: { mask: last4, values_per_hour: 20 }, rows_per_hour: 50 }, c: { pci: plain }",
        "[a, b, c]",
    );
    let client = bank.client();
    let rows = client.rows_per_hour.as_ref().unwrap();
    assert_eq!((rows.most, &*rows.role), (100, "a"));
    let values = client.labels[usize::from(bank.label(CARD).0)].values_per_hour.as_ref().unwrap();
    assert_eq!((values.most, &*values.role), (20, "b"));
    assert!(client.restricted, "plain, but counted");
    assert!(client.counts_values());
    // Values that the database computes from counted ones are counted, too.
    let computed = client.labels.iter().find(|label| &*label.name == "pci (computed)").unwrap();
    assert_eq!(computed.values_per_hour.as_ref().unwrap().most, 20);
    assert_eq!(bank.decide(&bank.using(Kind::Select, id(USERS, 2), Use::Output)), Decision::Pass);
}
