"""Class 11: what changes between a question and its answer. Each attack plays against bare PostgreSQL, where the secret
must come back, and through the firewall, where no byte of it may. An operator works in a session of his own (through the
firewall, or past it: `outside`)."""

import threading
import time

import pytest

from conftest_attacks import variants
from harness import Firewall, give
from pgwire import SYNC, Closed, Failed, bind, describe, execute, parse, query

DATABASE = "timing"
CARD, LAST = b"4111222233334444", b"4999888877776666"
POLICY = """
version: 1
labels: { pci: {} }
columns:
  public.vaults: { card: pci }
  public.big: { card: pci }
roles:
  default: { pci: encrypt }
  masked: { pci: { mask: last4 } }
  entitled: { pci: plain }
  operator: { pci: { handling: plain, allow: [read, insert, update, delete, copy, ddl, explain] }, admin: true }
clients:
  api: { roles: [default] }
  analyst: { roles: [masked] }
  issuer: { roles: [%s] }
  operator: { roles: [operator], upstream: { user: timing_owner, password_file: %s } }
"""
SETUP = f"""
SET ROLE timing_owner;
CREATE TABLE vaults (id int PRIMARY KEY, name text, card text);
INSERT INTO vaults VALUES (1, 'one', '{CARD.decode()}');
CREATE TABLE open (id int, name text, card text);
INSERT INTO open VALUES (1, 'open', 'none');
CREATE TABLE base (id int, name text, card text);
CREATE VIEW names AS SELECT id, name FROM vaults;
CREATE FUNCTION name_of(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT name FROM public.vaults WHERE id = $1';
CREATE TABLE big AS SELECT n AS id, 'x' || n AS name, CASE WHEN n < 60000 THEN 'card' || n ELSE '{LAST.decode()}' END AS card FROM generate_series(1, 60000) n;
GRANT ALL ON ALL TABLES IN SCHEMA public TO bank_app;
RESET ROLE;
GRANT CREATE ON SCHEMA public TO bank_app;
ANALYZE;
"""
SWAP = ("BEGIN; ALTER TABLE vaults RENAME name TO x; ALTER TABLE vaults RENAME card TO name; ALTER TABLE vaults RENAME x TO card; COMMIT")
ATTACKS = {}


def attack(clients=("api", "analyst"), secret=CARD, soundness=None):
    def add(f):
        ATTACKS[f.__name__.replace("_", "-")] = (f, clients, secret, soundness)
        return f
    return add


def policy(cluster, issuer):
    return POLICY % (issuer, cluster.dir / "owner_password")


class Stage:
    """What an attack may do beside its own connection."""

    def __init__(self, cluster, wall=None):
        self.cluster, self.wall = cluster, wall

    def outside(self, sql):
        with self.cluster.wire(DATABASE, "postgres") as w:
            w.simple(sql).ok()

    def operator(self, sql):
        """Through the firewall, where there is one."""
        if self.wall is None:
            return self.outside(sql)
        with self.wall.wire("operator") as w:
            w.simple(sql).ok()

    def operator_session(self):
        return self.cluster.wire(DATABASE, "postgres") if self.wall is None else self.wall.wire("operator")

    def poll(self):
        """Long enough for the next look at the catalog."""
        if self.wall is not None:
            time.sleep(2.2)

    def revoke(self):
        if self.wall is not None:
            kid = self.wall.token("issuer")[0].split("~")[1]
            self.wall.rfctl("token", "revoke", kid)
            time.sleep(1)

    def reload(self):
        """The issuer is not entitled any more."""
        if self.wall is not None:
            self.wall.reload(policy(self.cluster, "default"))
            time.sleep(1.5)


def again(w, statement="s"):
    return w.send(bind(statement=statement) + execute() + SYNC).until_ready()


# --- the meaning of columns changes -------------------------------------------------------------------------------------

@attack(soundness=9)
def columns_swapped_by_another_session(w, s):
    w.send(parse("SELECT name FROM vaults", "s") + describe("S", "s") + SYNC).until_ready()
    s.operator(SWAP)
    again(w)
    w.simple("SELECT name FROM vaults")


@attack(soundness=9)
def columns_swapped_from_outside(w, s):
    w.send(parse("SELECT name FROM vaults", "s") + describe("S", "s") + SYNC).until_ready()
    s.outside(SWAP)
    again(w)
    w.simple("SELECT name FROM vaults")


@attack(soundness=19)
def expression_after_a_swap(w, s):
    w.send(parse("SELECT name || '' FROM vaults", "s") + SYNC).until_ready()
    s.operator(SWAP)
    again(w)
    w.simple("SELECT name || '' FROM vaults")
    w.simple("SELECT upper(name) FROM vaults WHERE name <> ''")


@attack()
def expression_after_a_swap_from_outside(w, s):
    w.send(parse("SELECT name || '' FROM vaults", "s") + SYNC).until_ready()
    s.outside(SWAP)
    s.poll()
    again(w)
    w.simple("SELECT name || '' FROM vaults")


