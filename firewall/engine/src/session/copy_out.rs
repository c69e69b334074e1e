//! COPY to the client. Its rows come without a description, so the query that returns the same rows is described
//! first, in the same transaction and without Sync: the server then holds its locks until the COPY has run, and what it
//! has said of the columns stays true (soundness 12).

use std::sync::Arc;
use std::time::Instant;

use ringfence_analysis::facts::{CopySource, Kind, Rule, Statement};
use ringfence_policy::Refusal;
use ringfence_wire::backend as be;
use ringfence_wire::encode;

use super::backend::{Fate, broken, unexpected};
use super::frontend::{Own, Step};
use super::{RefreshReason, Session};
use crate::gate::own;
use crate::pending::Expect;
use crate::plan::Plan;
use crate::rewrite::{self, CopyRewriter, Desk, RowDecision, RowPlan, Stop};

/// How far the description of the COPY at hand has come.
#[derive(Debug, Default)]
pub(super) enum Describing {
    #[default]
    None,
    Asked,
    /// The server refused the query, and the client has its error; in the simple protocol it waits for ReadyForQuery.
    Failed,
    Known(Box<Described>),
}

/// What the server said of the rows that a COPY will send.
#[derive(Debug)]
pub(super) struct Described {
    /// The world in which it was judged.
    world: u64,
    rows: Arc<RowPlan>,
    columns: Vec<Box<str>>,
}

/// The columns' names, and what is done with them.
type Judged = (Vec<Box<str>>, RowPlan);

/// The description that is owed.
#[derive(Debug)]
pub(crate) struct CopyDescription {
    pub(crate) plan: Arc<Plan>,
    pub(crate) statement: usize,
    pub(crate) started: Instant,
    pub(crate) simple: bool,
    /// Replies that have come: to Close, Parse, Describe (two), Close.
    step: u8,
    described: Option<Described>,
}

/// COPY data that is on its way.
#[derive(Debug)]
pub(super) enum CopyMode {
    Rewrite(Box<CopyRewriter>),
    /// An error will stand where the rest would.
    Withhold,
}

/// What is known of a COPY when it is sent.
#[derive(Debug, Default)]
pub(super) struct CopyStart {
    pub(super) rows: Option<Arc<RowPlan>>,
    pub(super) rewriter: Option<Box<CopyRewriter>>,
}

impl Session {
    /// Before a text, or one statement of it, is sent: what its COPY needs, or what is to be done first.
    pub(super) fn begin_copy_out(
        &mut self,
        now: Instant,
        plan: &Arc<Plan>,
        only: Option<usize>,
    ) -> Result<CopyStart, Step> {
        let simple = only.is_none();
        let known = std::mem::take(&mut self.client.describing);
        let Some((at, statement)) = copies_out(plan, only).next() else { return Ok(CopyStart::default()) };
        let reaches = copies_out(plan, only).any(|(_, s)| !s.columns.is_empty());
        let copy = statement.copy_out.as_deref();
        let alone = !simple || plan.analysis.statements.len() == 1;
        let text = match copy.map(|copy| &copy.source) {
            Some(Ok(_)) if !alone => Err("COPY of protected columns beside other statements in one text"),
            Some(Ok(CopySource::Table(text))) => Ok(text.as_bytes()),
            Some(Ok(CopySource::Query(range))) => Ok(plan.text.get(range.clone()).unwrap_or_default()),
            Some(Err(construct)) => Err(*construct),
            None => Err("COPY"),
        };
        let text = match text {
            Ok(text) => text,
            Err(construct) if reaches && !self.config.client.observe => {
                let refusal = not_handled(construct, &self.config.client.name, statement);
                return Err(self.refuse(now, &refusal, Some(plan), plan.fingerprint, simple));
            }
            Err(_) => return Ok(CopyStart::default()),
        };
        match known {
            Describing::Known(known) if known.world == self.config.world.id => {
                self.decide_copy_out(now, plan, statement, *known, simple)
            }
            Describing::Asked => {
                self.client.describing = Describing::Asked;
                Err(Step::Wait(None))
            }
            // What was said was judged in another world: the server says it again.
            Describing::None | Describing::Failed | Describing::Known(_) => {
                self.client.describing = Describing::Asked;
                self.pending.push(Expect::CopyDescription(Box::new(CopyDescription {
                    plan: Arc::clone(plan),
                    statement: at,
                    started: now,
                    simple,
                    step: 0,
                    described: None,
                })));
                Err(Step::Wait(Some(Own::DescribeCopy { text: text.into() })))
            }
        }
    }

