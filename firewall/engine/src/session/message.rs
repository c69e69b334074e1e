//! One client message: is it allowed now, and what will the server owe for it?

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use ringfence_analysis::facts::{Effect, Kind, Rule, Statement};
use ringfence_policy::Refusal;
use ringfence_wire::frame::Header;
use ringfence_wire::{WireError, frontend as fe};
use smallvec::SmallVec;

use super::frontend::{FINGERPRINTED, Own, Step};
use super::{Probe, RefreshReason, Session};
use crate::gate::{Control, Permit, own};
use crate::names::{Made, Portal, Prepared};
use crate::pending::{Expect, NameChange, OldMeanings, Refused, Running};
use crate::plan::Plan;
use crate::refusal;

impl Session {
    pub(super) fn client_message(&mut self, now: Instant, header: Header, body: &[u8]) -> Result<Step, WireError> {
        if self.client.skipping && !matches!(header.tag, fe::SYNC | fe::TERMINATE) {
            return Ok(Step::Drop);
        }
        if self.client.copying {
            return self.during_copy(header, body);
        }
        let limits = &self.config.limits;
        let full = self.pending.len() >= limits.pending || self.pending.weight() >= limits.pending_bytes;
        if full && header.tag != fe::TERMINATE {
            return Ok(Step::Wait(None));
        }
        if self.copy_may_begin() && !matches!(header.tag, fe::COPY_DATA | fe::COPY_DONE | fe::COPY_FAIL | fe::TERMINATE)
        {
            return Ok(Step::Wait(None));
        }
        let step = match header.tag {
            fe::QUERY => self.query(now, header, body)?,
            fe::PARSE => self.parse(now, header, body)?,
            fe::BIND => self.bind(now, header, body)?,
            fe::DESCRIBE => self.describe(body)?,
            fe::EXECUTE => self.execute(now, body)?,
            fe::CLOSE => self.close(body)?,
            fe::SYNC => {
                fe::Empty::parse("Sync", body)?;
                self.client.skipping = false;
                self.owe_sync();
                Step::Pass(Permit::control(Control::Sync))
            }
            fe::FLUSH => {
                fe::Empty::parse("Flush", body)?;
                Step::Pass(Permit::control(Control::Flush))
            }
            fe::TERMINATE => {
                fe::Empty::parse("Terminate", body)?;
                Step::Pass(Permit::control(Control::Terminate))
            }
            fe::COPY_DATA => {
                self.client.copied = true;
                Step::Pass(Permit::control(Control::CopyData))
            }
            fe::COPY_DONE | fe::COPY_FAIL => {
                self.pending.push(Expect::CopyEnd);
                Step::Pass(Permit::control(Control::CopyEnd))
            }
            fe::FUNCTION_CALL => self.function_call(now),
            // `wanted` let no other tag through.
            _ => Step::Drop,
        };
        if !matches!(step, Step::Wait(_)) {
            self.client.refreshed = false;
            self.client.flushed = false;
        }
        Ok(step)
    }

    /// A text that copies from the client was sent, and the server has neither begun to nor failed. Whether it answers
    /// a Sync or takes it for a part of the data depends on that: nothing but data goes on before it is known.
    fn copy_may_begin(&self) -> bool {
        self.client.copies > 0 && self.pending.owes(self.client.copy_number)
    }

    fn expect_copies(&mut self, plan: &Plan, only: Option<usize>) {
        let statements = plan.analysis.statements.iter().enumerate();
        let copies = statements.filter(|(at, s)| s.kind == Kind::CopyIn && only.is_none_or(|only| only == *at)).count();
        if copies > 0 {
            self.client.copies = copies;
            self.client.copied = false;
            self.client.copy_number = self.pending.next_number();
        }
    }

