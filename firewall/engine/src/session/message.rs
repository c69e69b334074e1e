//! One client message: is it allowed now, and what will the server owe for it?

use std::time::Instant;

use ringfence_analysis::facts::Kind;
use ringfence_wire::frame::Header;
use ringfence_wire::{Fault, WireError, frontend as fe};

use super::Session;
use super::frontend::Step;
use crate::gate::{Control, Permit};
use crate::pending::Expect;
use crate::plan::Plan;

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
                // That the server closes is no loss now.
                self.server.ending = true;
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
            self.client.caught_up = false;
            self.client.unread = false;
            self.client.flushed = false;
        }
        Ok(step)
    }

    /// A text that copies from the client was sent, and the server has neither begun to nor failed. Whether it answers
    /// a Sync or takes it for a part of the data depends on that: nothing but data goes on before it is known.
    pub(super) fn copy_may_begin(&self) -> bool {
        self.client.copies > 0 && self.pending.owes(self.client.copy_number)
    }

    pub(super) fn expect_copies(&mut self, plan: &Plan, only: Option<usize>) {
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
    pub(super) fn during_copy(&mut self, header: Header, body: &[u8]) -> Result<Step, WireError> {
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
            fe::TERMINATE => {
                self.server.ending = true;
                Step::Pass(Permit::control(Control::Terminate))
            }
            // The server ends the connection for it; so does the firewall, and says why.
            tag => return Err(WireError { message: "message during COPY", at: 0, fault: Fault::BadByte(tag) }),
        })
    }

    pub(super) fn copy_ends(&mut self) {
        self.client.copying = false;
        self.client.copied = false;
        self.client.resync = false;
    }
}
