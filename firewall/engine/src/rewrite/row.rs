//! DataRow: handled columns are replaced, everything between them is copied in one piece.

use ringfence_wire::WireError;
use ringfence_wire::backend::DataRow;

use super::describe::RowPlan;
use super::desk::{Desk, Stop};

/// Appends the rewritten row (with its header) to `out`, or nothing if it must not be sent.
pub(crate) fn rewrite_row(body: &[u8], plan: &RowPlan, desk: &mut Desk<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
    let frame = out.len();
    let result = append(body, plan, desk, out);
    if result.is_err() {
        out.truncate(frame);
    }
    result
}

fn append(body: &[u8], plan: &RowPlan, desk: &mut Desk<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
    let frame = out.len();
    desk.row(plan)?;
    out.extend_from_slice(b"D\0\0\0\0");
    let mut walk = DataRow::walk(body)?;
    let mut copied = 0;
    let mut at = 0;
    for work in &plan.work {
        // Skip to the column that is handled.
        while at < work.position {
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
        if desk.value(work, value, out)? {
            let length = u32::try_from(out.len() - word - 4).unwrap_or(u32::MAX);
            if let Some(bytes) = out.get_mut(word..word + 4) {
                bytes.copy_from_slice(&length.to_be_bytes());
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

/// Looks at the columns that nobody has labelled.
pub(crate) fn watch_row(body: &[u8], plan: &RowPlan, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let mut walk = DataRow::walk(body).map_err(Stop::Broken)?;
    let mut at = 0;
    for watched in &plan.watched {
        while at < watched.position && walk.step()?.is_some() {
            at += 1;
        }
        let Some(column) = walk.step()? else { break };
        at += 1;
        if let Some(value) = column.value {
            desk.look(watched, value)?;
        }
    }
    Ok(())
}

impl From<WireError> for Stop {
    fn from(error: WireError) -> Self {
        Self::Broken(error)
    }
}
