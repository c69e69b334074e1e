//! Where labelled columns stand, as the second parser reads the statement.

use crate::facts::Output;
use crate::resolve::{Found, Resolved};

/// Explains the statement.
pub(crate) fn explain(
    _text: &str,
    _resolved: &Resolved<'_, '_, '_>,
    _found: &mut Found,
) -> Option<Vec<Output>> {
    None
}
