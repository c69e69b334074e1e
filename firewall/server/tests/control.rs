//! The control store and the catalog loader against a real PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
// A test may wait.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod cluster;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cluster::Cluster;
use ringfence_analysis::catalog::RelationKind;
use ringfence_analysis::text_hash;
use ringfence_cipher::{ControlMac, MasterKey};
use ringfence_server::catalog::{self, Context};
use ringfence_server::pg;
use ringfence_server::shared::Verifiers;
use ringfence_server::store::labels::Recorded;
use ringfence_server::store::schema::Overreach;
use ringfence_server::store::{Listener, Store};

const DAY: Duration = Duration::from_secs(86_400);

fn mac() -> ControlMac {
    ControlMac::new(&MasterKey::from_bytes(&std::array::from_fn(|i| i as u8)).unwrap())
}

/// Notes what the store says.
#[derive(Default)]
struct Heard {
    died: Mutex<Vec<String>>,
    changed: Mutex<Vec<String>>,
    bad: Mutex<u64>,
}

impl Listener for Heard {
    fn token_died(&self, kid: &str) {
        self.died.lock().unwrap().push(kid.to_owned());
    }

    fn catalog_changed(&self, database: &str) {
        self.changed.lock().unwrap().push(database.to_owned());
    }

    fn knows_client(&self, name: &str) -> bool {
        name != "gone"
    }

    fn bad_rows(&self, count: u64) {
        *self.bad.lock().unwrap() += count;
    }
}

