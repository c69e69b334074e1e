//! DataRow: handled columns are replaced, everything between them is copied in one piece.

use ringfence_analysis::{Catalog, text_hash};
use ringfence_cipher::Presenter;
use ringfence_wire::WireError;
use ringfence_wire::backend::DataRow;

use super::describe::RowPlan;
use super::value::Treatment;
use crate::literals;

/// Appends the rewritten row (with its header) to `out`. Counts values that could not be presented.
pub(crate) fn rewrite_row(
    body: &[u8],
    plan: &RowPlan,
    presenter: &Presenter,
    catalog: &Catalog,
    out: &mut Vec<u8>,
    unpresentable: &mut u64,
) -> Result<(), WireError> {
    let frame = out.len();
    out.extend_from_slice(b"D\0\0\0\0");
    let mut walk = DataRow::walk(body)?;
    let mut copied = 0;
    let mut at = 0;
    for (position, treatment) in &plan.treatments {
        // Skip to the column that is handled.
        while at < *position {
            if walk.step()?.is_none() {
                break;
            }
            at += 1;
        }
        let Some(column) = walk.step()? else { break };
        at += 1;
        let Some(value) = column.value else { continue };
        out.extend_from_slice(body.get(copied..column.start).unwrap_or_default());
        copied = column.end;
        let word = out.len();
        out.extend_from_slice(&(-1_i32).to_be_bytes());
        let done = match treatment {
            Treatment::Null => continue,
            Treatment::CatalogText => {
                if tells(catalog, value) {
                    continue;
                }
                out.extend_from_slice(value);
                Ok(())
            }
            Treatment::Each(each) => each.apply(presenter, value, out),
            Treatment::Elements(each) => each.apply_to_elements(presenter, value, out),
        };
        match done {
            Ok(()) => {
                let length = u32::try_from(out.len() - word - 4).unwrap_or(u32::MAX);
                if let Some(bytes) = out.get_mut(word..word + 4) {
                    bytes.copy_from_slice(&length.to_be_bytes());
                }
            }
            // NULL stands there already.
            Err(_) => {
                out.truncate(word + 4);
                *unpresentable += 1;
            }
        }
    }
    while walk.step()?.is_some() {}
    out.extend_from_slice(body.get(copied..).unwrap_or_default());
    let length = u32::try_from(out.len() - frame - 1).unwrap_or(u32::MAX);
    if let Some(bytes) = out.get_mut(frame + 1..frame + 5) {
        bytes.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

/// Whether a catalog text is one that belongs to labelled columns, or holds a constant of one.
fn tells(catalog: &Catalog, text: &[u8]) -> bool {
    let known = &catalog.sensitive_texts;
    known.contains(&text_hash(text)) || (!known.is_empty() && literals::hashes(text).any(|hash| known.contains(&hash)))
}
