//! What is sent for a message, and what the server will owe for it.

use std::sync::Arc;
use std::time::Instant;

use ringfence_policy::Refusal;
use ringfence_wire::frontend as fe;

use super::Session;
use super::frontend::{Own, Step};
use crate::gate::Permit;
use crate::names::{Made, Portal, Prepared};
use crate::pending::{Expect, Refused, Running};
use crate::plan::Plan;
use crate::refusal;

impl Session {
    pub(super) fn pass(&mut self, plan: &Plan, _: Instant) -> Step {
        match Permit::decided(plan, &self.config.client) {
            Some(permit) => Step::Pass(permit),
            None => Step::Drop,
        }
    }

    pub(super) fn pass_unrestricted(&self) -> Step {
        Permit::unrestricted(&self.config.client).map_or(Step::Drop, Step::Pass)
    }

    /// Sends what fails in the refused message's place; the error is replaced when it arrives.
    pub(super) fn refuse(
        &mut self,
        now: Instant,
        refusal: &Refusal,
        plan: Option<&Arc<Plan>>,
        fingerprint: u64,
        with_sync: bool,
    ) -> Step {
        let reply = refusal::error_response(refusal, plan.map(|p| &*p.text));
        self.pending.push(Expect::Refused(Box::new(Refused {
            reply,
            rule: refusal.rule,
            plan: plan.cloned(),
            statement: plan.map_or(0, |p| p.refused_statement()),
            fingerprint,
            started: now,
        })));
        if with_sync {
            self.owe_sync();
        }
        Step::Instead(Own::Refused { with_sync })
    }

    pub(super) fn owe_sync(&mut self) {
        let cycle = self.next_cycle();
        self.pending.push(Expect::Sync { cycle });
    }

    pub(super) fn owe_query(&mut self, running: Running) {
        let cycle = self.next_cycle();
        self.pending.push(Expect::Query { running: Box::new(running), cycle });
    }

    pub(super) fn note_change(&mut self) {
        self.catalog_changed = true;
        self.changed_in = self.cycle;
    }

    pub(super) fn next_cycle(&mut self) -> u64 {
        let cycle = self.cycle;
        self.cycle += 1;
        cycle
    }

    pub(super) fn next_portal_id(&mut self) -> u64 {
        let id = self.next_portal;
        self.next_portal += 1;
        id
    }

    pub(super) fn set_portal(&mut self, name: &[u8], prepared: Prepared) {
        let id = self.next_portal_id();
        let portal = Portal { id, prepared, made: self.made(), sql: false, described: false, started: false };
        let undo = self.portals.set(fe::name_key(name), portal);
        self.pending.push(Expect::Bind { undo: Some(undo) });
    }
}

impl Prepared {
    pub(super) fn of(plan: &Arc<Plan>, statement: usize) -> Self {
        Self {
            plan: Some(Arc::clone(plan)),
            statement,
            fingerprint: plan.fingerprint,
            inner: false,
            made: Made::default(),
        }
    }
}

impl Running {
    pub(super) fn passive(fingerprint: u64, started: Instant) -> Self {
        Self {
            sources: Vec::new(),
            plan: None,
            fingerprint,
            statement: 0,
            portal: 0,
            rows: None,
            copy: None,
            started,
            observed: None,
            names: Vec::new(),
        }
    }
}
