//! Errors, and the end of a cycle: what the server skips never happened.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use ringfence_wire::backend as be;

use ringfence_wire::frame::Header;

use super::backend::{Fate, broken, unexpected};
use super::copy_out::Describing;
use super::{Probe, RefreshReason, RowMode, Session};
use crate::event::Verdict;
use crate::pending::{Expect, NameChange, OldMeanings};
use crate::rewrite::{self};

/// Row plans kept before those of portals that are gone are looked for.
const DESCRIBED: usize = 1024;

impl Session {
    pub(super) fn error(&mut self, now: Instant, body: &[u8], own: &mut Vec<u8>) -> Result<Fate, String> {
        self.server.rows = RowMode::Undecided;
        if std::mem::take(&mut self.client.copying) {
            self.client.copied = false;
            self.client.resync_now = std::mem::take(&mut self.client.resync);
        }
        self.server.copy = None;
        self.server.stopped = None;
        self.meter.settle();
        let moved = be::Diagnostic::parse(body).ok().and_then(|diagnostic| self.copy_description_failed(&diagnostic));
        let body = moved.as_deref().and_then(|moved| moved.get(Header::LEN..)).unwrap_or(body);
        let diagnostic = be::Diagnostic::parse(body).map_err(broken)?;
        let mut sqlstate = *b"XX000";
        if let Some(code) = diagnostic.get(be::field::CODE).and_then(|code| code.try_into().ok()) {
            sqlstate = code;
        }
        if matches!(diagnostic.get(be::field::SEVERITY_PLAIN), Some(b"FATAL" | b"PANIC")) {
            self.server.ending = true;
        }
        let mut fate = if moved.is_some() { Fate::Replaced } else { Fate::Pass };
        match self.pending.front() {
            Some(Expect::Refused(refused)) => {
                own.extend_from_slice(&refused.reply);
                fate = Fate::Replaced;
                self.record_refusal(now);
            }
            Some(Expect::Execute(_) | Expect::Query { .. }) => {
                self.record(now, 0, Some(Verdict::Failed(sqlstate)));
            }
            Some(Expect::CopyDescription(asked)) => {
                let (plan, statement, started) = (Arc::clone(&asked.plan), asked.statement, asked.started);
                self.record_copy_description(now, &plan, statement, started, sqlstate);
            }
            Some(Expect::ProbeParse { .. }) => {
                self.client.probe = Probe::Answered;
                self.record_probe(now, sqlstate);
            }
            // Outside any cycle: the server is going down, or a timeout struck.
            None | Some(_) => {}
        }
        if self.server.muted {
            fate = Fate::Drop;
        }
        if fate == Fate::Pass || (fate == Fate::Replaced && moved.is_some()) {
            if self.must_rebuild(&diagnostic) {
                rewrite::rebuilt(own, &diagnostic, &self.config.world.catalog, true);
                fate = Fate::Replaced;
            } else if let Some(moved) = &moved {
                own.extend_from_slice(moved);
            }
        }
        let names = self.names_of_running();
        let mut old = OldMeanings::default();
        match self.pending.front() {
            None | Some(Expect::Query { .. } | Expect::FunctionCall { .. } | Expect::Sync { .. }) => {}
            Some(Expect::CopyDescription(asked)) if asked.simple => {
                self.pending.pop();
                self.client.describing = Describing::Failed;
            }
            Some(Expect::Execute(_) | Expect::Refused(_) | Expect::CopyDescription(_)) => {
                if matches!(self.pending.pop(), Some(Expect::CopyDescription(_))) {
                    self.client.describing = Describing::None;
                }
                self.skip_to_sync(now, None, &mut old);
            }
            Some(_) => self.skip_to_sync(now, Some(sqlstate), &mut old),
        }
        // Last, as it came first.
        old.doubt(names);
        self.put_back(old);
        Ok(fate)
    }

    /// After an error the server skips to Sync: what it skips never happened.
    pub(super) fn skip_to_sync(&mut self, now: Instant, failed: Option<[u8; 5]>, old: &mut OldMeanings) {
        let (skipped, found) = self.pending.skip_to_sync();
        if let Some(sqlstate) = failed {
            // Parse or Bind failed: what they were for is the first Execute behind them.
            if let Some(Expect::Execute(running)) = skipped.iter().rev().find(|e| matches!(e, Expect::Execute(_))) {
                self.record_skipped(now, running, sqlstate);
            }
        }
        for expect in skipped {
            // Skipped like what it was asked for.
            if matches!(expect, Expect::CopyDescription(_)) {
                self.client.describing = Describing::None;
            }
            old.add(expect);
        }
        self.client.skipping = !found;
    }

