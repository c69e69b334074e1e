//! Decisions, and the exact words of refusals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use common::{PG_PROC, PG_STATS, TRANSACTIONS, USERS, catalog, id, policy, relations, sample, statement};
use ringfence_analysis::facts::{
    Access, ColumnUse, Effect, Kind, Output, RelationUse, Rule, Statement, Use, Violation,
};
use ringfence_analysis::{Catalog, LabelId, builtin};
use ringfence_policy::{
    Carrier, ClientPolicy, Decision, Filter, Handling, Mask, Policy, Refusal, bind, carrier, decide, effective_handling,
};

struct Bank {
    policy: Policy,
    catalog: Catalog,
}

impl Bank {
    fn new(policy: Policy) -> Self {
        let mut catalog = catalog(relations());
        bind(&policy, &mut catalog, &[]);
        Self { policy, catalog }
    }

    fn client(&self, name: &str) -> &ClientPolicy {
        &self.policy.client(name).unwrap().policy
    }

    fn label(&self, name: &str) -> LabelId {
        self.policy.label_id(name).unwrap()
    }

    fn decide(&self, client: &str, statement: &Statement) -> Decision {
        decide(self.client(client), &self.catalog, statement)
    }

    fn refusal(&self, client: &str, statement: &Statement) -> Refusal {
        match self.decide(client, statement) {
            Decision::Refuse(refusal) => refusal,
            other => panic!("{client}: {other:?}"),
        }
    }

    /// A statement that uses users.COLUMN so.
    fn using(&self, kind: Kind, column: i16, how: Use) -> Statement {
        let verb = match kind {
            Kind::Insert => "INSERT",
            Kind::Update => "UPDATE",
            _ => "SELECT",
        };
        let label = self.catalog.column(id(USERS, column)).unwrap().label.unwrap();
        let mut statement = statement(kind, verb);
        statement.columns = vec![ColumnUse { column: id(USERS, column), label, how }];
        statement.relations = vec![RelationUse { oid: USERS, access: Access::Read }];
        statement
    }
}

fn violation(rule: Rule, construct: &str) -> Violation {
    Violation { rule, construct: construct.into(), position: Some(7) }
}

const CARD: i16 = 2;
const EMAIL: i16 = 3;
const HASH: i16 = 4;

#[test]
fn unrestricted_clients_pass_whatever_the_facts() {
    let bank = Bank::new(sample());
    let mut all = bank.using(Kind::Do, CARD, Use::Violation(violation(Rule::Filter, "WHERE")));
    all.violations = vec![violation(Rule::Function, "function pg_read_file")];
    assert_eq!(bank.decide("operator", &all), Decision::Pass);
}

#[test]
fn bare_columns_are_handled_or_free() {
    let bank = Bank::new(sample());
    for (client, column, expected) in [
        ("users-api", CARD, Decision::Handle),
        ("users-api", EMAIL, Decision::Pass),
        ("users-api", HASH, Decision::Handle),
        ("users-auth", HASH, Decision::Pass),
        ("analyst", EMAIL, Decision::Handle),
        ("card-issuer", CARD, Decision::Pass),
    ] {
        let statement = bank.using(Kind::Select, column, Use::Output);
        assert_eq!(bank.decide(client, &statement), expected, "{client} {column}");
    }
}

#[test]
fn predicates_are_refused_in_words_that_name_everything() {
    let bank = Bank::new(sample());
    let statement = bank.using(Kind::Select, CARD, Use::Violation(violation(Rule::Filter, "WHERE")));
    assert_eq!(
        bank.refusal("users-api", &statement),
        Refusal {
            rule: Rule::Filter,
            sqlstate: "42501",
            message: "column public.users.credit_card (label pci) may not be used in WHERE by client \"users-api\""
                .into(),
            hint: Some("Filter, join, sort and group by columns without a label, such as the primary key.".into()),
            position: Some(7),
        }
    );
    assert_eq!(bank.decide("card-issuer", &statement), Decision::Pass);
}

