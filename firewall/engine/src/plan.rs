//! Plans: what was decided about one text, kept for as long as the world that it was decided in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};
use ringfence_analysis::facts::{Analysis, Effect, Kind, Rule, Statement};
use ringfence_analysis::{SessionNames, SyntaxError, analyse};
use ringfence_policy::{ClientPolicy, Decision, Refusal, decide};

use crate::World;
use crate::door::Door;
use crate::templates::{Known, Templates};

/// Longer texts have a plan of their own.
const MAX_SHARED: usize = 16 << 10;

/// One text, analysed and decided for one client in one world.
#[derive(Debug)]
pub struct Plan {
    pub text: Arc<[u8]>,
    /// Declared parameter types: `g($1)` is another function for text than for integer.
    pub parameter_types: Box<[u32]>,
    /// [`World::id`].
    pub world: u64,
    /// It was made while the session had names of its own: it is as old as they are.
    pub own_names: bool,
    /// Label numbers mean something only under the policy that gave them.
    pub policy_version: u64,
    pub analysis: Analysis,
    /// One for each statement.
    pub decisions: Vec<Decision>,
    pub fingerprint: u64,
    /// What the audit log says of it, for as long as it lives; the log makes it.
    pub note: OnceLock<Box<str>>,
    refusal: Option<(usize, Refusal)>,
}

impl Plan {
    /// Analyses and decides. `names` holds what this session created and no snapshot can show yet.
    pub fn make(
        text: &[u8],
        parameter_types: &[u32],
        world: &World,
        client: &ClientPolicy,
        names: &SessionNames,
    ) -> Self {
        let mut plan = Self {
            text: text.into(),
            parameter_types: parameter_types.into(),
            world: world.id,
            own_names: !names.is_empty(),
            policy_version: world.policy_version,
            analysis: Analysis::default(),
            decisions: Vec::new(),
            fingerprint: 0,
            note: OnceLock::new(),
            refusal: None,
        };
        let analysis = match std::str::from_utf8(text) {
            Ok(readable) => analyse(readable, &world.catalog, names).map_err(|error| unreadable(&error)),
            Err(_) => Err(not_utf8()),
        };
        match analysis {
            Ok(analysis) => plan.analysis = analysis,
            Err(refusal) => plan.refusal = Some((0, refusal)),
        }
        plan.fingerprint = match &*plan.analysis.statements {
            // What stands around the only statement leaves no trace in it.
            [only] => only.fingerprint,
            _ => ringfence_analysis::fingerprint(text),
        };
        if plan.refusal.is_some() {
            return plan;
        }
        plan.decisions =
            plan.analysis.statements.iter().map(|statement| decide(client, &world.catalog, statement)).collect();
        plan.refusal = plan.decisions.iter().enumerate().find_map(|(at, decision)| match decision {
            Decision::Refuse(refusal) => Some((at, refusal.clone())),
            Decision::Pass | Decision::Handle => None,
        });
        plan
    }

    /// The first refusal, if any: a text is cleared whole or refused whole.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref().map(|(_, refusal)| refusal)
    }

    /// The statement that the refusal is about.
    pub fn refused_statement(&self) -> usize {
        self.refusal.as_ref().map_or(0, |(at, _)| *at)
    }

    pub fn statement(&self, at: usize) -> Option<&Statement> {
        self.analysis.statements.get(at)
    }

    /// The first statement that names a relation nobody knows.
    pub fn unknown(&self) -> Option<&Statement> {
        self.analysis.statements.iter().find(|statement| !statement.unknown.is_empty())
    }

    /// Some labelled column, or relation with one, is reached.
    pub fn reaches_labels(&self) -> bool {
        self.analysis.statements.iter().any(|statement| statement.taints || !statement.columns.is_empty())
    }

    /// Nothing was found in it, so it does not matter which values it holds where values can stand.
    pub(crate) fn stands_for_others(&self) -> bool {
        let ([Decision::Pass], [only]) = (&*self.decisions, &*self.analysis.statements) else { return false };
        // Every fact is named: a new one has to be thought about.
        let Statement {
            range: _,
            kind,
            verb: _,
            fingerprint: _,
            relations: _,
            unknown,
            columns,
            violations,
            outputs,
            described,
            stored_parameters,
            copy_out,
            effect,
            writes: _,
            taints,
            unexplained,
        } = only;
        matches!(kind, Kind::Select | Kind::Insert | Kind::Update | Kind::Delete)
            && self.refusal.is_none()
            && !self.own_names
            && !self.analysis.setting_dependent
            && unknown.is_empty()
            && columns.is_empty()
            && violations.is_empty()
            && outputs.is_none()
            && described.is_empty()
            && stored_parameters.is_empty()
            && copy_out.is_none()
            && *effect == Effect::None
            && !taints
            && !unexplained
    }

    /// Bytes that it takes, reckoned.
    pub(crate) fn weight(&self) -> usize {
        let statements: usize = self
            .analysis
            .statements
            .iter()
            .map(|s| {
                256 + 16 * s.relations.len() + 80 * s.columns.len() + s.outputs.as_ref().map_or(0, |o| 40 * o.len())
            })
            .sum();
        512 + 2 * self.text.len() + 64 * self.decisions.len() + statements
    }
}

