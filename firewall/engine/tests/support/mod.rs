//! A bank, a policy, and scripted peers.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use ringfence_analysis::catalog::RelationKind;
use ringfence_analysis::{Catalog, Column, Relation};
use ringfence_cipher::Presenter;
use ringfence_cipher::key::MasterKey;
use ringfence_engine::session::{Fatal, Need, Peers};
use ringfence_engine::{Cleared, PlanCache, Session, SessionConfig, World};
use ringfence_policy::Policy;
use ringfence_wire::backend::Field;
use ringfence_wire::encode;
use ringfence_wire::frame::Frames;

pub const USERS: u32 = 16_400;
pub const TRANSACTIONS: u32 = 16_410;

const POLICY: &str = "
version: 1
labels: { pci: {}, pii: {}, secret: {} }
columns:
  public.users: { credit_card: pci, email: pii, password_hash: secret }
roles:
  default: { pci: { mask: last4 }, pii: plain, secret: drop }
  limited: { pci: { handling: plain, values_per_hour: 3 }, pii: plain, secret: drop }
  counted: { pci: { mask: last4 }, pii: plain, secret: drop, rows_per_hour: 3 }
  operator: { pci: plain, pii: plain, secret: plain, admin: true }
clients:
  api: { roles: [default] }
  limited: { roles: [limited] }
  counted: { roles: [counted] }
  watched: { roles: [counted], enforce: observe }
  operator: { roles: [operator] }
";

fn column(attnum: i16, name: &str, type_oid: u32, type_name: &str) -> Column {
    Column { attnum, name: name.into(), type_oid, typmod: -1, type_name: type_name.into(), label: None }
}

fn table(oid: u32, name: &str, columns: Vec<Column>) -> Relation {
    Relation {
        oid,
        schema: "public".into(),
        name: name.into(),
        kind: RelationKind::Table,
        owner: 10,
        columns,
        row_type: oid + 2,
        ..Relation::default()
    }
}

pub fn users() -> Relation {
    table(
        USERS,
        "users",
        vec![
            column(1, "id", 23, "integer"),
            column(2, "email", 25, "text"),
            column(3, "credit_card", 25, "text"),
            column(4, "password_hash", 25, "text"),
        ],
    )
}

pub fn transactions() -> Relation {
    table(TRANSACTIONS, "transactions", vec![column(1, "id", 23, "integer"), column(2, "description", 25, "text")])
}

pub fn policy() -> Policy {
    ringfence_policy::parse(POLICY, "classification.yaml").expect("the test's policy is valid")
}

pub fn world(relations: Vec<Relation>) -> Arc<World> {
    let mut catalog = Catalog::new(relations, Vec::new());
    catalog.server_version = 150_000;
    catalog.database = "bank".into();
    ringfence_policy::bind(&policy(), &mut catalog, &[]);
    Arc::new(World::new(Arc::new(catalog), 1, Arc::from("app")))
}

pub fn session(client: &str) -> Session {
    session_in(client, world(vec![users(), transactions()]))
}

pub fn session_in(client: &str, world: Arc<World>) -> Session {
    session_with(client, world, Arc::new(PlanCache::new(1 << 20)))
}

/// With plans that others share.
pub fn session_with(client: &str, world: Arc<World>, plans: Arc<PlanCache>) -> Session {
    let policy = policy();
    Session::new(SessionConfig {
        client: Arc::clone(&policy.client(client).expect("client").policy),
        world,
        plans,
        presenter: Arc::new(Presenter::new(MasterKey::from_bytes(&std::array::from_fn(|at| at as u8)).expect("key"))),
        audit_healthy: Arc::new(AtomicBool::new(true)),
        control_fresh: Arc::new(AtomicBool::new(true)),
        limits: ringfence_engine::Limits::default(),
        budget: ringfence_policy::Budgets::new().for_client(client),
    })
}

/// What came out, by side.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    pub client: Vec<u8>,
    pub server: Vec<u8>,
}

impl Peers for Recorded {
    fn to_client(&mut self, bytes: &[u8]) {
        self.client.extend_from_slice(bytes);
    }

    fn to_server(&mut self, message: Cleared<'_>) {
        self.server.extend_from_slice(message.bytes());
    }
}

/// Tags of the messages in `bytes`.
pub fn tags(bytes: &[u8]) -> String {
    let mut frames = Frames::new(bytes);
    let tags = frames.by_ref().map(|frame| char::from(frame.expect("whole messages").tag)).collect();
    assert!(frames.rest().is_empty(), "an incomplete message at the end");
    tags
}

/// A session with a script on either side.
pub struct Stage {
    pub session: Session,
    pub out: Recorded,
    pub now: Instant,
    pub world: Arc<World>,
    pub client: Arc<ringfence_policy::ClientPolicy>,
}

impl Stage {
    pub fn new(client: &str) -> Self {
        let world = world(vec![users(), transactions()]);
        Self {
            session: session_in(client, Arc::clone(&world)),
            out: Recorded::default(),
            now: Instant::now(),
            world,
            client: Arc::clone(&policy().client(client).expect("client").policy),
        }
    }

    /// The client sends; returns what went upstream.
    pub fn client(&mut self, build: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        build(&mut bytes);
        self.out.server.clear();
        let taken = self.session.client_bytes(self.now, &bytes, &mut self.out).expect("no fault");
        assert_eq!(taken, bytes.len(), "the session waits");
        std::mem::take(&mut self.out.server)
    }

    /// The server sends; returns what went to the client.
    pub fn server(&mut self, build: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        build(&mut bytes);
        self.out.client.clear();
        let taken = self.session.server_bytes(self.now, &bytes, &mut self.out).expect("no fault");
        assert_eq!(taken, bytes.len(), "the session waits");
        std::mem::take(&mut self.out.client)
    }

    /// The same, for what must break the connection.
    pub fn server_fault(&mut self, build: impl FnOnce(&mut Vec<u8>)) -> Fatal {
        let mut bytes = Vec::new();
        build(&mut bytes);
        self.session.server_bytes(self.now, &bytes, &mut self.out).expect_err("a fault")
    }

    /// Answers the need that is open.
    pub fn refresh(&mut self) {
        assert!(matches!(self.session.need(), Some(Need::Refresh(_))), "nothing is asked");
        self.session
            .world(self.now, Arc::clone(&self.world), Arc::clone(&self.client), true, &mut self.out)
            .expect("no fault");
    }
}

/// A result column of `users`.
pub fn field(name: &str, table_oid: u32, attnum: i16, type_oid: u32) -> Field<'_> {
    Field { name: name.as_bytes(), table_oid, attnum, type_oid, type_len: -1, typmod: -1, format: 0 }
}

pub fn row(out: &mut Vec<u8>, values: &[Option<&[u8]>]) {
    let mut row = encode::DataRowBuilder::begin(out);
    for value in values {
        match value {
            Some(value) => row.col(value),
            None => row.null(),
        }
    }
    row.finish().expect("short row");
}

pub fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}
