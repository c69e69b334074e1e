"""What roles say beside the handling: filter, derived, permissions, limits by the hour, kinds of statements, detectors."""

import pytest

from harness import Firewall, wait_for

CLASSIFICATION = """
version: 1
labels: { pci: {}, pii: {} }
columns: { public.cards: { card: pci, mail: pii } }
detectors: { pan: audit }
roles:
  shut:     { pci: drop, pii: { mask: email } }
  equality: { pci: { handling: tokenize, filter: equality, derived: drop }, pii: { handling: drop, derived: drop } }
  ordering: { pci: { handling: drop, filter: any }, pii: plain }
  random:   { pci: tokenize, pii: plain }
  by_id:    { pci: { handling: plain, filter: none }, pii: plain }
  twenty:   { pci: { handling: plain, values_per_hour: 20 }, pii: plain }
  thirty:   { pci: { mask: last4 }, pii: plain, rows_per_hour: 30 }
  reader:   { pci: drop, pii: plain, statements: [select] }
  no_copy:  { pci: { handling: plain, allow: [read, insert, update, delete, explain] }, pii: plain }
  plain:    { pci: plain, pii: plain }
clients:
  shut: { roles: [shut] }
  equality: { roles: [equality] }
  ordering: { roles: [ordering] }
  random: { roles: [random] }
  by-id: { roles: [by_id] }
  twenty: { roles: [twenty] }
  guesser: { roles: [twenty] }
  thirty: { roles: [thirty] }
  copier: { roles: [thirty] }
  watched: { roles: [thirty], enforce: observe }
  reader: { roles: [reader] }
  no-copy: { roles: [no_copy] }
  blocked: { roles: [shut], detectors: { pan: block } }
  plain: { roles: [plain] }
"""

TABLE = """
CREATE TABLE cards (id int PRIMARY KEY, card text, mail text, note text);
INSERT INTO cards SELECT n, '41111111111' || lpad(n::text, 5, '0'), 'user' || n || '@example.com', 'note ' || n FROM generate_series(1, 50) n;
CREATE TABLE notes (id int PRIMARY KEY, body text);
INSERT INTO notes VALUES (1, 'nothing here'), (2, 'paid with 4111 1111 1111 1111, thanks'), (3, 'number 4111111111111112 is none');
GRANT SELECT, INSERT, UPDATE, DELETE ON cards, notes TO bank_app;
"""

MODES = ["simple", "text", "binary"]


@pytest.fixture(scope="module")
def fw(cluster):
    cluster.psql("postgres", "CREATE DATABASE policy")
    cluster.psql("policy", TABLE)
    with Firewall(cluster, CLASSIFICATION, database="policy") as f:
        yield f


def ask(fw, client, sql, mode="simple"):
    with fw.wire(client) as w:
        return w.ask(sql, mode)


def refused(answer, rule, sqlstate="42501"):
    assert answer.error, answer.rows[:3]
    assert (answer.error["C"], answer.error["D"]) == (sqlstate, f"Rule {rule}."), answer.error
    assert answer.error["H"], answer.error
    return answer.error


def audited(fw, client, rule="budget"):
    return [line for line in fw.audit_lines() if line.get("client") == client and line.get("rule") == rule]


