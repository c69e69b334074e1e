//! Views have the labels of what they show.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use common::{COUNTRIES, USERS, columns, id, policy, relations};
use ringfence_analysis::catalog::RelationKind;
use ringfence_analysis::{Catalog, Relation};
use ringfence_policy::{Policy, bind};

const TEXT: u32 = 25;
const INT4: u32 = 23;
const VIEW: u32 = 30_000;
const OUTER: u32 = 30_100;

const CLASSIFICATION: &str = "version: 1
labels: { pci: {}, pii: {} }
columns: { public.users: { credit_card: pci, email: pii } }
roles: { default: { pci: drop, pii: { mask: email } } }
clients: { app: { roles: [default] } }
";

fn view(oid: u32, name: &str, list: &[&str], reads: &[u32], definition: &str) -> Relation {
    let list: Vec<(&str, u32)> = list.iter().map(|name| (*name, if *name == "id" { INT4 } else { TEXT })).collect();
    Relation {
        kind: RelationKind::View,
        reads: reads.to_vec(),
        definition: Some(definition.into()),
        columns: columns(&list),
        ..common::table(oid, "public", name, &[])
    }
}

fn bound(policy: &Policy, views: Vec<Relation>) -> (Catalog, Vec<String>) {
    let mut all = relations();
    all.extend(views);
    let mut catalog = Catalog::new(all, Vec::new());
    catalog.database = "bank".into();
    catalog.server_version = 150_000;
    let binding = bind(policy, &mut catalog, &[]);
    (catalog, binding.opaque_views.into_iter().map(|v| v.reason).collect())
}

fn labels(policy: &Policy, catalog: &Catalog, oid: u32) -> Vec<String> {
    let view = catalog.by_oid(oid).unwrap();
    assert!(view.settled);
    let name = |label| policy.label_name(label).to_owned();
    view.columns.iter().map(|c| c.label.map_or_else(|| "-".to_owned(), name)).collect()
}

#[test]
fn columns_of_views_are_labelled_as_what_they_show() {
    let policy = policy(CLASSIFICATION);
    for (list, definition, expected) in [
        (&["id", "mail"][..], "SELECT users.id, users.email AS mail FROM public.users;", &["-", "pii"][..]),
        (&["card", "id"], "SELECT u.credit_card AS card, u.id FROM public.users u", &["pci", "-"]),
        (&["id"], "SELECT users.id FROM public.users", &["-"]),
        (
            &["id", "mail"],
            "SELECT u.id, u.email AS mail FROM (public.users u JOIN public.users v ON ((u.id = v.id)))",
            &["-", "pii"],
        ),
        // Conditions that the owner fixed.
        (&["id"], "SELECT users.id FROM public.users WHERE (users.email IS NOT NULL)", &["-"]),
        (
            &["id"],
            "SELECT u.id FROM public.users u WHERE (((u.email)::text ~~ '%@corp'::text) AND (u.country = 'DE'::text))",
            &["-"],
        ),
        (&["id"], "SELECT u.id FROM public.users u WHERE (lower(u.email) = ANY (ARRAY['a'::text, 'b'::text]))", &["-"]),
    ] {
        let (catalog, opaque) = bound(&policy, vec![view(VIEW, "v", list, &[USERS], definition)]);
        assert_eq!(opaque, [""; 0], "{definition}");
        assert_eq!(labels(&policy, &catalog, VIEW), expected, "{definition}");
    }
}

