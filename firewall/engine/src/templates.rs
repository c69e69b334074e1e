//! One plan for all simple queries that differ only in values ([`Template`]): such a text is not parsed.
//!
//! Only plans that found nothing at all serve others ([`Plan::stands_for_others`]): then the values were compared with,
//! or stored in, nothing that is labelled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};
use ringfence_analysis::{SessionNames, Template};
use ringfence_policy::ClientPolicy;

use crate::World;
use crate::door::Door;
use crate::plan::Plan;

/// Texts of one shape that do not fit, before one of them may take the template's place.
const PATIENCE: u32 = 16;

#[derive(Debug)]
pub(crate) struct Templates {
    cache: Cache<Key, Arc<Entry>, ByBytes>,
    door: Door,
}

#[derive(Debug)]
struct Entry {
    /// `None`: the last text of that shape has no template.
    shared: Option<(Template, Arc<Plan>)>,
    unfit: AtomicU32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    world: u64,
    client: Arc<str>,
    /// Fingerprint and number of literals. Texts that share them by accident do not fit.
    shape: (u64, u32),
}

/// [`Key`], borrowed. Field order as in `Key`, so that both hash alike.
#[derive(Hash)]
struct Lookup<'a> {
    world: u64,
    client: &'a str,
    shape: (u64, u32),
}

impl Equivalent<Key> for Lookup<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.world == key.world && self.shape == key.shape && *self.client == *key.client
    }
}

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<Key, Arc<Entry>> for ByBytes {
    fn weight(&self, _: &Key, entry: &Arc<Entry>) -> u64 {
        256 + entry.shared.as_ref().map_or(0, |(template, plan)| template.weight() + plan.weight()) as u64
    }
}

/// What is known of a shape.
pub(crate) enum Known {
    Plan(Arc<Plan>),
    /// The text goes the whole way; its plan may be offered.
    Nothing,
    /// The same, without an offer.
    Other,
}

impl Templates {
    /// Keeps at most about `bytes`.
    pub(crate) fn new(bytes: u64) -> Self {
        let expected = usize::try_from(bytes / 2048).unwrap_or(usize::MAX).clamp(64, 1 << 16);
        Self { cache: Cache::with_weighter(expected, bytes, ByBytes), door: Door::default() }
    }

    pub(crate) fn find(&self, text: &[u8], shape: (u64, u32), world: &World, client: &ClientPolicy) -> Known {
        let lookup = Lookup { world: world.id, client: &client.name, shape };
        let Some(entry) = self.cache.get(&lookup) else {
            return if self.door.admits(&lookup) { Known::Nothing } else { Known::Other };
        };
        if let Some((template, plan)) = &entry.shared
            && template.fits(text)
        {
            return Known::Plan(Arc::clone(plan));
        }
        let unfit = entry.unfit.fetch_add(1, Ordering::Relaxed);
        if unfit % PATIENCE == PATIENCE - 1 { Known::Nothing } else { Known::Other }
    }

    /// A plan that was made for such a text.
    pub(crate) fn offer(&self, plan: &Arc<Plan>, shape: (u64, u32), world: &World, client: &ClientPolicy) {
        let template = (plan.stands_for_others() && plan.fingerprint == shape.0)
            .then(|| std::str::from_utf8(&plan.text).ok().and_then(Template::of))
            .flatten()
            .filter(|template| holds(template, plan, world, client));
        let entry = Entry { shared: template.map(|t| (t, Arc::clone(plan))), unfit: AtomicU32::new(0) };
        let key = Key { world: world.id, client: (&*client.name).into(), shape };
        self.cache.insert(key, Arc::new(entry));
    }

    /// Bytes that they are reckoned to take.
    pub(crate) fn weight(&self) -> u64 {
        self.cache.weight()
    }
}

/// Another text that fits is decided alike. (That all are is the template's promise; this would notice an error.)
fn holds(template: &Template, plan: &Plan, world: &World, client: &ClientPolicy) -> bool {
    let example = Plan::make(template.example().as_bytes(), &[], world, client, &SessionNames::default());
    let relations = |plan: &Plan| plan.statement(0).map(|statement| statement.relations.clone());
    example.stands_for_others() && relations(&example) == relations(plan)
}