#[test]
fn every_rule_has_a_message_that_names_column_label_client_and_construct() {
    let bank = Bank::new(sample());
    for rule in Rule::ALL {
        let statement = bank.using(Kind::Select, CARD, Use::Violation(violation(rule, "THE CONSTRUCT")));
        let refusal = bank.refusal("users-api", &statement);
        for part in ["public.users.credit_card", "label pci", "\"users-api\""] {
            assert!(refusal.message.contains(part), "{rule:?}: {}", refusal.message);
        }
        if rule != Rule::WrittenToken {
            assert!(refusal.message.contains("THE CONSTRUCT"), "{rule:?}: {}", refusal.message);
        }
        assert!(refusal.hint.is_some_and(|h| h.ends_with('.')), "{rule:?}");

        let mut opaque = statement.clone();
        opaque.columns.clear();
        opaque.violations = vec![violation(rule, "THE CONSTRUCT")];
        let refusal = bank.refusal("users-api", &opaque);
        assert_eq!(refusal.rule, rule);
        for part in ["THE CONSTRUCT", "\"users-api\""] {
            assert!(refusal.message.contains(part), "{rule:?}: {}", refusal.message);
        }
        let expected = match rule {
            Rule::Parser => "0A000",
            Rule::Limit => "54001",
            Rule::Budget => "53400",
            _ => "42501",
        };
        assert_eq!(refusal.sqlstate, expected, "{rule:?}");
    }
}

#[test]
fn statement_kinds_are_an_allow_list() {
    let bank = Bank::new(sample());
    for (kind, verb, allowed) in [
        (Kind::Empty, "", true),
        (Kind::Select, "SELECT", true),
        (Kind::Begin, "BEGIN", true),
        (Kind::Set, "SET", true),
        (Kind::Ddl, "CREATE TABLE", true),
        (Kind::CopyIn, "COPY", true),
        (Kind::Do, "DO", false),
        (Kind::Call, "CALL", false),
        (Kind::Body, "CREATE FUNCTION", false),
        (Kind::Admin, "ALTER ROLE", false),
        (Kind::PreparedTransaction, "PREPARE TRANSACTION", false),
        (Kind::Other, "SECURITY LABEL", false),
    ] {
        match bank.decide("users-api", &statement(kind, verb)) {
            Decision::Refuse(refusal) => {
                assert!(!allowed, "{kind:?}");
                assert_eq!(refusal.message, format!("{verb} is not allowed for client \"users-api\""));
            }
            Decision::Pass => assert!(allowed, "{kind:?}"),
            Decision::Handle => panic!("{kind:?}"),
        }
    }
}

#[test]
fn admin_opens_server_control_and_nothing_else() {
    let bank = Bank::new(policy(
        "version: 1\nlabels: { pci: {} }\nroles: { default: { pci: drop, admin: true } }\nclients: { dba: { roles: [default] } }\ncolumns: { public.users: { credit_card: pci } }\n",
    ));
    assert_eq!(bank.decide("dba", &statement(Kind::Admin, "ALTER ROLE")), Decision::Pass);
    let mut signal = statement(Kind::Select, "SELECT");
    signal.violations = vec![violation(Rule::Admin, "function pg_terminate_backend")];
    assert_eq!(bank.decide("dba", &signal), Decision::Pass);
    signal.violations.push(violation(Rule::Function, "function pg_read_file"));
    assert_eq!(bank.refusal("dba", &signal).rule, Rule::Function);
    assert_eq!(bank.refusal("dba", &statement(Kind::Do, "DO")).rule, Rule::StatementKind);
}

#[test]
fn values_are_stored_where_the_label_allows() {
    let bank = Bank::new(sample());
    for (client, column, access, allowed) in [
        ("users-api", CARD, Access::Insert, true),
        ("users-api", CARD, Access::Update, true),
        ("users-api", HASH, Access::Insert, true),
        // A dropped value reads as NULL: saving the row would destroy it.
        ("users-api", HASH, Access::Update, false),
        ("analyst", CARD, Access::Insert, true),
        ("analyst", CARD, Access::Update, false),
        ("analyst", EMAIL, Access::Insert, true),
        ("analyst", EMAIL, Access::Update, false),
        ("users-auth", HASH, Access::Update, false),
    ] {
        let kind = if access == Access::Insert { Kind::Insert } else { Kind::Update };
        let statement = bank.using(kind, column, Use::Stored(access));
        let decision = bank.decide(client, &statement);
        assert_eq!(decision == Decision::Pass, allowed, "{client} {column} {access:?}: {decision:?}");
    }
    let refusal = bank.refusal("users-api", &bank.using(Kind::Update, HASH, Use::Stored(Access::Update)));
    assert_eq!(
        refusal.message,
        "column public.users.password_hash (label secret) may not be written by UPDATE by client \"users-api\""
    );
    assert!(refusal.hint.unwrap().contains("would destroy it"));
}

