//! The client's bytes: taken apart into messages, decided, passed on, replaced, or kept until something is known.

use std::time::Instant;

use ringfence_wire::error::Fault;
use ringfence_wire::frame::Header;
use ringfence_wire::{WireError, frontend as fe};

use super::{Fatal, Peers, Session, client_fault, release};
use crate::gate::{self, Permit, Run, own};

/// A text of a client whose statements are not analysed is read this far, for its fingerprint.
pub(super) const FINGERPRINTED: usize = 1 << 20;

/// What is done with one message.
#[derive(Debug)]
pub(super) enum Step {
    Pass(Permit),
    /// A message of our own goes first.
    Before(Own, Permit),
    /// A message of our own goes in its place.
    Instead(Own),
    Drop,
    /// It cannot be decided yet; it is offered again later.
    Wait(Option<Own>),
}

/// Messages that the firewall sends on its own.
#[derive(Debug)]
pub(super) enum Own {
    /// Describe of the portal that the message at hand executes.
    DescribePortal,
    Flush,
    Sync,
    /// Parse and Describe of the query that returns what a COPY sends.
    DescribeCopy {
        text: Box<[u8]>,
    },
    Refused {
        with_sync: bool,
    },
    /// Parse of a part of the query at hand.
    Probe {
        from: usize,
        to: usize,
    },
}

impl Session {
    /// Takes bytes that the client sent. Returns how many were taken; fewer than given while the session waits
    /// ([`Session::is_waiting`]): keep the rest, and offer it again after the next server bytes or the answered need.
    pub fn client_bytes(&mut self, now: Instant, input: &[u8], out: &mut impl Peers) -> Result<usize, Fatal> {
        let mut run = Run::default();
        let mut at = 0;
        let result = self.client_messages(now, input, &mut at, &mut run, out);
        if let Some(cleared) = run.take(input) {
            out.to_server(cleared);
        }
        if self.client.partial.is_empty() {
            release(&mut self.client.partial);
        }
        result.map(|()| at).map_err(|error| client_fault(&error, out))
    }

    fn client_messages(
        &mut self,
        now: Instant,
        input: &[u8],
        at: &mut usize,
        run: &mut Run,
        out: &mut impl Peers,
    ) -> Result<(), WireError> {
        loop {
            let available = input.len() - *at;
            if self.client.passing > 0 {
                let take = self.client.passing.min(available);
                if take == 0 {
                    return Ok(());
                }
                run.admit(*at, *at + take, Permit::rest_of_message());
                self.client.passing -= take;
                *at += take;
            } else if self.client.discarding > 0 {
                let take = self.client.discarding.min(available);
                if take == 0 {
                    return Ok(());
                }
                flush(run, input, out);
                self.client.discarding -= take;
                *at += take;
            } else if !self.client.partial.is_empty() {
                if !self.continue_partial(now, input, at, out)? {
                    return Ok(());
                }
            } else {
                let rest = input.get(*at..).unwrap_or_default();
                if rest.is_empty() {
                    return Ok(());
                }
                let Some(header) = Header::read(rest)? else {
                    self.client.partial.extend_from_slice(rest);
                    *at = input.len();
                    return Ok(());
                };
                let whole = header.frame_len();
                let have = rest.get(Header::LEN..whole.min(rest.len())).unwrap_or_default();
                if self.wanted(header, have)? > have.len() {
                    self.client.partial.extend_from_slice(rest);
                    *at = input.len();
                    return Ok(());
                }
                let step = self.client_message(now, header, have)?;
                self.client.waiting = matches!(step, Step::Wait(_));
                let end = *at + whole.min(rest.len());
                let beyond = whole.saturating_sub(rest.len());
                match step {
                    Step::Pass(permit) => {
                        run.admit(*at, end, permit);
                        self.client.passing = beyond;
                    }
                    Step::Before(message, permit) => {
                        flush(run, input, out);
                        send(&message, have, out);
                        run.admit(*at, end, permit);
                        self.client.passing = beyond;
                    }
                    Step::Instead(message) => {
                        flush(run, input, out);
                        send(&message, have, out);
                        self.client.discarding = beyond;
                    }
                    Step::Drop => {
                        flush(run, input, out);
                        self.client.discarding = beyond;
                    }
                    Step::Wait(message) => {
                        flush(run, input, out);
                        if let Some(message) = message {
                            send(&message, have, out);
                        }
                        return Ok(());
                    }
                }
                *at = end;
            }
        }
    }

