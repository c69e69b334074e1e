//! RowDescription: where the server says each result column comes from, against what the analysis expects.
//!
//! The server's word decides (soundness 9, 10): a column that it names is handled by that column's label, whatever
//! the analysis thought. A column without origin is plain only if the analysis proved that it reaches nothing
//! that this client may not see. Everything else withholds the rows.

use std::sync::Arc;

use ringfence_analysis::facts::{Output, Rule, Statement};
use ringfence_analysis::{Catalog, ColumnId, LabelId, builtin};
use ringfence_policy::{Carrier, ClientPolicy, Handling, Refusal, carrier};
use ringfence_wire::backend::{Field, RowDescription};
use ringfence_wire::encode;

use super::value::Treatment;
use crate::event::HandledColumn;
use ringfence_cipher::{Presenter, ValueType};

/// What to do with the rows of one described result.
#[derive(Debug)]
pub(crate) struct RowPlan {
    /// Columns to change, by position, ascending. Empty: rows pass untouched.
    pub(crate) treatments: Vec<(usize, Treatment)>,
    pub(crate) handled: Arc<[HandledColumn]>,
    /// The rows must not be sent.
    pub(crate) withheld: Option<Refusal>,
    /// The server named a labelled column that the analysis had not seen.
    pub(crate) disagreement: bool,
}

pub(crate) enum RowDecision {
    Decided(RowPlan),
    /// A table or column that the snapshot does not know: refresh and ask again.
    Unknown,
}

/// What the decision needs to know.
pub(crate) struct Judge<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) client: &'a ClientPolicy,
    pub(crate) presenter: &'a Presenter,
    /// The snapshot was just refreshed: a table that is still unknown is this session's own, uncommitted.
    pub(crate) fresh: bool,
    /// This session has created relations that no snapshot shows yet.
    pub(crate) own_relations: bool,
}

pub(crate) fn decide_rows(
    judge: &Judge<'_>,
    description: &RowDescription<'_>,
    statement: Option<&Statement>,
) -> RowDecision {
    let mut plan = RowPlan { treatments: Vec::new(), handled: Arc::from([]), withheld: None, disagreement: false };
    let mut handled = Vec::new();
    let outputs = statement.and_then(|s| s.outputs.as_deref());
    let count_differs = outputs.is_some_and(|outputs| outputs.len() != description.len());
    for (at, field) in description.fields().enumerate() {
        let expected = if count_differs { None } else { outputs.and_then(|outputs| outputs.get(at)) };
        let verdict = if field.table_oid == 0 {
            without_origin(judge, statement, expected)
        } else {
            match with_origin(judge, &field, expected) {
                Some(verdict) => verdict,
                None if !judge.fresh => return RowDecision::Unknown,
                // Nobody else's uncommitted table can be seen, and nothing labelled can flow into an own one. But a
                // cursor can outlive the table that it was read from.
                None if judge.own_relations => match without_origin(judge, statement, expected) {
                    Column::Plain => Column::Plain,
                    _ => Column::Withheld(unknown_origin()),
                },
                None => Column::Withheld(unknown_origin()),
            }
        };
        match verdict {
            Column::Plain => {}
            Column::Treated(treatment) => plan.treatments.push((at, treatment)),
            Column::Labelled(column, label) => {
                let handling = judge.client.handling(label);
                plan.disagreement |= !expects(statement, column);
                match treatment(judge, &field, column, label, handling) {
                    Ok(treatment) => {
                        handled.push(HandledColumn {
                            column,
                            label,
                            handling: treatment.as_ref().map_or("plain", Treatment::name),
                        });
                        plan.treatments.extend(treatment.map(|treatment| (at, treatment)));
                    }
                    Err(refusal) => plan.withheld = Some(refusal),
                }
            }
            Column::Withheld(refusal) => plan.withheld = Some(refusal),
        }
    }
    plan.handled = handled.into();
    RowDecision::Decided(plan)
}

enum Column {
    Plain,
    Treated(Treatment),
    Labelled(ColumnId, LabelId),
    Withheld(Refusal),
}

/// A column that the server names. `None`: the snapshot does not know it.
fn with_origin(judge: &Judge<'_>, field: &Field<'_>, expected: Option<&Output>) -> Option<Column> {
    let relation = judge.catalog.by_oid(field.table_oid)?;
    if field.attnum <= 0 {
        // ctid and the like, or the row as a whole.
        let labelled = relation.columns.iter().filter_map(|c| c.label).find(|&l| !judge.client.is_plain(l));
        return Some(match labelled {
            Some(label) if !relation.system => Column::Withheld(Refusal {
                rule: Rule::SystemColumn,
                sqlstate: "42501",
                message: format!(
                    "system columns and whole rows of {}.{} may not be read by client \"{}\": it has columns with label {}",
                    relation.schema,
                    relation.name,
                    judge.client.name,
                    label_name(judge.client, label)
                ),
                hint: Some(String::from("Name the columns that you need.")),
                position: None,
            }),
            _ => Column::Plain,
        });
    }
    let column = relation.columns.iter().find(|c| c.attnum == field.attnum)?;
    let id = ColumnId { relation: relation.oid, attnum: column.attnum };
    Some(match column.label {
        Some(label) if label == builtin::CATALOG_TEXT => {
            if judge.client.restricted {
                Column::Treated(Treatment::CatalogText)
            } else {
                Column::Plain
            }
        }
        Some(label) => Column::Labelled(id, label),
        None => match expected {
            // The analysis saw a labelled column here; the server names another one.
            Some(Output::Bare(candidates)) if candidates.iter().any(|(_, l)| !judge.client.is_plain(*l)) => {
                // A view's column carries the view's own origin; labels spread to views by lineage only later, and
                // until then statements over such views are refused before they get here.
                Column::Withheld(disagreement())
            }
            Some(Output::CatalogText) if judge.client.restricted => Column::Treated(Treatment::CatalogText),
            _ => Column::Plain,
        },
    })
}

