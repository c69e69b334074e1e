//! RowDescription: where the server says each result column comes from, against what the analysis expects.
//!
//! The server's word decides (soundness 9, 10): a column that it names is handled by that column's label, whatever
//! the analysis thought. A column without origin is plain only if the analysis proved that it reaches nothing
//! that this client may not see, and handled if it proved which columns' values it carries. Everything else withholds
//! the rows.

use std::sync::Arc;

use ringfence_analysis::facts::{Output, Rule, Statement};
use ringfence_analysis::{Catalog, ColumnId, LabelId};
use ringfence_cipher::present::Format;
use ringfence_cipher::{Presenter, ValueType};
use ringfence_policy::{Carrier, ClientPolicy, Filter, Handling, Refusal, carrier};
use ringfence_wire::backend::{Field, RowDescription};
use ringfence_wire::encode;

use super::origin::{self, Column};
use super::value::Treatment;
use crate::event::HandledColumn;

/// What to do with the rows of one described result.
#[derive(Debug, Default)]
pub(crate) struct RowPlan {
    /// Columns that are changed, counted or looked at, by position, ascending. Empty: rows pass untouched.
    pub(crate) work: Vec<Work>,
    pub(crate) handled: Arc<[HandledColumn]>,
    /// The rows must not be sent.
    pub(crate) withheld: Option<Refusal>,
    /// The server named a labelled column that the analysis had not seen.
    pub(crate) disagreement: bool,
    /// Some column has a label: the rows count against the client's budget.
    pub(crate) labelled: bool,
    /// Columns for the detectors, by position, ascending.
    pub(crate) watched: Vec<Watched>,
}

/// One column's part in every row.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) position: usize,
    pub(crate) treatment: Option<Treatment>,
    /// Its values count against the label's budget.
    pub(crate) counted: Option<Counted>,
}

/// A label whose values are counted, and the format of the array whose elements they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    pub(super) label: LabelId,
    pub(super) elements: Option<Format>,
}

/// An unlabelled column of text, for the detectors.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) position: usize,
    /// As the server names it.
    pub(crate) column: Option<ColumnId>,
}

impl RowPlan {
    /// Some column is not sent as it came.
    pub(crate) fn changes(&self) -> bool {
        self.work.iter().any(|work| work.treatment.is_some())
    }

    /// Some column is sent, but not as it came.
    pub(crate) fn shows(&self) -> bool {
        let hidden = |work: &Work| matches!(work.treatment, None | Some(Treatment::Null));
        !self.work.iter().all(hidden)
    }

    /// Every row must be read: something is changed, counted, or blocked.
    pub(crate) fn must_be_read(&self, client: &ClientPolicy) -> bool {
        !self.work.is_empty() || (self.labelled && client.rows_per_hour.is_some())
    }
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

/// `fields`: the description's, in order; of `statement`, whose rows they are, perhaps nothing is known.
pub(crate) fn decide_rows(judge: &Judge<'_>, fields: &[Field<'_>], statement: Option<&Statement>) -> RowDecision {
    let mut plan = RowPlan::default();
    let mut handled = Vec::new();
    let outputs = statement.and_then(|s| s.outputs.as_deref()).filter(|outputs| outputs.len() == fields.len());
    for (position, field) in fields.iter().enumerate() {
        let expected: Option<&Output> = outputs.and_then(|outputs| outputs.get(position));
        let mut work = Work { position, treatment: None, counted: None };
        match origin::judge(judge, field, statement, expected) {
            Column::Plain => {
                if judge.client.restricted && is_text(judge.catalog, field.type_oid) {
                    let column = ColumnId { relation: field.table_oid, attnum: field.attnum };
                    plan.watched.push(Watched { position, column: (field.table_oid != 0).then_some(column) });
                }
                continue;
            }
            Column::CatalogText => work.treatment = Some(Treatment::CatalogText),
            Column::Value { sources, handling } => {
                let Some((column, label)) = origin::deciding(judge.client, &sources, &handling) else { continue };
                if field.table_oid != 0 && sources.first().is_some_and(|s| s.0.relation == field.table_oid) {
                    plan.disagreement |= sources.first().is_some_and(|s| origin::is_surprise(statement, expected, *s));
                }
                match treatment(judge, field, column, label, &handling) {
                    Ok(treatment) => work.treatment = treatment,
                    Err(refusal) => plan.withheld = Some(refusal),
                }
                plan.labelled = true;
                work.counted = counted(judge, field, label);
                let handling = work.treatment.as_ref().map_or("plain", Treatment::name);
                handled.push(HandledColumn { column, label, handling });
            }
            Column::Derived(labels) => {
                plan.labelled = true;
                work.treatment = Some(Treatment::Null);
                // There is no one column to name.
                let nowhere = ColumnId { relation: 0, attnum: 0 };
                handled.extend(labels.into_iter().map(|label| HandledColumn {
                    column: nowhere,
                    label,
                    handling: "drop",
                }));
            }
            Column::Withheld(refusal) => plan.withheld = Some(refusal),
            Column::Unknown => return RowDecision::Unknown,
        }
        if work.treatment.is_some() || work.counted.is_some() {
            plan.work.push(work);
        }
    }
    plan.handled = handled.into();
    RowDecision::Decided(plan)
}

