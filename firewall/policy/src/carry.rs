//! Which types can carry which handling.

use ringfence_analysis::Catalog;

use crate::handling::Handling;

/// What a type's values look like on the wire, as far as handlings care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// text, varchar, char(n), name, citext: text and binary format are the same bytes.
    Text,
    /// Too few values to be tokenised.
    Int2,
    Int4,
    Int8,
    Uuid,
    Other,
}

/// The carrier of a type, and whether the type is an array of it. Domains are what they are over.
pub fn carrier(catalog: &Catalog, type_oid: u32) -> (Carrier, bool) {
    let wire = catalog.wire_types.get(&type_oid).copied().unwrap_or(type_oid);
    match wire {
        // text, char(n), varchar, name
        25 | 1042 | 1043 | 19 => (Carrier::Text, false),
        1009 | 1014 | 1015 | 1003 => (Carrier::Text, true),
        21 => (Carrier::Int2, false),
        1005 => (Carrier::Int2, true),
        23 => (Carrier::Int4, false),
        1007 => (Carrier::Int4, true),
        20 => (Carrier::Int8, false),
        1016 => (Carrier::Int8, true),
        2950 => (Carrier::Uuid, false),
        2951 => (Carrier::Uuid, true),
        _ => (Carrier::Other, false),
    }
}

impl Carrier {
    /// Whether values so handled are still values of the type.
    pub fn carries(self, handling: &Handling) -> bool {
        match handling {
            Handling::Plain | Handling::Drop | Handling::Refuse => true,
            Handling::Mask(_) | Handling::Encrypt => self == Self::Text,
            Handling::Tokenize => matches!(self, Self::Text | Self::Int4 | Self::Int8 | Self::Uuid),
        }
    }

    /// The handling itself, or drop where the type cannot carry it.
    pub fn effective(self, handling: &Handling) -> &Handling {
        if self.carries(handling) { handling } else { &Handling::Drop }
    }
}