CARD = "'4111111111100007'"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("sql", "least"), [
    (f"SELECT id FROM cards WHERE card = {CARD}", "equality"),
    (f"SELECT id FROM cards WHERE card IN ({CARD}, 'x')", "equality"),
    (f"SELECT c.id FROM cards c JOIN (VALUES ({CARD})) v(k) ON c.card = v.k", "equality"),
    (f"SELECT count(*) FROM cards WHERE card > {CARD}", "any"),
    ("SELECT id FROM cards WHERE card LIKE '41%7'", "any"),
    ("SELECT id FROM cards WHERE substr(card, 1, 1) = '4'", "any"),
    ("SELECT id FROM cards ORDER BY card", "any"),
    ("SELECT id FROM cards WHERE id = 7", "none"),
    ("SELECT id FROM cards ORDER BY id", "none"),
])
def test_filters(fw, sql, least, mode):
    """Which predicates pass is the label's `filter`, whatever is shown; what passes answers as the server does."""
    strength = {"none": 0, "equality": 1, "any": 2}
    truth = ask(fw, "plain", sql, mode).ok().rows
    for client, has in (("shut", "none"), ("by-id", "none"), ("equality", "equality"), ("ordering", "any")):
        answer = ask(fw, client, sql, mode)
        if strength[has] >= strength[least]:
            assert answer.ok().rows == truth, client
        else:
            error = refused(answer, "filter")
            assert "public.cards.card (label pci)" in error["M"] and f'client "{client}"' in error["M"]


@pytest.mark.parametrize("mode", MODES)
def test_derived_drop(fw, mode):
    """Expressions of reviewed functions are NULL, all of them; others are refused."""
    for sql in ("SELECT upper(mail) FROM cards", "SELECT left(card, 6) || '…' FROM cards", "SELECT lower(mail) || card FROM cards"):
        rows = ask(fw, "equality", sql, mode).ok().rows
        assert len(rows) == 50 and all(r == [None] for r in rows)
        refused(ask(fw, "shut", sql, mode), "derived")
    for sql in ("SELECT 1 / (ascii(card) - 52) FROM cards", "SELECT repeat('y', ascii(card)) FROM cards", "SELECT card::numeric FROM cards"):
        refused(ask(fw, "equality", sql, mode), "derived")


def test_tokens_can_be_compared_only_with_filter_equality(fw):
    """Who may store a value and see its token must not recognise everybody's equal one."""
    def twice(client):
        sql = "SELECT card FROM cards WHERE id = 7"
        return [ask(fw, client, sql).ok().rows[0][0] for _ in range(2)]
    one, two = twice("equality")
    assert one == two and not one.startswith(b"rf1_")
    one, two = twice("random")
    assert one != two and one.startswith(b"rf1_") and two.startswith(b"rf1_")


def test_values_by_the_hour_hold_over_connections(fw):
    sql = "SELECT card FROM cards WHERE id BETWEEN {} AND {} ORDER BY id"
    for first in (1, 6, 11, 16):
        assert len(ask(fw, "twenty", sql.format(first, first + 4), "text").ok().rows) == 5
    # Known ones are free, in another connection too.
    assert len(ask(fw, "twenty", sql.format(1, 20)).ok().rows) == 20
    answer = ask(fw, "twenty", sql.format(19, 30))
    assert len(answer.rows) == 2
    error = refused(answer, "budget", "53400")
    for part in ('client "twenty"', 'role "twenty"', "20 different values of label pci", "values_per_hour"):
        assert part in error["M"], error
    assert "minutes" in error["H"]
    # The session goes on, and what is not counted passes.
    with fw.wire("twenty") as w:
        assert w.ask(sql.format(25, 25), "binary").error["C"] == "53400"
        assert w.ask("SELECT id, note FROM cards WHERE id = 30", "binary").ok().rows
    wait_for(lambda: len(audited(fw, "twenty")) == 2, what="audit lines of both refusals")
    assert fw.metric("ringfence_refusals_total", rule="budget") >= 2


def test_guesses_count(fw):
    sql = "SELECT id FROM cards WHERE card = '{}'"
    for n in range(10):
        ask(fw, "guesser", sql.format(f"guess {n}")).ok()
    with fw.wire("guesser") as w:
        for n in range(10, 20):
            w.extended("SELECT id FROM cards WHERE card = $1", [f"guess {n}".encode()]).ok()
        refused(w.extended("SELECT id FROM cards WHERE card = $1", [b"guess 20"]), "budget", "53400")
        refused(w.simple(sql.format("guess 21")), "budget", "53400")
        refused(w.simple("SELECT id FROM cards WHERE card IN ('guess 1', 'guess 22')"), "budget", "53400")
        # An array is as many guesses as it has elements.
        refused(w.simple("SELECT id FROM cards WHERE card = ANY ('{guess 1,guess 22}')"), "budget", "53400")
        refused(w.extended("SELECT id FROM cards WHERE card = ANY ($1)", [b"{guess 22,guess 1}"]), "budget", "53400")
        w.extended("SELECT id FROM cards WHERE card = ANY ($1)", [b"{guess 1,guess 2}"]).ok()
        w.simple(sql.format("guess 3")).ok()
        w.simple("SELECT id FROM cards WHERE id = 7777").ok()