    /// Completes a message that came in pieces. `false`: more is needed, or it waits.
    fn continue_partial(
        &mut self,
        now: Instant,
        input: &[u8],
        at: &mut usize,
        out: &mut impl Peers,
    ) -> Result<bool, WireError> {
        let mut partial = std::mem::take(&mut self.client.partial);
        let mut fill = |partial: &mut Vec<u8>, until: usize| {
            let rest = input.get(*at..).unwrap_or_default();
            let take = until.saturating_sub(partial.len()).min(rest.len());
            partial.extend_from_slice(rest.get(..take).unwrap_or_default());
            *at += take;
            partial.len() >= until
        };
        if !fill(&mut partial, Header::LEN) {
            self.client.partial = partial;
            return Ok(false);
        }
        let Some(header) = Header::read(&partial)? else {
            self.client.partial = partial;
            return Ok(false);
        };
        // A Bind says how much of it is needed only once its head is there.
        loop {
            let have = partial.get(Header::LEN..).unwrap_or_default();
            let wanted = self.wanted(header, have)?;
            if wanted <= have.len() {
                break;
            }
            if !fill(&mut partial, Header::LEN + wanted) {
                self.client.partial = partial;
                return Ok(false);
            }
        }
        let have = partial.get(Header::LEN..).unwrap_or_default();
        let beyond = header.body - have.len().min(header.body);
        let step = self.client_message(now, header, have)?;
        self.client.waiting = matches!(step, Step::Wait(_));
        match step {
            Step::Pass(permit) => {
                out.to_server(gate::copied(&partial, permit));
                self.client.passing = beyond;
            }
            Step::Before(message, permit) => {
                send(&message, have, out);
                out.to_server(gate::copied(&partial, permit));
                self.client.passing = beyond;
            }
            Step::Instead(message) => {
                send(&message, have, out);
                self.client.discarding = beyond;
            }
            Step::Drop => self.client.discarding = beyond,
            Step::Wait(message) => {
                if let Some(message) = message {
                    send(&message, have, out);
                }
                self.client.partial = partial;
                return Ok(false);
            }
        }
        release(&mut partial);
        self.client.partial = partial;
        Ok(true)
    }

    /// How many bytes of the body must be there before the message can be decided.
    fn wanted(&self, header: Header, have: &[u8]) -> Result<usize, WireError> {
        let Some(cap) = fe::cap(header.tag) else {
            return Err(WireError { message: "message", at: 0, fault: Fault::BadByte(header.tag) });
        };
        if header.body > cap {
            return Err(WireError { message: "message", at: 1, fault: Fault::TooLong(cap) });
        }
        Ok(match header.tag {
            fe::QUERY | fe::PARSE if self.client.skipping => 0,
            fe::QUERY | fe::PARSE if !self.restricted() => header.body.min(FINGERPRINTED),
            // Longer ones are refused unread.
            fe::QUERY | fe::PARSE if header.body > self.config.limits.statement => 0,
            fe::BIND if self.client.skipping => 0,
            fe::BIND => match fe::BindHead::read(have)? {
                None if have.len() >= header.body => header.body,
                None => have.len() + 1,
                Some(head)
                    if self.reads_parameters(head.statement) && header.body <= self.config.limits.handled_row =>
                {
                    header.body
                }
                Some(_) => 0,
            },
            fe::COPY_DATA | fe::FUNCTION_CALL => 0,
            _ => header.body,
        })
    }
}

fn flush(run: &mut Run, input: &[u8], out: &mut impl Peers) {
    if let Some(cleared) = run.take(input) {
        out.to_server(cleared);
    }
}

fn send(message: &Own, body: &[u8], out: &mut impl Peers) {
    let mut buffer = Vec::with_capacity(64);
    let cleared = match message {
        Own::DescribePortal => {
            let portal = fe::Execute::parse(body).map_or(&b""[..], |execute| execute.portal);
            own::describe_portal(&mut buffer, portal)
        }
        Own::Flush => own::flush(&mut buffer),
        Own::Sync => own::sync(&mut buffer),
        Own::DescribeCopy { text } => own::describe_copy(&mut buffer, text),
        Own::Refused { with_sync } => own::refused(&mut buffer, *with_sync),
        Own::Probe { from, to } => own::probe(&mut buffer, body.get(*from..*to).unwrap_or_default()),
    };
    out.to_server(cleared);
}