fn not_utf8() -> Refusal {
    Refusal {
        rule: Rule::Parser,
        sqlstate: "22021",
        message: String::from("the statement is not valid UTF-8"),
        hint: Some(String::from("Send statements in UTF-8 (client_encoding = 'UTF8').")),
        position: None,
    }
}

fn unreadable(error: &SyntaxError) -> Refusal {
    Refusal {
        rule: Rule::Parser,
        sqlstate: error.sqlstate,
        message: error.message.clone(),
        hint: None,
        position: error.position,
    }
}

/// Plans of all sessions, bounded in bytes. The key is the whole text: hashes can be collided by whoever writes them.
#[derive(Debug)]
pub struct PlanCache {
    cache: Cache<Key, Arc<Plan>, ByBytes>,
    /// Texts with literals in them come once: only what is seen again is kept.
    door: Door,
    templates: Templates,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    world: u64,
    client: Arc<str>,
    parameter_types: Box<[u32]>,
    text: Arc<[u8]>,
}

/// [`Key`], borrowed: a look-up allocates nothing. Field order as in `Key`, so that both hash alike.
#[derive(Hash)]
struct Lookup<'a> {
    world: u64,
    client: &'a str,
    parameter_types: &'a [u32],
    text: &'a [u8],
}

impl Equivalent<Key> for Lookup<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.world == key.world
            && *self.text == *key.text
            && *self.client == *key.client
            && *self.parameter_types == *key.parameter_types
    }
}

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<Key, Arc<Plan>> for ByBytes {
    fn weight(&self, _: &Key, plan: &Arc<Plan>) -> u64 {
        plan.weight() as u64
    }
}

impl PlanCache {
    /// Keeps at most about `bytes` of plans.
    pub fn new(bytes: u64) -> Self {
        let bytes = bytes - bytes / 8;
        let expected = usize::try_from(bytes / 2048).unwrap_or(usize::MAX).clamp(64, 1 << 20);
        Self {
            cache: Cache::with_weighter(expected, bytes, ByBytes),
            door: Door::default(),
            templates: Templates::new(bytes / 8),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The cached plan, or a new one. With names of its own the session gets a plan of its own.
    pub(crate) fn plan(
        &self,
        text: &[u8],
        parameter_types: &[u32],
        world: &World,
        client: &ClientPolicy,
        names: &SessionNames,
    ) -> Arc<Plan> {
        if !names.is_empty() {
            return Arc::new(Plan::make(text, parameter_types, world, client, names));
        }
        let lookup = Lookup { world: world.id, client: &client.name, parameter_types, text };
        if let Some(plan) = self.cache.get(&lookup) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return plan;
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let plan = Arc::new(Plan::make(text, parameter_types, world, client, names));
        if !self.door.admits(&lookup) {
            return plan;
        }
        let key = Key {
            world: world.id,
            client: (&*client.name).into(),
            parameter_types: parameter_types.into(),
            text: Arc::clone(&plan.text),
        };
        self.cache.insert(key, Arc::clone(&plan));
        plan
    }

    /// The plan of a simple query, whose text is not kept beyond its answer: it may be that of another text that differs
    /// only in values.
    pub(crate) fn passing(&self, text: &[u8], world: &World, client: &ClientPolicy, names: &SessionNames) -> Arc<Plan> {
        if text.len() > MAX_SHARED || !names.is_empty() {
            return self.plan(text, &[], world, client, names);
        }
        let shape = ringfence_analysis::shape(text);
        if shape.1 == 0 {
            return self.plan(text, &[], world, client, names);
        }
        match self.templates.find(text, shape, world, client) {
            Known::Plan(plan) => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                plan
            }
            Known::Other => self.plan(text, &[], world, client, names),
            Known::Nothing => {
                let plan = self.plan(text, &[], world, client, names);
                self.templates.offer(&plan, shape, world, client);
                plan
            }
        }
    }

    /// (hits, misses) since the start.
    pub fn counts(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    /// Bytes that the plans are reckoned to take.
    pub fn weight(&self) -> u64 {
        self.cache.weight() + self.templates.weight()
    }
}
