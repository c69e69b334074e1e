//! Refusals in words. Each names the construct, the column, its label and the client, and says what to do instead.
//! None holds a value of any row or literal.

use ringfence_analysis::builtin;
use ringfence_analysis::facts::{ColumnUse, Kind, Rule, Statement, Violation};
use ringfence_analysis::{Catalog, ColumnId, LabelId, Relation};

use crate::kinds::Word;
use crate::{ClientPolicy, Filter};

/// insufficient_privilege: the policy says no.
const FORBIDDEN: &str = "42501";
/// feature_not_supported: the firewall cannot do it, whatever the policy.
const UNSUPPORTED: &str = "0A000";
/// configuration_limit_exceeded.
const SPENT: &str = "53400";
/// statement_too_complex.
const TOO_COMPLEX: &str = "54001";

/// Why a statement does not go upstream, in words that a stranger can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub rule: Rule,
    /// 42501 unless the rule says otherwise (0A000, 42P01, 53100, 54001, 42601).
    pub sqlstate: &'static str,
    /// `column public.users.credit_card (label pci) may not be used in WHERE by client "users-api"`
    pub message: String,
    /// What to do instead.
    pub hint: Option<String>,
    /// Byte offset in the text.
    pub position: Option<usize>,
}

/// A violation that no label excuses.
pub(crate) fn unconditional(client: &ClientPolicy, violation: &Violation) -> Refusal {
    let construct = &*violation.construct;
    let name = &*client.name;
    let message = match violation.rule {
        Rule::Parser | Rule::Limit => {
            format!("the firewall cannot analyse this statement for client \"{name}\": {construct}")
        }
        Rule::Function => format!("{construct} may not be called by client \"{name}\""),
        Rule::View => format!("{construct} may not be read by client \"{name}\": it depends on columns with labels"),
        Rule::Setting => format!("{construct} may not be changed by client \"{name}\""),
        Rule::Copy => format!("{construct} is not available to client \"{name}\""),
        _ => format!("{construct} is not allowed for client \"{name}\""),
    };
    of(violation, message)
}

/// A labelled column where it may not stand.
pub(crate) fn column(
    client: &ClientPolicy,
    catalog: &Catalog,
    column: ColumnId,
    label: LabelId,
    violation: &Violation,
) -> Refusal {
    let subject = subject(client, catalog, column, label);
    let construct = &*violation.construct;
    let name = &*client.name;
    let message = match violation.rule {
        Rule::WholeRow => format!("{construct} includes {subject}, which client \"{name}\" may not use in a row"),
        Rule::Flow => format!("{subject} may not be stored elsewhere by client \"{name}\" ({construct})"),
        Rule::StoredExpression => format!(
            "{subject} takes parameters, literals and unlabelled columns from client \"{name}\", not {construct}"
        ),
        Rule::WrittenToken => {
            format!("a value that begins with \"rf1_\" may not be written to {subject} by client \"{name}\"")
        }
        Rule::View => format!("{construct} reads {subject}, which client \"{name}\" may not read through it"),
        Rule::Function => format!("{construct} reaches {subject}, so client \"{name}\" may not call it"),
        Rule::Ddl => format!("{construct} changes a relation with {subject}, which client \"{name}\" may not do"),
        Rule::SystemColumn => format!("{construct} may not be read by client \"{name}\": the relation has {subject}"),
        Rule::Copy => format!("{construct} reaches {subject}, which client \"{name}\" may not copy"),
        _ => format!("{subject} may not be used in {construct} by client \"{name}\""),
    };
    of(violation, message)
}

/// The handling is `refuse`, or the label is a built-in one.
pub(crate) fn refused(client: &ClientPolicy, catalog: &Catalog, column: ColumnId, label: LabelId) -> Refusal {
    let subject = subject(client, catalog, column, label);
    let (rule, hint) = if label == builtin::STATISTICS {
        (Rule::Statistics, hint(Rule::Statistics).to_owned())
    } else {
        let hint = format!(
            "Leave the column out, or give one of the client's roles a handling for label {} in the classification.",
            client.label_name(label)
        );
        (Rule::Handling, hint)
    };
    forbidden(rule, format!("{subject} may not be read by client \"{}\"", client.name), hint)
}

