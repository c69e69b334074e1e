"""Values that reach the client without an origin of their own: through set operations, aggregates, subqueries, cursors, arrays, the
session's own tables. And what is looked at and counted on the way."""

import re
import time

import pytest

from harness import Firewall, wait_for

CLASSIFICATION = """
version: 1
labels: { card: {}, mail: {}, code: {} }
columns:
  public.holders: { card: card, mail: mail, code: code }
  public.backup: { card: mail }
roles:
  seen: { card: { mask: last4, filter: any }, mail: tokenize, code: drop }
  comparing: { card: { mask: last4 }, mail: { handling: tokenize, filter: equality }, code: { handling: drop, filter: any, derived: drop } }
  entitled: { card: plain, mail: plain, code: plain }
  few: { card: { handling: plain, values_per_hour: 3 }, mail: plain, code: plain }
clients:
  seen: { roles: [seen] }
  comparing: { roles: [comparing] }
  entitled: { roles: [entitled] }
  few: { roles: [few] }
  few-arrays: { roles: [few] }
  few-copied: { roles: [few] }
  blocked: { roles: [seen], detectors: { pan: block, private_key: block } }
"""
SCHEMA = """
CREATE TABLE holders (id int PRIMARY KEY, card varchar(19), mail text, code int);
INSERT INTO holders SELECT n, '492912341234' || (1000 + n), 'user' || n || '@example.com', n * 1000 FROM generate_series(1, 9) n;
CREATE TABLE backup (id int, card text);
INSERT INTO backup SELECT id, card FROM holders;
CREATE TABLE notes (id int, note text, doc jsonb);
INSERT INTO notes SELECT n, 'nothing ' || n, '{"a": 1}' FROM generate_series(1, 3000) n;
UPDATE notes SET note = 'paid with 4111-1111-1111-1111' WHERE id IN (3, 2500);
UPDATE notes SET doc = '{"pem": "-----BEGIN RSA PRIVATE KEY-----"}' WHERE id = 7;
UPDATE notes SET note = '$2b$12$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZabcdef' WHERE id = 9;
GRANT ALL ON ALL TABLES IN SCHEMA public TO bank_app;
"""
MASKED = rb"\*{12}100\d"


@pytest.fixture(scope="module")
def fw(cluster):
    cluster.psql("postgres", "CREATE DATABASE rows")
    cluster.psql("rows", SCHEMA)
    with Firewall(cluster, CLASSIFICATION, database="rows") as f:
        yield f


CARRIED = [
    "SELECT card FROM holders UNION ALL SELECT card FROM holders",
    "SELECT min(card) FROM holders",
    "SELECT max(card) FROM holders",
    "SELECT (SELECT card FROM holders h WHERE h.id = 1)",
    "SELECT (SELECT max(card) FROM holders h) FROM notes WHERE id < 3",
    "WITH RECURSIVE r (id, card) AS (SELECT id, card FROM holders WHERE id = 1 UNION ALL SELECT h.id, h.card FROM holders h JOIN r ON h.id = r.id + 1) SELECT card FROM r",
    "SELECT c FROM (SELECT card AS c FROM holders UNION ALL SELECT card FROM holders) x",
    "WITH a AS (SELECT card FROM holders) SELECT card FROM a",
    "SELECT x.card FROM holders h, LATERAL (SELECT h.card) x",
]


@pytest.mark.parametrize("mode", ["simple", "text", "binary"])
@pytest.mark.parametrize("sql", CARRIED)
def test_carried_values(fw, sql, mode):
    with fw.wire("seen") as w, fw.wire("entitled") as plain:
        got, true = w.ask(sql, mode).ok().rows, plain.ask(sql, mode).ok().rows
        assert len(got) == len(true) > 0
        for (value,), (known,) in zip(got, true):
            assert value == b"*" * 12 + known[-4:], (sql, value)


@pytest.mark.parametrize("mode", ["simple", "text"])
def test_arrays_of_them(fw, mode):
    with fw.wire("seen") as w:
        (value,), = w.ask("SELECT array_agg(card) FROM holders", mode).ok().rows
        assert re.fullmatch(rb'\{("' + MASKED + rb'",?){9}\}', value), value


def test_of_two_labels_the_strictest(fw):
    with fw.wire("seen") as w:
        rows = w.simple("SELECT card FROM holders UNION ALL SELECT card FROM backup").ok().rows
        assert len(rows) == 18 and all(re.fullmatch(rb"rf1_[\w-]+", v) for v, in rows)
        rows = w.simple("SELECT id, mail, NULL::int FROM holders UNION ALL SELECT id, NULL, code FROM holders").ok().rows
        assert all(r[2] is None for r in rows)


