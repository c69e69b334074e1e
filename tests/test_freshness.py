"""How soon the firewall knows of DDL, from wherever it comes; and what it does when it can know nothing."""

import json
import subprocess
import time

import pytest

from expect import TOKEN
from harness import Cluster, Firewall, binary, clean_env, wait_for
from pgwire import SYNC, bind, execute, parse

CLASSIFICATION = """
version: 1
labels: { pci: {}, secret: {} }
columns:
  public.accounts: { card: pci, hash: secret }
roles:
  default: { pci: encrypt, secret: drop }
  all: { pci: plain, secret: plain, admin: true }
clients:
  api: { roles: [default] }
  op: { roles: [all] }
"""
CARD = b"4111111111111111"
VIEW = "CREATE OR REPLACE VIEW shown AS SELECT id, {} AS x FROM accounts"


@pytest.fixture
def make(cluster):
    made = []
    cluster.psql("postgres", "CREATE DATABASE fresh")
    cluster.psql("fresh", f"""
        CREATE TABLE accounts (id int PRIMARY KEY, name text, card text, hash text);
        INSERT INTO accounts VALUES (1, 'ada', '4111111111111111', 'hash1'), (2, 'bob', '4242424242424242', 'hash2');
        {VIEW.format("name")};
        CREATE TABLE others AS SELECT '7'::text AS amount;
        GRANT ALL ON ALL TABLES IN SCHEMA public TO bank_app; GRANT CREATE ON SCHEMA public TO bank_app""")

    def firewall(**flags):
        made.append(Firewall(cluster, CLASSIFICATION, database="fresh", **flags))
        return made[-1]

    yield firewall
    for f in made:
        f.remove()
    cluster.psql("postgres", "DROP DATABASE fresh WITH (FORCE)")


def install(cluster, *more, user="postgres"):
    return subprocess.run([binary("ringfence"), "install-trigger", "--upstream", cluster.url("fresh", user), *more],
                          env=clean_env(), capture_output=True, text=True)


def epoch(fw):
    databases = json.loads(fw.http("/api/v1/status", token=fw.root_token)[1])["databases"]
    return next(d["epoch"] for d in databases if d["database"] == "fresh")


def one(w, sql, mode="simple"):
    a = w.ask(sql, mode)
    return a.error["C"] if a.error else a.rows[0][0]


def is_token(value):
    return isinstance(value, bytes) and TOKEN.fullmatch(value.decode())


def test_the_trigger_is_installed_twice_and_removed(cluster, make):
    count = "SELECT count(*) FROM pg_event_trigger WHERE evtname LIKE 'ringfence%' AND evtenabled = 'A'"
    for _ in range(2):
        done = install(cluster)
        assert done.returncode == 0 and "installed" in done.stdout, done.stderr
        assert cluster.psql("fresh", count).strip() == "2"
    # Nobody else's DDL needs a privilege on it.
    cluster.psql("fresh", "SET ROLE bank_app; CREATE TABLE by_app (a int); DROP TABLE by_app; CREATE TEMP TABLE t (a int); DROP TABLE t")
    for _ in range(2):
        assert install(cluster, "--remove").returncode == 0
    assert cluster.psql("fresh", count).strip() == "0"
    assert cluster.psql("fresh", "SELECT count(*) FROM pg_namespace WHERE nspname = 'ringfence_events'").strip() == "0"
    refused = install(cluster, user="bank_app")
    assert refused.returncode == 1 and "SQLSTATE 42501" in refused.stderr


def test_ddl_from_outside_is_seen_at_once_with_the_trigger(cluster, make):
    assert install(cluster).returncode == 0
    fw = make(catalog_poll="1h")
    with fw.wire("api") as w, cluster.wire("fresh", "postgres") as root:
        assert one(w, "SELECT x FROM shown WHERE id = 1") == b"ada"
        w.send(parse("SELECT x FROM shown WHERE id = 1", "s") + SYNC).until_ready().ok()
        for n, column in enumerate(("card", "name", "hash", "name", "card || ''", "name", "card")):
            before = epoch(fw)
            began = time.monotonic()
            root.simple(VIEW.format(column)).ok()
            wait_for(lambda: epoch(fw) > before, 3, "the new view", 0.005)
            assert time.monotonic() - began < 1.5
            got = one(w, "SELECT x FROM shown WHERE id = 1", ("simple", "text", "binary")[n % 3])
            if column == "card":
                assert is_token(got), got
            elif column == "name":
                assert got == b"ada"
            elif column == "hash":
                assert got is None
            else:
                assert got == "42501", got
            # Prepared before, run after.
            a = w.send(bind(statement="s") + execute() + SYNC).until_ready()
            assert a.error or a.rows[0][0] in (b"ada", None) or is_token(a.rows[0][0])
        assert CARD not in bytes(w.log) and b"hash1" not in bytes(w.log)