/// Who may store a value and see that its token is another row's knows the other value (soundness 2).
#[test]
fn tokens_can_be_compared_only_by_those_who_may_filter_by_equality() {
    for (rule, handling, warnings) in [
        ("tokenize", Handling::Encrypt, 1),
        ("{ handling: tokenize, filter: none }", Handling::Encrypt, 1),
        ("{ handling: tokenize, filter: equality }", Handling::Tokenize, 0),
        ("{ handling: tokenize, filter: any }", Handling::Tokenize, 0),
    ] {
        let bank = Bank::new(policy(&format!(
            "version: 1\nlabels: {{ pii: {{}} }}\nroles: {{ default: {{ pii: {rule} }} }}\nclients: {{ app: {{ roles: [default] }} }}\n\
             columns: {{ public.users: {{ email: pii }} }}\n"
        )));
        assert_eq!(*bank.client("app").handling(bank.label("pii")), handling, "{rule}");
        assert_eq!(bank.policy.warnings.len(), warnings, "{rule}");
        let insert = bank.using(Kind::Insert, EMAIL, Use::Stored(Access::Insert));
        assert_eq!(bank.decide("app", &insert), Decision::Pass);
        let update = bank.using(Kind::Update, EMAIL, Use::Stored(Access::Update));
        assert_eq!(bank.refusal("app", &update).rule, Rule::Handling, "what is shown is not what is stored");
    }
}

#[test]
fn refuse_says_so() {
    let bank = Bank::new(policy(
        "version: 1\nlabels: { pci: {} }\nroles: { default: { pci: refuse }, none: {} }\nclients: { app: { roles: [none] } }\ncolumns: { public.users: { credit_card: pci } }\n",
    ));
    let refusal = bank.refusal("app", &bank.using(Kind::Select, CARD, Use::Output));
    assert_eq!(refusal.rule, Rule::Handling);
    assert_eq!(refusal.message, "column public.users.credit_card (label pci) may not be read by client \"app\"");
    assert!(refusal.hint.unwrap().contains("label pci"));
}

#[test]
fn statistics_are_refused_and_catalog_texts_handled() {
    let bank = Bank::new(sample());
    let mut stats = statement(Kind::Select, "SELECT");
    stats.columns = vec![ColumnUse { column: id(PG_STATS, 2), label: builtin::STATISTICS, how: Use::Output }];
    let refusal = bank.refusal("card-issuer", &stats);
    assert_eq!(refusal.rule, Rule::Statistics);
    assert!(refusal.message.contains("pg_catalog.pg_stats.most_common_vals (label statistics)"));

    let mut text = statement(Kind::Select, "SELECT");
    text.columns = vec![ColumnUse { column: id(PG_PROC, 2), label: builtin::CATALOG_TEXT, how: Use::Output }];
    text.outputs = Some(vec![Output::CatalogText]);
    text.relations = vec![RelationUse { oid: PG_PROC, access: Access::Read }];
    assert_eq!(bank.decide("users-api", &text), Decision::Handle);
    text.columns[0].how = Use::Violation(violation(Rule::CatalogText, "WHERE"));
    assert_eq!(bank.refusal("users-api", &text).rule, Rule::CatalogText);
}

#[test]
fn relations_as_a_whole_need_permission() {
    let bank = Bank::new(sample());
    let on = |kind, verb, oid, access| {
        let mut statement = statement(kind, verb);
        statement.relations = vec![RelationUse { oid, access }];
        statement
    };
    for (kind, verb, oid, access, expected) in [
        (Kind::Select, "SELECT", USERS, Access::Read, None),
        (Kind::Lock, "LOCK TABLE", USERS, Access::Lock, None),
        (Kind::Delete, "DELETE", USERS, Access::Delete, None),
        (Kind::Truncate, "TRUNCATE TABLE", USERS, Access::Delete, None),
        (Kind::Explain, "EXPLAIN", USERS, Access::Read, None),
        (Kind::Explain, "EXPLAIN", USERS, Access::Insert, Some(Rule::Handling)),
        (Kind::Ddl, "ALTER TABLE", USERS, Access::Ddl, Some(Rule::Ddl)),
        (Kind::Maintenance, "REINDEX", USERS, Access::Read, Some(Rule::Ddl)),
        (Kind::CopyOut, "COPY", USERS, Access::Read, Some(Rule::Copy)),
        (Kind::CopyIn, "COPY", USERS, Access::Insert, Some(Rule::Copy)),
        (Kind::Ddl, "ALTER TABLE", TRANSACTIONS, Access::Ddl, None),
        (Kind::CopyOut, "COPY", TRANSACTIONS, Access::Read, None),
    ] {
        let rule = match bank.decide("users-api", &on(kind, verb, oid, access)) {
            Decision::Refuse(refusal) => Some(refusal.rule),
            Decision::Pass | Decision::Handle => None,
        };
        assert_eq!(rule, expected, "{verb} {oid}");
    }
}

