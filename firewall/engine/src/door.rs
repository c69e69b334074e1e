//! What comes once is not kept.

use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU32, Ordering};

use foldhash::quality::RandomState;

/// Remembers about what was asked lately. A collision only keeps a plan too early, or makes one twice.
#[derive(Debug)]
pub(crate) struct Door {
    hasher: RandomState,
    seen: Box<[AtomicU32]>,
}

impl Default for Door {
    fn default() -> Self {
        Self { hasher: RandomState::default(), seen: (0..Self::SLOTS).map(|_| AtomicU32::new(0)).collect() }
    }
}

impl Door {
    const SLOTS: usize = 8192;

    /// It was asked about before.
    pub(crate) fn admits(&self, what: &impl Hash) -> bool {
        let hash = self.hasher.hash_one(what);
        let mark = (hash >> 32) as u32;
        let slot = self.seen.get(hash as usize % Self::SLOTS);
        slot.is_none_or(|slot| slot.swap(mark, Ordering::Relaxed) == mark)
    }
}
