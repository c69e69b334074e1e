//! Explanations: the decision's own words, with names, places and reasons.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use ringfence_analysis::{Catalog, SessionNames, analyse};
use ringfence_policy::explain::{Decided, explain, nearest_client};
use ringfence_policy::{Decision, Policy, bind, decide, parse};
use ringfence_report::Explanation;
use ringfence_report::explain::Verdict;

const POLICY: &str = "version: 1
labels: { pci: {}, pii: {} }
columns:
  public.users: { credit_card: pci, email: pii }
roles:
  default: { pci: encrypt, pii: plain }
  analyst: { pci: { mask: last4 }, pii: { handling: tokenize, filter: equality } }
  blind: { pci: { handling: tokenize }, pii: { handling: mask, with: email, derived: drop, values_per_hour: 10 } }
  all: { pci: plain, pii: plain }
clients:
  api: { roles: [default] }
  analyst: { roles: [analyst] }
  blind: { roles: [blind] }
  op: { roles: [all] }
";

fn world() -> (Policy, Catalog) {
    let policy = parse(POLICY, "test.yaml").unwrap_or_else(|errors| panic!("{errors:?}"));
    let mut catalog = Catalog::new(common::relations(), Vec::new());
    catalog.database = "bank".into();
    catalog.server_version = 150_000;
    let _ = bind(&policy, &mut catalog, &[]);
    (policy, catalog)
}

fn explained(client: &str, text: &str) -> Explanation {
    let (policy, catalog) = world();
    let entry = policy.client(client).unwrap();
    let analysis = analyse(text, &catalog, &SessionNames::default()).unwrap();
    let decisions: Vec<Decision> = analysis.statements.iter().map(|s| decide(&entry.policy, &catalog, s)).collect();
    let refusal = decisions.iter().find_map(|decision| match decision {
        Decision::Refuse(refusal) => Some(refusal),
        Decision::Pass | Decision::Handle => None,
    });
    explain(entry, &catalog, Decided { text, analysis: &analysis, decisions: &decisions, refusal })
}

#[test]
fn every_output_has_a_handling_and_a_reason() {
    let explanation = explained("analyst", "SELECT id, credit_card AS card, email FROM users");
    assert_eq!((explanation.verdict, &*explanation.database), (Verdict::Handle, "bank"));
    let outputs = explanation.statements[0].outputs.as_ref().unwrap();
    let told: Vec<(&str, &str)> = outputs.iter().map(|o| (&*o.handling, &*o.why)).collect();
    assert_eq!(
        told,
        [
            ("untouched", "unlabelled"),
            ("mask last4", "role analyst: mask last4"),
            ("tokenize", "role analyst: tokenize")
        ]
    );
    assert_eq!((outputs[1].name.as_deref(), &*outputs[1].from[0]), (Some("card"), "public.users.credit_card"));
}

#[test]
fn reasons_name_what_a_role_left_out() {
    let outputs = explained("blind", "SELECT credit_card FROM users").statements[0].outputs.clone().unwrap();
    assert_eq!(
        (&*outputs[0].handling, &*outputs[0].why),
        ("encrypt", "role blind (tokenize without `filter: equality`): encrypt")
    );
    let statement = &explained("blind", "SELECT email FROM users").statements[0];
    assert!(statement.notes[0].contains("10 an hour (role blind)"), "{:?}", statement.notes);
}

#[test]
fn a_refusal_has_its_place() {
    let explanation = explained("analyst", "SELECT id\nFROM users WHERE email LIKE 'a%'");
    let statement = &explanation.statements[0];
    let refusal = statement.refusal.as_ref().unwrap();
    assert_eq!((explanation.verdict, &*refusal.rule), (Verdict::Refuse, "filter"));
    let predicate = &statement.predicates[0];
    assert_eq!((&*predicate.needs, &*predicate.granted, predicate.allowed), ("any", "equality", false));
    let place = refusal.at.as_ref().unwrap();
    assert_eq!((place.line, place.column), (2, 18));
    let text = explanation.render(false);
    assert!(text.contains("LINE 2: FROM users WHERE email LIKE 'a%'\n"), "{text}");
    assert!(!text.contains('\u{1b}') && explanation.render(true).contains("\u{1b}[31m"));
}

#[test]
fn unknown_relations_are_the_servers_to_answer() {
    let explanation = explained("analyst", "SELECT * FROM nosuch");
    assert_eq!(explanation.statements[0].refusal.as_ref().unwrap().sqlstate, "42P01");
    let unrestricted = explained("op", "SELECT * FROM nosuch");
    assert_eq!((unrestricted.verdict, unrestricted.restricted), (Verdict::Pass, false));
}

#[test]
fn explanations_survive_being_sent() {
    let explanation = explained("api", "UPDATE users SET email = 'x' WHERE id = 1 RETURNING credit_card");
    let sent = serde_json::to_string(&explanation).unwrap();
    assert_eq!(serde_json::from_str::<Explanation>(&sent).unwrap(), explanation);
    assert_eq!(explanation.statements[0].writes[0].permission, "update");
}

#[test]
fn a_mistyped_client_is_recognised() {
    let (policy, _) = world();
    assert_eq!(nearest_client(&policy, "analyts"), Some("analyst"));
    assert_eq!(nearest_client(&policy, "somebody else"), None);
}