@attack(soundness=9)
def plain_column_waits_behind_a_swap(w, s):
    with s.operator_session() as op:
        op.simple(SWAP.replace("; COMMIT", "")).ok()
        w.send(parse("SELECT name FROM vaults") + bind() + execute() + SYNC)
        time.sleep(0.3)
        op.simple("COMMIT").ok()
    w.until_ready()


@attack()
def swapped_and_back(w, s):
    """A→B→A: prepared in between, run in between, looked at before and after."""
    w.simple("SELECT name FROM vaults")
    s.outside(SWAP)
    w.send(parse("SELECT name FROM vaults", "s") + describe("S", "s") + SYNC).until_ready()
    again(w)
    s.outside(SWAP)
    again(w)


@attack()
def sql_prepared_then_swapped(w, s):
    w.simple("PREPARE p AS SELECT name FROM vaults")
    s.operator(SWAP)
    w.simple("EXECUTE p")
    w.send(parse("EXECUTE p") + bind() + execute() + SYNC).until_ready()


@attack()
def column_of_a_cursor_swapped_before_it_opens(w, s):
    w.send(parse("DECLARE c CURSOR WITH HOLD FOR SELECT name FROM vaults", "s") + SYNC).until_ready()
    s.operator(SWAP)
    again(w)
    w.simple("FETCH ALL c")


# --- relations change -------------------------------------------------------------------------------------------------------

@attack(soundness=11)
def table_renamed_into_place(w, s):
    w.send(parse("SELECT card FROM open", "s") + describe("S", "s") + SYNC).until_ready()
    s.operator("BEGIN; ALTER TABLE open RENAME TO away; ALTER TABLE vaults RENAME TO open; COMMIT")
    again(w)
    w.simple("SELECT card FROM open")
    w.simple("SELECT card || '' FROM open")


@attack(soundness=11)
def table_renamed_into_place_from_outside(w, s):
    w.send(parse("SELECT card FROM open", "s") + describe("S", "s") + SYNC).until_ready()
    s.outside("BEGIN; ALTER TABLE open RENAME TO away; ALTER TABLE vaults RENAME TO open; COMMIT")
    again(w)
    w.simple("SELECT card FROM open")


@attack()
def view_replaced(w, s):
    w.send(parse("SELECT name FROM names", "s") + describe("S", "s") + SYNC).until_ready()
    s.operator("CREATE OR REPLACE VIEW names AS SELECT id, card AS name FROM vaults")
    again(w)
    w.simple("SELECT name FROM names")
    w.simple("SELECT name || '' FROM names")


@attack()
def view_replaced_from_outside(w, s):
    w.send(parse("SELECT name FROM names", "s") + describe("S", "s") + SYNC).until_ready()
    s.outside("CREATE OR REPLACE VIEW names AS SELECT id, card AS name FROM vaults")
    s.poll()
    again(w)
    w.simple("SELECT name FROM names")


@attack(soundness=14)
def function_replaced(w, s):
    w.send(parse("SELECT name_of(1)", "s") + SYNC).until_ready()
    s.operator("CREATE OR REPLACE FUNCTION name_of(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT card FROM public.vaults WHERE id = $1'")
    again(w)
    w.simple("SELECT name_of(1)")


@attack()
def function_replaced_from_outside(w, s):
    w.send(parse("SELECT name_of(1)", "s") + SYNC).until_ready()
    s.outside("CREATE OR REPLACE FUNCTION name_of(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT card FROM public.vaults WHERE id = $1'")
    s.poll()
    again(w)
    w.simple("SELECT name_of(1)")


@attack(soundness=10)
def child_attached(w, s):
    w.send(parse("SELECT card FROM base", "s") + describe("S", "s") + SYNC).until_ready()
    s.operator("ALTER TABLE vaults INHERIT base")
    again(w)
    w.simple("SELECT card FROM base")
    w.simple("SELECT card || '' FROM base")


@attack()
def child_attached_from_outside(w, s):
    w.send(parse("SELECT card FROM base", "s") + describe("S", "s") + SYNC).until_ready()
    s.outside("ALTER TABLE vaults INHERIT base")
    s.poll()
    again(w)
    w.simple("SELECT card FROM base")


@attack()
def table_replaced_by_a_view(w, s):
    w.send(parse("SELECT name FROM open", "s") + describe("S", "s") + SYNC).until_ready()
    s.operator("BEGIN; DROP TABLE open; CREATE VIEW open AS SELECT id, card AS name FROM vaults; GRANT SELECT ON open TO bank_app; COMMIT")
    again(w)
    w.simple("SELECT name FROM open")


@attack()
def trigger_made_on_an_open_table(w, s):
    w.send(parse("INSERT INTO open VALUES (2, 'x', 'y')", "s") + SYNC).until_ready()
    s.operator("""CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE NOTICE '%', (SELECT card FROM public.vaults WHERE id = 1); RETURN NEW; END $$;
        CREATE TRIGGER tell BEFORE INSERT ON open FOR EACH ROW EXECUTE FUNCTION tell()""")
    again(w)
    w.simple("INSERT INTO open VALUES (3, 'x', 'y')")


