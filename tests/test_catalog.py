"""The catalog moves: by this session, by others, inside transactions, through the firewall and beside it."""

import time

import pytest

from expect import TOKEN
from harness import Firewall, wait_for
from pgwire import SYNC, bind, describe, execute, parse

CLASSIFICATION = """
version: 1
labels: { pci: {}, secret: {} }
columns:
  public.accounts: { card: pci, hash: secret }
  public.later: { card: pci }
roles:
  default: { pci: encrypt, secret: drop }
  all: { pci: plain, secret: plain, admin: true }
clients:
  api: { roles: [default] }
  op: { roles: [all] }
"""


@pytest.fixture
def fw(cluster):
    cluster.psql("postgres", "CREATE DATABASE moving")
    cluster.psql("moving", """
        CREATE TABLE accounts (id int PRIMARY KEY, name text, card text, hash text);
        CREATE TABLE later (id int, card text);
        INSERT INTO accounts VALUES (1, 'ada', '4111111111111111', 'hash1'), (2, 'bob', '4242424242424242', 'hash2');
        INSERT INTO later VALUES (1, '378282246310005');
        GRANT ALL ON ALL TABLES IN SCHEMA public TO bank_app;
        GRANT CREATE ON SCHEMA public TO bank_app""")
    f = Firewall(cluster, CLASSIFICATION, database="moving")
    yield f
    f.remove()
    cluster.psql("postgres", "DROP DATABASE moving WITH (FORCE)")


@pytest.fixture
def root(cluster, fw):
    w = cluster.wire("moving", "postgres")
    yield w
    w.close()


def is_token(value):
    return value is not None and TOKEN.fullmatch(value.decode())


def one(w, sql, mode="simple"):
    a = w.ask(sql, mode)
    return a.error["C"] if a.error else a.rows[0][0]


@pytest.mark.parametrize("mode", ["simple", "text", "binary"])
def test_own_table_at_once(fw, mode):
    with fw.wire("api") as w:
        w.simple("CREATE TABLE mine (a int, b text)").ok()
        w.ask("INSERT INTO mine VALUES (1, 'x')", mode).ok()
        assert one(w, "SELECT b FROM mine", mode) == b"x"
        w.simple("ALTER TABLE mine ADD COLUMN c text DEFAULT 'new'").ok()
        assert one(w, "SELECT c FROM mine", mode) == b"new"
        w.simple("DROP TABLE mine").ok()
        assert one(w, "SELECT b FROM mine", mode) == "42P01"


@pytest.mark.parametrize("mode", ["simple", "text", "binary"])
def test_table_made_by_another_session(fw, root, mode):
    with fw.wire("api") as w:
        assert one(w, "SELECT a FROM elsewhere", mode) == "42P01"
        root.simple("CREATE TABLE elsewhere (a text); INSERT INTO elsewhere VALUES ('x'); GRANT SELECT ON elsewhere TO bank_app").ok()
        assert one(w, "SELECT a FROM elsewhere", mode) == b"x"


def test_temp_tables(fw):
    with fw.wire("api") as w, fw.wire("api") as other:
        w.simple("CREATE TEMP TABLE t (a int, b text)").ok()
        w.simple("INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, 3) g").ok()
        for mode in ("simple", "text", "binary"):
            assert [r[0] for r in w.ask("SELECT b FROM t ORDER BY a", mode).ok().rows] == [b"row 1", b"row 2", b"row 3"]
        assert one(w, "SELECT count(*) FROM t JOIN accounts USING (a)") == "42703"
        assert one(w, "SELECT count(*) FROM t JOIN accounts ON t.a = accounts.id") == b"2"
        assert one(other, "SELECT b FROM t") == "42P01"


def test_temp_table_shadows_a_protected_one(fw):
    """Its own rows are the session's; after it is gone, the protected table is back."""
    with fw.wire("api") as w:
        w.simple("CREATE TEMP TABLE accounts (id int, card text)")
        w.simple("INSERT INTO pg_temp.accounts VALUES (1, 'temporary')")
        got = one(w, "SELECT card FROM accounts WHERE id = 1")
        assert got != b"4111111111111111"
        w.simple("DROP TABLE pg_temp.accounts")
        assert is_token(one(w, "SELECT card FROM accounts WHERE id = 1"))


