//! Identifiers and bare column references of the second parser's tree.

use crate::names::fold;
use crate::parse::ast::{Expr, Ident, ObjectName, ObjectNamePart};

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

/// The identifiers of a column that stands alone.
pub(super) fn bare(expr: &Expr) -> Option<&[Ident]> {
    if let Expr::Identifier(ident) = expr {
        return Some(std::slice::from_ref(ident));
    }
    if let Expr::CompoundIdentifier(idents) = expr {
        return Some(idents);
    }
    None
}
