//! What happens to a labelled value on its way to a client.

/// From permissive to strict; the order is part of the policy (`Ord`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Handling {
    Plain,
    Mask(Mask),
    Tokenize,
    Encrypt,
    Drop,
    Refuse,
}

impl Handling {
    /// How strict it is: 0 is plain. All masks are equally strict.
    pub fn rank(&self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Mask(_) => 1,
            Self::Tokenize => 2,
            Self::Encrypt => 3,
            Self::Drop => 4,
            Self::Refuse => 5,
        }
    }

    /// The word that a classification, the audit log and metrics use.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Mask(_) => "mask",
            Self::Tokenize => "tokenize",
            Self::Encrypt => "encrypt",
            Self::Drop => "drop",
            Self::Refuse => "refuse",
        }
    }

    /// What a value gets that can come from columns of both: the stricter one; of two different masks, none.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Mask(a), Self::Mask(b)) if a != b => Self::Drop,
            _ => self.max(other).clone(),
        }
    }
}

/// Which mask. The order means nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mask {
    /// All but the last four characters.
    Last4,
    /// All but the first six and the last four.
    First6Last4,
    /// First character of the local part, and the domain.
    Email,
    /// A fixed text.
    Fixed(Box<str>),
}