@attack()
def own_shadow_between_parse_and_execute(w, s):
    w.simple("CREATE TEMP TABLE shade (name text)")
    w.send(parse("SELECT name FROM shade", "s") + describe("S", "s") + SYNC).until_ready()
    w.simple("DROP TABLE shade; CREATE TEMP TABLE shade AS SELECT card AS name FROM vaults")
    w.simple("CREATE TEMP VIEW shade AS SELECT card AS name FROM vaults")
    again(w)


# --- the right to see changes: the issuer was entitled ----------------------------------------------------------------------------

@attack(clients=["issuer"])
def policy_changed_between_two_statements(w, s):
    s.reload()
    w.simple("SELECT card FROM vaults")
    w.simple("SELECT card || '' FROM vaults")


@attack(clients=["issuer"])
def policy_changed_behind_a_prepared_statement(w, s):
    w.send(parse("SELECT card FROM vaults WHERE id = $1", "s") + describe("S", "s") + SYNC).until_ready()
    s.reload()
    w.send(bind([1], statement="s") + execute() + SYNC).until_ready()


@attack(clients=["issuer"], secret=LAST)
def policy_changed_while_a_portal_is_suspended(w, s):
    w.simple("BEGIN")
    w.send(parse("SELECT card FROM big ORDER BY id") + bind(portal="p") + execute("p", 5) + SYNC).until_ready()
    s.reload()
    w.send(execute("p", 0) + SYNC).until_ready()


@attack(clients=["issuer"], secret=LAST)
def policy_changed_while_a_cursor_is_open(w, s):
    w.simple("BEGIN")
    w.simple("DECLARE c CURSOR FOR SELECT card FROM big ORDER BY id")
    w.simple("FETCH 5 c")
    s.reload()
    w.simple("FETCH ALL c")


@attack(clients=["issuer"], secret=LAST)
def revoked_while_a_portal_is_suspended(w, s):
    w.simple("BEGIN")
    w.send(parse("SELECT card FROM big ORDER BY id") + bind(portal="p") + execute("p", 5) + SYNC).until_ready()
    s.revoke()
    w.send(execute("p", 0) + SYNC).until_ready()


@attack(clients=["issuer"], secret=LAST)
def revoked_while_rows_are_on_their_way(w, s):
    """The client reads no faster than it likes; what it had not got when it was revoked, it does not get."""
    w.send(query("SELECT card, repeat('x', 400) FROM big ORDER BY id"))
    w.need(10_000)
    s.revoke()
    w.until_ready()


@attack(clients=["issuer"], secret=LAST)
def revoked_while_a_copy_runs(w, s):
    w.send(query("COPY (SELECT card, repeat('x', 400) FROM big ORDER BY id) TO STDOUT"))
    w.need(10_000)
    s.revoke()
    w.until_ready()


@attack(clients=["issuer"])
def revoked_then_asks(w, s):
    s.revoke()
    w.simple("SELECT card FROM vaults")


@pytest.fixture(scope="module")
def database(scene):
    made = []

    def fresh():
        if made:
            scene.cluster.psql("postgres", f"DROP DATABASE {DATABASE} WITH (FORCE)")
        else:
            # The tables' owner: the operator's own login at the server.
            scene.cluster.psql("postgres", f"CREATE ROLE timing_owner LOGIN PASSWORD '{scene.cluster.password}'")
            path = scene.cluster.dir / "owner_password"
            path.touch(0o600)
            path.write_text(scene.cluster.password)
            give(path)
        scene.cluster.psql("postgres", f"CREATE DATABASE {DATABASE}")
        scene.cluster.psql(DATABASE, "GRANT ALL ON SCHEMA public TO timing_owner; GRANT TEMPORARY ON DATABASE timing TO bank_app")
        scene.cluster.psql(DATABASE, SETUP)
        made.append(1)
        return scene.cluster
    return fresh


def leaked(secret, log):
    return [v for v in variants(secret) if v in log]


@pytest.mark.parametrize("name", ATTACKS)
def test_leaks_on_bare_postgres(database, name):
    f, _, secret, _ = ATTACKS[name]
    cluster = database()
    with cluster.wire(DATABASE) as w:
        f(w, Stage(cluster))
        assert leaked(secret, bytes(w.log)), "no leak, so the case proves nothing"


@pytest.mark.parametrize("name", ATTACKS)
def test_recovers_nothing(database, name):
    f, clients, secret, _ = ATTACKS[name]
    for client in clients:
        cluster = database()
        with Firewall(cluster, policy(cluster, "entitled"), database=DATABASE) as wall:
            with wall.wire(client) as w:
                if client == "issuer":
                    assert w.simple("SELECT card FROM vaults WHERE id = 1").ok().rows == [[CARD]], "it is entitled at first"
                    w.log.clear()
                try:
                    f(w, Stage(cluster, wall))
                except (Closed, Failed, ConnectionError):
                    assert "revoked" in name, "the session did not go on"
                assert not leaked(secret, bytes(w.log)), f"{client}: {bytes(w.log)[-600:]!r}"