/// A permission of the label is missing.
pub(crate) fn missing(
    client: &ClientPolicy,
    catalog: &Catalog,
    column: ColumnId,
    label: LabelId,
    action: &str,
) -> Refusal {
    let subject = subject(client, catalog, column, label);
    let handling = client.handling(label).name();
    let name = &*client.name;
    let (rule, message) = match action {
        "ddl" => (Rule::Ddl, format!("client \"{name}\" may not change the relation that holds {subject}")),
        "delete" => (Rule::Handling, format!("client \"{name}\" may not delete rows that hold {subject}")),
        "explain" => (
            Rule::Handling,
            format!("client \"{name}\" may not EXPLAIN statements on the relation that holds {subject}"),
        ),
        "copy" => (Rule::Copy, format!("{subject} may not be copied by client \"{name}\"")),
        "insert" | "update" => {
            (Rule::Handling, format!("{subject} may not be written by {} by client \"{name}\"", action.to_uppercase()))
        }
        _ => (Rule::Handling, format!("{subject} may not be read by client \"{name}\"")),
    };
    let hint = match action {
        "ddl" => String::from(
            "Run migrations as a client whose role has `ddl` in `allow` for this label, or that sees all labels in plain.",
        ),
        "update" if handling != "plain" => format!(
            "Leave the column out of the UPDATE: what this client reads there is not what is stored (handling {handling}), so writing it back would destroy it. \
             Otherwise add update to `allow` of the label in one of the client's roles."
        ),
        _ => format!("Add {action} to `allow` of label {} in one of the client's roles.", client.label_name(label)),
    };
    forbidden(rule, message, hint)
}

/// COPY of a relation of which only the name is known.
pub(crate) fn copy(client: &ClientPolicy, catalog: &Catalog, column: ColumnId, label: LabelId) -> Refusal {
    let subject = subject(client, catalog, column, label);
    let message = format!("COPY reaches {subject}, which client \"{}\" may not copy", client.name);
    forbidden(Rule::Copy, message, hint(Rule::Copy).to_owned())
}

/// COPY FROM into a column that is not plain.
pub(crate) fn copy_in(client: &ClientPolicy, catalog: &Catalog, column: ColumnId, label: LabelId) -> Refusal {
    let subject = subject(client, catalog, column, label);
    forbidden(
        Rule::Copy,
        format!("COPY FROM would write {subject}, which client \"{}\" does not see in plain", client.name),
        String::from("Use INSERT (with parameters, in batches), or copy as a client that sees the label in plain."),
    )
}

/// A predicate, key or order that the label's `filter` does not admit.
pub(crate) fn filter(client: &ClientPolicy, catalog: &Catalog, used: &ColumnUse, at: &Violation) -> Refusal {
    let subject = subject(client, catalog, used.column, used.label);
    let label = client.label_name(used.label);
    let (name, construct) = (&*client.name, &*at.construct);
    let (message, hint) = match client.filter(used.label) {
        Filter::None | Filter::Any => (
            format!("{subject} may not be used in {construct} by client \"{name}\""),
            format!(
                "{} Or let one of the client's roles filter by label {label} (`filter` in the classification).",
                hint(Rule::Filter)
            ),
        ),
        Filter::Equality => (
            format!("{subject} may be compared by client \"{name}\" only by equality, which {construct} is not"),
            format!(
                "Use =, IN, or a join on the column by itself. More needs `filter: any` of label {label} in one of the client's roles."
            ),
        ),
    };
    Refusal { hint: Some(hint), ..of(at, message) }
}

