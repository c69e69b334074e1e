"""ERRORS.md keeps its word: each rule's example is refused by that rule, with a hint; no rule is without a test."""

import re

import pytest

from harness import ROOT, Firewall

SETUP = """
CREATE SCHEMA evil;
CREATE FUNCTION evil.same(int, int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN EXECUTE ''SELECT 1''; RETURN true; END';
CREATE OPERATOR evil.### (LEFTARG = int, RIGHTARG = int, FUNCTION = evil.same);
CREATE TABLE notes (body text);
CREATE VIEW mine AS SELECT * FROM users WHERE email = current_setting('app.me');
GRANT USAGE ON SCHEMA evil TO bank_app;
GRANT SELECT, INSERT ON notes, mine TO bank_app;
"""

# What a client with the sample's role `default` is refused.
REFUSED = [
    ("derived", "SELECT upper(credit_card) FROM users"),
    ("derived", "SELECT credit_card || '' FROM users"),
    ("filter", "SELECT id FROM users WHERE credit_card = '4111111111111111'"),
    ("filter", "SELECT id FROM users ORDER BY credit_card"),
    ("filter", "SELECT max(credit_card) FROM users"),
    ("filter", "SELECT number FROM (VALUES ((SELECT credit_card FROM users LIMIT 1))) AS v(number) INTERSECT SELECT '4111'"),
    ("whole-row", "SELECT u FROM users u"),
    ("whole-row", "SELECT to_jsonb(u) FROM users u"),
    ("flow", "INSERT INTO notes (body) SELECT credit_card FROM users"),
    ("flow", "CREATE TABLE copy AS SELECT * FROM users"),
    ("stored-expression", "UPDATE users SET credit_card = reverse('1111') WHERE id = 2"),
    ("written-token", "UPDATE users SET credit_card = 'rf1_AQFw' WHERE id = 1"),
    ("copy", "COPY users FROM STDIN"),
    ("view", "SELECT count(*) FROM mine"),
    ("function", "SELECT pg_read_file('x')"),
    ("function", "SELECT query_to_xml('select * from users', true, false, '')"),
    ("shadowed-name", "SELECT 1 OPERATOR(evil.###) 2"),
    ("statistics", "SELECT * FROM pg_stats"),
    ("statistics", "SELECT query FROM pg_stat_activity"),
    ("catalog-text", "SELECT reverse(pg_get_constraintdef(oid)) FROM pg_constraint"),
    ("setting", "SET standard_conforming_strings = off"),
    ("setting", "SET enable_seqscan = off"),
    ("statement-kind", "DO $$ BEGIN END $$"),
    ("ddl", "ALTER TABLE users RENAME COLUMN credit_card TO c"),
    ("admin", "ALTER ROLE CURRENT_USER PASSWORD 'x'"),
    ("unknown-name", "EXECUTE p"),
    ("parser", r'SELECT u&"credit\005fcard" FROM users'),
    ("limit", "SELECT " + "abs(" * 1_500 + "id" + ")" * 1_500 + ", credit_card FROM users"),
    ("system-column", "SELECT ctid FROM users ORDER BY ctid"),
    ("handling", "UPDATE users SET password_hash = 'x'"),
]

# Rules that need more than a statement, and where they are produced.
ELSEWHERE = {
    "combined": "tests/golden/lineage.case",
    "protocol": "firewall/engine/tests/session.rs",
    "unknown-relation": "tests/test_catalog.py",
    "origin": "firewall/engine/tests/attacks.rs",
    "unclassified": "firewall/policy/tests/decide.rs",
    "audit": "tests/test_audit.py",
    "budget": "tests/test_policy.py",
    "detector": "tests/test_policy.py",
    "control": "tests/test_freshness.py",
}


@pytest.fixture(scope="module")
def fw(cluster):
    cluster.bank("errors", users=20, transactions=20)
    cluster.psql("errors", SETUP)
    with Firewall(cluster, database="errors") as f:
        yield f


def test_every_rule_has_its_test():
    rules = set(re.findall(r"^## ([a-z-]+)$", (ROOT / "firewall/ERRORS.md").read_text(), re.M))
    assert rules == {rule for rule, _ in REFUSED} | set(ELSEWHERE)
    for rule, place in ELSEWHERE.items():
        assert (ROOT / place).exists(), (rule, place)


@pytest.mark.parametrize(("rule", "sql"), REFUSED, ids=[f"{rule}: {sql[:40]}" for rule, sql in REFUSED])
def test_examples(fw, rule, sql):
    with fw.wire("users-api") as w:
        for mode in ("simple", "text"):
            error = w.ask(sql, mode).error
            assert error and error["D"] == f"Rule {rule}.", error
            assert error["H"] and error["C"] in ("42501", "0A000", "54001", "54000", "26000"), error
        assert w.ask("SELECT 1", "simple").ok().rows == [[b"1"]], "the session goes on"
