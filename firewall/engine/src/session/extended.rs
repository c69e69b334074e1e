//! The extended protocol: Parse, Bind, Describe, Execute, Close.

use std::sync::Arc;
use std::time::Instant;

use ringfence_analysis::facts::{Kind, Statement};
use ringfence_wire::frame::Header;
use ringfence_wire::{WireError, frontend as fe};
use smallvec::SmallVec;

use super::Session;
use super::copy_out::is_reserved;
use super::decide::Undecided;
use super::frontend::{Own, Step};
use super::meaning::runs_a_name;
use super::reasons::*;
use crate::gate::{Control, Permit, own};
use crate::names::Prepared;
use crate::pending::{Expect, Running};

impl Session {
    pub(super) fn parse(&mut self, now: Instant, header: Header, body: &[u8]) -> Result<Step, WireError> {
        if !self.restricted() {
            let nul = memchr(body)?;
            let name = body.get(..nul).unwrap_or_default();
            let rest = body.get(nul + 1..).unwrap_or_default();
            let text = rest.get(..memchr(rest).unwrap_or(rest.len())).unwrap_or_default();
            let fingerprint = ringfence_analysis::fingerprint(text);
            let prepared = Prepared { plan: None, statement: 0, fingerprint, inner: false, made: self.made() };
            let undo = self.statements.set(fe::name_key(name), prepared);
            self.pending.push(Expect::Parse { undo: Some(undo) });
            return Ok(self.pass_unrestricted());
        }
        if header.body > self.config.limits.statement {
            return Ok(self.refuse(now, &too_long(self.config.limits.statement), None, 0, false));
        }
        let message = fe::Parse::parse(body)?;
        let types: SmallVec<[u32; 16]> = message.parameter_types.iter().collect();
        let plan = match self.decide(message.text, Some(&types)) {
            Ok(plan) => plan,
            Err(Undecided::Step(step)) => return Ok(step),
            Err(Undecided::Refused(refusal)) => return Ok(self.refuse(now, &refusal, None, 0, false)),
        };
        if let Some(refusal) = plan.refusal().filter(|_| !self.config.client.observe) {
            let refusal = refusal.clone();
            return Ok(self.refuse(now, &refusal, Some(&plan), plan.fingerprint, false));
        }
        if is_reserved(message.name) {
            return Ok(self.refuse(now, &reserved("statement", message.name), Some(&plan), plan.fingerprint, false));
        }
        if let Some(refusal) = self.no_room(message.name) {
            return Ok(self.refuse(now, &refusal, Some(&plan), plan.fingerprint, false));
        }
        let prepared = Prepared { made: self.made(), ..Prepared::of(&plan, 0) };
        let undo = self.statements.set(fe::name_key(message.name), prepared);
        self.pending.push(Expect::Parse { undo: Some(undo) });
        Ok(self.pass(&plan, now))
    }

