//! A session of the engine, run with a script several times over: in whole messages, byte by byte, and without a
//! firewall between. What must hold:
//!
//! - nothing panics, and what comes out on either side is protocol;
//! - how the bytes were cut makes no difference where nothing is judged (where it is, how far the server was heard may
//!   decide between an answer and a refusal);
//! - a restricted client never sees the canary, nor does an event hold it;
//! - a client that keeps to the protocol is never thrown out or left waiting, and gets every ReadyForQuery;
//! - a server that says anything at any time breaks nothing;
//! - where nothing protected is touched, or the client is unrestricted, the client gets exactly what the server says.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use ringfence_analysis::Catalog;
use ringfence_analysis::LabelId;
use ringfence_analysis::catalog::{Column, Relation};
use ringfence_cipher::{MasterKey, Presenter};
use ringfence_engine::{Cleared, Limits, Need, Peers, PlanCache, Session, SessionConfig, World};
use ringfence_policy::ClientPolicy;
use ringfence_wire::frame::Frames;
use ringfence_wire::{backend, check, encode};

use crate::script::{self, Action, Script};
use crate::server::{CANARY, PLACES, Server, USERS};

/// Runs the script that `bytes` stand for and checks everything above.
pub fn run(bytes: &[u8]) {
    let script = script::read(bytes);
    let whole = through(&script, usize::MAX);
    let bitwise = through(&script, 1);
    let judged = script.restricted && !script.open;
    if !judged && !script.races && !script.hostile && !whole.ended && !bitwise.ended {
        // How far the server was heard may decide who refuses what cannot succeed, and in which words.
        let (one, other) = (outline(&whole.client), outline(&bitwise.client));
        assert_eq!(one, other, "cut differently, the client got something else: {}", show(&bitwise.client));
        if !script.restricted {
            assert_eq!(show(&whole.server), show(&bitwise.server), "cut differently, the server got something else");
        }
    }
    let free = script.races || script.hostile;
    assert!(free || whole.ended == bitwise.ended, "cut differently, the session ended otherwise");

    if script.hostile {
        return;
    }
    if script.restricted {
        assert!(!holds_canary(format!("{:?}", whole.events).as_bytes()), "an event holds the canary");
    }
    for client in [&whole.client, &bitwise.client] {
        let mut frames = Frames::new(client);
        assert!(frames.all(|frame| frame.is_ok()), "the client got something that is no message");
        assert!(frames.rest().is_empty(), "the client got half a message");
        check::backend(client);
        assert!(!(script.restricted && holds_canary(client)), "the client saw the canary: {}", show(client));
    }

    // What the server makes of other messages in the middle of a COPY is nobody's business.
    let polite = script.polite && !script.copies;
    if polite {
        assert!(!whole.ended, "a polite client was thrown out: {}", show(&whole.client));
        if !whole.gone {
            assert!(!whole.stuck, "the session waits for ever; so far: {}", show(&whole.client));
            assert_eq!(whole.owed, 0, "ReadyForQuery; so far: {}", show(&whole.client));
        }
    }
    if polite && (script.open || !script.restricted) {
        let direct = direct(&script);
        if script.restricted {
            // Names that the session does not know are refused in words of its own.
            assert_eq!(outline(&whole.client), outline(&direct), "not what the server said: {}", show(&whole.client));
        } else {
            assert_eq!(show(&whole.client), show(&direct), "not what the server said");
        }
    }
}

/// What one run left.
struct Outcome {
    client: Vec<u8>,
    server: Vec<u8>,
    events: Vec<ringfence_engine::Event>,
    /// The session gave up.
    ended: bool,
    /// The server hung up.
    gone: bool,
    /// It holds bytes of the client although nothing more will happen.
    stuck: bool,
    /// ReadyForQuery messages that the server sent and the client did not get.
    owed: usize,
}

struct Run {
    session: Session,
    server: Server,
    /// Sent by the client, not yet taken.
    kept: Vec<u8>,
    sink: Sink,
    to_server: Vec<u8>,
    restricted: bool,
    ended: bool,
}

#[derive(Default)]
struct Sink {
    client: Vec<u8>,
    server: Vec<u8>,
}

impl Peers for Sink {
    fn to_client(&mut self, bytes: &[u8]) {
        self.client.extend_from_slice(bytes);
    }

