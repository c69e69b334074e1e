//! The plan of a text, once everything that it depends on is known.

use std::sync::Arc;

use ringfence_policy::Refusal;
use ringfence_wire::frontend as fe;

use super::frontend::Step;
use super::reasons::*;
use super::{Probe, RefreshReason, Session};
use crate::names::Prepared;
use crate::plan::Plan;

impl Session {
    /// The plan of a text, once everything that it depends on is known. `types` are those of a Parse's parameters;
    /// `None`: a simple query.
    pub(super) fn decide(&mut self, text: &[u8], types: Option<&[u32]>) -> Result<Arc<Plan>, Undecided> {
        if !self.settings.standard_strings || !self.settings.utf8 {
            if !self.pending.is_empty() {
                return Err(self.wait_for_replies());
            }
            return Err(Undecided::Refused(settings_refused()));
        }
        if !self.settings.server_utf8 {
            return Err(Undecided::Refused(server_not_utf8()));
        }
        if self.client.unread {
            return Err(Undecided::Refused(catalog_unread()));
        }
        // Before its cycle's Sync a change is not committed: no snapshot can show it, the session's own names do.
        if self.catalog_changed && self.changed_in != self.cycle {
            if !self.pending.is_empty() {
                return Err(self.wait_for_replies());
            }
            if !self.server.in_transaction {
                self.ask(RefreshReason::Ddl);
                return Err(Undecided::Step(Step::Wait(None)));
            }
        }
        if self.is_behind() {
            self.ask(RefreshReason::Behind);
            return Err(Undecided::Step(Step::Wait(None)));
        }
        let plan = match types {
            Some(types) => self.plan(text, types),
            None => self.config.plans.passing(text, &self.config.world, &self.config.client, &self.own),
        };
        if plan.analysis.setting_dependent && !self.pending.is_empty() {
            return Err(self.wait_for_replies());
        }
        if plan.unknown().is_some() && !self.client.refreshed && self.client.probe != Probe::Sent {
            self.ask(RefreshReason::UnknownRelation);
            return Err(Undecided::Step(Step::Wait(None)));
        }
        Ok(plan)
    }

    /// A prepared statement as it must be judged now: its plan may be older than the world.
    pub(super) fn current(&mut self, name: &[u8], prepared: Option<Prepared>) -> Result<Prepared, Undecided> {
        let refused = || Undecided::Refused(not_analysed("prepared statement", name, "26000"));
        let Some(mut prepared) = prepared else { return Err(refused()) };
        let Some(plan) = prepared.plan.clone() else { return Err(refused()) };
        let stale = self.is_stale(&plan) || plan.unknown().is_some();
        if !stale {
            return Ok(prepared);
        }
        if plan.unknown().is_some() && !self.pending.is_empty() {
            // Whether the server knew the relation is in its answer to Parse.
            return Err(self.wait_for_replies());
        }
        let plan = self.decide(&plan.text.clone(), Some(&plan.parameter_types.clone()))?;
        if let Some(unknown) = plan.unknown() {
            return Err(Undecided::Refused(unknown_relation(unknown)));
        }
        if let Some(refusal) = plan.refusal().filter(|_| !self.config.client.observe) {
            return Err(Undecided::Refused(refusal.clone()));
        }
        prepared.fingerprint = plan.fingerprint;
        prepared.plan = Some(plan);
        self.statements.put(fe::name_key(name), Some(prepared.clone()));
        Ok(prepared)
    }

    /// The world, or what the session itself created or changed, is not what it was.
    pub(super) fn is_stale(&self, plan: &Plan) -> bool {
        plan.world != self.config.world.id
            || self.catalog_changed
            || plan.own_names
            || !self.own.is_empty()
            || self.is_behind()
    }

    /// Another session changed the catalog since it was read: once for each message it is read again. Not while changes
    /// of this session's own transaction may lock what a reader asks for.
    fn is_behind(&self) -> bool {
        self.config.world.is_behind() && !self.client.caught_up && !(self.catalog_changed && self.server.in_transaction)
    }

    /// Why a text that passed under another policy does not under this one.
    pub(super) fn refused_now(&self, plan: &Plan) -> Option<Refusal> {
        let plan = self.plan(&plan.text, &plan.parameter_types);
        plan.refusal().filter(|_| !self.config.client.observe).cloned()
    }
}

/// Why there is no plan yet.
#[derive(Debug)]
pub(super) enum Undecided {
    Step(Step),
    Refused(Refusal),
}