    pub(super) fn bind(&mut self, now: Instant, header: Header, body: &[u8]) -> Result<Step, WireError> {
        let Some(head) = fe::BindHead::read(body)? else {
            // The whole body is here and has no head: let the exact parser say what is wrong.
            fe::Bind::parse(body)?;
            return Ok(Step::Drop);
        };
        let prepared = self.statements.get(fe::name_key(head.statement)).cloned();
        if !self.restricted() {
            let prepared = prepared.unwrap_or_default();
            self.set_portal(head.portal, prepared);
            return Ok(self.pass_unrestricted());
        }
        if prepared.as_ref().is_some_and(|prepared| self.is_unsettled(prepared.made)) {
            return Ok(Step::Wait(None));
        }
        let prepared = match self.current(head.statement, prepared) {
            Ok(prepared) => prepared,
            Err(Undecided::Step(step)) => return Ok(step),
            Err(Undecided::Refused(refusal)) => return Ok(self.refuse(now, &refusal, None, 0, false)),
        };
        let Some(plan) = prepared.plan.clone() else {
            return Ok(self.refuse(now, &not_analysed("prepared statement", head.statement, "26000"), None, 0, false));
        };
        if head.portal == own::REFUSED_PORTAL {
            return Ok(self.refuse(now, &reserved("portal", head.portal), Some(&plan), plan.fingerprint, false));
        }
        if self.reads_parameters(head.statement) {
            if header.body > self.config.limits.handled_row {
                let refusal = too_long(self.config.limits.handled_row);
                return Ok(self.refuse(now, &refusal, Some(&plan), plan.fingerprint, false));
            }
            if body.len() < header.body {
                // Labelled only since its head arrived.
                let refusal = policy_changed();
                return Ok(self.refuse(now, &refusal, Some(&plan), plan.fingerprint, false));
            }
            let message = fe::Bind::parse(body)?;
            if let Some(refusal) = self.written_token(&plan, prepared.statement, &message) {
                return Ok(self.refuse(now, &refusal, Some(&plan), plan.fingerprint, false));
            }
            let guessed = self.source(&prepared).ok().and_then(|source| {
                self.guessed_literals(now, &prepared, &source)
                    .or_else(|| self.guessed_parameters(now, &source, &message))
            });
            if let Some(refusal) = guessed {
                return Ok(self.refuse(now, &refusal, Some(&plan), plan.fingerprint, false));
            }
        }
        if let Some(refusal) = self.no_room(head.portal) {
            return Ok(self.refuse(now, &refusal, Some(&plan), plan.fingerprint, false));
        }
        self.set_portal(head.portal, prepared);
        Ok(Step::Pass(Permit::control(Control::Analysed)))
    }

    pub(super) fn describe(&mut self, body: &[u8]) -> Result<Step, WireError> {
        let message = fe::Describe::parse(body)?;
        let key = fe::name_key(message.name);
        match message.target {
            fe::Target::Statement => {
                let prepared = self.statements.get(key).and_then(|p| self.source(p).ok());
                self.pending.push(Expect::DescribeStatement { prepared });
            }
            fe::Target::Portal => {
                if self.portals.get(key).is_some_and(|portal| self.is_open_portal(portal)) {
                    return Ok(Step::Wait(None));
                }
                let found = self.portals.get_mut(key).map(|portal| {
                    // What a name behind it means may change before it runs, or after it has run and kept its rows:
                    // only the description just before it runs is that of its rows.
                    if runs_a_name(&portal.prepared) {
                        return (0, portal.prepared.clone());
                    }
                    portal.described = true;
                    (portal.id, portal.prepared.clone())
                });
                // Without a source nothing is known of the rows, not even that they are free.
                let (portal, prepared) = found.map_or((0, None), |(id, p)| (id, self.source(&p).ok()));
                self.pending.push(Expect::DescribePortal { portal, prepared, silent: false });
            }
        }
        Ok(Step::Pass(Permit::control(Control::DescribeName)))
    }

