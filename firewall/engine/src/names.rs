//! Prepared statements and portals of one session. Protocol and SQL share one namespace of each (soundness 15).

use std::collections::HashMap;
use std::sync::Arc;

use crate::plan::Plan;

/// One statement that can be bound or executed by name.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    /// `None` for clients whose statements are not analysed.
    pub(crate) plan: Option<Arc<Plan>>,
    /// Which statement of the plan's text.
    pub(crate) statement: usize,
    pub(crate) fingerprint: u64,
    /// A statement that could have (re)defined the name failed or was skipped: nobody knows what the server has.
    pub(crate) doubtful: bool,
}

/// One portal or cursor.
#[derive(Debug, Clone)]
pub(crate) struct Portal {
    /// Unique in the session.
    pub(crate) id: u64,
    pub(crate) prepared: Prepared,
    /// Sync cycle in which it was made: it ends with the transaction that the cycle belongs to.
    pub(crate) cycle: u64,
    /// WITH HOLD cursors and the like outlive their transaction.
    pub(crate) sql: bool,
    /// A Describe of it was sent since it was bound, so rows can be judged.
    pub(crate) described: bool,
}

/// A table of names; the unnamed entry costs no look-up and no allocation.
#[derive(Debug)]
pub(crate) struct Table<T> {
    unnamed: Option<T>,
    named: HashMap<Box<[u8]>, T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { unnamed: None, named: HashMap::new() }
    }
}

/// What a name meant before a message that may yet fail: put back when it does.
#[derive(Debug)]
pub(crate) struct Undo<T> {
    name: Box<[u8]>,
    before: Option<T>,
}

impl<T> Table<T> {
    pub(crate) fn get(&self, name: &[u8]) -> Option<&T> {
        if name.is_empty() { self.unnamed.as_ref() } else { self.named.get(name) }
    }

    pub(crate) fn get_mut(&mut self, name: &[u8]) -> Option<&mut T> {
        if name.is_empty() { self.unnamed.as_mut() } else { self.named.get_mut(name) }
    }

    pub(crate) fn set(&mut self, name: &[u8], value: T) -> Undo<T> {
        let before = if name.is_empty() { self.unnamed.replace(value) } else { self.named.insert(name.into(), value) };
        Undo { name: name.into(), before }
    }

    pub(crate) fn remove(&mut self, name: &[u8]) -> Undo<T> {
        let before = if name.is_empty() { self.unnamed.take() } else { self.named.remove(name) };
        Undo { name: name.into(), before }
    }

    pub(crate) fn undo(&mut self, undo: Undo<T>) {
        if undo.name.is_empty() {
            self.unnamed = undo.before;
        } else if let Some(before) = undo.before {
            self.named.insert(undo.name, before);
        } else {
            self.named.remove(&undo.name);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.unnamed = None;
        self.named = HashMap::new();
    }

    pub(crate) fn clear_named(&mut self) {
        self.named = HashMap::new();
    }

    pub(crate) fn len(&self) -> usize {
        self.named.len()
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        if self.unnamed.as_ref().is_some_and(|value| !keep(value)) {
            self.unnamed = None;
        }
        self.named.retain(|_, value| keep(value));
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.unnamed.iter_mut().chain(self.named.values_mut())
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.unnamed.iter().chain(self.named.values())
    }
}
