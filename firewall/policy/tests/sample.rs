//! The file that users copy first means what it says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use ringfence_policy::{ClientPolicy, Filter, Handling, Mask, Policy, parse};

const SAMPLE: &str = include_str!("../../../classification.yaml");

fn policy() -> Policy {
    parse(SAMPLE, "classification.yaml")
        .unwrap_or_else(|errors| panic!("{}", errors.iter().map(|e| format!("{e}\n")).collect::<String>()))
}

fn client<'p>(policy: &'p Policy, name: &str) -> &'p ClientPolicy {
    &policy.client(name).unwrap().policy
}

#[test]
fn the_sample_parses_without_warnings() {
    let policy = policy();
    assert!(policy.warnings.is_empty(), "{:?}", policy.warnings);
    assert_eq!(policy.clients().count(), 5);
}

#[test]
fn each_client_sees_what_its_roles_say() {
    let policy = policy();
    for (name, pci, pii, secret) in [
        ("users-api", Handling::Encrypt, Handling::Plain, Handling::Drop),
        ("users-auth", Handling::Encrypt, Handling::Plain, Handling::Plain),
        ("analyst", Handling::Mask(Mask::Last4), Handling::Tokenize, Handling::Drop),
        ("card-issuer", Handling::Plain, Handling::Plain, Handling::Drop),
        ("operator", Handling::Plain, Handling::Plain, Handling::Plain),
    ] {
        let client = client(&policy, name);
        for (label, expected) in [("pci", pci), ("pii", pii), ("secret", secret)] {
            assert_eq!(*client.handling(policy.label_id(label).unwrap()), expected, "{name} {label}");
        }
        assert_eq!(client.restricted, name != "operator", "{name}");
        assert_eq!(client.admin, name == "operator", "{name}");
    }
}

#[test]
fn built_in_labels_are_refused_to_restricted_clients_only() {
    let policy = policy();
    for label in [ringfence_analysis::builtin::STATISTICS, ringfence_analysis::builtin::CATALOG_TEXT] {
        assert_eq!(*client(&policy, "users-api").handling(label), Handling::Refuse);
        assert_eq!(*client(&policy, "operator").handling(label), Handling::Plain);
    }
}

#[test]
fn settings_of_clients_arrive() {
    let policy = policy();
    let analyst = client(&policy, "analyst");
    assert_eq!(analyst.statement_timeout, Some(std::time::Duration::from_secs(60)));
    assert_eq!(analyst.max_connections, Some(5));
    let pii = usize::from(policy.label_id("pii").unwrap().0);
    assert_eq!(analyst.labels[pii].filter, Filter::Equality);
    assert!(analyst.labels[pii].allow.insert && !analyst.labels[pii].allow.update);
}