    /// The server takes COPY data and swallows Sync and Flush: they are swallowed here, because a COPY that has failed
    /// already would answer them, and nobody can tell from outside which of the two came first.
    fn during_copy(&mut self, header: Header, body: &[u8]) -> Result<Step, WireError> {
        Ok(match header.tag {
            fe::COPY_DATA => {
                self.client.copied = true;
                Step::Pass(Permit::control(Control::CopyData))
            }
            fe::COPY_DONE => {
                fe::Empty::parse("CopyDone", body)?;
                self.copy_ends();
                Step::Pass(Permit::control(Control::CopyEnd))
            }
            fe::COPY_FAIL => {
                fe::CopyFail::parse(body)?;
                self.copy_ends();
                Step::Pass(Permit::control(Control::CopyEnd))
            }
            fe::SYNC if !self.restricted() => Step::Pass(Permit::control(Control::Sync)),
            fe::SYNC => {
                fe::Empty::parse("Sync", body)?;
                // If the COPY turns out to have failed, the client may be waiting for an answer.
                self.client.resync = self.client.copied;
                Step::Drop
            }
            fe::FLUSH => Step::Pass(Permit::control(Control::Flush)),
            fe::TERMINATE => Step::Pass(Permit::control(Control::Terminate)),
            // The server would fail the COPY for it; the firewall cannot know what state follows.
            _ => Step::Wait(None),
        })
    }

    fn copy_ends(&mut self) {
        self.client.copying = false;
        self.client.copied = false;
        self.client.resync = false;
    }

    // --- simple protocol