/// A column that the server computed, or whose origin it lost.
fn without_origin(judge: &Judge<'_>, statement: Option<&Statement>, expected: Option<&Output>) -> Column {
    if !judge.client.restricted {
        return Column::Plain;
    }
    let Some(statement) = statement else {
        return Column::Withheld(disagreement());
    };
    match expected {
        Some(Output::CatalogText) => Column::Treated(Treatment::CatalogText),
        Some(Output::Free) => Column::Plain,
        Some(Output::Bare(candidates) | Output::Carried(candidates)) => {
            if candidates.iter().all(|(_, label)| judge.client.is_plain(*label)) {
                Column::Plain
            } else {
                Column::Withheld(disagreement())
            }
        }
        Some(Output::Derived { labels, .. }) => {
            if labels.iter().all(|label| judge.client.is_plain(*label)) {
                Column::Plain
            } else {
                Column::Withheld(disagreement())
            }
        }
        None => {
            if statement.columns.iter().all(|used| judge.client.is_plain(used.label)) {
                Column::Plain
            } else {
                Column::Withheld(disagreement())
            }
        }
    }
}

fn expects(statement: Option<&Statement>, column: ColumnId) -> bool {
    statement.is_some_and(|s| s.columns.iter().any(|used| used.column == column))
}

/// `Ok(None)`: plain.
fn treatment(
    judge: &Judge<'_>,
    field: &Field<'_>,
    column: ColumnId,
    label: LabelId,
    handling: &Handling,
) -> Result<Option<Treatment>, Refusal> {
    let name = || label_name(judge.client, label);
    let readable = judge.client.labels.get(usize::from(label.0)).is_some_and(|l| l.allow.read);
    let handling = if readable { handling } else { &Handling::Refuse };
    let (carrier, array) = carrier(judge.catalog, field.type_oid);
    Ok(match carrier.effective(handling) {
        Handling::Plain => None,
        Handling::Mask(mask) => Some(Treatment::mask(mask.clone(), array, field.format)),
        Handling::Encrypt => Some(Treatment::encrypt(judge.presenter, &name(), array, field.format)),
        Handling::Tokenize => Some(match carrier {
            Carrier::Text => Treatment::tokenize(judge.presenter, &name(), ValueType::Text, array, field.format),
            Carrier::Int4 => Treatment::tokenize(judge.presenter, &name(), ValueType::Int4, array, field.format),
            Carrier::Int8 => Treatment::tokenize(judge.presenter, &name(), ValueType::Int8, array, field.format),
            Carrier::Uuid => Treatment::tokenize(judge.presenter, &name(), ValueType::Uuid, array, field.format),
            Carrier::Int2 | Carrier::Other => Treatment::Null,
        }),
        Handling::Drop => Some(Treatment::Null),
        Handling::Refuse => {
            let what = judge.catalog.by_oid(column.relation).map_or_else(
                || String::from("a column"),
                |r| {
                    let column = judge.catalog.column(column).map_or("?", |c| &c.name);
                    format!("column {}.{}.{}", r.schema, r.name, column)
                },
            );
            return Err(Refusal {
                rule: Rule::Handling,
                sqlstate: "42501",
                message: format!("{what} (label {}) is refused to client \"{}\"", name(), judge.client.name),
                hint: Some(String::from("Leave the column out, or ask for a role that may see this label.")),
                position: None,
            });
        }
    })
}

/// The description that the client gets: a token column loses its length limit, and a masked name is text.
pub(crate) fn adjusted_description(out: &mut Vec<u8>, description: &RowDescription<'_>, plan: &RowPlan) {
    let mut treatments = plan.treatments.iter().peekable();
    encode::row_description(
        out,
        description.fields().enumerate().map(|(at, mut field)| {
            if treatments.next_if(|(position, _)| *position == at).is_some_and(|(_, t)| t.lengthens()) {
                field.typmod = -1;
                // char(n) pads and "name" truncates: the value that is sent is neither.
                match field.type_oid {
                    BPCHAR | NAME => (field.type_oid, field.type_len) = (TEXT, -1),
                    BPCHAR_ARRAY | NAME_ARRAY => (field.type_oid, field.type_len) = (TEXT_ARRAY, -1),
                    _ => {}
                }
            }
            field
        }),
    );
}

const NAME: u32 = 19;
const TEXT: u32 = 25;
const BPCHAR: u32 = 1042;
const NAME_ARRAY: u32 = 1003;
const TEXT_ARRAY: u32 = 1009;
const BPCHAR_ARRAY: u32 = 1014;

fn label_name(client: &ClientPolicy, label: LabelId) -> Arc<str> {
    client.labels.get(usize::from(label.0)).map_or_else(|| Arc::from("?"), |l| Arc::clone(&l.name))
}

pub(crate) fn disagreement() -> Refusal {
    Refusal {
        rule: Rule::Origin,
        sqlstate: "42501",
        message: String::from(
            "the server describes the result otherwise than the analysis of the statement; its rows are withheld",
        ),
        hint: Some(String::from(
            "The schema may just have changed: try again. Otherwise select the columns of tables by name.",
        )),
        position: None,
    }
}

fn unknown_origin() -> Refusal {
    Refusal {
        rule: Rule::UnknownRelation,
        sqlstate: "42501",
        message: String::from("the result comes from a table that the firewall does not know; its rows are withheld"),
        hint: Some(String::from("Try again in a moment: the catalog is being read.")),
        position: None,
    }
}
