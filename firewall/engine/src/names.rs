//! Prepared statements and portals of one session. Protocol and SQL share one namespace of each (soundness 15).

use std::collections::HashMap;
use std::sync::Arc;

use crate::plan::Plan;

/// The message that made a name: until it is answered, nobody knows whether it did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Made {
    /// Sync cycle of the message: what follows it in the same cycle is skipped with it.
    pub(crate) cycle: u64,
    /// Its place among the owed replies.
    pub(crate) number: u64,
}

/// What an entry keeps in memory.
pub(crate) trait Weigh {
    fn weight(&self) -> usize;
}

/// One statement that can be bound or executed by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prepared {
    /// `None` for clients whose statements are not analysed.
    pub(crate) plan: Option<Arc<Plan>>,
    /// Which statement of the plan's text.
    pub(crate) statement: usize,
    pub(crate) fingerprint: u64,
    /// The query inside a PREPARE or DECLARE, not that statement itself.
    pub(crate) inner: bool,
    pub(crate) made: Made,
}

impl Weigh for Prepared {
    fn weight(&self) -> usize {
        128 + self.plan.as_ref().map_or(0, |plan| plan.weight())
    }
}

/// One portal or cursor.
#[derive(Debug, Clone)]
pub(crate) struct Portal {
    /// Unique in the session.
    pub(crate) id: u64,
    pub(crate) prepared: Prepared,
    /// It ends with the transaction that the cycle belongs to.
    pub(crate) made: Made,
    /// WITH HOLD cursors and the like outlive their transaction.
    pub(crate) sql: bool,
    /// A Describe of it was sent since it was bound, so rows can be judged.
    pub(crate) described: bool,
    /// An Execute of it was sent.
    pub(crate) started: bool,
}

impl Weigh for Portal {
    fn weight(&self) -> usize {
        self.prepared.weight()
    }
}

/// A table of names; the unnamed entry costs no look-up and no allocation.
#[derive(Debug)]
pub(crate) struct Table<T> {
    unnamed: Option<T>,
    named: HashMap<Box<[u8]>, T>,
    /// Of the named ones.
    weight: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { unnamed: None, named: HashMap::new(), weight: 0 }
    }
}

/// What a name meant before a message that may yet fail: put back when it does.
#[derive(Debug)]
pub(crate) struct Undo<T> {
    pub(crate) name: Box<[u8]>,
    pub(crate) before: Option<T>,
}

impl<T: Weigh> Table<T> {
    pub(crate) fn get(&self, name: &[u8]) -> Option<&T> {
        if name.is_empty() { self.unnamed.as_ref() } else { self.named.get(name) }
    }

    pub(crate) fn get_mut(&mut self, name: &[u8]) -> Option<&mut T> {
        if name.is_empty() { self.unnamed.as_mut() } else { self.named.get_mut(name) }
    }

    pub(crate) fn put(&mut self, name: &[u8], value: Option<T>) -> Option<T> {
        if name.is_empty() {
            return std::mem::replace(&mut self.unnamed, value);
        }
        self.weight += value.as_ref().map_or(0, Weigh::weight);
        let before = match value {
            Some(value) => self.named.insert(name.into(), value),
            None => self.named.remove(name),
        };
        self.weight = self.weight.saturating_sub(before.as_ref().map_or(0, Weigh::weight));
        before
    }

    pub(crate) fn set(&mut self, name: &[u8], value: T) -> Undo<T> {
        Undo { name: name.into(), before: self.put(name, Some(value)) }
    }

    pub(crate) fn remove(&mut self, name: &[u8]) -> Undo<T> {
        Undo { name: name.into(), before: self.put(name, None) }
    }

    pub(crate) fn clear(&mut self) {
        self.unnamed = None;
        self.clear_named();
    }

    pub(crate) fn clear_named(&mut self) {
        self.named = HashMap::new();
        self.weight = 0;
    }

    pub(crate) fn len(&self) -> usize {
        self.named.len()
    }

    /// Bytes that the named entries keep.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        if self.unnamed.as_ref().is_some_and(|value| !keep(value)) {
            self.unnamed = None;
        }
        let weight = &mut self.weight;
        self.named.retain(|_, value| {
            let kept = keep(value);
            if !kept {
                *weight = weight.saturating_sub(value.weight());
            }
            kept
        });
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.unnamed.iter_mut().chain(self.named.values_mut())
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.unnamed.iter().chain(self.named.values())
    }
}
