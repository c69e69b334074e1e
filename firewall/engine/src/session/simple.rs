//! The simple protocol: a text of any number of statements, and the old function call.

use std::sync::Arc;
use std::time::Instant;

use ringfence_analysis::facts::{Rule, Statement};
use ringfence_policy::Refusal;
use ringfence_wire::frame::Header;
use ringfence_wire::{WireError, frontend as fe};

use super::decide::Undecided;
use super::frontend::{FINGERPRINTED, Own, Step};
use super::reasons::*;
use super::{Probe, Session};
use crate::names::Prepared;
use crate::pending::{Expect, Running};
use crate::plan::Plan;

impl Session {
    pub(super) fn query(&mut self, now: Instant, header: Header, body: &[u8]) -> Result<Step, WireError> {
        if !self.restricted() {
            let text = text_prefix(header, body)?;
            let fingerprint = ringfence_analysis::fingerprint(text);
            if let Some(refusal) = self.unaudited(None) {
                return Ok(self.refuse(now, &refusal, None, fingerprint, true));
            }
            let running = Running::passive(fingerprint, now);
            self.owe_query(running);
            return Ok(self.pass_unrestricted());
        }
        if header.body > self.config.limits.statement {
            return Ok(self.refuse(now, &too_long(self.config.limits.statement), None, 0, true));
        }
        let text = fe::Query::parse(body)?.text;
        if self.client.probe == Probe::Answered {
            // The server sends the error and ReadyForQuery apart: forgotten between them, the second would be taken for
            // that of a probe that succeeded.
            if matches!(self.pending.front(), Some(Expect::ProbeSync { .. })) {
                return Ok(Step::Wait(None));
            }
            self.client.probe = Probe::None;
            return Ok(Step::Drop);
        }
        if let Some(step) = self.copy_out_failed() {
            return Ok(step);
        }
        let plan = match self.decide(text, None) {
            Ok(plan) => plan,
            Err(Undecided::Step(step)) => return Ok(step),
            Err(Undecided::Refused(refusal)) => return Ok(self.refuse(now, &refusal, None, 0, true)),
        };
        if plan.refusal().is_none()
            && let Some(unknown) = plan.unknown()
        {
            return Ok(self.probe(now, &plan, unknown));
        }
        self.client.probe = Probe::None;
        if let Some(refusal) = self.unaudited(Some(&plan)) {
            return Ok(self.refuse(now, &refusal, Some(&plan), plan.fingerprint, true));
        }
        let mut observed = None;
        if let Some(refusal) = plan.refusal() {
            if !self.config.client.observe {
                let refusal = refusal.clone();
                return Ok(self.refuse(now, &refusal, Some(&plan), plan.fingerprint, true));
            }
            observed = Some(refusal.rule);
        }
        let copy = match self.begin_copy_out(now, &plan, None) {
            Ok(copy) => copy,
            Err(step) => return Ok(step),
        };
        let mut running = Running {
            sources: Vec::with_capacity(plan.analysis.statements.len()),
            plan: Some(Arc::clone(&plan)),
            fingerprint: plan.fingerprint,
            statement: 0,
            portal: 0,
            rows: copy.rows,
            copy: copy.rewriter,
            started: now,
            observed,
            names: Vec::new(),
        };
        if (0..plan.analysis.statements.len()).any(|at| self.is_open_question(&Prepared::of(&plan, at))) {
            return Ok(Step::Wait(None));
        }
        for at in 0..plan.analysis.statements.len() {
            let prepared = Prepared::of(&plan, at);
            match self.source(&prepared) {
                Ok(source) => {
                    if let Some(refusal) = self.guessed_literals(now, &prepared, &source) {
                        self.forget(&running.names);
                        return Ok(self.refuse(now, &refusal, Some(&plan), plan.fingerprint, true));
                    }
                    self.apply(&prepared, &source, &mut running.names);
                    running.sources.push(source);
                }
                Err(refusal) => {
                    self.forget(&running.names);
                    return Ok(self.refuse(now, &refusal, Some(&plan), plan.fingerprint, true));
                }
            }
        }
        self.expect_copies(&plan, None);
        self.statements.remove(b"");
        self.portals.remove(b"");
        self.owe_query(running);
        Ok(self.pass(&plan, now))
    }

    /// Shows the statement to the server's parser only (soundness 13).
    pub(super) fn probe(&mut self, now: Instant, plan: &Arc<Plan>, unknown: &Statement) -> Step {
        match self.client.probe {
            Probe::None => {
                self.client.probe = Probe::Sent;
                self.pending.push(Expect::ProbeParse { started: now, fingerprint: plan.fingerprint });
                let cycle = self.next_cycle();
                self.pending.push(Expect::ProbeSync { cycle });
                // The server replaces its unnamed statement, as the query would have done.
                self.statements.remove(b"");
                Step::Wait(Some(Own::Probe { from: unknown.range.start, to: unknown.range.end }))
            }
            Probe::Sent | Probe::Answered => Step::Wait(None),
            Probe::Known => {
                self.client.probe = Probe::None;
                self.refuse(now, &unknown_relation(unknown), Some(plan), plan.fingerprint, true)
            }
        }
    }

    pub(super) fn function_call(&mut self, now: Instant) -> Step {
        if self.restricted() {
            let refusal = Refusal {
                rule: Rule::Protocol,
                sqlstate: "42501",
                message: String::from("FunctionCall messages are refused: they bypass the analysis of SQL"),
                hint: Some(String::from("Call the function in a SELECT.")),
                position: None,
            };
            return self.refuse(now, &refusal, None, 0, true);
        }
        if let Some(refusal) = self.unaudited(None) {
            return self.refuse(now, &refusal, None, 0, true);
        }
        let cycle = self.next_cycle();
        self.pending.push(Expect::FunctionCall { cycle, fingerprint: 0, started: now });
        self.pass_unrestricted()
    }
}

pub(super) fn text_prefix(header: Header, body: &[u8]) -> Result<&[u8], WireError> {
    if header.body <= FINGERPRINTED { fe::Query::parse(body).map(|query| query.text) } else { Ok(body) }
}