def test_uncommitted_ddl(fw):
    with fw.wire("api") as w, fw.wire("api") as other:
        w.simple("BEGIN").ok()
        w.simple("CREATE TABLE uncommitted (a text)").ok()
        w.simple("INSERT INTO uncommitted VALUES ('x')").ok()
        assert one(w, "SELECT a FROM uncommitted") == b"x"
        assert one(other, "SELECT a FROM uncommitted") == "42P01"
        w.simple("ROLLBACK").ok()
        assert one(w, "SELECT a FROM uncommitted") == "42P01"


def test_rename_of_a_protected_table_from_outside(fw, root):
    with fw.wire("api") as w:
        assert is_token(one(w, "SELECT card FROM accounts WHERE id = 1"))
        root.simple("ALTER TABLE accounts RENAME TO renamed").ok()
        for mode in ("simple", "text", "binary"):
            got = one(w, "SELECT card FROM renamed WHERE id = 1", mode)
            assert got == "42501" or is_token(got), got
        root.simple("ALTER TABLE renamed RENAME COLUMN card TO number").ok()
        got = one(w, "SELECT number FROM renamed WHERE id = 1")
        assert got == "42501" or is_token(got), got
        time.sleep(2)      # an expression has no origin: it follows with the next look at the catalog (--catalog-poll)
        got = one(w, "SELECT number || '' FROM renamed WHERE id = 1")
        assert got == "42501", got


def test_swap_and_back(fw, root):
    """A → B → A between Parse and Execute."""
    with fw.wire("api") as w:
        w.send(parse("SELECT name FROM accounts WHERE id = 1", "s") + SYNC).until_ready().ok()
        assert w.send(bind(statement="s") + execute() + SYNC).until_ready().rows == [[b"ada"]]
        for _ in range(2):
            root.simple("BEGIN; ALTER TABLE accounts RENAME name TO x; ALTER TABLE accounts RENAME card TO name; ALTER TABLE accounts RENAME x TO card; COMMIT").ok()
            w.send(bind(statement="s") + describe() + execute() + SYNC).until_ready()
            assert b"4111111111111111" not in bytes(w.log)
        assert w.send(bind(statement="s") + execute() + SYNC).until_ready().ok().rows in ([[b"ada"]],)


def test_table_recreated_under_the_same_name(fw, root):
    """Another OID, the same label: by name."""
    with fw.wire("api") as w:
        w.send(parse("SELECT card FROM later", "s") + SYNC).until_ready().ok()
        assert is_token(w.send(bind(statement="s") + execute() + SYNC).until_ready().ok().rows[0][0])
        root.simple("DROP TABLE later; CREATE TABLE later (id int, card text); INSERT INTO later VALUES (1, '378282246310005'); "
                    "GRANT ALL ON later TO bank_app").ok()
        got = one(w, "SELECT card FROM later")
        assert got == "42501" or is_token(got)
        w.send(bind(statement="s") + execute() + SYNC).until_ready()
        assert b"378282246310005" not in bytes(w.log)
        wait_for(lambda: is_token(one(w, "SELECT card FROM later")), 10, "the new table's label")


def test_column_added_and_dropped(fw, root):
    """Attribute numbers move; labels stay with their columns."""
    with fw.wire("api") as w:
        root.simple("ALTER TABLE accounts DROP COLUMN name, ADD COLUMN note text DEFAULT 'n'").ok()
        # until the firewall has looked again, the rows may be withheld
        wait_for(lambda: not w.simple("SELECT * FROM accounts WHERE id = 1").error, 5, "the new columns")
        for mode in ("simple", "text", "binary"):
            row = w.ask("SELECT * FROM accounts WHERE id = 1", mode).ok().rows[0]
            assert is_token(row[1]) and row[2] is None and row[3] == b"n"
        assert b"4111111111111111" not in bytes(w.log) and b"hash1" not in bytes(w.log)


