//! One value and its handling.

use std::sync::Arc;

use ringfence_cipher::present::Format;
use ringfence_cipher::{LabelKey, Presenter, ValueType};
use ringfence_policy::Mask;

use super::array;

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
