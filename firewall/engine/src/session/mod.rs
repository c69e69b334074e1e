//! One session: what both sides may send now, what the server still owes, and what is known about its names.

mod asides;
mod backend;
mod copy_out;
mod decide;
mod endings;
mod extended;
mod frontend;
mod guesses;
mod meaning;
mod message;
mod outcome;
mod owe;
mod reasons;
mod results;
mod simple;

pub(crate) use copy_out::CopyDescription;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use ringfence_analysis::SessionNames;
use ringfence_analysis::facts::Rule;
use ringfence_cipher::Presenter;
use ringfence_policy::{ClientBudget, ClientPolicy, Meter, Refusal};
use ringfence_wire::WireError;

use crate::event::{Detection, Event, HandledColumn};
use crate::gate::Cleared;
use crate::names::{Portal, Prepared, Table};
use crate::pending::Pending;
use crate::plan::{Plan, PlanCache};
use crate::refusal;
use crate::rewrite::RowPlan;
use crate::world::World;

/// Where the session's output goes. Order matters, per side.
pub trait Peers {
    fn to_client(&mut self, bytes: &[u8]);
    fn to_server(&mut self, message: Cleared<'_>);
}

/// Everything that a session shares with others, and its bounds.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    pub client: Arc<ClientPolicy>,
    pub world: Arc<World>,
    pub plans: Arc<PlanCache>,
    pub presenter: Arc<Presenter>,
    /// False while audit lines cannot be written.
    pub audit_healthy: Arc<AtomicBool>,
    /// False while the control tables have not been read for too long.
    pub control_fresh: Arc<AtomicBool>,
    pub limits: Limits,
    /// What the client has spent of its limits, by all its connections.
    pub budget: Arc<ClientBudget>,
}

/// Bounds of one session, in bytes unless said otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest text that is analysed.
    pub statement: usize,
    /// Largest row of which a column is handled, and largest Bind that stores into a labelled column.
    pub handled_row: usize,
    /// Named statements, and named portals, at one time.
    pub names: usize,
    /// What named statements and portals may keep in memory, texts and facts together.
    pub names_bytes: usize,
    /// Replies that the server may owe before the client is not read any more.
    pub pending: usize,
    /// What these may keep in memory.
    pub pending_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            statement: 4 << 20,
            handled_row: 64 << 20,
            names: 65_536,
            names_bytes: 128 << 20,
            pending: 16_384,
            pending_bytes: 16 << 20,
        }
    }
}

/// What only the outside can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A catalog read after this moment; answer with [`Session::world`].
    Refresh(RefreshReason),
    /// The catalog changed behind statements that nobody analyses: read it soon. No answer is awaited.
    Stale,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshReason {
    /// This session changed the catalog.
    Ddl,
    /// A statement names a relation that the snapshot does not have.
    UnknownRelation,
    /// The server names a table that the snapshot does not have.
    UnknownOrigin,
    /// Another session changed the catalog.
    Behind,
}

/// Why the firewall ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goodbye {
    /// The token was revoked or expired, or the client left the classification.
    Revoked,
    /// The firewall stops.
    Shutdown,
    /// The server's connection is gone.
    UpstreamLost,
}

/// The session cannot go on. The client has been told.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    #[error("the client broke the protocol: {0}")]
    Client(String),
    #[error("the server broke the protocol: {0}")]
    Server(String),
}

/// See the crate's documentation.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    statements: Table<Prepared>,
    portals: Table<Portal>,
    next_portal: u64,
    /// Row plans by portal, from its description until it is gone.
    described: HashMap<u64, Arc<RowPlan>>,
    pending: Pending,
    /// Number of the extended-protocol cycle that the client's next message belongs to.
    cycle: u64,
    /// Names that this session created and no snapshot shows.
    own: SessionNames,
    client: ClientSide,
    server: ServerSide,
    settings: Settings,
    /// Protected rows may show in diagnostics until the transaction of this cycle has ended.
    tainted: Option<u64>,
    /// The catalog changed in this transaction (or just before): refresh once it is over.
    catalog_changed: bool,
    /// The cycle that changed it last.
    changed_in: u64,
    /// Asked for a world and waiting for it.
    refreshing: Option<RefreshReason>,
    need: Option<Need>,
    events: std::collections::VecDeque<Event>,
    /// What most events have: made once, and counted by this session alone.
    nothing: (Arc<[HandledColumn]>, Arc<[Detection]>),
    /// What this session has taken of the client's limits.
    meter: Meter,
    /// Values that became NULL because they could not be presented.
    unpresentable: u64,
    /// Times that the server named a labelled column that the analysis had not seen.
    disagreements: u64,
}

