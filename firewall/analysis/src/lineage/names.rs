//! Identifiers of the second parser's tree.

use crate::names::fold;
use crate::parse::ast::{Ident, ObjectName, ObjectNamePart};

pub(super) fn folded(ident: &Ident) -> Box<str> {
    fold(&ident.value, ident.quote_style.is_some()).into()
}

/// The parts of a name, if it is made of identifiers alone.
pub(super) fn parts(name: &ObjectName) -> Option<Vec<&Ident>> {
    name.0
        .iter()
        .map(|part| match part {
            ObjectNamePart::Identifier(ident) => Some(ident),
            ObjectNamePart::Function(_) => None,
        })
        .collect()
}