    pub(super) fn execute(&mut self, now: Instant, body: &[u8]) -> Result<Step, WireError> {
        let message = fe::Execute::parse(body)?;
        let key = fe::name_key(message.portal);
        let portal = self.portals.get(key).cloned();
        if !self.restricted() {
            let fingerprint = portal.as_ref().map_or(0, |p| p.prepared.fingerprint);
            if let Some(refusal) = self.unaudited(None) {
                return Ok(self.refuse(now, &refusal, None, fingerprint, false));
            }
            let mut running = Running::passive(fingerprint, now);
            running.portal = portal.map_or(0, |p| p.id);
            self.pending.push(Expect::Execute(Box::new(running)));
            return Ok(self.pass_unrestricted());
        }
        let Some(portal) = portal else {
            return Ok(self.refuse(now, &not_analysed("portal", message.portal, "34000"), None, 0, false));
        };
        if self.is_open_portal(&portal) {
            return Ok(Step::Wait(None));
        }
        let prepared = portal.prepared.clone();
        let Some(plan) = prepared.plan.clone() else {
            return Ok(self.refuse(now, &not_analysed("portal", message.portal, "34000"), None, 0, false));
        };
        if plan.policy_version != self.config.world.policy_version
            && let Some(refusal) = self.refused_now(&plan)
        {
            return Ok(self.refuse(now, &refusal, Some(&plan), plan.fingerprint, false));
        }
        if let Some(refusal) = self.unaudited(Some(&plan)) {
            return Ok(self.refuse(now, &refusal, Some(&plan), plan.fingerprint, false));
        }
        let source = match self.source(&prepared) {
            Ok(source) => source,
            Err(refusal) => return Ok(self.refuse(now, &refusal, Some(&plan), plan.fingerprint, false)),
        };
        let copy = match self.begin_copy_out(now, &plan, Some(prepared.statement)) {
            Ok(copy) => copy,
            Err(step) => return Ok(step),
        };
        let mut running = Running {
            sources: vec![source.clone()],
            plan: Some(Arc::clone(&plan)),
            fingerprint: plan.fingerprint,
            statement: prepared.statement,
            portal: portal.id,
            rows: copy.rows,
            copy: copy.rewriter,
            started: now,
            observed: plan.refusal().map(|refusal| refusal.rule),
            names: Vec::new(),
        };
        let rows = prepared.inner || plan.statement(prepared.statement).is_none_or(may_return_rows);
        let describe = !portal.described && rows;
        if describe && portal.started && runs_a_name(&prepared) {
            return Ok(self.refuse(now, &policy_changed(), Some(&plan), plan.fingerprint, false));
        }
        if let Some(portal) = self.portals.get_mut(key) {
            portal.started = true;
            portal.described |= describe;
        }
        if describe {
            let prepared = Some(source.clone());
            self.pending.push(Expect::DescribePortal { portal: portal.id, prepared, silent: true });
        }
        self.apply(&prepared, &source, &mut running.names);
        self.expect_copies(&plan, Some(prepared.statement));
        self.pending.push(Expect::Execute(Box::new(running)));
        let permit = Permit::control(Control::Analysed);
        Ok(if describe { Step::Before(Own::DescribePortal, permit) } else { Step::Pass(permit) })
    }

    pub(super) fn close(&mut self, body: &[u8]) -> Result<Step, WireError> {
        let message = fe::Close::parse(body)?;
        let key = fe::name_key(message.name);
        match message.target {
            fe::Target::Statement => {
                let undo = Some(self.statements.remove(key));
                self.pending.push(Expect::CloseStatement { undo });
            }
            fe::Target::Portal => {
                let undo = Some(self.portals.remove(key));
                self.pending.push(Expect::ClosePortal { undo });
            }
        }
        Ok(Step::Pass(Permit::control(Control::CloseName)))
    }
}

/// Kinds that never send rows need no description. Everything else is described.
pub(super) fn may_return_rows(statement: &Statement) -> bool {
    !matches!(
        statement.kind,
        Kind::Empty
            | Kind::Truncate
            | Kind::CopyIn
            | Kind::CopyOut
            | Kind::Declare
            | Kind::Move
            | Kind::CloseCursor
            | Kind::Prepare
            | Kind::Deallocate
            | Kind::Begin
            | Kind::Commit
            | Kind::Rollback
            | Kind::Savepoint
            | Kind::Set
            | Kind::Reset
            | Kind::Listen
            | Kind::Notify
            | Kind::Unlisten
            | Kind::Lock
            | Kind::Ddl
            | Kind::CreateTableAs
    )
}

pub(super) fn memchr(bytes: &[u8]) -> Result<usize, WireError> {
    bytes.iter().position(|&byte| byte == 0).ok_or(WireError {
        message: "Parse",
        at: bytes.len(),
        fault: ringfence_wire::Fault::Unterminated,
    })
}