async fn open(cluster: &Cluster, grace: Duration) -> (Store, Arc<Heard>) {
    let url = cluster.url("control", "control");
    let (store, notes) = Store::open(url, mac(), grace).await.unwrap();
    let heard = Arc::new(Heard::default());
    tokio::spawn(store.clone().run(notes, heard.clone()));
    (store, heard)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_live_and_die_on_every_replica() {
    let cluster = Cluster::start();
    // Two replicas at once: the schema is made once.
    let ((one, _), (two, heard)) = tokio::join!(open(&cluster, DAY), open(&cluster, DAY));

    let first = one.issue("api", DAY, "root").await.unwrap();
    let second = one.issue("api", DAY, "root").await.unwrap();
    until("the other replica hears of the tokens", || two.lookup(&format!("api~{}", second.kid)).is_some()).await;
    assert_eq!(&*two.lookup("api").unwrap().kid, first.kid, "the plain name is the oldest live token");
    assert_eq!(two.candidates("api").len(), 2);
    assert!(two.lookup("api~nosuchid").is_none());
    assert!(two.lookup(&format!("other~{}", first.kid)).is_none(), "a token belongs to its client");

    let began = Instant::now();
    one.revoke(&[Arc::from(first.kid.as_str())]).await.unwrap();
    until("the other replica hears of the revocation", || heard.died.lock().unwrap().contains(&first.kid)).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(&*two.lookup("api").unwrap().kid, second.kid);
    assert!(two.valid_until(&first.kid).is_none());
    assert!(one.revoke(&[Arc::from(first.kid.as_str())]).await.unwrap().is_empty(), "once is enough");

    let short = one.issue("api", Duration::from_secs(1), "root").await.unwrap();
    until("expiry is noticed", || heard.died.lock().unwrap().contains(&short.kid)).await;
    assert!(two.lookup(&format!("api~{}", short.kid)).is_none());

    let gone = one.issue("gone", DAY, "root").await.unwrap();
    assert!(one.lookup(&format!("gone~{}", gone.kid)).is_none(), "the classification does not know it");

    one.announce_catalog("bank").await.unwrap();
    until("the other replica hears of DDL", || heard.changed.lock().unwrap().contains(&String::from("bank"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_written_by_others_are_ignored() {
    let cluster = Cluster::start();
    let (store, heard) = open(&cluster, DAY).await;
    let token = store.issue("api", DAY, "root").await.unwrap();
    let (control, _notes) = pg::connect(&cluster.url("postgres", "control"), "control").await.unwrap();
    control.batch_execute("UPDATE ringfence.tokens SET client = 'operator'").await.unwrap();
    until("the forged row is noticed", || *heard.bad.lock().unwrap() > 0).await;
    assert!(store.lookup(&format!("operator~{}", token.kid)).is_none());
    assert!(store.lookup(&format!("api~{}", token.kid)).is_none());
    assert!(heard.died.lock().unwrap().contains(&token.kid), "its sessions end");

    // A label is the other way round: who writes one can only protect more.
    let label = Recorded {
        table_oid: 20_000,
        attnum: 2,
        label: String::from("pci"),
        table_name: String::from("public.users"),
        column_name: String::from("card"),
    };
    store.record_labels(5, "bank", std::slice::from_ref(&label)).await.unwrap();
    store.record_labels(5, "bank", std::slice::from_ref(&label)).await.unwrap();
    assert_eq!(store.recorded_labels(5).await.unwrap(), std::slice::from_ref(&label));
    assert!(store.recorded_labels(6).await.unwrap().is_empty());
    control.batch_execute("UPDATE ringfence.column_labels SET mac = 'x'").await.unwrap();
    assert_eq!(store.recorded_labels(5).await.unwrap(), [label]);
    assert_eq!(store.release_labels(5, "public.users.card").await.unwrap(), 1);
    assert!(store.recorded_labels(5).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn known_tokens_serve_for_the_grace() {
    let cluster = Cluster::start();
    let (store, _) = open(&cluster, Duration::from_secs(2)).await;
    let token = store.issue("api", DAY, "root").await.unwrap();
    let (server, _notes) = pg::connect(&cluster.url("postgres", "postgres"), "postgres").await.unwrap();
    // Two transactions: else the store is back before the door is shut.
    server.batch_execute("ALTER DATABASE control ALLOW_CONNECTIONS false").await.unwrap();
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'control'";
    server.simple_query(cut).await.unwrap();
    until("the loss is noticed", || !store.connected()).await;
    assert!(store.lookup("api").is_some(), "within the grace");
    assert!(store.issue("api", DAY, "root").await.is_err());
    until("the grace is over", || store.lookup("api").is_none()).await;
    server.batch_execute("ALTER DATABASE control ALLOW_CONNECTIONS true").await.unwrap();
    until("the control database is back", || store.lookup(&format!("api~{}", token.kid)).is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_that_reach_the_control_schema_are_named() {
    let cluster = Cluster::start();
    let (store, _) = open(&cluster, DAY).await;
    cluster
        .psql(
            "control",
            "CREATE ROLE plain LOGIN; CREATE ROLE friend LOGIN; GRANT control TO friend; \
             CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA ringfence TO reader; \
             CREATE ROLE peeper LOGIN; GRANT SELECT ON ringfence.tokens TO peeper",
        )
        .await;
    assert_eq!(store.overreach("plain").await.unwrap(), None);
    assert_eq!(store.overreach("nobody_at_all").await.unwrap(), None);
    assert_eq!(store.overreach("postgres").await.unwrap(), Some(Overreach::Superuser));
    assert_eq!(store.overreach("friend").await.unwrap(), Some(Overreach::ControlOwner(String::from("control"))));
    assert_eq!(store.overreach("reader").await.unwrap(), Some(Overreach::ControlPrivilege));
    assert_eq!(store.overreach("peeper").await.unwrap(), Some(Overreach::ControlPrivilege));
}

const SCHEMA: &str = "
    CREATE EXTENSION IF NOT EXISTS citext;
    CREATE TABLE countries (code varchar(3) PRIMARY KEY, name text);
    CREATE TABLE users (id int PRIMARY KEY, email text UNIQUE, card text DEFAULT '4111111111111111', country varchar(3) REFERENCES countries ON DELETE CASCADE,
        CHECK (card <> '4242424242424242'));
    CREATE INDEX users_card ON users (lower(card)) WHERE card <> '5555555555554444';
    CREATE TABLE accounts (id int PRIMARY KEY, owner int REFERENCES users);
    CREATE VIEW mails AS SELECT id, email FROM users WHERE email <> 'secret@example.com';
    CREATE VIEW mails_of_mails AS SELECT * FROM mails;
    CREATE FUNCTION mail(i int) RETURNS text LANGUAGE sql AS 'SELECT email FROM users WHERE id = i';
    CREATE VIEW calling AS SELECT mail(1);
    CREATE TABLE log (line text);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES ('x'); RETURN NEW; END $$;
    CREATE TRIGGER note AFTER INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION note();
    CREATE TABLE parts (id int, at date) PARTITION BY RANGE (at);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
    CREATE DOMAIN mailbox AS text CHECK (VALUE ~ '@');
    CREATE DOMAIN inner_mailbox AS mailbox;
    CREATE FUNCTION is_ok(text) RETURNS bool LANGUAGE sql AS 'SELECT true';
    CREATE DOMAIN active AS text CHECK (is_ok(VALUE));
    CREATE FUNCTION evil(text, text) RETURNS bool LANGUAGE sql AS 'SELECT true';
    CREATE OPERATOR === (LEFTARG = text, RIGHTARG = text, FUNCTION = evil);
    CREATE TYPE colour AS ENUM ('red');
    CREATE TYPE int4 AS (a text);
    CREATE ROLE team; CREATE ROLE app LOGIN; GRANT team TO app;
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catalog_says_what_hangs_on_what() {
    let cluster = Cluster::start();
    cluster.psql("postgres", SCHEMA).await;
    let (client, _notes) = pg::connect(&cluster.url("postgres", "postgres"), "postgres").await.unwrap();
    let context =
        Context { upstream_logins: vec![String::from("app")], trusted_extensions: ["citext".to_owned()].into() };
    let loaded = catalog::load(&client, &context).await.unwrap();
    let mut catalog = loaded.catalog;
    assert!(catalog.server_version >= 130_000 && &*catalog.database == "postgres" && catalog.database_oid != 0);

    let find = |name: &str| catalog.by_name(name).find(|r| &*r.schema == "public").unwrap().clone();
    let (users, countries, accounts, mails, log) =
        (find("users"), find("countries"), find("accounts"), find("mails"), find("log"));
    assert_eq!(users.kind, RelationKind::Table);
    assert_eq!(
        users.columns.iter().map(|c| (&*c.name, &*c.type_name)).collect::<Vec<_>>()[3],
        ("country", "character varying")
    );
    assert_eq!(users.columns[1].attnum, 2);
    assert!(users.row_type != 0 && !users.system && !users.temporary && !users.active);
    assert_eq!(users.references, [(4, countries.oid, 1)]);
    assert!(countries.write_reaches.contains(&users.oid) && countries.write_reaches.contains(&accounts.oid));
    assert!(countries.write_reaches.contains(&log.oid), "cascade, then the trigger's INSERT");
    assert!(accounts.active && accounts.write_reaches.contains(&log.oid));
    assert_eq!(mails.reads, [users.oid]);
    assert_eq!(find("mails_of_mails").reads, [mails.oid]);
    assert_eq!(find("parts_1").parents, [find("parts").oid]);
    assert!(find("parts").write_reaches.contains(&find("parts_1").oid));
    let mail = &catalog.functions("mail")[0];
    assert_eq!((&*mail.language, mail.body.as_deref()), ("sql", Some("SELECT email FROM users WHERE id = i")));
    assert_eq!(find("calling").calls, [mail.oid]);
    assert!(catalog.functions("upper").is_empty() || catalog.functions("upper").iter().all(|f| f.oid >= 16384));
    let citext = catalog.all_functions().find(|f| f.extension.is_some()).unwrap();
    assert_eq!(citext.extension.as_deref(), Some("citext"));
    assert!(catalog.by_name("pg_class").any(|r| r.system && r.column("relname").is_some()));

    assert!(catalog.foreign_operators.contains("==="));
    assert!(!catalog.foreign_operators.contains("~~*"), "citext is trusted");
    assert!(catalog.foreign_types.contains("int4"), "it shadows");
    assert!(!catalog.foreign_types.contains("colour") && !catalog.foreign_types.contains("citext"));
    assert!(catalog.active_domains.contains("active") && !catalog.active_domains.contains("mailbox"));
    assert_eq!(catalog.client_roles.len(), 2, "app, and team through it");
    assert!(loaded.superusers.is_empty());

    // Texts of relations with labels.
    assert!(catalog.sensitive_texts.is_empty());
    for relation in catalog.relations_mut().iter_mut().filter(|r| &*r.name == "users") {
        for column in relation.columns.iter_mut().filter(|c| &*c.name == "card") {
            column.label = Some(ringfence_analysis::LabelId(2));
        }
    }
    catalog::texts::add(&client, &mut catalog).await.unwrap();
    let printed = "SELECT unnest(ARRAY[pg_get_viewdef('mails'::regclass), pg_get_viewdef('mails'::regclass, true), \
        (SELECT prosrc FROM pg_proc WHERE proname = 'mail'), pg_get_functiondef('mail'::regproc), \
        pg_get_indexdef('users_card'::regclass), pg_get_indexdef('users_card'::regclass, 1, true), \
        (SELECT pg_get_expr(indpred, indrelid, true) FROM pg_index WHERE indexrelid = 'users_card'::regclass), \
        (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'users'::regclass), \
        (SELECT adbin::text FROM pg_attrdef WHERE adrelid = 'users'::regclass), \
        (SELECT pg_get_constraintdef(oid, true) FROM pg_constraint WHERE contype = 'c' AND conrelid = 'users'::regclass), \
        (SELECT check_clause FROM information_schema.check_constraints WHERE check_clause LIKE '%4242%')])";
    for row in client.query(printed, &[]).await.unwrap() {
        let text: String = row.get(0);
        assert!(catalog.sensitive_texts.contains(&text_hash(text.as_bytes())), "{text}");
    }
    client.batch_execute("SET search_path = pg_catalog").await.unwrap();
    let qualified = "SELECT pg_get_viewdef('public.mails'::regclass)";
    let text: String = client.query_one(qualified, &[]).await.unwrap().get(0);
    assert!(text.contains("public.users") && catalog.sensitive_texts.contains(&text_hash(text.as_bytes())), "{text}");
    for common in ["PRIMARY KEY (id)", "now()", "UNIQUE (email)", ""] {
        assert!(!catalog.sensitive_texts.contains(&text_hash(common.as_bytes())), "{common}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_change_with_the_catalog_and_only_then() {
    let cluster = Cluster::start();
    let (client, _notes) = pg::connect(&cluster.url("postgres", "postgres"), "postgres").await.unwrap();
    cluster.psql("postgres", "CREATE TABLE t (a int, b text); CREATE ROLE r").await;
    let mut before = catalog::marks(&client).await.unwrap();
    for same in ["INSERT INTO t VALUES (1, 'x')", "ANALYZE t", "SELECT 1", "VACUUM FREEZE t", "VACUUM"] {
        cluster.psql("postgres", same).await;
        assert_eq!(catalog::marks(&client).await.unwrap().lasting, before.lasting, "{same}");
    }
    for change in [
        "ALTER TABLE t RENAME a TO c",
        "ALTER TABLE t RENAME b TO a",
        "ALTER TABLE t ADD CHECK (a <> 'y')",
        "ALTER TABLE t ALTER a SET DEFAULT 'z'",
        "CREATE VIEW v AS SELECT * FROM t",
        "CREATE OR REPLACE VIEW v AS SELECT c, a FROM t WHERE c > 1",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 2'",
        "CREATE DOMAIN d AS text",
        "ALTER DOMAIN d ADD CHECK (VALUE <> 'q')",
        "GRANT r TO postgres",
        "REVOKE r FROM postgres",
        "ALTER TABLE t DROP COLUMN c CASCADE",
        "CREATE SCHEMA s",
        "ALTER TABLE t SET SCHEMA s",
        "DROP TABLE s.t",
    ] {
        cluster.psql("postgres", change).await;
        let now = catalog::marks(&client).await.unwrap();
        assert_ne!(now.lasting, before.lasting, "{change}");
        before = now;
    }
    let (session, _notes) = pg::connect(&cluster.url("postgres", "postgres"), "postgres").await.unwrap();
    session.batch_execute("CREATE TEMP TABLE mine (a int)").await.unwrap();
    let now = catalog::marks(&client).await.unwrap();
    assert_eq!(now.lasting, before.lasting, "temporary tables are not polled for");
    assert_ne!(now.temporary, before.temporary);
}