    fn to_server(&mut self, message: Cleared<'_>) {
        self.server.extend_from_slice(message.bytes());
    }
}

fn through(script: &Script, piece: usize) -> Outcome {
    let mut run = Run {
        session: Session::new(config(script.restricted)),
        server: Server::new(),
        kept: Vec::new(),
        sink: Sink::default(),
        to_server: Vec::new(),
        restricted: script.restricted,
        ended: false,
    };
    for action in &script.actions {
        match action {
            Action::Client(bytes) => {
                for bytes in bytes.chunks(piece.min(bytes.len().max(1))) {
                    run.kept.extend_from_slice(bytes);
                    run.client();
                }
            }
            Action::World => run.world(false),
            _ => happen(action, &mut run.server),
        }
        if matches!(action, Action::Hear) {
            run.hear(piece);
        }
    }
    run.hear(piece);
    let mut events = Vec::new();
    while let Some(event) = run.session.next_event() {
        events.push(event);
    }
    let stuck = run.session.is_waiting() || !run.kept.is_empty();
    let owed =
        tags(&run.sink.client).filter(|tag| *tag == backend::READY_FOR_QUERY).count().abs_diff(run.server.readies);
    Outcome {
        client: run.sink.client,
        server: run.to_server,
        events,
        ended: run.ended,
        gone: run.server.gone,
        stuck,
        owed,
    }
}

impl Run {
    /// Offers what the client sent until no more is taken, answering what the session needs.
    fn client(&mut self) {
        while !self.ended && !self.server.gone {
            let Ok(taken) = self.session.client_bytes(Instant::now(), &self.kept, &mut self.sink) else {
                self.ended = true;
                return self.forward();
            };
            self.kept.drain(..taken);
            self.forward();
            if !self.needs() {
                return;
            }
        }
    }

    /// Lets the server be heard until it has nothing more to say.
    fn hear(&mut self, piece: usize) {
        while !self.ended && !self.server.output.is_empty() {
            let mut words: Vec<u8> = self.server.output.drain(..).collect();
            while !words.is_empty() && !self.ended {
                let offered = words.get(..piece).unwrap_or(&words);
                match self.session.server_bytes(Instant::now(), offered, &mut self.sink) {
                    Ok(taken) => {
                        words.drain(..taken);
                        self.forward();
                        let waited = self.needs();
                        self.client();
                        assert!(taken > 0 || waited, "the session neither takes the server's bytes nor says why");
                    }
                    Err(_) => self.ended = true,
                }
            }
            self.forward();
        }
    }

    fn forward(&mut self) {
        self.to_server.extend_from_slice(&self.sink.server);
        self.server.receive(&self.sink.server);
        self.sink.server.clear();
    }

    fn needs(&mut self) -> bool {
        match self.session.need() {
            Some(Need::Refresh(_)) => {
                self.world(true);
                true
            }
            _ => false,
        }
    }

    fn world(&mut self, asked: bool) {
        let fixed = Fixed::get(self.restricted);
        let world = Arc::new(World::new(Arc::clone(&fixed.catalog), 1, "app".into()));
        let client = Arc::clone(&fixed.client);
        self.ended |= self.session.world(Instant::now(), world, client, asked, &mut self.sink).is_err();
        self.forward();
    }
}

/// The same client and server without a firewall.
fn direct(script: &Script) -> Vec<u8> {
    let mut server = Server::new();
    let mut heard = Vec::new();
    for action in &script.actions {
        match action {
            Action::Client(bytes) => drop(server.receive(bytes)),
            _ => happen(action, &mut server),
        }
        if matches!(action, Action::Hear) {
            heard.extend(server.output.drain(..));
        }
    }
    heard.extend(server.output.drain(..));
    heard
}

fn happen(action: &Action, server: &mut Server) {
    match action {
        Action::Notification => server.say(|out| encode::notification(out, 1, b"news", CANARY.as_bytes())),
        Action::Strings(on) => server.say(|out| {
            let value: &[u8] = if *on { b"on" } else { b"off" };
            encode::parameter_status(out, b"standard_conforming_strings", value);
        }),
        Action::Server(bytes) => server.say(|out| out.extend_from_slice(bytes)),
        Action::Client(_) | Action::Hear | Action::World => {}
    }
}