#[test]
fn conditions_that_a_client_can_take_part_in_leave_the_view_opaque() {
    let policy = policy(CLASSIFICATION);
    for condition in [
        "(u.email = c.name)",
        "(u.email = current_setting('app.me'::text))",
        "(u.email = (current_setting('app.me'::text))::text)",
        "(lower(u.email) = c.name)",
        "((u.id = 1) AND (u.email = c.name))",
        "((u.id = 1) AND ((u.email)::text = (c.name)::text))",
        "(u.email = ANY (ARRAY['a'::text, c.name]))",
        "(u.email IN ( SELECT d.name FROM public.countries d))",
        "(EXISTS ( SELECT 1 FROM public.users w WHERE (w.email = c.name)))",
        "(row((u.email), c.name) = row('a'::text, 'b'::text))",
        "((u.email || c.name) = 'ab'::text)",
        "(u.email = CURRENT_USER)",
        "(f(u.email) = 'x'::text)",
        "(CASE WHEN (u.id = 1) THEN u.email ELSE 'x'::text END = c.name)",
        "((u.email)::timestamp without time zone = (('now'::text)::timestamp AT TIME ZONE c.name))",
        "(u.email = u.credit_card)",
    ] {
        let definition = format!("SELECT u.id FROM public.users u, public.countries c WHERE {condition};");
        let (catalog, opaque) = bound(&policy, vec![view(VIEW, "v", &["id"], &[USERS, COUNTRIES], &definition)]);
        assert_eq!(opaque.len(), 1, "{definition}");
        assert!(!catalog.by_oid(VIEW).unwrap().settled);
    }
    // Other names do not help.
    for definition in [
        "SELECT s.id FROM ( SELECT u.id, u.email AS e FROM public.users u) s, public.countries c WHERE (s.e = c.name)",
        "WITH s AS ( SELECT u.id, u.email AS e FROM public.users u ) SELECT s.id FROM s, public.countries c WHERE (s.e = c.name)",
        "WITH s(id, e) AS ( SELECT u.id, u.email FROM public.users u ) SELECT s.id FROM s, public.countries c WHERE (s.e = c.name)",
        "SELECT s.id FROM public.users s(id, a, e, h, k), public.countries c WHERE (s.e = c.name)",
        "SELECT u.id FROM public.users u ORDER BY u.email",
        "SELECT u.id FROM public.users u JOIN public.users v USING (email)",
    ] {
        let (_, opaque) = bound(&policy, vec![view(VIEW, "v", &["id"], &[USERS, COUNTRIES], definition)]);
        assert_eq!(opaque.len(), 1, "{definition}");
    }
}

#[test]
fn views_of_views_and_entries_of_their_own() {
    let inner = || view(VIEW, "v", &["id", "mail"], &[USERS], "SELECT u.id, u.email AS mail FROM public.users u");
    let outer = || view(OUTER, "w", &["m", "id"], &[VIEW], "SELECT v.mail AS m, v.id FROM public.v");
    let plain = policy(CLASSIFICATION);
    // In any order.
    for views in [vec![inner(), outer()], vec![outer(), inner()]] {
        let mut all = relations();
        all.extend(views.clone());
        let records = bind(&plain, &mut Catalog::new(all, Vec::new()), &[]).new_records;
        assert!(records.iter().all(|r| r.column.relation < VIEW), "what is derived is not recorded");
        let (catalog, opaque) = bound(&plain, views);
        assert_eq!(opaque, [""; 0]);
        assert_eq!(labels(&plain, &catalog, OUTER), ["pii", "-"]);
        // What the server names is what is asked for.
        assert!(catalog.column(id(VIEW, 2)).unwrap().label.is_some());
    }
    let with = |entry: &str| policy(&CLASSIFICATION.replace("columns: {", &format!("columns: {{ public.v: {entry},")));
    let own = with("{ id: pci, mail: pii }");
    let (catalog, _) = bound(&own, vec![inner(), outer()]);
    assert_eq!(labels(&own, &catalog, VIEW), ["pci", "pii"]);
    assert_eq!(labels(&own, &catalog, OUTER), ["pii", "pci"], "what is over it has its labels");
    let other = with("{ mail: pci }");
    let (catalog, _) = bound(&other, vec![inner()]);
    assert_eq!(labels(&other, &catalog, VIEW), ["-", "statistics"], "refused to whoever is restricted");
}

#[test]
fn a_definition_that_does_not_fit_is_not_believed() {
    let policy = policy(CLASSIFICATION);
    for (list, reads, definition) in [
        (&["id"][..], &[USERS, COUNTRIES][..], "SELECT u.id FROM public.users u"),
        (&["id", "x"], &[USERS], "SELECT u.email FROM public.users u"),
        (&["id"], &[USERS], "SELECT u.id FROM public.users u; SELECT 1"),
        (&["id"], &[USERS], "SELECT u.id FROM public.users u, public.gone"),
        (&["id"], &[USERS], "SELECT unknown_function(u.id) AS id FROM public.users u"),
        (&["id"], &[USERS], "not a query"),
    ] {
        let (_, opaque) = bound(&policy, vec![view(VIEW, "v", list, reads, definition)]);
        assert_eq!(opaque.len(), 1, "{definition}");
    }
}