/// An expression over a column.
pub(crate) fn derived_column(
    client: &ClientPolicy,
    catalog: &Catalog,
    used: &ColumnUse,
    droppable: bool,
    at: &Violation,
) -> Refusal {
    let plain = column(client, catalog, used.column, used.label, at);
    Refusal { hint: Some(derived_hint(client, used.label, droppable)), ..plain }
}

/// An expression over a label in the result, without a column to name.
pub(crate) fn derived(client: &ClientPolicy, label: LabelId, droppable: bool) -> Refusal {
    let message = format!(
        "an expression over columns with label {} may not be returned to client \"{}\"",
        client.label_name(label),
        client.name
    );
    forbidden(Rule::Derived, message, derived_hint(client, label, droppable))
}

fn derived_hint(client: &ClientPolicy, label: LabelId, droppable: bool) -> String {
    let general = hint(Rule::Derived);
    let dropped = client.labels.get(usize::from(label.0)).is_some_and(|policy| policy.derived_drop);
    let name = client.label_name(label);
    match (dropped, droppable) {
        (true, _) => {
            format!("{general} (`derived: drop` covers only functions that tell nothing by failing or by their cost.)")
        }
        (false, true) => format!("{general} With `derived: drop` for label {name} it would be NULL."),
        (false, false) => general.to_owned(),
    }
}

/// A kind of statement that the client's roles do not list.
pub(crate) fn confined(client: &ClientPolicy, statement: &Statement, missing: Word, allowed: &[Word]) -> Refusal {
    let allowed: Vec<&str> = allowed.iter().map(|word| word.name()).collect();
    let what = if statement.verb.eq_ignore_ascii_case(missing.name()) {
        statement.verb.to_owned()
    } else {
        format!("{} ({})", statement.verb, missing.name())
    };
    forbidden(
        Rule::StatementKind,
        format!("client \"{}\" is confined to {}: {what} is not among them", client.name, allowed.join(", ")),
        format!("Add {} to `statements` of one of the client's roles.", missing.name()),
    )
}

pub(crate) fn kind(client: &ClientPolicy, statement: &Statement) -> Refusal {
    let rule = if statement.kind == Kind::Admin { Rule::Admin } else { Rule::StatementKind };
    forbidden(rule, format!("{} is not allowed for client \"{}\"", statement.verb, client.name), hint(rule).to_owned())
}

pub(crate) fn own_channel(client: &ClientPolicy, channel: &str) -> Refusal {
    forbidden(
        Rule::StatementKind,
        format!("client \"{}\" may not listen on channel \"{channel}\": it belongs to the firewall", client.name),
        String::from("Choose a channel whose name does not begin with \"ringfence\"."),
    )
}

pub(crate) fn unclassified(client: &ClientPolicy, relation: &Relation) -> Refusal {
    forbidden(
        Rule::Unclassified,
        format!(
            "relation {}.{} is not classified, so client \"{}\" may not use it",
            relation.schema, relation.name, client.name
        ),
        format!(
            "Add {}.{}: {{}} under `columns:` in the classification once somebody has looked at it, with labels where needed.",
            relation.schema, relation.name
        ),
    )
}

/// What every refusal of this rule says beside the message.
fn of(violation: &Violation, message: String) -> Refusal {
    Refusal {
        rule: violation.rule,
        sqlstate: sqlstate(violation.rule),
        message,
        hint: Some(hint(violation.rule).to_owned()),
        position: violation.position,
    }
}

fn forbidden(rule: Rule, message: String, hint: String) -> Refusal {
    Refusal { rule, sqlstate: FORBIDDEN, message, hint: Some(hint), position: None }
}

/// `column public.users.credit_card (label pci)`
fn subject(client: &ClientPolicy, catalog: &Catalog, column: ColumnId, label: LabelId) -> String {
    let label = client.label_name(label);
    match (catalog.by_oid(column.relation), catalog.column(column)) {
        (Some(relation), Some(column)) => {
            format!("column {}.{}.{} (label {label})", relation.schema, relation.name, column.name)
        }
        (Some(relation), None) => format!("relation {}.{} (label {label})", relation.schema, relation.name),
        (None, _) => format!("a column with label {label}"),
    }
}