def test_deterministic_tokens_are_for_those_who_may_compare(fw):
    sql = "SELECT mail FROM holders WHERE id = 1"
    with fw.wire("seen") as w, fw.wire("comparing") as c:
        random = {w.simple(sql).ok().rows[0][0] for _ in range(3)}
        assert len(random) == 3 and all(v.startswith(b"rf1_") for v in random)
        same = {c.simple(sql).ok().rows[0][0] for _ in range(3)}
        assert len(same) == 1 and same.pop().startswith(b"tok_")


def test_cursors_and_prepared_statements(fw):
    with fw.wire("seen") as w:
        w.simple("BEGIN").ok()
        w.simple("DECLARE c CURSOR FOR SELECT card FROM holders UNION ALL SELECT card FROM holders").ok()
        for mode in ("simple", "text", "binary"):
            rows = w.ask("FETCH 4 FROM c", mode).ok().rows
            assert len(rows) == 4 and all(re.fullmatch(MASKED, v) for v, in rows)
        w.simple("COMMIT").ok()
        w.simple("PREPARE p AS SELECT max(card) FROM holders").ok()
        for mode in ("simple", "text"):
            assert re.fullmatch(MASKED, w.ask("EXECUTE p", mode).ok().rows[0][0])


def test_an_own_table_of_the_entitled_keeps_its_labels(fw):
    with fw.wire("entitled") as w:
        w.simple("CREATE TEMP TABLE mine AS SELECT card FROM holders").ok()
        assert w.simple("SELECT card FROM mine LIMIT 1").ok().rows[0][0].startswith(b"4929")


def test_derived_drop(fw):
    with fw.wire("comparing") as w, fw.wire("seen") as s:
        rows = w.simple("SELECT id, upper(code::text) FROM holders")
        if rows.error:
            assert rows.error["C"] == "42501"
        else:
            assert all(r[1] is None and r[0] for r in rows.rows)
        assert s.simple("SELECT code + 1 FROM holders").error["C"] == "42501"


def test_detectors_report_and_count(fw):
    with fw.wire("seen") as w:
        before = fw.metric("ringfence_detections_total", shape="pan") if "ringfence_detections_total" in fw.metrics() else 0
        assert len(w.simple("SELECT id, note, doc FROM notes ORDER BY id").ok().rows) == 3000
        wait_for(lambda: fw.metric("ringfence_detections_total", shape="pan") > before, 5, "the count")

        def line():
            return [l for l in fw.audit_lines() if l.get("detected")]

        wait_for(line, 5, "the audit line")
        found = {(d["column"], d["looks_like"]) for d in line()[-1]["detected"]}
        assert found == {("public.notes.note", "pan"), ("public.notes.note", "hash"), ("public.notes.doc", "private_key")}
        assert "41111111" not in fw.audit.read_text()
    with fw.wire("entitled") as w:
        lines = len(line())
        w.simple("SELECT note FROM notes").ok()
        time.sleep(0.2)
        assert len(line()) == lines, "a client from whom nothing is withheld is not watched"


@pytest.mark.parametrize("mode", ["simple", "text", "binary"])
def test_detectors_block(fw, mode):
    with fw.wire("blocked") as w:
        answer = w.ask("SELECT id, note FROM notes ORDER BY id", mode)
        assert answer.error["C"] == "42501" and "public.notes.note" in answer.error["M"] and len(answer.rows) == 2
        assert not any(b"4111" in body for _, body in answer.messages)
        assert w.ask("SELECT doc FROM notes WHERE id = 7", mode).error["C"] == "42501"
        assert w.ask("SELECT note FROM notes WHERE id = 9", mode).ok().rows[0][0].startswith(b"$2b$")
        assert len(w.ask("SELECT id FROM notes", mode).ok().rows) == 3000


@pytest.mark.parametrize("mode", ["simple", "text"])
def test_values_are_counted_whatever_brings_them(fw, mode):
    client = "few" if mode == "simple" else "few-arrays"
    sql = "SELECT card FROM holders ORDER BY id" if mode == "simple" else "SELECT array_agg(card) FROM holders"
    with fw.wire(client) as w:
        answer = w.ask(sql, mode)
        assert answer.error["C"] == "53400" and "values_per_hour" in answer.error["M"], answer.error
        assert len(answer.rows) == (3 if mode == "simple" else 0)
        assert len(w.ask("SELECT id FROM holders", mode).ok().rows) == 9
    with fw.wire("few-copied") as w:
        answer = w.simple("COPY (SELECT id, card FROM holders ORDER BY id) TO STDOUT")
        if mode == "simple":
            assert answer.error["C"] == "53400" and answer.kinds == "HdddEZ", answer.kinds
        assert w.simple("SELECT card FROM holders WHERE id = 1").ok().rows
