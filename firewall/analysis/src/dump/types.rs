//! Types by name: the server's own by their OIDs, users' by made-up ones.

use foldhash::HashMap;

use super::system;
use crate::arbiter::dump::{Name, TypeRef};

#[derive(Debug, Default)]
pub(super) struct Types {
    server: HashMap<&'static str, u32>,
    printed: HashMap<u32, Box<str>>,
    /// By schema and name.
    own: HashMap<(Box<str>, Box<str>), u32>,
    by_name: HashMap<Box<str>, u32>,
    /// What is behind them.
    pub(super) behind: HashMap<u32, Behind>,
    /// Array types of users' types.
    arrays: HashMap<u32, u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    /// An enumeration, a range, a base type.
    Nothing,
    Domain(u32),
    Array(u32),
    /// citext.
    Text,
    /// A relation's rows.
    Rows,
}

/// `text`
const TEXT: u32 = 25;

impl Types {
    pub(super) fn new() -> Self {
        let mut types = Self::default();
        for of in system::types() {
            types.server.insert(of.name, of.oid);
            types.printed.insert(of.oid, of.printed.into());
        }
        types
    }

    pub(super) fn printed(&self, oid: u32) -> Box<str> {
        self.printed.get(&oid).cloned().unwrap_or_else(|| "-".into())
    }

    /// A user's type and, beside it, its array type.
    pub(super) fn define(&mut self, schema: &str, name: &str, oid: u32, array: u32, behind: Behind) {
        // format_type under a search path of pg_catalog alone.
        let printed: Box<str> = format!("{}.{}", word(schema), word(name)).into();
        self.own.insert((schema.into(), name.into()), oid);
        self.by_name.entry(name.into()).or_insert(oid);
        self.behind.insert(oid, behind);
        self.behind.insert(array, Behind::Array(oid));
        self.arrays.insert(oid, array);
        self.printed.insert(array, format!("{printed}[]").into());
        self.printed.insert(oid, printed);
    }

    /// The OID that a name means.
    pub(super) fn find(&self, of: &TypeRef) -> Option<u32> {
        let oid = self.scalar(&of.name)?;
        if !of.array {
            return Some(oid);
        }
        self.array_of(oid)
    }

    pub(super) fn array_of(&self, oid: u32) -> Option<u32> {
        if let Some(array) = self.arrays.get(&oid) {
            return Some(*array);
        }
        let (name, _) = self.server.iter().find(|(_, found)| **found == oid)?;
        self.server.get(&*format!("_{name}")).copied()
    }

    fn scalar(&self, name: &Name) -> Option<u32> {
        let server = || self.server.get(&*name.name).copied();
        match name.schema.as_deref() {
            Some("pg_catalog") => server(),
            Some(schema) => self.own.get(&(schema.into(), name.name.clone())).copied(),
            None => server().or_else(|| self.by_name.get(&name.name).copied()),
        }
    }

    /// Users' types with the name of one of the server's.
    pub(super) fn defined_like_servers(&self) -> impl Iterator<Item = Box<str>> {
        self.by_name.keys().filter(|name| self.server.contains_key(&***name)).cloned()
    }

    /// The server's type that a user's type looks like on the wire.
    pub(super) fn looks_like(&self, oid: u32) -> Option<u32> {
        let like = match self.behind.get(&oid)? {
            Behind::Array(element) => self.array_of(self.plain(*element))?,
            _ => self.plain(oid),
        };
        (like != oid && like < super::build::FIRST).then_some(like)
    }

    /// Domains down to what they are over.
    fn plain(&self, mut oid: u32) -> u32 {
        for _ in 0..32 {
            match self.behind.get(&oid) {
                Some(Behind::Domain(base)) => oid = *base,
                Some(Behind::Text) => return TEXT,
                _ => return oid,
            }
        }
        oid
    }

    /// The row type under arrays and domains.
    pub(super) fn rows_in(&self, mut oid: u32) -> Option<u32> {
        for _ in 0..32 {
            match self.behind.get(&oid)? {
                Behind::Rows => return Some(oid),
                Behind::Domain(inner) | Behind::Array(inner) => oid = *inner,
                Behind::Nothing | Behind::Text => return None,
            }
        }
        None
    }
}

/// A name as the server prints it.
fn word(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}