#[test]
fn permissions_of_a_label_are_asked() {
    let text = |allow: &str| {
        format!(
            "version: 1\nlabels: {{ pci: {{}} }}\nroles: {{ default: {{ pci: {{ handling: plain, allow: [{allow}] }} }} }}\n\
             clients: {{ app: {{ roles: [default] }} }}\ncolumns: {{ public.users: {{ credit_card: pci }} }}\n"
        )
    };
    let read = Bank::new(policy(&text("read")));
    assert!(read.client("app").restricted, "plain with permissions missing is restricted");
    assert_eq!(read.decide("app", &read.using(Kind::Select, CARD, Use::Output)), Decision::Pass);
    let filter = read.using(Kind::Select, CARD, Use::Violation(violation(Rule::Filter, "WHERE")));
    assert_eq!(read.decide("app", &filter), Decision::Pass);
    for (kind, verb, access) in [
        (Kind::Delete, "DELETE", Access::Delete),
        (Kind::Truncate, "TRUNCATE TABLE", Access::Delete),
        (Kind::Explain, "EXPLAIN", Access::Read),
        (Kind::Ddl, "ALTER TABLE", Access::Ddl),
    ] {
        let mut statement = statement(kind, verb);
        statement.relations = vec![RelationUse { oid: USERS, access }];
        assert!(matches!(read.decide("app", &statement), Decision::Refuse(_)), "{verb}");
    }
    let write = Bank::new(policy(&text("insert, update, delete, ddl")));
    let output = write.using(Kind::Select, CARD, Use::Output);
    assert_eq!(
        write.refusal("app", &output).message,
        "column public.users.credit_card (label pci) may not be read by client \"app\""
    );
    assert!(matches!(
        write.decide("app", &write.using(Kind::Select, CARD, Use::Violation(violation(Rule::Filter, "WHERE")))),
        Decision::Refuse(_)
    ));
    let mut ddl = statement(Kind::Ddl, "ALTER TABLE");
    ddl.relations = vec![RelationUse { oid: USERS, access: Access::Ddl }];
    assert_eq!(write.decide("app", &ddl), Decision::Pass);
}

#[test]
fn unclassified_tables_and_own_channels() {
    let bank = Bank::new(policy(
        "version: 1\nlabels: { pci: {} }\nroles: { default: { pci: drop } }\nclients: { app: { roles: [default] } }\n\
         columns: { public.users: { credit_card: pci } }\nunclassified: refuse\n",
    ));
    let mut select = statement(Kind::Select, "SELECT");
    select.relations = vec![RelationUse { oid: TRANSACTIONS, access: Access::Read }];
    let refusal = bank.refusal("app", &select);
    assert_eq!(refusal.rule, Rule::Unclassified);
    assert!(refusal.hint.unwrap().contains("public.transactions: {}"));
    let mut listen = statement(Kind::Listen, "LISTEN");
    listen.effect = Effect::Listen("ringfence_policy".into());
    assert_eq!(bank.refusal("app", &listen).rule, Rule::StatementKind);
    listen.effect = Effect::Listen("orders".into());
    assert_eq!(bank.decide("app", &listen), Decision::Pass);
}

#[test]
fn derived_outputs_reach_only_those_who_see_all_of_it() {
    let bank = Bank::new(sample());
    let mut statement = statement(Kind::Select, "SELECT");
    statement.outputs = Some(vec![Output::Derived {
        labels: [bank.label("pci"), bank.label("pii")].into_iter().collect(),
        droppable: false,
    }]);
    assert_eq!(bank.decide("card-issuer", &statement), Decision::Pass);
    assert_eq!(bank.refusal("users-api", &statement).rule, Rule::Derived);
}

