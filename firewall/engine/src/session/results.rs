//! Results: descriptions, rows, and the end of a statement.

use std::sync::Arc;
use std::time::Instant;

use ringfence_analysis::facts::Kind;
use ringfence_wire::backend as be;
use smallvec::SmallVec;

use super::backend::{Fate, broken, unexpected};
use super::reasons::catalog_unread;
use super::{RefreshReason, RowMode, Session};
use crate::event::Verdict;
use crate::pending::Expect;
use crate::rewrite::{self, Desk, RowDecision};

/// Rows of a result that the detectors look at: so many, then one of so many; longer ones only where they block.
const LOOKED_AT: u64 = 1_000;
const THEN_EVERY: u64 = 64;
const LOOKED_INTO: usize = 64 << 10;

impl Session {
    pub(super) fn row_description(&mut self, body: &[u8], own: &mut Vec<u8>) -> Result<Fate, String> {
        self.server.rows = RowMode::Undecided;
        if !self.restricted() {
            return match self.pending.front() {
                Some(Expect::DescribeStatement { .. } | Expect::DescribePortal { .. }) => {
                    let silent = matches!(self.pending.pop(), Some(Expect::DescribePortal { silent: true, .. }));
                    Ok(if silent { Fate::Drop } else { Fate::Pass })
                }
                _ => Ok(Fate::Pass),
            };
        }
        // A statement that waited for the lock of a change means what it means after it.
        if self.config.world.is_behind() && !self.server.refreshed {
            self.server.overtaken = true;
            self.ask(RefreshReason::UnknownOrigin);
            return Ok(Fate::Wait);
        }
        let description = be::RowDescription::parse(body).map_err(broken)?;
        let source = match self.pending.front() {
            Some(Expect::DescribeStatement { prepared } | Expect::DescribePortal { prepared, .. }) => prepared.clone(),
            Some(Expect::Query { running, .. }) => running.sources.get(running.statement).cloned(),
            other => return Err(unexpected("RowDescription", other)),
        };
        // Facts from under another policy number their labels differently: they prove nothing now.
        let version = self.config.world.policy_version;
        let mut source = source;
        let mut judged = None;
        if let Some(known) = source.as_mut().and_then(|s| s.plan.as_mut())
            && known.world != self.config.world.id
            && known.policy_version == version
        {
            *known = self.plan(&known.text, &known.parameter_types);
            judged = known.refusal().cloned();
        }
        let statement = source.as_ref().and_then(|s| {
            let plan = s.plan.as_ref().filter(|plan| plan.policy_version == version)?;
            plan.statement(s.statement)
        });
        let fields: SmallVec<[be::Field<'_>; 16]> = description.fields().collect();
        // Changed, and perhaps changed back: columns with an origin are what the server says, others may be anything.
        let computed = fields.iter().any(|field| field.table_oid == 0)
            && statement.is_none_or(|statement| !statement.relations.is_empty());
        if std::mem::take(&mut self.server.unread) || (self.server.overtaken && computed) {
            judged = Some(catalog_unread());
        }
        let judge = rewrite::Judge {
            catalog: &self.config.world.catalog,
            client: &self.config.client,
            presenter: &self.config.presenter,
            fresh: self.server.refreshed,
            own_relations: !self.own.is_empty(),
        };
        let mut plan = match rewrite::decide_rows(&judge, &fields, statement) {
            RowDecision::Decided(plan) => plan,
            RowDecision::Unknown => {
                self.ask(RefreshReason::UnknownOrigin);
                return Ok(Fate::Wait);
            }
        };
        self.server.refreshed = false;
        if plan.withheld.is_none() {
            plan.withheld = judged;
        }
        self.disagreements += u64::from(plan.disagreement);
        let changed = plan.changes();
        let plan = Arc::new(plan);
        let silent = match self.pending.front_mut() {
            Some(Expect::Query { running, .. }) => {
                running.rows = Some(Arc::clone(&plan));
                // An error will stand where the result would.
                plan.withheld.is_some() && !self.config.client.observe
            }
            Some(Expect::DescribePortal { portal, silent, .. }) => {
                let (portal, silent) = (*portal, *silent);
                if portal != 0 {
                    self.described.insert(portal, Arc::clone(&plan));
                }
                self.pending.pop();
                silent
            }
            _ => {
                self.pending.pop();
                false
            }
        };
        if silent || self.server.muted {
            return Ok(Fate::Drop);
        }
        if !changed {
            return Ok(Fate::Pass);
        }
        rewrite::adjusted_description(own, &description, &plan);
        Ok(Fate::Replaced)
    }

    pub(super) fn no_data(&mut self) -> Result<Fate, String> {
        match self.pending.front() {
            Some(Expect::DescribeStatement { .. } | Expect::DescribePortal { .. }) => {
                let silent = matches!(self.pending.pop(), Some(Expect::DescribePortal { silent: true, .. }));
                Ok(if silent || self.server.muted { Fate::Drop } else { Fate::Pass })
            }
            other => Err(unexpected("NoData", other)),
        }
    }

    pub(super) fn data_row(&mut self, now: Instant, body: &[u8], own: &mut Vec<u8>) -> Result<Fate, String> {
        let sampled = self.is_sampled(body.len());
        self.server.row += 1;
        let (plan, changes) = match &self.server.rows {
            RowMode::Rewrite(plan) => (plan, true),
            RowMode::Sample(plan) => (plan, false),
            RowMode::Undecided | RowMode::Pass | RowMode::Withhold => return Ok(Fate::Drop),
        };
        let mut desk = Desk {
            presenter: &self.config.presenter,
            catalog: &self.config.world.catalog,
            client: &self.config.client,
            meter: &mut self.meter,
            now,
            unpresentable: &mut self.unpresentable,
            detections: &mut self.server.detections,
            observed: &mut self.server.observed,
        };
        let looked = if sampled { rewrite::watch_row(body, plan, &mut desk) } else { Ok(()) };
        let done =
            looked.and_then(|()| if changes { rewrite::rewrite_row(body, plan, &mut desk, own) } else { Ok(()) });
        match done {
            Ok(()) if changes => Ok(Fate::Replaced),
            Ok(()) => Ok(Fate::Pass),
            Err(stop) => self.stopped(stop),
        }
    }

    /// Whether the detectors look at the row at hand: at all rows where one of them may block, else at the first ones,
    /// and at some of the others. A tripwire needs no more, and costs nothing that way.
    pub(super) fn is_sampled(&self, length: usize) -> bool {
        let row = self.server.row;
        rewrite::blocks(&self.config.client)
            || ((row < LOOKED_AT || row.is_multiple_of(THEN_EVERY)) && length <= LOOKED_INTO)
    }

    /// CommandComplete, EmptyQueryResponse or PortalSuspended.
    pub(super) fn statement_ends(&mut self, now: Instant, rows: u64, own: &mut Vec<u8>) -> Result<Fate, String> {
        self.server.rows = RowMode::Undecided;
        let observe = self.config.client.observe;
        let (withheld, in_query) = match self.pending.front() {
            Some(Expect::Execute(running)) => {
                (self.described.get(&running.portal).and_then(|plan| plan.withheld.clone()), false)
            }
            Some(Expect::Query { running, .. }) => (running.rows.as_ref().and_then(|plan| plan.withheld.clone()), true),
            other => return Err(unexpected("CommandComplete", other)),
        };
        let rows_withheld = std::mem::take(&mut self.server.withheld);
        let stopped = self.server.stopped.take();
        self.server.copy = None;
        self.meter.settle();
        // Rows that were not sent are an error for observed clients, too.
        let withheld = withheld
            .filter(|_| !observe)
            .or_else(|| stopped.map(|refusal| *refusal))
            .or_else(|| rows_withheld.then(rewrite::disagreement))
            .filter(|_| !self.server.muted);
        let verdict = withheld.as_ref().map(|refusal| Verdict::Refused(refusal.rule));
        self.record(now, rows, verdict);
        if in_query {
            if let Some(Expect::Query { running, .. }) = self.pending.front_mut() {
                running.statement += 1;
                running.rows = None;
            }
        } else {
            self.pending.pop();
        }
        if self.server.muted {
            return Ok(Fate::Drop);
        }
        if let Some(refusal) = withheld {
            own.extend_from_slice(&crate::refusal::error_response(&refusal, None));
            self.server.muted = true;
            return Ok(Fate::Replaced);
        }
        Ok(Fate::Pass)
    }

    /// COPY carries rows without describing them: it may begin only where the text says so.
    pub(super) fn copy_was_decided(&self, kind: Kind) -> Result<(), String> {
        let (Some(Expect::Execute(running)) | Some(Expect::Query { running, .. })) = self.pending.front() else {
            return Err(unexpected("CopyResponse", self.pending.front()));
        };
        let found = running.plan.as_ref().and_then(|plan| plan.statement(running.statement)).map(|s| s.kind);
        if self.restricted() && found != Some(kind) {
            return Err(unexpected("CopyResponse", self.pending.front()));
        }
        Ok(())
    }
}
