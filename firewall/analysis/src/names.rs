//! Names as the server stores them, and the names that a session made itself.

use std::borrow::Cow;
use std::collections::BTreeSet;

/// `NAMEDATALEN - 1`: the server cuts longer identifiers.
pub const MAX_NAME: usize = 63;

/// Cuts an identifier as the server does, at a character boundary.
pub fn cut(name: &str) -> &str {
    if name.len() <= MAX_NAME {
        return name;
    }
    let mut end = MAX_NAME;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or(name)
}

/// An identifier as written, folded and cut.
pub fn fold(written: &str, quoted: bool) -> Cow<'_, str> {
    if quoted {
        if written.contains("\"\"") {
            let unescaped = written.replace("\"\"", "\"");
            return Cow::Owned(cut(&unescaped).to_owned());
        }
        return Cow::Borrowed(cut(written));
    }
    if written.bytes().any(|b| b.is_ascii_uppercase()) {
        let folded = written.to_ascii_lowercase();
        return Cow::Owned(cut(&folded).to_owned());
    }
    Cow::Borrowed(cut(written))
}

/// Relations that this session created since the snapshot (temporary or uncommitted) and that hold nothing labelled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionNames {
    names: BTreeSet<Box<str>>,
}

impl SessionNames {
    /// Adds a name that a statement of this session created.
    pub fn insert(&mut self, name: &str) {
        self.names.insert(name.into());
    }

    /// Whether the session created a relation of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Forgets all names: the snapshot has caught up, or DISCARD.
    pub fn clear(&mut self) {
        self.names.clear();
    }

    /// No name is kept.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}