def test_partitions_and_children(fw, root):
    root.simple("""CREATE TABLE parent (id int, card text) PARTITION BY RANGE (id);
                   CREATE TABLE child (junk text, id int, card text); ALTER TABLE child DROP COLUMN junk;
                   ALTER TABLE parent ATTACH PARTITION child FOR VALUES FROM (0) TO (1000);
                   INSERT INTO parent VALUES (1, '5555555555554444'); GRANT ALL ON parent, child TO bank_app""").ok()
    fw.reload(CLASSIFICATION.replace("  public.later: { card: pci }", "  public.later: { card: pci }\n  public.parent: { card: pci }"))
    with fw.wire("api") as w:
        wait_for(lambda: is_token(one(w, "SELECT card FROM parent")) or None, 10, "the label of the parent")
        got = one(w, "SELECT card FROM child")
        assert got == "42501" or is_token(got)
        root.simple("CREATE TABLE child2 PARTITION OF parent FOR VALUES FROM (1000) TO (2000); INSERT INTO parent VALUES (1001, '5105105105105100'); "
                    "GRANT ALL ON child2 TO bank_app").ok()
        got = one(w, "SELECT card FROM child2")
        assert got == "42501" or is_token(got)
        assert b"5105105105105100" not in bytes(w.log) and b"5555555555554444" not in bytes(w.log)


def test_ddl_of_a_protected_table_needs_permission(fw):
    with fw.wire("api") as w:
        for sql in ("ALTER TABLE accounts ADD COLUMN x int", "DROP TABLE accounts", "CREATE INDEX ON accounts (card)", "ALTER TABLE accounts RENAME TO b",
                    "CREATE TABLE c (LIKE accounts INCLUDING ALL)", "CREATE TABLE c () INHERITS (accounts)", "COMMENT ON TABLE accounts IS 'x'",
                    "CREATE STATISTICS s ON card, hash FROM accounts"):
            a = w.simple(sql)
            assert a.error and a.error["C"] == "42501" and (a.error.get("H") or "must be owner" not in a.error["M"]), (sql, a.error, a.tags)


def test_entitled_ddl_through_the_firewall(fw, root):
    """An unrestricted session changes the table; a restricted one sees it at once, and no value in between."""
    with fw.wire("op") as op, fw.wire("api") as w:
        op.simple("CREATE TABLE fresh (card text); INSERT INTO fresh VALUES ('4000000000000002')").ok()
        assert one(w, "SELECT card FROM fresh") == b"4000000000000002"      # nobody has labelled it
        op.simple("DROP TABLE fresh").ok()
        assert one(w, "SELECT card FROM fresh") == "42P01"


def test_race_of_ddl_and_reads(fw, root):
    """Swaps from outside while a restricted client reads: never a value."""
    import threading
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            root.simple("BEGIN; ALTER TABLE accounts RENAME name TO x; ALTER TABLE accounts RENAME card TO name; ALTER TABLE accounts RENAME x TO card; COMMIT")
            time.sleep(0.01)
    t = threading.Thread(target=swap)
    try:
        with fw.wire("api") as w:
            # Labels hold by number once the classification has met its names; before that, swapped names are the names.
            assert is_token(one(w, "SELECT card FROM accounts WHERE id = 1"))
            t.start()
            w.send(parse("SELECT name FROM accounts", "s") + SYNC).until_ready()
            end = time.monotonic() + 4
            n = 0
            while time.monotonic() < end:
                w.simple("SELECT name FROM accounts")
                w.send(bind(statement="s") + execute() + SYNC).until_ready()
                w.extended("SELECT name, card FROM accounts")
                n += 1
            assert n > 20
            assert b"4111111111111111" not in bytes(w.log)
    finally:
        stop.set()
        t.join()


def test_types_domains_and_schemas(fw):
    with fw.wire("api") as w:
        w.simple("CREATE TYPE mood AS ENUM ('sad', 'ok')").ok()
        assert one(w, "SELECT 'ok'::mood") == b"ok"
        w.simple("CREATE TABLE moods (m mood)").ok()
        w.simple("INSERT INTO moods VALUES ('sad')").ok()
        assert one(w, "SELECT m FROM moods") == b"sad"
        w.simple("DROP TABLE moods; DROP TYPE mood").ok()
