//! One value and its handling.

use std::sync::Arc;

use ringfence_cipher::present::Format;
use ringfence_cipher::{LabelKey, Presenter, ValueType};
use ringfence_policy::Mask;

use super::array;

/// What a column's type can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// Text-like: text and binary format are the same bytes.
    Text {
        array: bool,
    },
    Typed {
        value: ValueType,
        array: bool,
    },
    Other,
}

/// By the type that the server describes (a domain's base type). Only types whose wire form is known are carriers.
pub(crate) fn carrier(type_oid: u32, is_citext: impl FnOnce() -> bool) -> Carrier {
    match type_oid {
        // text, bpchar, varchar, name
        25 | 1042 | 1043 | 19 => Carrier::Text { array: false },
        1009 | 1014 | 1015 | 1003 => Carrier::Text { array: true },
        21 => Carrier::Typed { value: ValueType::Int2, array: false },
        23 => Carrier::Typed { value: ValueType::Int4, array: false },
        20 => Carrier::Typed { value: ValueType::Int8, array: false },
        2950 => Carrier::Typed { value: ValueType::Uuid, array: false },
        1005 => Carrier::Typed { value: ValueType::Int2, array: true },
        1007 => Carrier::Typed { value: ValueType::Int4, array: true },
        1016 => Carrier::Typed { value: ValueType::Int8, array: true },
        2951 => Carrier::Typed { value: ValueType::Uuid, array: true },
        16384.. if is_citext() => Carrier::Text { array: false },
        _ => Carrier::Other,
    }
}

/// What happens to one column of every row.
#[derive(Debug)]
pub(crate) enum Treatment {
    Null,
    /// NULL where the text belongs to a labelled relation.
    CatalogText,
    Each(Each),
    /// The same for every element of an array.
    Elements(Each),
}

#[derive(Debug)]
pub(crate) struct Each {
    how: How,
    pub(crate) format: Format,
}

#[derive(Debug)]
enum How {
    Mask(Mask),
    Tokenize(Arc<LabelKey>, ValueType),
    Encrypt(Arc<LabelKey>),
}

impl Treatment {
    pub(crate) fn mask(mask: Mask, array: bool, format: i16) -> Self {
        Self::of(How::Mask(mask), array, format)
    }

    pub(crate) fn tokenize(presenter: &Presenter, label: &str, value: ValueType, array: bool, format: i16) -> Self {
        Self::of(How::Tokenize(presenter.label(label), value), array, format)
    }

    pub(crate) fn encrypt(presenter: &Presenter, label: &str, array: bool, format: i16) -> Self {
        Self::of(How::Encrypt(presenter.label(label)), array, format)
    }

    fn of(how: How, array: bool, format: i16) -> Self {
        let format = if format == 1 { Format::Binary } else { Format::Text };
        let each = Each { how, format };
        if array { Self::Elements(each) } else { Self::Each(each) }
    }

    /// For the audit log.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Null => "drop",
            Self::CatalogText => "catalog-text",
            Self::Each(each) | Self::Elements(each) => match each.how {
                How::Mask(_) => "mask",
                How::Tokenize(..) => "tokenize",
                How::Encrypt(_) => "encrypt",
            },
        }
    }

    /// The value sent may be longer than the column's declaration, or have another alphabet.
    pub(crate) fn lengthens(&self) -> bool {
        match self {
            Self::Null | Self::CatalogText => false,
            Self::Each(each) | Self::Elements(each) => {
                matches!(each.how, How::Mask(_) | How::Encrypt(_) | How::Tokenize(_, ValueType::Text))
            }
        }
    }
}

/// Why a value became NULL although its handling was to send something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unpresentable;

impl Each {
    /// Appends the handled value.
    pub(crate) fn apply(&self, presenter: &Presenter, value: &[u8], out: &mut Vec<u8>) -> Result<(), Unpresentable> {
        match &self.how {
            How::Mask(mask) => {
                let kind = match mask {
                    Mask::Last4 => ringfence_cipher::mask::Mask::Last4,
                    Mask::First6Last4 => ringfence_cipher::mask::Mask::First6Last4,
                    Mask::Email => ringfence_cipher::mask::Mask::Email,
                    Mask::Fixed(text) => ringfence_cipher::mask::Mask::Fixed(text),
                };
                ringfence_cipher::mask::mask(kind, value, out);
                Ok(())
            }
            How::Tokenize(key, kind) => {
                presenter.tokenize(key, *kind, self.format, value, out).map_err(|_| Unpresentable)
            }
            How::Encrypt(key) => presenter.encrypt(key, value, out).map_err(|_| Unpresentable),
        }
    }

    /// Appends an array whose elements are handled; NULL elements stay NULL.
    pub(crate) fn apply_to_elements(
        &self,
        presenter: &Presenter,
        value: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Unpresentable> {
        match self.format {
            Format::Binary => array::binary(value, out, |element, out| self.apply(presenter, element, out)),
            Format::Text => array::text(value, out, |element, out| self.apply(presenter, element, out)),
        }
    }
}
