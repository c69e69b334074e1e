//! Where values are handled, counted and looked at, whatever message they came in.

use std::cell::RefCell;
use std::time::Instant;

use ringfence_analysis::facts::Rule;
use ringfence_analysis::{Catalog, LabelId, text_hash};
use ringfence_cipher::Presenter;
use ringfence_cipher::present::Format;
use ringfence_policy::{ClientPolicy, Detect, Meter, Refusal, Spent};
use ringfence_wire::WireError;

use super::array;
use super::describe::{Counted, RowPlan, Watched, Work};
use super::detect::{self, Shape};
use super::origin;
use super::value::Treatment;
use crate::event::Detection;
use crate::literals;

/// Why a row is not sent.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It cannot be read.
    Broken(WireError),
    /// A budget is spent, or a detector struck.
    Refused(Box<Refusal>),
}

/// What handling a value needs, and what it leaves behind.
pub(crate) struct Desk<'a> {
    pub(crate) presenter: &'a Presenter,
    pub(crate) catalog: &'a Catalog,
    pub(crate) client: &'a ClientPolicy,
    pub(crate) meter: &'a mut Meter,
    pub(crate) now: Instant,
    /// Values that became NULL because they could not be presented.
    pub(crate) unpresentable: &'a mut u64,
    pub(crate) detections: &'a mut Vec<Detection>,
    /// What would have stopped the rows of an observed client.
    pub(crate) observed: &'a mut Option<Rule>,
}

impl Desk<'_> {
    /// Before each row.
    pub(crate) fn row(&mut self, plan: &RowPlan) -> Result<(), Stop> {
        if !plan.labelled {
            return Ok(());
        }
        self.meter.row(self.client, self.now).or_else(|spent| self.spent(&spent))
    }

    /// Appends what is sent for a value; `false` (and nothing appended): NULL.
    pub(crate) fn value(&mut self, work: &Work, value: &[u8], out: &mut Vec<u8>) -> Result<bool, Stop> {
        if let Some(counted) = &work.counted
            && !matches!(work.treatment, Some(Treatment::Null))
        {
            self.count(counted, value)?;
        }
        let start = out.len();
        let done = match &work.treatment {
            None => {
                out.extend_from_slice(value);
                Ok(())
            }
            Some(Treatment::Null) => return Ok(false),
            Some(Treatment::CatalogText) => {
                if tells(self.catalog, value) {
                    return Ok(false);
                }
                out.extend_from_slice(value);
                Ok(())
            }
            Some(Treatment::Each(each)) => each.apply(self.presenter, value, out),
            Some(Treatment::Elements(each)) => each.apply_to_elements(self.presenter, value, out),
        };
        if done.is_err() {
            out.truncate(start);
            *self.unpresentable += 1;
        }
        Ok(done.is_ok())
    }

    /// Charges for a value, or for each element of an array.
    fn count(&mut self, counted: &Counted, value: &[u8]) -> Result<(), Stop> {
        let Counted { label, elements } = *counted;
        let mut charge = |value: &[u8]| self.meter.value(self.client, label, value, self.now);
        let result = match elements {
            None => charge(value),
            Some(format) => {
                let meter = RefCell::new((charge, Ok(())));
                let each = |element: &[u8], _: &mut Vec<u8>| {
                    let (charge, result) = &mut *meter.borrow_mut();
                    if result.is_ok() {
                        *result = charge(element);
                    }
                    Ok(())
                };
                let mut nowhere = Vec::new();
                // What is no array is not presented either.
                let _ = match format {
                    Format::Text => array::text(value, &mut nowhere, each),
                    Format::Binary => array::binary(value, &mut nowhere, each),
                };
                meter.into_inner().1
            }
        };
        result.or_else(|spent| self.spent(&spent))
    }

    fn spent(&mut self, spent: &Spent) -> Result<(), Stop> {
        let refusal = spent.refusal(&self.client.name);
        self.refuse(refusal)
    }

    /// Of an observed client it is only noted.
    fn refuse(&mut self, refusal: Refusal) -> Result<(), Stop> {
        if self.client.observe {
            self.observed.get_or_insert(refusal.rule);
            return Ok(());
        }
        Err(Stop::Refused(Box::new(refusal)))
    }

    /// Looks at a value of an unlabelled column.
    pub(crate) fn look(&mut self, watched: &Watched, value: &[u8]) -> Result<(), Stop> {
        let Some(shape) = detect::shape(value) else { return Ok(()) };
        let known = |d: &&mut Detection| d.shape == shape && d.position == watched.position;
        match self.detections.iter_mut().find(known) {
            Some(detection) => detection.rows += 1,
            None => {
                self.detections.push(Detection { shape, column: watched.column, position: watched.position, rows: 1 })
            }
        }
        let word = match shape {
            Shape::Pan => self.client.detectors.pan,
            Shape::Hash => self.client.detectors.hash,
            Shape::PrivateKey => self.client.detectors.private_key,
        };
        if word == Detect::Audit {
            return Ok(());
        }
        let subject = match watched.column {
            Some(column) => origin::column_name(self.catalog, column),
            None => format!("result column {}", watched.position + 1),
        };
        self.refuse(Refusal {
            rule: Rule::Detector,
            sqlstate: "42501",
            message: format!(
                "{subject} holds what looks like {}, so the row and what follows are withheld from client \"{}\"",
                shape.words(),
                self.client.name
            ),
            hint: Some(String::from("Leave the column out, and have it classified.")),
            position: None,
        })
    }
}

/// Whether a catalog text is one that belongs to labelled columns, or holds a constant of one.
fn tells(catalog: &Catalog, text: &[u8]) -> bool {
    let known = &catalog.sensitive_texts;
    known.contains(&text_hash(text)) || (!known.is_empty() && literals::hashes(text).any(|hash| known.contains(&hash)))
}

impl Counted {
    pub(super) fn new(label: LabelId, elements: Option<Format>) -> Self {
        Self { label, elements }
    }
}
