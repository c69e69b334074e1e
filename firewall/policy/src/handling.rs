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
