//! The queue of replies that the server still owes, in order. It carries pipelining, messages of the firewall's own,
//! refusals in their place, and what has to be undone when the server skips to Sync.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use ringfence_analysis::facts::Rule;

use crate::names::{Portal, Prepared, Undo};
use crate::plan::Plan;
use crate::rewrite::{CopyRewriter, RowPlan};
use crate::session::CopyDescription;

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
    /// The description of a COPY that waits for it: Close, Parse, Describe, Close.
    CopyDescription(Box<CopyDescription>),
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
    /// Handles the rows of a COPY.
    pub(crate) copy: Option<Box<CopyRewriter>>,
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
    queue: VecDeque<(u64, Expect)>,
    /// Number of the next one.
    next: u64,
    /// Bytes that the entries keep in memory.
    weight: usize,
}

impl Pending {
    /// The end of a COPY matters only behind the statement that may have begun one: alone it would never be answered.
    pub(crate) fn push(&mut self, expect: Expect) {
        if !(self.queue.is_empty() && matches!(expect, Expect::CopyEnd)) {
            self.weight += expect.weight();
            self.queue.push_back((self.next, expect));
            self.next += 1;
        }
    }

    /// The number that the next one gets.
    pub(crate) fn next_number(&self) -> u64 {
        self.next
    }

    /// The message with this number is not answered yet.
    pub(crate) fn owes(&self, number: u64) -> bool {
        number < self.next && self.queue.front().is_some_and(|(first, _)| *first <= number)
    }

    pub(crate) fn front(&self) -> Option<&Expect> {
        self.queue.front().map(|(_, expect)| expect)
    }

    /// Changes must leave its weight alone.
    pub(crate) fn front_mut(&mut self) -> Option<&mut Expect> {
        self.queue.front_mut().map(|(_, expect)| expect)
    }

    pub(crate) fn pop(&mut self) -> Option<Expect> {
        let front = self.take_front();
        while matches!(self.front(), Some(Expect::CopyEnd)) {
            self.take_front();
        }
        if self.queue.is_empty() {
            self.weight = 0;
            if self.queue.capacity() > 64 {
                self.queue = VecDeque::new();
            }
        }
        front
    }

    fn take_front(&mut self) -> Option<Expect> {
        let (_, expect) = self.queue.pop_front()?;
        self.weight = self.weight.saturating_sub(expect.weight());
        Some(expect)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Bytes that the owed replies keep in memory.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    /// Takes everything before the next ReadyForQuery of an extended cycle, last first: the server skips it. The flag
    /// says whether a Sync was found; without one the server skips what is still to come.
    pub(crate) fn skip_to_sync(&mut self) -> (Vec<Expect>, bool) {
        let at = self.queue.iter().position(|(_, e)| matches!(e, Expect::Sync { .. } | Expect::ProbeSync { .. }));
        let end = at.unwrap_or(self.queue.len());
        let mut skipped: Vec<Expect> = self.queue.drain(..end).map(|(_, expect)| expect).collect();
        self.weight = self.weight.saturating_sub(skipped.iter().map(Expect::weight).sum());
        skipped.reverse();
        (skipped, at.is_some())
    }

    /// A COPY from the client began: Syncs that were sent before its end are swallowed by it.
    /// Returns whether the end was already sent.
    pub(crate) fn swallow_syncs_of_copy(&mut self) -> bool {
        let end = self.queue.iter().position(|(_, expect)| matches!(expect, Expect::CopyEnd));
        let before = end.unwrap_or(self.queue.len());
        let mut at = 0;
        self.queue.retain(|(_, expect)| {
            let swallowed = at > 0 && at < before && matches!(expect, Expect::Sync { .. });
            // The next COPY of the same text has an end of its own.
            let ended = Some(at) == end;
            at += 1;
            !swallowed && !ended
        });
        end.is_some()
    }

    /// Messages that failed have to be undone. If another one about the same name is already under way, it is that
    /// one's failure that would bring the old meaning back; what is left in `old` is to be brought back now.
    pub(crate) fn put_back(&mut self, old: &mut OldMeanings) {
        for (_, expect) in &mut self.queue {
            if old.is_empty() {
                return;
            }
            match expect {
                Expect::Parse { undo: Some(undo) } | Expect::CloseStatement { undo: Some(undo) } => {
                    if let Some(before) = old.statements.remove(&undo.name) {
                        undo.before = before;
                    }
                }
                Expect::Bind { undo: Some(undo) } | Expect::ClosePortal { undo: Some(undo) } => {
                    if let Some(before) = old.portals.remove(&undo.name) {
                        undo.before = before;
                    }
                }
                // If SQL fails, nothing is known of its names anyway.
                Expect::Execute(running) | Expect::Query { running, .. } => {
                    for change in &running.names {
                        match change {
                            NameChange::Statement(name) => drop(old.statements.remove(name)),
                            NameChange::Portal(name) => drop(old.portals.remove(name)),
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// Portals that an owed message executes or describes.
    pub(crate) fn portals(&self) -> impl Iterator<Item = u64> {
        self.queue.iter().filter_map(|(_, expect)| match expect {
            Expect::Execute(running) => Some(running.portal),
            Expect::DescribePortal { portal, .. } => Some(*portal),
            _ => None,
        })
    }
}

/// What names meant before messages that failed; the earliest of them is the last that is added. `None`: nothing, or
/// nobody knows.
#[derive(Debug, Default)]
pub(crate) struct OldMeanings {
    pub(crate) statements: HashMap<Box<[u8]>, Option<Prepared>>,
    pub(crate) portals: HashMap<Box<[u8]>, Option<Portal>>,
}

impl OldMeanings {
    fn is_empty(&self) -> bool {
        self.statements.is_empty() && self.portals.is_empty()
    }

    pub(crate) fn add(&mut self, failed: Expect) {
        match failed {
            Expect::Parse { undo: Some(undo) } | Expect::CloseStatement { undo: Some(undo) } => {
                self.statements.insert(undo.name, undo.before);
            }
            Expect::Bind { undo: Some(undo) } | Expect::ClosePortal { undo: Some(undo) } => {
                self.portals.insert(undo.name, undo.before);
            }
            Expect::Execute(running) | Expect::Query { running, .. } => self.doubt(running.names),
            _ => {}
        }
    }

    /// A text that makes these names failed, or was skipped: nobody knows how far it came.
    pub(crate) fn doubt(&mut self, names: Vec<NameChange>) {
        for change in names {
            match change {
                NameChange::Statement(name) => drop(self.statements.insert(name, None)),
                NameChange::Portal(name) => drop(self.portals.insert(name, None)),
            }
        }
    }
}

impl Expect {
    /// What it keeps in memory beside itself; what a name meant before is not counted, it was in its table until now.
    fn weight(&self) -> usize {
        let of = |plan: &Option<Arc<Plan>>| plan.as_ref().map_or(0, |plan| plan.text.len());
        128 + match self {
            Self::DescribeStatement { prepared: Some(prepared) }
            | Self::DescribePortal { prepared: Some(prepared), .. } => of(&prepared.plan),
            Self::Execute(running) | Self::Query { running, .. } => of(&running.plan),
            Self::CopyDescription(asked) => asked.plan.text.len(),
            Self::Refused(refused) => of(&refused.plan) + refused.reply.len(),
            _ => 0,
        }
    }
}