#[test]
fn roles_merge_to_the_most_permissive_handling() {
    let merged = |roles: &str, of: &str| {
        let policy = policy(&format!(
            "version: 1\nlabels: {{ l: {{}} }}\nroles: {{ {roles} }}\nclients: {{ app: {{ roles: {of} }} }}\n"
        ));
        policy.client("app").unwrap().policy.labels[usize::from(policy.label_id("l").unwrap().0)].clone()
    };
    let handling = |roles: &str, of: &str| merged(roles, of).handling;
    for (roles, of, expected) in [
        ("default: { l: drop }, a: { l: encrypt }", "[default, a]", Handling::Encrypt),
        ("default: { l: plain }, a: { l: encrypt }", "[a]", Handling::Encrypt),
        ("default: { l: encrypt }, a: {}", "[a]", Handling::Encrypt),
        ("default: { l: encrypt }", "[]", Handling::Encrypt),
        ("a: {}", "[a]", Handling::Refuse),
        ("a: { l: tokenize }, b: { l: { mask: last4 } }", "[a, b]", Handling::Mask(Mask::Last4)),
        ("a: { l: { mask: email } }, b: { l: { mask: last4 } }", "[a, b]", Handling::Drop),
        ("a: { l: { mask: email } }, b: { l: { mask: email } }", "[a, b]", Handling::Mask(Mask::Email)),
        ("a: { l: refuse }, b: { l: drop }", "[a, b]", Handling::Drop),
    ] {
        assert_eq!(handling(roles, of), expected, "{roles} {of}");
    }
    // Neither role alone lets plain values be copied, so both together do not.
    let both = merged("a: { l: drop }, b: { l: { handling: plain, allow: [read] } }", "[a, b]");
    assert!(both.allow.read && both.allow.insert && !both.allow.copy && !both.allow.explain && !both.allow.update);
    assert_eq!(
        merged("a: { l: { handling: drop, filter: equality } }, b: { l: encrypt }", "[a, b]").filter,
        Filter::Equality
    );
    assert_eq!(merged("a: { l: plain }", "[a]").filter, Filter::Any);
    assert_eq!(merged("a: { l: drop }", "[a]").filter, Filter::None);
}

#[test]
fn roles_with_different_masks_are_warned_of() {
    let policy = policy(
        "version: 1\nlabels: { l: {} }\nroles: { a: { l: { mask: email } }, b: { l: { mask: last4 } } }\nclients: { app: { roles: [a, b] } }\n",
    );
    assert_eq!(policy.warnings.len(), 1);
    assert_eq!(policy.warnings[0].line, 4);
}

#[test]
fn types_carry_what_they_can() {
    let mut catalog = catalog(relations());
    // citext, a domain over int4, an array of citext.
    catalog.wire_types.extend([(30_000, 25), (30_001, 23), (30_002, 1009)]);
    for (oid, expected) in [
        (25, (Carrier::Text, false)),
        (1015, (Carrier::Text, true)),
        (30_000, (Carrier::Text, false)),
        (30_001, (Carrier::Int4, false)),
        (30_002, (Carrier::Text, true)),
        (2951, (Carrier::Uuid, true)),
        (3802, (Carrier::Other, false)),
        (18, (Carrier::Other, false)),
    ] {
        assert_eq!(carrier(&catalog, oid), expected, "{oid}");
    }
    let bank = Bank::new(sample());
    let analyst = bank.client("analyst");
    for (label, oid, expected) in [
        ("pii", 25, Handling::Tokenize),
        ("pii", 23, Handling::Tokenize),
        ("pii", 21, Handling::Drop),
        ("pii", 2950, Handling::Tokenize),
        ("pii", 1082, Handling::Drop),
        ("pci", 23, Handling::Drop),
        ("pci", 1043, Handling::Mask(Mask::Last4)),
        ("secret", 3802, Handling::Drop),
    ] {
        assert_eq!(*effective_handling(analyst, bank.label(label), &catalog, oid), expected, "{label} {oid}");
    }
}

#[test]
fn values_of_two_labels_get_the_stricter_handling() {
    let last4 = Handling::Mask(Mask::Last4);
    assert_eq!(Handling::Plain.meet(&last4), last4);
    assert_eq!(last4.meet(&Handling::Mask(Mask::Email)), Handling::Drop);
    assert_eq!(last4.meet(&last4), last4);
    assert_eq!(Handling::Encrypt.meet(&Handling::Tokenize), Handling::Encrypt);
}
