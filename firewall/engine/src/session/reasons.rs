//! Refusals of the session itself, in words.

use ringfence_analysis::facts::{Rule, Statement};
use ringfence_policy::Refusal;

pub(super) fn too_long(limit: usize) -> Refusal {
    Refusal {
        rule: Rule::Limit,
        sqlstate: "54000",
        message: format!("the message is longer than the firewall analyses ({limit} bytes)"),
        hint: Some(String::from("Split the statement, or send large values as parameters.")),
        position: None,
    }
}

pub(super) fn too_many_names() -> Refusal {
    Refusal {
        rule: Rule::Limit,
        sqlstate: "54000",
        message: String::from("too many prepared statements or portals in one session, or too long ones"),
        hint: Some(String::from("Close the ones that are no longer needed (DEALLOCATE, CLOSE).")),
        position: None,
    }
}

pub(super) fn policy_changed() -> Refusal {
    Refusal {
        rule: Rule::Limit,
        sqlstate: "42501",
        message: String::from("the policy changed meanwhile"),
        hint: Some(String::from("Begin again.")),
        position: None,
    }
}

pub(super) fn reserved(what: &str, name: &[u8]) -> Refusal {
    Refusal {
        rule: Rule::Protocol,
        sqlstate: "42939",
        message: format!("the {what} name \"{}\" is reserved", String::from_utf8_lossy(name)),
        hint: None,
        position: None,
    }
}

pub(super) fn not_analysed(what: &str, name: &[u8], sqlstate: &'static str) -> Refusal {
    let name = String::from_utf8_lossy(name);
    Refusal {
        rule: Rule::UnknownName,
        sqlstate,
        message: format!("{what} \"{name}\" does not exist"),
        hint: Some(String::from("Only names made in this session, through the firewall, can be used; make it again.")),
        position: None,
    }
}

pub(super) fn catalog_unread() -> Refusal {
    Refusal {
        rule: Rule::UnknownRelation,
        sqlstate: "55P03",
        message: String::from("the firewall cannot read the database's catalog just now, and it may have changed"),
        hint: Some(String::from(
            "Try again: another session may be changing a table. If it lasts, the firewall's log says why.",
        )),
        position: None,
    }
}

pub(super) fn unknown_relation(statement: &Statement) -> Refusal {
    let name = statement.unknown.first().map_or("?", |name| name);
    Refusal {
        rule: Rule::UnknownRelation,
        sqlstate: "42501",
        message: format!("relation \"{name}\" is not in the catalog that the firewall reads"),
        hint: Some(String::from(
            "If it was just created, try again; it may belong to a transaction that has not ended.",
        )),
        position: None,
    }
}

pub(super) fn settings_refused() -> Refusal {
    Refusal {
        rule: Rule::Setting,
        sqlstate: "42501",
        message: String::from(
            "statements are refused while standard_conforming_strings is off or client_encoding is not UTF8",
        ),
        hint: Some(String::from(
            "Set standard_conforming_strings = on and client_encoding = 'UTF8' in the connection's options.",
        )),
        position: None,
    }
}

pub(super) fn server_not_utf8() -> Refusal {
    Refusal {
        rule: Rule::Setting,
        sqlstate: "42501",
        message: String::from("statements are refused in databases whose encoding is not UTF8"),
        hint: Some(String::from("The analysis reads names as UTF-8; use a database with that encoding.")),
        position: None,
    }
}

pub(super) fn row_too_large(limit: usize) -> Refusal {
    Refusal {
        rule: Rule::Limit,
        sqlstate: "54000",
        message: format!("a row with a handled column is larger than {limit} bytes; it and what follows are withheld"),
        hint: Some(String::from("Select the large column in a statement of its own.")),
        position: None,
    }
}