/// Bytes and waits on the client's side.
#[derive(Debug, Default)]
struct ClientSide {
    /// A message that has not arrived whole.
    partial: Vec<u8>,
    /// Bytes of a permitted message that are still to be passed on.
    passing: usize,
    /// Bytes of a message that was answered or refused and must not be passed on.
    discarding: usize,
    /// The server skips everything up to Sync.
    skipping: bool,
    /// A COPY from the client is under way: Sync and Flush are swallowed by it.
    copying: bool,
    /// Data of this COPY was passed on.
    copied: bool,
    /// A Sync behind data was swallowed: it is sent if this COPY fails, and then (`resync_now`).
    resync: bool,
    resync_now: bool,
    /// A COPY to the client is described before it is sent.
    describing: copy_out::Describing,
    /// COPYs from the client that the text with the number `copy_number` has not begun yet.
    copies: usize,
    copy_number: u64,
    /// The message at hand cannot be decided yet.
    waiting: bool,
    /// A wait has sent its Flush.
    flushed: bool,
    probe: Probe,
    /// The message at hand was already decided after a refresh: unknown names stay unknown.
    refreshed: bool,
    /// So was it for a change of another session.
    caught_up: bool,
    /// The catalog could not be read for the message at hand.
    unread: bool,
}

/// A text with an unknown relation is shown to the server's parser only (soundness 13).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Probe {
    #[default]
    None,
    Sent,
    /// The server's error was relayed: the text is answered.
    Answered,
    /// The server knows the relation: refresh, decide again.
    Known,
}

/// Bytes and state on the server's side.
#[derive(Debug, Default)]
struct ServerSide {
    partial: Vec<u8>,
    /// Bytes of a row or COPY message that are still to be passed on.
    passing: usize,
    /// Bytes of a message that is withheld.
    discarding: usize,
    rows: RowMode,
    /// Rows of the statement at hand were not sent on.
    withheld: bool,
    /// Why the rest of the result at hand is not sent: a row too large, a spent budget, ….
    stopped: Option<Box<Refusal>>,
    /// What becomes of the COPY data at hand; `None`: it passes.
    copy: Option<copy_out::CopyMode>,
    /// Rows of the result at hand that have gone by.
    row: u64,
    /// What the detectors found in it.
    detections: Vec<Detection>,
    /// What would have stopped it, of an observed client.
    observed: Option<Rule>,
    /// An error took the place of a result: nothing more until ReadyForQuery.
    muted: bool,
    /// A description names a table that the snapshot lacks; the answer has come.
    refreshed: bool,
    /// It could not be read: the rows are withheld.
    unread: bool,
    /// The catalog changed while statements were under way: what they computed may be of another meaning.
    overtaken: bool,
    /// In a transaction block, as the last ReadyForQuery said.
    in_transaction: bool,
    /// It said itself that, and why, it ends the connection.
    ending: bool,
}

/// What happens to the DataRow messages of the result at hand.
#[derive(Debug, Default, Clone)]
enum RowMode {
    #[default]
    Undecided,
    Pass,
    Rewrite(Arc<RowPlan>),
    /// Rows pass; some of them are looked at.
    Sample(Arc<RowPlan>),
    Withhold,
}

/// Settings that change how texts are read; the server reports them however they were set.
#[derive(Debug)]
struct Settings {
    standard_strings: bool,
    utf8: bool,
    /// Elsewhere names are cut at other characters.
    server_utf8: bool,
}

impl Session {
    pub fn new(config: SessionConfig) -> Self {
        Self {
            meter: Meter::new(Arc::clone(&config.budget)),
            config,
            statements: Table::default(),
            portals: Table::default(),
            next_portal: 1,
            described: HashMap::new(),
            pending: Pending::default(),
            cycle: 1,
            own: SessionNames::default(),
            client: ClientSide::default(),
            server: ServerSide::default(),
            settings: Settings { standard_strings: true, utf8: true, server_utf8: true },
            tainted: None,
            catalog_changed: false,
            changed_in: 0,
            refreshing: None,
            need: None,
            events: std::collections::VecDeque::new(),
            nothing: (Arc::from([]), Arc::from([])),
            unpresentable: 0,
            disagreements: 0,
        }
    }

    /// What the session asks of the outside; each need is given out once.
    pub fn need(&mut self) -> Option<Need> {
        self.need.take()
    }