/// `Ok(None)`: plain.
fn treatment(
    judge: &Judge<'_>,
    field: &Field<'_>,
    column: ColumnId,
    label: LabelId,
    handling: &Handling,
) -> Result<Option<Treatment>, Refusal> {
    let name = judge.client.label_name(label);
    let (carrier, array) = carrier(judge.catalog, field.type_oid);
    let format = field.format;
    let presenter = judge.presenter;
    let tokenize = |kind| Treatment::tokenize(presenter, name, kind, array, format);
    Ok(match carrier.effective(handling) {
        Handling::Plain => None,
        Handling::Mask(mask) => Some(Treatment::mask(mask.clone(), array, format)),
        Handling::Encrypt => Some(Treatment::encrypt(presenter, name, array, format)),
        // Deterministic tokens answer whether two values are equal: only for those who may ask that (soundness 2).
        Handling::Tokenize if judge.client.filter(label) < Filter::Equality => Some(match carrier {
            Carrier::Text => Treatment::encrypt(presenter, name, array, format),
            Carrier::Int2 | Carrier::Int4 | Carrier::Int8 | Carrier::Uuid | Carrier::Other => Treatment::Null,
        }),
        Handling::Tokenize => Some(match carrier {
            Carrier::Text => tokenize(ValueType::Text),
            Carrier::Int4 => tokenize(ValueType::Int4),
            Carrier::Int8 => tokenize(ValueType::Int8),
            Carrier::Uuid => tokenize(ValueType::Uuid),
            Carrier::Int2 | Carrier::Other => Treatment::Null,
        }),
        Handling::Drop => Some(Treatment::Null),
        Handling::Refuse => {
            let what = origin::column_name(judge.catalog, column);
            return Err(Refusal {
                rule: Rule::Handling,
                sqlstate: "42501",
                message: format!("{what} (label {name}) is refused to client \"{}\"", judge.client.name),
                hint: Some(String::from("Leave the column out, or ask for a role that may see this label.")),
                position: None,
            });
        }
    })
}

/// The label, if its values are counted for this client.
fn counted(judge: &Judge<'_>, field: &Field<'_>, label: LabelId) -> Option<Counted> {
    judge.client.labels.get(usize::from(label.0)).filter(|l| l.values_per_hour.is_some())?;
    let (_, array) = carrier(judge.catalog, field.type_oid);
    let format = if field.format == 1 { Format::Binary } else { Format::Text };
    Some(Counted::new(label, array.then_some(format)))
}

/// Whether the detectors look at values of this type.
fn is_text(catalog: &Catalog, type_oid: u32) -> bool {
    const JSON: [u32; 5] = [114, 199, 3802, 3807, 142];
    carrier(catalog, type_oid).0 == Carrier::Text || JSON.contains(&type_oid)
}

/// The description that the client gets: a token column loses its length limit, and a masked name is text.
pub(crate) fn adjusted_description(out: &mut Vec<u8>, description: &RowDescription<'_>, plan: &RowPlan) {
    let mut work = plan.work.iter().peekable();
    encode::row_description(
        out,
        description.fields().enumerate().map(|(at, mut field)| {
            let treatment = work.next_if(|work| work.position == at).and_then(|work| work.treatment.as_ref());
            if treatment.is_some_and(Treatment::lengthens) {
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