    pub(super) fn names_of_running(&mut self) -> Vec<NameChange> {
        match self.pending.front_mut() {
            Some(Expect::Execute(running) | Expect::Query { running, .. }) => std::mem::take(&mut running.names),
            _ => Vec::new(),
        }
    }

    pub(super) fn ready(&mut self, now: Instant, body: &[u8]) -> Result<Fate, String> {
        let status = be::ReadyForQuery::parse(body).map_err(broken)?.status;
        let cycle = match self.pending.front() {
            Some(Expect::Sync { cycle } | Expect::Query { cycle, .. }) => *cycle,
            Some(Expect::FunctionCall { cycle, .. }) => {
                let cycle = *cycle;
                self.record(now, 0, None);
                cycle
            }
            Some(Expect::ProbeSync { cycle }) => {
                let cycle = *cycle;
                self.pending.pop();
                return Ok(self.probe_ends(cycle, status));
            }
            // The first ReadyForQuery after login is owed for nothing that was sent.
            None => 0,
            other => return Err(unexpected("ReadyForQuery", other)),
        };
        self.pending.pop();
        self.cycle_ends(cycle, status);
        Ok(Fate::Pass)
    }

    pub(super) fn probe_ends(&mut self, cycle: u64, status: u8) -> Fate {
        self.cycle_ends(cycle, status);
        if self.client.probe == Probe::Answered {
            return Fate::Pass;
        }
        self.client.probe = Probe::Known;
        self.client.refreshed = false;
        Fate::Drop
    }

    pub(super) fn cycle_ends(&mut self, cycle: u64, status: u8) {
        self.server.muted = false;
        self.server.withheld = false;
        self.server.unread = false;
        self.server.overtaken &= !self.pending.is_empty();
        self.server.stopped = None;
        self.server.copy = None;
        self.server.row = 0;
        self.server.detections.clear();
        self.server.observed = None;
        self.server.rows = RowMode::Undecided;
        self.server.in_transaction = status != b'I';
        self.client.copying = false;
        if status == b'I' {
            if self.tainted.is_some_and(|since| since <= cycle) {
                self.tainted = None;
            }
            self.portals.retain(|portal| portal.sql || portal.made.cycle > cycle);
            // What those change who may not touch labelled relations cannot make others' statements mean protected columns.
            if self.catalog_changed && self.config.client.may_change_labelled() {
                self.config.world.changes().note();
            }
            if self.catalog_changed && !self.restricted() {
                self.catalog_changed = false;
                self.need.get_or_insert(super::Need::Stale);
            } else if self.catalog_changed && self.pending.is_empty() {
                self.ask(RefreshReason::Ddl);
            }
        }
        // A client that pipelines may never let the queue run empty.
        if self.described.len() > if self.pending.is_empty() { 0 } else { DESCRIBED } {
            let portals = self.portals.values().map(|portal| portal.id);
            let alive: HashSet<u64> = portals.chain(self.pending.portals()).collect();
            self.described.retain(|id, _| alive.contains(id));
        }
    }

    pub(super) fn parse_complete(&mut self) -> Result<Fate, String> {
        match self.pending.front() {
            Some(Expect::Parse { .. }) => {
                self.pending.pop();
                Ok(self.unless_muted())
            }
            Some(Expect::ProbeParse { .. }) => {
                self.pending.pop();
                Ok(Fate::Drop)
            }
            other => Err(unexpected("ParseComplete", other)),
        }
    }

    pub(super) fn owed(&mut self, is: impl Fn(&Expect) -> bool) -> Result<Fate, String> {
        match self.pending.front() {
            Some(front) if is(front) => {
                self.pending.pop();
                Ok(self.unless_muted())
            }
            other => Err(unexpected("a completion", other)),
        }
    }

    pub(super) fn unless_muted(&self) -> Fate {
        if self.server.muted { Fate::Drop } else { Fate::Pass }
    }
}