/// Nothing random, since two runs are compared.
const CLASSIFICATION: &str = "
version: 1
labels:
  pci: {}
  pii: {}
  secret: {}
columns:
  public.users: { credit_card: pci, email: pii, password_hash: secret }
roles:
  default: { pci: tokenize, pii: { mask: last4 }, secret: drop }
  everything: { pci: plain, pii: plain, secret: plain, admin: true }
clients:
  restricted: { roles: [default] }
  free: { roles: [everything] }
";

/// What all runs share: made once.
struct Fixed {
    catalog: Arc<Catalog>,
    client: Arc<ClientPolicy>,
    presenter: Arc<Presenter>,
}

impl Fixed {
    fn get(restricted: bool) -> &'static Self {
        static ALL: LazyLock<[Fixed; 2]> = LazyLock::new(|| [false, true].map(Fixed::make));
        &ALL[usize::from(restricted)]
    }

    fn make(restricted: bool) -> Self {
        let key = MasterKey::from_base64("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").expect("32 bytes");
        let policy = ringfence_policy::parse(CLASSIFICATION, "classification.yaml").expect("a valid classification");
        let client = policy.client(if restricted { "restricted" } else { "free" }).expect("the client is there");
        let label = |name| policy.label_id(name);
        let users: &[ColumnOf] = &[
            ("id", 23, "integer", None),
            ("credit_card", 25, "text", label("pci")),
            ("email", 25, "text", label("pii")),
            ("password_hash", 25, "text", label("secret")),
        ];
        let places: &[ColumnOf] = &[("id", 23, "integer", None), ("city", 25, "text", None)];
        let relations = vec![relation(USERS, "users", users), relation(PLACES, "places", places)];
        Self {
            catalog: Arc::new(Catalog::new(relations, Vec::new())),
            client: Arc::clone(&client.policy),
            presenter: Arc::new(Presenter::new(key)),
        }
    }
}

fn config(restricted: bool) -> SessionConfig {
    let fixed = Fixed::get(restricted);
    SessionConfig {
        client: Arc::clone(&fixed.client),
        world: Arc::new(World::new(Arc::clone(&fixed.catalog), 1, "app".into())),
        plans: Arc::new(PlanCache::new(1 << 20)),
        presenter: Arc::clone(&fixed.presenter),
        audit_healthy: Arc::new(AtomicBool::new(true)),
        control_fresh: Arc::new(AtomicBool::new(true)),
        limits: Limits::default(),
        budget: ringfence_policy::Budgets::new().for_client("fuzz"),
    }
}

/// Name, type, and what the classification says of it.
type ColumnOf = (&'static str, u32, &'static str, Option<LabelId>);

fn relation(oid: u32, name: &str, columns: &[ColumnOf]) -> Relation {
    let columns = columns.iter().enumerate().map(|(at, (name, type_oid, type_name, label))| Column {
        attnum: i16::try_from(at + 1).expect("few columns"),
        name: (*name).into(),
        type_oid: *type_oid,
        typmod: -1,
        type_name: (*type_name).into(),
        label: *label,
    });
    Relation { oid, schema: "public".into(), name: name.into(), columns: columns.collect(), ..Relation::default() }
}

fn holds_canary(bytes: &[u8]) -> bool {
    bytes.windows(6).any(|window| window == &CANARY.as_bytes()[..6])
}

fn tags(bytes: &[u8]) -> impl Iterator<Item = u8> {
    Frames::new(bytes).map_while(Result::ok).map(|frame| frame.tag)
}

/// As [`show`], but of an error only that it is one.
fn outline(bytes: &[u8]) -> String {
    let mut plain = Vec::new();
    for frame in Frames::new(bytes).map_while(Result::ok) {
        match frame.tag {
            backend::ERROR_RESPONSE => encode::error::<&str>(&mut plain, &[]),
            _ => plain.extend_from_slice(frame.bytes),
        }
    }
    show(&plain)
}

/// Messages as something that a person can compare.
fn show(bytes: &[u8]) -> String {
    let mut frames = Frames::new(bytes);
    let mut lines = String::new();
    for frame in frames.by_ref().map_while(Result::ok) {
        lines.push_str(&format!("{} {}\n", char::from(frame.tag), frame.body.escape_ascii()));
    }
    lines.push_str(&frames.rest().escape_ascii().to_string());
    lines
}