def test_temporary_tables_of_others_are_not_announced(cluster, make):
    assert install(cluster).returncode == 0
    fw = make(catalog_poll="1h")
    with fw.wire("api") as w, cluster.wire("fresh", "postgres") as root:
        one(w, "SELECT 1")
        root.simple("LISTEN ringfence_catalog").ok()
        heard = len(bytes(root.log))
        before = epoch(fw)
        root.simple("CREATE TEMP TABLE t (a int); ALTER TABLE t ADD b int; CREATE INDEX ON t (a); DROP TABLE t").ok()
        root.simple("SELECT 1").ok()
        assert b"ringfence_catalog" not in bytes(root.log)[heard:]
        assert epoch(fw) == before
        root.simple("CREATE TABLE lasting (a int)").ok()
        wait_for(lambda: epoch(fw) > before, 3, "the new table")


def test_ddl_from_outside_is_polled_for_without_it(cluster, make):
    fw = make(catalog_poll="200ms")
    with fw.wire("api") as w, cluster.wire("fresh", "postgres") as root:
        assert one(w, "SELECT x FROM shown WHERE id = 1") == b"ada"
        before = epoch(fw)
        root.simple(VIEW.format("card")).ok()
        wait_for(lambda: epoch(fw) > before, 3, "the new view")
        for mode in ("simple", "text", "binary"):
            assert is_token(one(w, "SELECT x FROM shown WHERE id = 1", mode))
        assert CARD not in bytes(w.log)


def test_ddl_through_the_firewall_is_seen_by_other_sessions(make):
    fw = make(catalog_poll="1h")
    with fw.wire("op") as op, fw.wire("api") as w:
        w.simple("SET lock_timeout = '50ms'").ok()
        one(w, "SELECT 1")
        for column, holds in (("name", lambda v: v == b"ada"), ("card", is_token), ("hash", lambda v: v is None), ("name", lambda v: v == b"ada")):
            before = epoch(fw)
            op.simple(VIEW.format(column).replace("shown", "ours")).ok()
            wait_for(lambda: epoch(fw) > before, 3, f"the view of {column}", 0.005)
            for mode in ("simple", "text", "binary"):
                got = one(w, "SELECT x FROM ours WHERE id = 1", mode)
                assert holds(got), (column, mode, got)
            # In a transaction of its own it is not there yet.
            op.simple("BEGIN; " + VIEW.format("card").replace("shown", "ours")).ok()
            for mode in ("simple", "text", "binary"):
                one(w, "SELECT x FROM ours WHERE id = 1", mode)
            op.simple("ROLLBACK").ok()
        assert CARD not in bytes(w.log) and b"hash1" not in bytes(w.log)


def test_rename_swaps_show_nothing(cluster, make):
    """A → B → A, with the trigger: labels stay with their columns."""
    assert install(cluster).returncode == 0
    fw = make(catalog_poll="1h")
    swap = "BEGIN; ALTER TABLE accounts RENAME name TO t; ALTER TABLE accounts RENAME card TO name; ALTER TABLE accounts RENAME t TO card; COMMIT"
    with fw.wire("api") as w, cluster.wire("fresh", "postgres") as root:
        assert is_token(one(w, "SELECT card FROM accounts WHERE id = 1"))
        w.send(parse("SELECT name FROM accounts WHERE id = 1", "s") + SYNC).until_ready().ok()
        for _ in range(4):
            before = epoch(fw)
            root.simple(swap).ok()
            for mode in ("simple", "text", "binary"):
                w.ask("SELECT name, card FROM accounts", mode)
            w.send(bind(statement="s") + execute() + SYNC).until_ready()
            wait_for(lambda: epoch(fw) > before, 3, "the swap")
            for mode in ("simple", "text", "binary"):
                w.ask("SELECT name, card, x FROM accounts JOIN shown USING (id)", mode)
                # An expression has no origin: it is safe from the announcement on.
                w.ask("SELECT name || '' FROM accounts", mode)
                w.ask("SELECT upper(name) FROM accounts", mode)
            w.send(bind(statement="s") + execute() + SYNC).until_ready()
        assert CARD not in bytes(w.log) and b"4242424242424242" not in bytes(w.log)


def test_without_news_from_the_control_database_protected_statements_wait(cluster, make):
    spare = Cluster()
    try:
        fw = make(control=spare.url("postgres", "ringfence_control"), control_freshness="2s")
        with fw.wire("api") as w:
            w.send(parse("SELECT card FROM accounts WHERE id = 1", "s") + SYNC).until_ready().ok()
            assert is_token(one(w, "SELECT card FROM accounts WHERE id = 1"))
            spare.stop("immediate")
            try:
                wait_for(lambda: one(w, "SELECT card FROM accounts WHERE id = 1") == "53000", 10, "the refusal")
                for mode in ("text", "binary"):
                    assert one(w, "SELECT card FROM accounts WHERE id = 1", mode) == "53000"
                    assert one(w, "SELECT amount FROM others", mode) == b"7"
                assert w.simple("UPDATE accounts SET card = '4000000000000002' WHERE id = 2").error["C"] == "53000"
                a = w.send(bind(statement="s") + execute() + SYNC).until_ready()
                assert a.error and a.error["C"] == "53000", a.rows
                w.simple("CREATE TABLE still_possible (a int)").ok()
            finally:
                spare.start()
            wait_for(lambda: is_token(one(w, "SELECT card FROM accounts WHERE id = 1")), 20, "recovery")
            assert CARD not in bytes(w.log)
    finally:
        spare.remove()