def test_rows_by_the_hour_hold_over_connections(fw):
    for _ in range(2):
        assert len(ask(fw, "thirty", "SELECT card FROM cards LIMIT 12").ok().rows) == 12
    answer = ask(fw, "thirty", "SELECT card FROM cards", "text")
    assert len(answer.rows) == 6
    assert "30 rows with labelled columns" in refused(answer, "budget", "53400")["M"]
    assert len(ask(fw, "thirty", "SELECT id, note FROM cards").ok().rows) == 50
    # COPY takes from the same.
    answer = ask(fw, "copier", "COPY (SELECT id, card FROM cards ORDER BY id) TO STDOUT")
    data = b"".join(body for kind, body in answer.messages if kind == b"d")
    assert data.count(b"\n") == 30 and b"41111" not in data
    refused(answer, "budget", "53400")
    # An observed client gets them, and the log says so.
    assert len(ask(fw, "watched", "SELECT card FROM cards").ok().rows) == 50
    wait_for(lambda: [line["verdict"] for line in audited(fw, "watched")] == ["observed"], what="an audit line")


def test_kinds_of_statements(fw):
    with fw.wire("reader") as w:
        assert len(w.simple("SELECT id FROM cards").ok().rows) == 50
        w.simple("BEGIN").ok()
        w.simple("SET LOCAL statement_timeout = '1min'").ok()
        w.simple("ROLLBACK").ok()
        for sql in ("DELETE FROM notes", "WITH gone AS (DELETE FROM notes RETURNING *) SELECT * FROM gone", "PREPARE p AS DELETE FROM notes",
                    "EXPLAIN SELECT 1", "COPY notes TO STDOUT", "CREATE TABLE x (a int)", "LOCK TABLE notes", "NOTIFY x", "TRUNCATE notes",
                    "INSERT INTO notes VALUES (9, 'x') ON CONFLICT DO NOTHING", "UPDATE notes SET body = ''"):
            error = refused(w.simple(sql), "statement-kind")
            assert "confined to select" in error["M"] and "`statements`" in error["H"]
        assert len(w.simple("SELECT id FROM notes").ok().rows) == 3


def test_copy_is_a_permission(fw):
    error = refused(ask(fw, "no-copy", "COPY cards TO STDOUT"), "copy")
    assert "public.cards.card (label pci)" in error["M"] and "copy" in error["H"]
    refused(ask(fw, "no-copy", "COPY (SELECT card FROM cards) TO STDOUT"), "copy")
    ask(fw, "no-copy", "COPY (SELECT id, note FROM cards) TO STDOUT").ok()
    refused(ask(fw, "shut", "COPY cards FROM STDIN"), "copy")


@pytest.mark.parametrize("mode", MODES)
def test_detectors(fw, mode):
    """A card number in a column without a label: recorded, or blocked where the policy says so."""
    assert len(ask(fw, "shut", "SELECT id, body FROM notes ORDER BY id", mode).ok().rows) == 3
    answer = ask(fw, "blocked", "SELECT id, body FROM notes ORDER BY id", mode)
    error = refused(answer, "detector")
    assert len(answer.rows) == 1 and "public.notes.body" in error["M"] and "4111" not in str(answer.error)
    assert len(ask(fw, "blocked", "SELECT id, body FROM notes WHERE id <> 2 ORDER BY id", mode).ok().rows) == 2