    fn decide_copy_out(
        &mut self,
        now: Instant,
        plan: &Arc<Plan>,
        statement: &Statement,
        known: Described,
        simple: bool,
    ) -> Result<CopyStart, Step> {
        let Described { rows, columns, .. } = known;
        let observe = self.config.client.observe;
        if let Some(refusal) = rows.withheld.as_ref().filter(|_| !observe) {
            return Err(self.refuse(now, refusal, Some(plan), plan.fingerprint, simple));
        }
        let mut start = CopyStart { rows: Some(Arc::clone(&rows)), rewriter: None };
        if !rows.must_be_read(&self.config.client) {
            return Ok(start);
        }
        let framing = match statement.copy_out.as_ref().map(|copy| &copy.framing) {
            Some(Ok(framing)) if rewrite::is_ambiguous(framing) && rows.shows() => {
                Err("COPY in text format with a NULL that values can look like")
            }
            Some(Ok(framing)) => Ok(framing.clone()),
            Some(Err(construct)) => Err(*construct),
            None => Err("COPY"),
        };
        match framing {
            Ok(framing) => {
                let limit = self.config.limits.handled_row;
                start.rewriter = Some(Box::new(CopyRewriter::new(rows, framing, &columns, limit)));
                Ok(start)
            }
            Err(_) if observe => Ok(start),
            Err(construct) => {
                let refusal = not_handled(construct, &self.config.client.name, statement);
                Err(self.refuse(now, &refusal, Some(plan), plan.fingerprint, simple))
            }
        }
    }

    /// The client's text failed when it was described: its ReadyForQuery is still to come.
    pub(super) fn copy_out_failed(&mut self) -> Option<Step> {
        if !matches!(self.client.describing, Describing::Failed) {
            return None;
        }
        self.client.describing = Describing::None;
        self.owe_sync();
        Some(Step::Instead(Own::Sync))
    }

    /// A reply to the description of a COPY. None of them is for the client.
    pub(super) fn copy_described(&mut self, tag: u8, body: &[u8]) -> Result<Fate, String> {
        let Some(Expect::CopyDescription(asked)) = self.pending.front() else {
            return Err(unexpected("a description", self.pending.front()));
        };
        let described = match (asked.step, tag) {
            (0, be::CLOSE_COMPLETE) | (1, be::PARSE_COMPLETE) | (2, be::PARAMETER_DESCRIPTION) => None,
            // Without columns the COPY sends nothing, or fails.
            (3, be::NO_DATA) => Some(Judged::default()),
            (3, be::ROW_DESCRIPTION) => match self.judge_copy(asked, body)? {
                Some(judged) => Some(judged),
                None => {
                    self.ask(RefreshReason::UnknownOrigin);
                    return Ok(Fate::Wait);
                }
            },
            (4, be::CLOSE_COMPLETE) => {
                if let Some(Expect::CopyDescription(asked)) = self.pending.pop()
                    && let Some(described) = asked.described
                {
                    self.client.describing = Describing::Known(Box::new(described));
                }
                return Ok(Fate::Drop);
            }
            _ => return Err(unexpected("another reply", self.pending.front())),
        };
        self.server.refreshed = false;
        self.server.unread = false;
        let world = self.config.world.id;
        if let Some((_, rows)) = &described {
            self.disagreements += u64::from(rows.disagreement);
        }
        if let Some(Expect::CopyDescription(asked)) = self.pending.front_mut() {
            asked.step += 1;
            if let Some((columns, rows)) = described {
                asked.described = Some(Described { world, rows: Arc::new(rows), columns });
            }
        }
        Ok(Fate::Drop)
    }