    /// A new snapshot or policy. `answers_need`: it was read after the session asked for it. Afterwards offer both
    /// sides' kept bytes again.
    pub fn world(
        &mut self,
        now: Instant,
        world: Arc<World>,
        client: Arc<ClientPolicy>,
        answers_need: bool,
        out: &mut impl Peers,
    ) -> Result<(), Fatal> {
        let policy_changed = self.config.world.policy_version != world.policy_version;
        self.server.overtaken |= !self.pending.is_empty() && world.as_of() > self.config.world.as_of();
        self.config.world = world;
        self.config.client = client;
        if policy_changed {
            // What was decided about open portals was decided under another policy.
            for portal in self.portals.values_mut() {
                portal.described = false;
            }
            // Nor was it known which relations matter when the transaction reached them.
            if self.server.in_transaction || !self.pending.is_empty() {
                self.tainted = Some(self.cycle);
            }
        }
        if answers_need {
            match self.refreshing.take() {
                Some(RefreshReason::Ddl) => {
                    self.catalog_changed = false;
                    if !self.server.in_transaction {
                        self.own.clear();
                    }
                }
                Some(RefreshReason::UnknownRelation) => self.client.refreshed = true,
                Some(RefreshReason::Behind) => self.client.caught_up = true,
                Some(RefreshReason::UnknownOrigin) => self.server.refreshed = true,
                None => {}
            }
        }
        if !self.server.partial.is_empty() {
            self.server_bytes(now, &[], out)?;
        }
        self.retry(now, out)
    }

    /// A message that the session itself keeps is looked at again.
    fn retry(&mut self, now: Instant, out: &mut impl Peers) -> Result<(), Fatal> {
        if self.client.partial.is_empty() || !self.client.waiting {
            return Ok(());
        }
        self.client_bytes(now, &[], out).map(|_| ())
    }

    /// The need could not be met: nothing that waits for it may go on.
    pub fn world_failed(&mut self, now: Instant, out: &mut impl Peers) -> Result<(), Fatal> {
        match self.refreshing.take() {
            // Rows of which nobody knows what they are are withheld.
            Some(RefreshReason::UnknownOrigin) => (self.server.refreshed, self.server.unread) = (true, true),
            // The message that waits is refused; what changed is still to be read for the next one.
            Some(RefreshReason::Ddl | RefreshReason::UnknownRelation | RefreshReason::Behind) => {
                self.client.unread = self.client.waiting;
            }
            None => {}
        }
        if !self.server.partial.is_empty() {
            self.server_bytes(now, &[], out)?;
        }
        self.retry(now, out)
    }

    /// The next statement that came to an end.
    pub fn next_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if self.events.is_empty() && self.events.capacity() > 16 {
            self.events = std::collections::VecDeque::new();
        }
        event
    }

    /// The session waits for the server or for a need: keep the client's bytes and offer them again later.
    pub fn is_waiting(&self) -> bool {
        self.client.waiting
    }

    /// Outside a transaction with nothing owed: it can be closed without harm.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && !self.server.in_transaction && self.client.partial.is_empty()
    }

    /// (values that could not be presented, disagreements between server and analysis) since the last call.
    pub fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.unpresentable), std::mem::take(&mut self.disagreements))
    }

    /// Tells the client why the session ends; the caller closes both sides.
    pub fn terminate(&mut self, reason: Goodbye, out: &mut impl Peers) {
        if self.server.passing > 0 {
            // In the middle of a row: an error here would be read as data.
            return;
        }
        if reason == Goodbye::UpstreamLost && self.server.ending {
            return;
        }
        let (sqlstate, message, hint) = match reason {
            Goodbye::Revoked => (
                "28000",
                "the client's token is no longer valid",
                Some("Ask the operator for a new token (rfctl client token NAME)."),
            ),
            Goodbye::Shutdown => ("57P01", "terminating connection: the firewall is shutting down", None),
            Goodbye::UpstreamLost => ("08006", "the connection to the database was lost", Some("Connect again.")),
        };
        out.to_client(&refusal::fatal(sqlstate, message, hint));
    }

    fn restricted(&self) -> bool {
        self.config.client.restricted
    }

    fn plan(&self, text: &[u8], parameter_types: &[u32]) -> Arc<Plan> {
        self.config.plans.plan(text, parameter_types, &self.config.world, &self.config.client, &self.own)
    }

    fn ask(&mut self, reason: RefreshReason) {
        if self.refreshing.is_none() {
            self.refreshing = Some(reason);
            self.need = Some(Need::Refresh(reason));
        }
    }
}

fn client_fault(error: &WireError, out: &mut impl Peers) -> Fatal {
    let message = format!("invalid message: {error}");
    out.to_client(&refusal::fatal("08P01", &message, None));
    Fatal::Client(message)
}

fn server_fault(what: String, out: &mut impl Peers) -> Fatal {
    out.to_client(&refusal::fatal("08P01", "the database sent something unexpected; the connection is closed", None));
    Fatal::Server(what)
}

/// A buffer that grew for one large message is given back; idle sessions hold none.
fn release(buffer: &mut Vec<u8>) {
    buffer.clear();
    if buffer.capacity() > 4096 {
        *buffer = Vec::new();
    }
}
