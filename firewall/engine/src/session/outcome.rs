//! The end of a statement, as an event.

use std::sync::Arc;
use std::time::Instant;

use super::Session;
use crate::event::{Event, Verdict};
use crate::pending::{Expect, Running};
use crate::plan::Plan;

impl Session {
    /// The statement at the front came to an end. `verdict` where it is not simply passed or handled.
    pub(super) fn record(&mut self, now: Instant, rows: u64, verdict: Option<Verdict>) {
        self.server.row = 0;
        let detections = if self.server.detections.is_empty() {
            Arc::clone(&self.nothing.1)
        } else {
            Arc::from(std::mem::take(&mut self.server.detections))
        };
        let observed = self.server.observed.take();
        let event = match self.pending.front() {
            Some(Expect::Execute(running) | Expect::Query { running, .. }) => {
                let rows_plan = match &running.rows {
                    Some(plan) => Some(plan),
                    None => self.described.get(&running.portal),
                };
                let handled = rows_plan.map_or_else(|| Arc::clone(&self.nothing.0), |plan| Arc::clone(&plan.handled));
                let verdict = verdict.unwrap_or(match running.observed.or(observed) {
                    Some(rule) => Verdict::Observed(rule),
                    None if rows_plan.is_some_and(|plan| plan.changes()) => Verdict::Handled,
                    None => Verdict::Passed,
                });
                Event {
                    plan: running.plan.clone(),
                    statement: running.statement,
                    fingerprint: running.fingerprint,
                    rows,
                    verdict,
                    handled,
                    detections,
                    duration: now.saturating_duration_since(running.started),
                }
            }
            Some(Expect::FunctionCall { fingerprint, started, .. }) => Event {
                plan: None,
                statement: 0,
                fingerprint: *fingerprint,
                rows,
                verdict: verdict.unwrap_or(Verdict::Passed),
                handled: Arc::clone(&self.nothing.0),
                detections: Arc::clone(&self.nothing.1),
                duration: now.saturating_duration_since(*started),
            },
            _ => return,
        };
        self.events.push_back(event);
    }

    /// A statement that the server never ran, because the message before it failed.
    pub(super) fn record_skipped(&mut self, now: Instant, running: &Running, sqlstate: [u8; 5]) {
        self.events.push_back(Event {
            plan: running.plan.clone(),
            statement: running.statement,
            fingerprint: running.fingerprint,
            rows: 0,
            verdict: Verdict::Failed(sqlstate),
            handled: Arc::clone(&self.nothing.0),
            detections: Arc::clone(&self.nothing.1),
            duration: now.saturating_duration_since(running.started),
        });
    }

    /// The server's parser refused a text that names an unknown relation.
    pub(super) fn record_probe(&mut self, now: Instant, sqlstate: [u8; 5]) {
        if let Some(Expect::ProbeParse { started, fingerprint }) = self.pending.front() {
            self.events.push_back(Event {
                plan: None,
                statement: 0,
                fingerprint: *fingerprint,
                rows: 0,
                verdict: Verdict::Failed(sqlstate),
                handled: Arc::clone(&self.nothing.0),
                detections: Arc::clone(&self.nothing.1),
                duration: now.saturating_duration_since(*started),
            });
        }
    }

    /// The server refused to describe a COPY, as it would have refused the COPY.
    pub(super) fn record_copy_description(
        &mut self,
        now: Instant,
        plan: &Arc<Plan>,
        statement: usize,
        started: Instant,
        sqlstate: [u8; 5],
    ) {
        self.events.push_back(Event {
            plan: Some(Arc::clone(plan)),
            statement,
            fingerprint: plan.fingerprint,
            rows: 0,
            verdict: Verdict::Failed(sqlstate),
            handled: Arc::clone(&self.nothing.0),
            detections: Arc::clone(&self.nothing.1),
            duration: now.saturating_duration_since(started),
        });
    }

    /// The refusal at the front has reached the client.
    pub(super) fn record_refusal(&mut self, now: Instant) {
        if let Some(Expect::Refused(refused)) = self.pending.front() {
            self.events.push_back(Event {
                plan: refused.plan.clone(),
                statement: refused.statement,
                fingerprint: refused.fingerprint,
                rows: 0,
                verdict: Verdict::Refused(refused.rule),
                handled: Arc::clone(&self.nothing.0),
                detections: Arc::clone(&self.nothing.1),
                duration: now.saturating_duration_since(refused.started),
            });
        }
    }
}
