//! The queue of replies that the server still owes, in order. It carries pipelining, messages of the firewall's own,
//! refusals in their place, and what has to be undone when the server skips to Sync.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use ringfence_analysis::facts::Rule;

use crate::names::{Portal, Prepared, Undo};
use crate::plan::Plan;
use crate::rewrite::RowPlan;

/// What one message upstream will be answered with.
#[derive(Debug)]
pub(crate) enum Expect {
    /// ParseComplete.
    Parse {
        undo: Option<Undo<Prepared>>,
    },
    /// BindComplete.
    Bind {
        undo: Option<Undo<Portal>>,
    },
    /// CloseComplete.
    CloseStatement {
        undo: Option<Undo<Prepared>>,
    },
    ClosePortal {
        undo: Option<Undo<Portal>>,
    },
    /// ParameterDescription, then RowDescription or NoData.
    DescribeStatement {
        prepared: Option<Prepared>,
    },
    /// RowDescription or NoData. `silent`: the firewall asked, the client must not see the answer.
    DescribePortal {
        portal: u64,
        prepared: Option<Prepared>,
        silent: bool,
    },
    /// Rows or COPY, then CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute(Box<Running>),
    /// The error of a message that was sent in place of a refused one; the client gets `reply` instead.
    Refused(Box<Refused>),
    /// ReadyForQuery.
    Sync {
        cycle: u64,
    },
    /// Everything of a simple query up to ReadyForQuery.
    Query {
        running: Box<Running>,
        cycle: u64,
    },
    /// FunctionCallResponse, then ReadyForQuery.
    FunctionCall {
        cycle: u64,
        fingerprint: u64,
        started: Instant,
    },
    /// ParseComplete of a text with an unknown relation: an error is the client's, success is not.
    ProbeParse {
        started: Instant,
        fingerprint: u64,
    },
    /// ReadyForQuery after it.
    ProbeSync {
        cycle: u64,
    },
    /// CopyDone or CopyFail was sent: nothing is answered; Syncs before it may have been swallowed by COPY.
    CopyEnd,
}

/// A statement, or a text of several, that is being executed.
#[derive(Debug)]
pub(crate) struct Running {
    /// What decides about the rows (the prepared statement behind EXECUTE, the cursor behind FETCH): one for each
    /// statement of a simple query, or one.
    pub(crate) sources: Vec<Prepared>,
    /// The plan of the text itself.
    pub(crate) plan: Option<Arc<Plan>>,
    pub(crate) fingerprint: u64,
    /// Statement of the text that runs now.
    pub(crate) statement: usize,
    /// The portal whose description decides; 0 in simple queries, which bring their own.
    pub(crate) portal: u64,
    /// Row plan of the current statement in a simple query.
    pub(crate) rows: Option<Arc<RowPlan>>,
    pub(crate) started: Instant,
    pub(crate) observed: Option<Rule>,
    /// A CREATE or DROP of names must be known before the next statement is decided.
    pub(crate) names: Vec<NameChange>,
}

/// A name made by SQL text that is forgotten, or doubted, when the text fails.
#[derive(Debug)]
pub(crate) enum NameChange {
    Statement(Box<[u8]>),
    Portal(Box<[u8]>),
}

#[derive(Debug)]
pub(crate) struct Refused {
    /// The ErrorResponse that the client gets.
    pub(crate) reply: Vec<u8>,
    pub(crate) rule: Rule,
    pub(crate) plan: Option<Arc<Plan>>,
    pub(crate) statement: usize,
    pub(crate) fingerprint: u64,
    pub(crate) started: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Pending {
    queue: VecDeque<Expect>,
}

impl Pending {
    /// The end of a COPY matters only behind the statement that may have begun one: alone it would never be answered.
    pub(crate) fn push(&mut self, expect: Expect) {
        if !(self.queue.is_empty() && matches!(expect, Expect::CopyEnd)) {
            self.queue.push_back(expect);
        }
    }

    pub(crate) fn front(&self) -> Option<&Expect> {
        self.queue.front()
    }

    pub(crate) fn front_mut(&mut self) -> Option<&mut Expect> {
        self.queue.front_mut()
    }

    pub(crate) fn pop(&mut self) -> Option<Expect> {
        let front = self.queue.pop_front();
        while matches!(self.queue.front(), Some(Expect::CopyEnd)) {
            self.queue.pop_front();
        }
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue = VecDeque::new();
        }
        front
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Takes everything before the next ReadyForQuery of an extended cycle, last first: the server skips it. The flag
    /// says whether a Sync was found; without one the server skips what is still to come.
    pub(crate) fn skip_to_sync(&mut self) -> (Vec<Expect>, bool) {
        let at = self.queue.iter().position(|expect| matches!(expect, Expect::Sync { .. } | Expect::ProbeSync { .. }));
        let end = at.unwrap_or(self.queue.len());
        let mut skipped: Vec<Expect> = self.queue.drain(..end).collect();
        skipped.reverse();
        (skipped, at.is_some())
    }

    /// A COPY from the client began: Syncs that were sent before its end are swallowed by it.
    /// Returns whether the end was already sent.
    pub(crate) fn swallow_syncs_of_copy(&mut self) -> bool {
        let end = self.queue.iter().position(|expect| matches!(expect, Expect::CopyEnd));
        let before = end.unwrap_or(self.queue.len());
        let mut at = 0;
        self.queue.retain(|expect| {
            let swallowed = at > 0 && at < before && matches!(expect, Expect::Sync { .. });
            at += 1;
            !swallowed
        });
        end.is_some()
    }
}