    /// The names of the columns, and what is done with them. `None`: the snapshot lacks one.
    fn judge_copy(&self, asked: &CopyDescription, body: &[u8]) -> Result<Option<Judged>, String> {
        let description = be::RowDescription::parse(body).map_err(broken)?;
        let version = self.config.world.policy_version;
        let statement = asked.plan.statement(asked.statement);
        let copy = statement.and_then(|s| s.copy_out.as_deref());
        let binary = copy.and_then(|copy| copy.framing.as_ref().ok()).is_some_and(|f| f.format.is_binary());
        let of_table = copy.is_some_and(|copy| matches!(copy.source, Ok(CopySource::Table(_))));
        let fields: Vec<be::Field<'_>> = description
            .fields()
            .filter(|field| {
                // COPY of a table leaves generated columns out, unlike the star.
                let relation = self.config.world.catalog.by_oid(field.table_oid).filter(|_| of_table);
                !relation.is_some_and(|r| r.generated.iter().any(|(own, _)| *own == field.attnum))
            })
            .map(|field| be::Field { format: i16::from(binary), ..field })
            .collect();
        let names = fields.iter().map(|field| String::from_utf8_lossy(field.name).into()).collect();
        let judge = rewrite::Judge {
            catalog: &self.config.world.catalog,
            client: &self.config.client,
            presenter: &self.config.presenter,
            fresh: self.server.refreshed,
            own_relations: !self.own.is_empty(),
        };
        let statement = statement.filter(|_| asked.plan.policy_version == version);
        Ok(match rewrite::decide_rows(&judge, &fields, statement) {
            RowDecision::Decided(rows) => Some((names, rows)),
            RowDecision::Unknown => None,
        })
    }