fn sqlstate(rule: Rule) -> &'static str {
    match rule {
        Rule::Parser => UNSUPPORTED,
        Rule::Limit => TOO_COMPLEX,
        Rule::Derived
        | Rule::Filter
        | Rule::Combined
        | Rule::WholeRow
        | Rule::Flow
        | Rule::StoredExpression
        | Rule::WrittenToken
        | Rule::Copy
        | Rule::View
        | Rule::Function
        | Rule::ShadowedName
        | Rule::Statistics
        | Rule::CatalogText
        | Rule::Setting
        | Rule::StatementKind
        | Rule::Ddl
        | Rule::Admin
        | Rule::Protocol
        | Rule::UnknownName
        | Rule::UnknownRelation
        | Rule::SystemColumn
        | Rule::Origin
        | Rule::Handling
        | Rule::Unclassified
        | Rule::Audit
        | Rule::Detector
        | Rule::Control => FORBIDDEN,
        Rule::Budget => SPENT,
    }
}

/// What to do instead, by rule. ERRORS.md says more under the rule's name.
fn hint(rule: Rule) -> &'static str {
    match rule {
        Rule::Derived => "Select the column by itself, without function, operator or cast; compute in the application.",
        Rule::Filter => "Filter, join, sort and group by columns without a label, such as the primary key.",
        Rule::Combined => {
            "Select the column in a statement of its own, without set operation, aggregate, DISTINCT or GROUP BY."
        }
        Rule::WholeRow => "Name the columns that you need instead of the row.",
        Rule::Flow => "Leave the column out, or copy as a client that sees the label in plain.",
        Rule::StoredExpression => "Compute the value in the application and send it as a parameter or literal.",
        Rule::WrittenToken => "Leave the column out: a token is what this client is shown, not what is stored.",
        Rule::Copy => "Name the columns without labels, or use SELECT and INSERT.",
        Rule::View => "Query the tables themselves.",
        Rule::Function => {
            "Use a function from the reviewed list (ERRORS.md), or run the statement as a client that sees all labels in plain."
        }
        Rule::ShadowedName => {
            "Someone has defined an operator, type or cast of that name; qualify it with pg_catalog, or have it removed."
        }
        Rule::Statistics => {
            "Statistics and activity views show values and statements of others. Ask a client that sees all labels in plain."
        }
        Rule::CatalogText => "Select the definition as a result column by itself.",
        Rule::Setting => "Leave the setting as it is; the firewall's analysis depends on it.",
        Rule::StatementKind => "Run it as a client that sees all labels in plain.",
        Rule::Ddl => {
            "Run migrations as a client whose role has `ddl` in `allow` for the label, or that sees all labels in plain."
        }
        Rule::Admin => "Give one of the client's roles `admin: true`, or run it as another client.",
        Rule::Protocol => "Use ordinary statements.",
        Rule::UnknownName => "Prepare or declare it in this session, through the firewall.",
        Rule::UnknownRelation => {
            "Try again in a moment; the firewall reads the catalog anew when it meets an unknown relation."
        }
        Rule::Parser => {
            "Write the part of the statement that touches labelled columns more plainly, or split the statement."
        }
        Rule::Limit => "Split the statement.",
        Rule::SystemColumn => "Use the primary key.",
        Rule::Origin => "Select the columns of tables by name.",
        Rule::Handling => "Leave the column out, or change the client's roles in the classification.",
        Rule::Unclassified => "Have the table classified: name it under `columns:`.",
        Rule::Audit => "The audit log cannot be written; tell the operator.",
        Rule::Budget => "Wait until part of it is free again, or ask for a larger limit in the classification.",
        Rule::Detector => "Leave the column out, or have it labelled in the classification.",
        Rule::Control => "Try again in a moment; tell the operator if it lasts.",
    }
}
