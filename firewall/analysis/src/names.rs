//! Names as the server stores them, and the names that a session made itself.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::facts::Created;
use crate::reach::{Marked, Why};

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

/// Relations that this session created since the snapshot (temporary or uncommitted), with the labelled values in them.
#[derive(Debug, Clone, Default)]
pub struct SessionNames {
    names: BTreeMap<Box<str>, Own>,
}

/// What is known of one of them.
#[derive(Debug, Clone, Default)]
struct Own {
    marked: Vec<Marked>,
    columns: Option<Vec<Box<str>>>,
}

impl SessionNames {
    /// Adds a name that a statement of this session created, with nothing labelled in it.
    pub fn insert(&mut self, name: &str) {
        self.names.entry(name.into()).or_default().columns = None;
    }

    /// Adds what a statement of this session created. What an earlier one of that name held is not forgotten: which of
    /// the two a later statement means is not asked.
    pub fn add(&mut self, created: &Created) {
        let own = self.names.entry(created.name.clone()).or_default();
        let first = own.marked.is_empty() && own.columns.is_none();
        own.columns = created
            .columns
            .as_ref()
            .filter(|_| first)
            .map(|columns| columns.iter().map(|column| column.name.clone()).collect());
        for (index, column) in created.columns.iter().flatten().enumerate() {
            for (id, label) in &column.columns {
                let why = Why::Label(*label);
                let known = |m: &Marked| m.name == column.name && m.id == *id && m.why == why;
                if !own.marked.iter().any(known) {
                    own.marked.push(Marked { name: column.name.clone(), index, id: *id, why });
                }
            }
        }
    }

    /// Whether the session created a relation of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Labelled columns of the session's own relation of that name.
    pub(crate) fn marked(&self, name: &str) -> &[Marked] {
        self.names.get(name).map_or(&[], |own| &own.marked)
    }

    /// All its columns, if they are known.
    pub(crate) fn columns(&self, name: &str) -> Option<&[Box<str>]> {
        self.names.get(name)?.columns.as_deref()
    }

    /// The snapshot has caught up: it knows the relations, but not which of their columns hold labelled values.
    pub fn clear(&mut self) {
        self.names.retain(|_, own| !own.marked.is_empty());
    }

    /// No name is kept.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}