    fn query(&mut self, now: Instant, header: Header, body: &[u8]) -> Result<Step, WireError> {
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
        let plan = match self.decide(text, &[]) {
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
        let mut running = Running {
            sources: Vec::with_capacity(plan.analysis.statements.len()),
            plan: Some(Arc::clone(&plan)),
            fingerprint: plan.fingerprint,
            statement: 0,
            portal: 0,
            rows: None,
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
    fn probe(&mut self, now: Instant, plan: &Arc<Plan>, unknown: &Statement) -> Step {
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

    fn function_call(&mut self, now: Instant) -> Step {
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

    // --- extended protocol

    fn parse(&mut self, now: Instant, header: Header, body: &[u8]) -> Result<Step, WireError> {
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
        let plan = match self.decide(message.text, &types) {
            Ok(plan) => plan,
            Err(Undecided::Step(step)) => return Ok(step),
            Err(Undecided::Refused(refusal)) => return Ok(self.refuse(now, &refusal, None, 0, false)),
        };
        if let Some(refusal) = plan.refusal().filter(|_| !self.config.client.observe) {
            let refusal = refusal.clone();
            return Ok(self.refuse(now, &refusal, Some(&plan), plan.fingerprint, false));
        }
        if let Some(refusal) = self.no_room(message.name) {
            return Ok(self.refuse(now, &refusal, Some(&plan), plan.fingerprint, false));
        }
        let prepared = Prepared { made: self.made(), ..Prepared::of(&plan, 0) };
        let undo = self.statements.set(fe::name_key(message.name), prepared);
        self.pending.push(Expect::Parse { undo: Some(undo) });
        Ok(self.pass(&plan, now))
    }

    fn bind(&mut self, now: Instant, header: Header, body: &[u8]) -> Result<Step, WireError> {
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
            return Ok(self.refuse(now, &reserved(), Some(&plan), plan.fingerprint, false));
        }
        if self.stores_labelled(head.statement) {
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
        }
        if let Some(refusal) = self.no_room(head.portal) {
            return Ok(self.refuse(now, &refusal, Some(&plan), plan.fingerprint, false));
        }
        self.set_portal(head.portal, prepared);
        Ok(Step::Pass(Permit::control(Control::Analysed)))
    }

    fn describe(&mut self, body: &[u8]) -> Result<Step, WireError> {
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

    fn execute(&mut self, now: Instant, body: &[u8]) -> Result<Step, WireError> {
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
        let mut running = Running {
            sources: vec![source.clone()],
            plan: Some(Arc::clone(&plan)),
            fingerprint: plan.fingerprint,
            statement: prepared.statement,
            portal: portal.id,
            rows: None,
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

    fn close(&mut self, body: &[u8]) -> Result<Step, WireError> {
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

    // --- deciding

    /// The plan of a text, once everything that it depends on is known.
    fn decide(&mut self, text: &[u8], types: &[u32]) -> Result<Arc<Plan>, Undecided> {
        if !self.settings.standard_strings || !self.settings.utf8 {
            if !self.pending.is_empty() {
                return Err(self.wait_for_replies());
            }
            return Err(Undecided::Refused(settings_refused()));
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
        let plan = self.plan(text, types);
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
    fn current(&mut self, name: &[u8], prepared: Option<Prepared>) -> Result<Prepared, Undecided> {
        let refused = || Undecided::Refused(not_analysed("prepared statement", name, "26000"));
        let Some(mut prepared) = prepared else { return Err(refused()) };
        let Some(plan) = prepared.plan.clone() else { return Err(refused()) };
        let stale = plan.world != self.config.world.id || self.catalog_changed || plan.unknown().is_some();
        if !stale {
            return Ok(prepared);
        }
        if plan.unknown().is_some() && !self.pending.is_empty() {
            // Whether the server knew the relation is in its answer to Parse.
            return Err(self.wait_for_replies());
        }
        let plan = self.decide(&plan.text.clone(), &plan.parameter_types.clone())?;
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

    /// Why a text that passed under another policy does not under this one.
    fn refused_now(&self, plan: &Plan) -> Option<Refusal> {
        let plan = self.plan(&plan.text, &plan.parameter_types);
        plan.refusal().filter(|_| !self.config.client.observe).cloned()
    }

    // --- names whose messages are still under way

    fn made(&self) -> Made {
        Made { cycle: self.cycle, number: self.pending.next_number() }
    }

    /// An earlier cycle made the name and is not over: if it failed, the server would take the name for what it meant
    /// before. (Within one cycle, what follows a failure is skipped.)
    fn is_unsettled(&self, made: Made) -> bool {
        self.restricted() && made.cycle != self.cycle && self.pending.owes(made.number)
    }

    fn is_open_portal(&self, portal: &Portal) -> bool {
        self.is_unsettled(portal.made) || self.is_open_question(&portal.prepared)
    }

    /// EXECUTE or FETCH of such a name.
    fn is_open_question(&self, prepared: &Prepared) -> bool {
        let Some(statement) = prepared.plan.as_ref().and_then(|plan| plan.statement(prepared.statement)) else {
            return false;
        };
        match &statement.effect {
            Effect::Execute(name) => {
                self.statements.get(name.as_bytes()).is_some_and(|prepared| self.is_unsettled(prepared.made))
            }
            Effect::Fetch(name) => {
                self.portals.get(name.as_bytes()).is_some_and(|portal| self.is_unsettled(portal.made))
            }
            _ => false,
        }
    }

    /// Names are kept, with their texts, for as long as the session.
    fn no_room(&self, name: &[u8]) -> Option<Refusal> {
        let limits = &self.config.limits;
        let full = self.statements.len() >= limits.names
            || self.portals.len() >= limits.names
            || self.statements.weight() + self.portals.weight() >= limits.names_bytes;
        (full && !name.is_empty()).then(too_many_names)
    }

    fn wait_for_replies(&mut self) -> Undecided {
        let first = !std::mem::replace(&mut self.client.flushed, true);
        Undecided::Step(Step::Wait(first.then_some(Own::Flush)))
    }

    /// The statement whose facts decide about the rows: the prepared one behind EXECUTE, the cursor's behind FETCH.
    pub(super) fn source(&self, prepared: &Prepared) -> Result<Prepared, Refusal> {
        let Some(statement) = prepared.plan.as_ref().and_then(|plan| plan.statement(prepared.statement)) else {
            return Ok(prepared.clone());
        };
        if prepared.inner {
            return Ok(prepared.clone());
        }
        if let Effect::Declare(name) = &statement.effect
            && name.as_bytes() == own::REFUSED_PORTAL
        {
            return Err(reserved());
        }
        if let Effect::Prepare(name) | Effect::Declare(name) = &statement.effect
            && let Some(refusal) = self.no_room(name.as_bytes())
        {
            return Err(refusal);
        }
        let (target, what, name, sqlstate) = match &statement.effect {
            Effect::Execute(name) => {
                (self.statements.get(name.as_bytes()).cloned(), "prepared statement", name, "26000")
            }
            Effect::Fetch(name) => {
                (self.portals.get(name.as_bytes()).map(|portal| portal.prepared.clone()), "cursor", name, "34000")
            }
            _ => return Ok(prepared.clone()),
        };
        let refused = || not_analysed(what, name.as_bytes(), sqlstate);
        let mut target = target.ok_or_else(refused)?;
        let plan = target.plan.clone().ok_or_else(refused)?;
        if plan.world != self.config.world.id {
            target.plan = Some(self.plan(&plan.text, &plan.parameter_types));
        }
        let plan = target.plan.as_ref().ok_or_else(refused)?;
        if let Some(unknown) = plan.unknown() {
            return Err(unknown_relation(unknown));
        }
        if let Some(refusal) = plan.refusal().filter(|_| !self.config.client.observe) {
            return Err(refusal.clone());
        }
        let Some(facts) = plan.statement(target.statement) else { return Err(refused()) };
        if matches!(statement.effect, Effect::Execute(_))
            && facts.stored_parameters.iter().any(|(_, _, label)| !self.config.client.is_plain(*label))
        {
            return Err(Refusal {
                rule: Rule::StoredExpression,
                sqlstate: "42501",
                message: format!("EXECUTE of \"{name}\" would store an argument in a protected column"),
                hint: Some(String::from("Send the statement itself, or bind its parameters in the extended protocol.")),
                position: None,
            });
        }
        Ok(target)
    }

    /// What the statement does to names and state, as soon as it is sent; undone, or doubted, if it fails.
    /// What EXECUTE or FETCH runs is `source`.
    fn apply(&mut self, prepared: &Prepared, source: &Prepared, changed: &mut Vec<NameChange>) {
        let Some(plan) = prepared.plan.clone() else { return };
        let Some(statement) = plan.statement(prepared.statement) else { return };
        let behind = source.plan.as_ref().and_then(|plan| plan.statement(source.statement));
        if statement.taints || behind.is_some_and(|behind| behind.taints) {
            self.tainted = Some(self.cycle);
        }
        if prepared.inner {
            return;
        }
        if matches!(statement.kind, Kind::CreateTableAs | Kind::Ddl | Kind::Call | Kind::Do | Kind::Body) {
            self.note_change();
        }
        match &statement.effect {
            // Explained, it makes nothing.
            Effect::Declare(_) if statement.kind == Kind::Explain => {}
            Effect::Prepare(name) => {
                let prepared = Prepared { inner: true, made: self.made(), ..prepared.clone() };
                self.statements.set(name.as_bytes(), prepared);
                changed.push(NameChange::Statement(name.as_bytes().into()));
            }
            Effect::Declare(name) => {
                let id = self.next_portal_id();
                let prepared = Prepared { inner: true, ..prepared.clone() };
                let portal = Portal { id, prepared, made: self.made(), sql: true, described: false, started: false };
                self.portals.set(name.as_bytes(), portal);
                changed.push(NameChange::Portal(name.as_bytes().into()));
            }
            Effect::Deallocate(Some(name)) => drop(self.statements.remove(name.as_bytes())),
            Effect::Deallocate(None) => self.statements.clear_named(),
            Effect::CloseCursor(Some(name)) => drop(self.portals.remove(name.as_bytes())),
            Effect::CloseCursor(None) => self.portals.clear_named(),
            Effect::Discard => {
                self.statements.clear_named();
                self.portals.clear();
            }
            Effect::Catalog { creates } => {
                self.note_change();
                for name in creates {
                    self.own.insert(name);
                }
            }
            Effect::None
            | Effect::Execute(_)
            | Effect::Fetch(_)
            | Effect::Listen(_)
            | Effect::Begin
            | Effect::Commit
            | Effect::Rollback => {}
        }
    }

    /// A text that would have made these names is not sent.
    fn forget(&mut self, names: &[NameChange]) {
        for change in names {
            match change {
                NameChange::Statement(name) => drop(self.statements.put(name, None)),
                NameChange::Portal(name) => drop(self.portals.put(name, None)),
            }
        }
    }

    pub(super) fn put_back(&mut self, mut old: OldMeanings) {
        self.pending.put_back(&mut old);
        for (name, before) in old.statements {
            self.statements.put(&name, before);
        }
        for (name, before) in old.portals {
            self.portals.put(&name, before);
        }
    }

    /// The audit log cannot be written, and this may not go unrecorded.
    fn unaudited(&self, plan: Option<&Plan>) -> Option<Refusal> {
        if self.config.audit_healthy.load(Ordering::Relaxed) {
            return None;
        }
        let reaches = plan.is_some_and(Plan::reaches_labels);
        (reaches || !self.config.client.continue_without_audit).then(|| Refusal {
            rule: Rule::Audit,
            sqlstate: "53100",
            message: String::from("the audit log cannot be written, so this statement is refused"),
            hint: Some(String::from(
                "The operator finds the reason in the firewall's log (is the disk full?). Try again later.",
            )),
            position: None,
        })
    }

    pub(super) fn stores_labelled(&self, statement: &[u8]) -> bool {
        self.restricted()
            && self.statements.get(fe::name_key(statement)).is_some_and(|prepared| {
                prepared
                    .plan
                    .as_ref()
                    .and_then(|plan| plan.statement(prepared.statement))
                    .is_some_and(|s| s.stored_parameters.iter().any(|(_, _, l)| !self.config.client.is_plain(*l)))
            })
    }

    /// A parameter bound for a labelled column begins like a token.
    fn written_token(&self, plan: &Plan, statement: usize, message: &fe::Bind<'_>) -> Option<Refusal> {
        let statement = plan.statement(statement)?;
        for (number, column, label) in &statement.stored_parameters {
            let value = message.parameters().nth(usize::from(number.saturating_sub(1))).flatten();
            if !self.config.client.is_plain(*label) && value.is_some_and(|v| v.starts_with(b"rf1_")) {
                let catalog = &self.config.world.catalog;
                let name = catalog.column(*column).map_or("?", |c| &c.name);
                return Some(Refusal {
                    rule: Rule::WrittenToken,
                    sqlstate: "42501",
                    message: format!("parameter ${number} for column {name} begins like an encrypted value (rf1_)"),
                    hint: Some(String::from(
                        "Write the plain value; values as read through the firewall cannot be written back.",
                    )),
                    position: None,
                });
            }
        }
        None
    }

    // --- what the server will owe

    fn pass(&mut self, plan: &Plan, _: Instant) -> Step {
        match Permit::decided(plan, &self.config.client) {
            Some(permit) => Step::Pass(permit),
            None => Step::Drop,
        }
    }

    fn pass_unrestricted(&self) -> Step {
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

    fn owe_query(&mut self, running: Running) {
        let cycle = self.next_cycle();
        self.pending.push(Expect::Query { running: Box::new(running), cycle });
    }

    fn note_change(&mut self) {
        self.catalog_changed = true;
        self.changed_in = self.cycle;
    }

    fn next_cycle(&mut self) -> u64 {
        let cycle = self.cycle;
        self.cycle += 1;
        cycle
    }

    fn next_portal_id(&mut self) -> u64 {
        let id = self.next_portal;
        self.next_portal += 1;
        id
    }

    fn set_portal(&mut self, name: &[u8], prepared: Prepared) {
        let id = self.next_portal_id();
        let portal = Portal { id, prepared, made: self.made(), sql: false, described: false, started: false };
        let undo = self.portals.set(fe::name_key(name), portal);
        self.pending.push(Expect::Bind { undo: Some(undo) });
    }
}

/// Why there is no plan yet.
#[derive(Debug)]
enum Undecided {
    Step(Step),
    Refused(Refusal),
}

impl Prepared {
    fn of(plan: &Arc<Plan>, statement: usize) -> Self {
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
    fn passive(fingerprint: u64, started: Instant) -> Self {
        Self {
            sources: Vec::new(),
            plan: None,
            fingerprint,
            statement: 0,
            portal: 0,
            rows: None,
            started,
            observed: None,
            names: Vec::new(),
        }
    }
}

/// EXECUTE or FETCH: what it returns is another statement's, found by name when it runs.
fn runs_a_name(prepared: &Prepared) -> bool {
    let statement = prepared.plan.as_ref().and_then(|plan| plan.statement(prepared.statement));
    !prepared.inner && statement.is_some_and(|s| matches!(s.effect, Effect::Execute(_) | Effect::Fetch(_)))
}

/// Kinds that never send rows need no description. Everything else is described.
fn may_return_rows(statement: &Statement) -> bool {
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

fn text_prefix(header: Header, body: &[u8]) -> Result<&[u8], WireError> {
    if header.body <= FINGERPRINTED { fe::Query::parse(body).map(|query| query.text) } else { Ok(body) }
}

fn memchr(bytes: &[u8]) -> Result<usize, WireError> {
    bytes.iter().position(|&byte| byte == 0).ok_or(WireError {
        message: "Parse",
        at: bytes.len(),
        fault: ringfence_wire::Fault::Unterminated,
    })
}

fn too_long(limit: usize) -> Refusal {
    Refusal {
        rule: Rule::Limit,
        sqlstate: "54000",
        message: format!("the message is longer than the firewall analyses ({limit} bytes)"),
        hint: Some(String::from("Split the statement, or send large values as parameters.")),
        position: None,
    }
}

fn too_many_names() -> Refusal {
    Refusal {
        rule: Rule::Limit,
        sqlstate: "54000",
        message: String::from("too many prepared statements or portals in one session, or too long ones"),
        hint: Some(String::from("Close the ones that are no longer needed (DEALLOCATE, CLOSE).")),
        position: None,
    }
}

fn policy_changed() -> Refusal {
    Refusal {
        rule: Rule::Limit,
        sqlstate: "42501",
        message: String::from("the policy changed meanwhile"),
        hint: Some(String::from("Begin again.")),
        position: None,
    }
}

fn reserved() -> Refusal {
    Refusal {
        rule: Rule::Protocol,
        sqlstate: "42939",
        message: String::from("the portal name \"ringfence refused\" is reserved"),
        hint: None,
        position: None,
    }
}

fn not_analysed(what: &str, name: &[u8], sqlstate: &'static str) -> Refusal {
    let name = String::from_utf8_lossy(name);
    Refusal {
        rule: Rule::UnknownName,
        sqlstate,
        message: format!("{what} \"{name}\" does not exist"),
        hint: Some(String::from("Only names made in this session, through the firewall, can be used; make it again.")),
        position: None,
    }
}

fn unknown_relation(statement: &Statement) -> Refusal {
    let name = statement.unknown.first().map_or("?", |name| name);
    Refusal {
        rule: Rule::UnknownRelation,
        sqlstate: "42501",
        message: format!("relation \"{name}\" is not in the catalog that the firewall reads"),
        hint: Some(String::from(
            "If it was just created, try again; it may belong to a transaction that has not ended.",
        )),
        position: None,
    }
}

fn settings_refused() -> Refusal {
    Refusal {
        rule: Rule::Setting,
        sqlstate: "42501",
        message: String::from(
            "statements are refused while standard_conforming_strings is off or client_encoding is not UTF8",
        ),
        hint: Some(String::from(
            "Set standard_conforming_strings = on and client_encoding = 'UTF8' in the connection's options.",
        )),
        position: None,
    }
}
