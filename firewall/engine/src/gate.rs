//! The only maker of messages that may go upstream.
//!
//! A [`Permit`] says why a frame may be sent; each has one constructor, which asks for the evidence. A [`Run`]
//! collects permitted frames that lie side by side in the client's bytes, so that passing costs no copy.

use ringfence_policy::ClientPolicy;

use crate::plan::Plan;

/// Bytes that may go upstream. Cannot be made outside this module.
#[derive(Debug, Clone, Copy)]
pub struct Cleared<'a>(&'a [u8]);

impl<'a> Cleared<'a> {
    pub fn bytes(&self) -> &'a [u8] {
        self.0
    }
}

/// Evidence that one frame may be sent as it is.
#[derive(Debug)]
pub(crate) struct Permit(());

impl Permit {
    /// The client sees every declared label plain, so nothing it sends needs a look.
    pub(crate) fn unrestricted(client: &ClientPolicy) -> Option<Self> {
        (!client.restricted).then_some(Self(()))
    }

    /// Every statement of the text was decided, and none refused (or the client is only observed).
    pub(crate) fn decided(plan: &Plan, client: &ClientPolicy) -> Option<Self> {
        (plan.refusal().is_none() || client.observe).then_some(Self(()))
    }

    /// The rest of a message whose beginning was permitted.
    pub(crate) fn rest_of_message() -> Self {
        Self(())
    }

    /// The message names no SQL and returns nothing that an earlier decision does not cover.
    pub(crate) fn control(_: Control) -> Self {
        Self(())
    }
}

/// Client messages that carry no SQL.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Control {
    Sync,
    Flush,
    Terminate,
    CloseName,
    /// Describe of a name that this session analysed, or that the server does not know either.
    DescribeName,
    /// Data for a COPY that was decided; the server ignores it outside of one.
    CopyData,
    CopyEnd,
    /// Bind or Execute of a name that this session analysed.
    Analysed,
}

/// Permitted frames lying side by side.
#[derive(Debug, Default)]
pub(crate) struct Run {
    start: usize,
    end: usize,
}

impl Run {
    /// Adds `from..to`, which must follow the run's end; otherwise the run has to be taken first.
    pub(crate) fn admit(&mut self, from: usize, to: usize, _: Permit) {
        if self.start == self.end {
            self.start = from;
        }
        debug_assert!(self.end == from || self.start == from);
        self.end = to;
    }

    /// The bytes collected, and an empty run again.
    pub(crate) fn take<'a>(&mut self, input: &'a [u8]) -> Option<Cleared<'a>> {
        let bytes = input.get(self.start..self.end).filter(|b| !b.is_empty());
        self.start = 0;
        self.end = 0;
        bytes.map(Cleared)
    }
}

/// Frames that were copied out of the client's bytes because they came in pieces.
pub(crate) fn copied(bytes: &[u8], _: Permit) -> Cleared<'_> {
    Cleared(bytes)
}

/// Messages of the firewall's own: Describe of a portal, Flush, and what makes the server fail in place of a refused message.
pub(crate) mod own {
    use super::Cleared;
    use ringfence_wire::encode;
    use ringfence_wire::frontend::Target;

    /// No portal can have this name: the client's names are checked against it.
    pub(crate) const REFUSED_PORTAL: &[u8] = b"ringfence refused";

    /// Execute of a portal that does not exist: the server answers with an error, aborts the transaction as for any
    /// other error, and skips to Sync. The session replaces the error by the refusal, so that order, transaction
    /// state and pipelining are exactly the server's.
    pub(crate) fn refused(buffer: &mut Vec<u8>, with_sync: bool) -> Cleared<'_> {
        buffer.clear();
        encode::execute(buffer, REFUSED_PORTAL, 0);
        if with_sync {
            encode::sync(buffer);
        }
        Cleared(buffer)
    }

    /// The statement under which a COPY is described: no statement of the client's can have this name.
    pub(crate) const COPY_STATEMENT: &[u8] = b"ringfence copy";

    /// Describes the query that returns what a COPY sends, without running it, and leaves nothing behind but its locks.
    pub(crate) fn describe_copy<'b>(buffer: &'b mut Vec<u8>, text: &[u8]) -> Cleared<'b> {
        buffer.clear();
        // It may have stayed where an error came between.
        encode::close(buffer, Target::Statement, COPY_STATEMENT);
        encode::parse(buffer, COPY_STATEMENT, text, &[]);
        encode::describe(buffer, Target::Statement, COPY_STATEMENT);
        encode::close(buffer, Target::Statement, COPY_STATEMENT);
        encode::flush(buffer);
        Cleared(buffer)
    }

    pub(crate) fn describe_portal<'b>(buffer: &'b mut Vec<u8>, portal: &[u8]) -> Cleared<'b> {
        buffer.clear();
        encode::describe(buffer, Target::Portal, portal);
        Cleared(buffer)
    }

    pub(crate) fn flush(buffer: &mut Vec<u8>) -> Cleared<'_> {
        buffer.clear();
        encode::flush(buffer);
        Cleared(buffer)
    }

    /// Answers a client whose own Sync was taken for a part of COPY data.
    pub(crate) fn sync(buffer: &mut Vec<u8>) -> Cleared<'_> {
        buffer.clear();
        encode::sync(buffer);
        Cleared(buffer)
    }

    /// Parse and Sync of a text that names an unknown relation.
    pub(crate) fn probe<'b>(buffer: &'b mut Vec<u8>, text: &[u8]) -> Cleared<'b> {
        buffer.clear();
        encode::parse(buffer, b"", text, &[]);
        encode::sync(buffer);
        Cleared(buffer)
    }
}