    /// The server refused to describe a COPY: it would have refused the COPY itself. The error, as of the client's text.
    pub(super) fn copy_description_failed(&mut self, diagnostic: &be::Diagnostic<'_>) -> Option<Vec<u8>> {
        let Some(Expect::CopyDescription(asked)) = self.pending.front() else { return None };
        let copy = asked.plan.statement(asked.statement).and_then(|s| s.copy_out.as_deref());
        let before = match copy.map(|copy| &copy.source) {
            Some(Ok(CopySource::Query(range))) => asked.plan.text.get(..range.start),
            _ => None,
        };
        let characters = before.map(|text| text.iter().filter(|byte| (**byte & 0xC0) != 0x80).count());
        let position = diagnostic
            .get(be::field::POSITION)
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok())
            .and_then(|position| Some((position + characters?).to_string()));
        let mut moved: Vec<(u8, &[u8])> =
            diagnostic.fields().filter(|(code, _)| *code != be::field::POSITION).collect();
        moved.extend(position.as_ref().map(|digits| (be::field::POSITION, digits.as_bytes())));
        let mut out = Vec::new();
        encode::error(&mut out, &moved);
        Some(out)
    }

    /// CopyOutResponse.
    pub(super) fn copy_out_begins(&mut self, body: &[u8]) -> Result<Fate, String> {
        self.copy_was_decided(Kind::CopyOut)?;
        let response = be::CopyResponse::parse(body).map_err(broken)?;
        let rewriter = match self.pending.front_mut() {
            Some(Expect::Execute(running) | Expect::Query { running, .. }) => running.copy.take(),
            _ => None,
        };
        let Some(rewriter) = rewriter else { return Ok(self.unless_muted()) };
        let agrees =
            response.formats.iter().count() == rewriter.columns() && (response.overall == 1) == rewriter.is_binary();
        if agrees {
            self.server.copy = Some(CopyMode::Rewrite(rewriter));
            return Ok(self.unless_muted());
        }
        self.stop(rewrite::disagreement());
        Ok(Fate::Drop)
    }

    /// Whether CopyData passes (`Some(true)`), is withheld, or must be read whole.
    pub(super) fn copy_streams(&mut self, length: usize) -> Option<bool> {
        match &self.server.copy {
            _ if self.server.muted => Some(false),
            None => Some(true),
            Some(CopyMode::Withhold) => Some(false),
            Some(CopyMode::Rewrite(_)) if length > self.config.limits.handled_row => {
                self.stop(super::reasons::row_too_large(self.config.limits.handled_row));
                Some(false)
            }
            Some(CopyMode::Rewrite(_)) => None,
        }
    }

    pub(super) fn copy_data(&mut self, now: Instant, body: &[u8], own: &mut Vec<u8>) -> Result<Fate, String> {
        let Some(CopyMode::Rewrite(rewriter)) = &mut self.server.copy else { return Ok(Fate::Drop) };
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
        let frame = own.len();
        own.extend_from_slice(&[be::COPY_DATA, 0, 0, 0, 0]);
        let start = own.len();
        match rewriter.feed(body, &mut desk, own) {
            Ok(()) if own.len() > start => {
                let length = u32::try_from(own.len() - frame - 1).unwrap_or(u32::MAX);
                if let Some(word) = own.get_mut(frame + 1..start) {
                    word.copy_from_slice(&length.to_be_bytes());
                }
                Ok(Fate::Replaced)
            }
            // All of it is kept until its value has ended.
            Ok(()) => {
                own.truncate(frame);
                Ok(Fate::Drop)
            }
            Err(stop) => {
                own.truncate(frame);
                self.stopped(stop)
            }
        }
    }

    pub(super) fn copy_done(&mut self) -> Result<Fate, String> {
        match self.server.copy.take() {
            Some(CopyMode::Rewrite(rewriter)) => match rewriter.finish() {
                Ok(()) => Ok(self.unless_muted()),
                Err(stop) => self.stopped(stop),
            },
            Some(CopyMode::Withhold) => Ok(Fate::Drop),
            None => Ok(self.unless_muted()),
        }
    }

    /// Nothing more of this result is sent; its end will be an error.
    pub(super) fn stop(&mut self, refusal: Refusal) {
        self.server.rows = super::RowMode::Withhold;
        self.server.copy = Some(CopyMode::Withhold);
        self.server.stopped.get_or_insert_with(|| Box::new(refusal));
    }

    pub(super) fn stopped(&mut self, stop: Stop) -> Result<Fate, String> {
        match stop {
            Stop::Broken(error) => Err(broken(error)),
            Stop::Refused(refusal) => {
                self.stop(*refusal);
                Ok(Fate::Drop)
            }
        }
    }
}

fn copies_out(plan: &Plan, only: Option<usize>) -> impl Iterator<Item = (usize, &Statement)> {
    let statements = plan.analysis.statements.iter().enumerate();
    statements.filter(move |(at, s)| s.kind == Kind::CopyOut && only.is_none_or(|only| only == *at))
}

fn not_handled(construct: &str, client: &str, statement: &Statement) -> Refusal {
    Refusal {
        rule: Rule::Copy,
        sqlstate: "42501",
        message: format!("{construct} is not available to client \"{client}\": the rows cannot be handled in it"),
        hint: Some(String::from(
            "Send the COPY as a statement of its own, in UTF8, with the usual NULL (\\N in text format); or use SELECT.",
        )),
        position: Some(statement.range.start),
    }
}

/// The private name under which a COPY is described.
pub(super) fn is_reserved(name: &[u8]) -> bool {
    name == own::COPY_STATEMENT
}
