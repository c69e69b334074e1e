"""Statements that are hard to read: the firewall answers them somehow, its process lives on, and other connections do not
wait meanwhile."""

import threading
import time

import pytest

from harness import Firewall

# The longest that another connection may wait (a debug build on a busy machine).
PATIENCE = 2.0
CARD = "SELECT credit_card FROM users"
TEXTS = {
    "union-chain-of-15-kB": " UNION ALL ".join([CARD] * 500),
    "union-chain-of-constants": " UNION ALL ".join(["SELECT 1"] * 3000),
    "union-distinct-chain": " UNION ".join([CARD] * 300),
    "expression-of-10000-terms": "SELECT " + " + ".join(["id"] * 10_000) + " FROM users WHERE id = 1",
    "protected-expression-of-10000-terms": "SELECT " + " || ".join(["credit_card"] * 10_000) + " FROM users WHERE id = 1",
    "conditions-10000": "SELECT id FROM users WHERE " + " OR ".join(f"id = {n}" for n in range(10_000)),
    "in-list-of-1-MB": "SELECT id FROM users WHERE id IN (" + ", ".join(str(n) for n in range(150_000)) + ")",
    "protected-in-list-of-1-MB": "SELECT id FROM users WHERE credit_card IN (" + ", ".join(f"'{n:012d}'" for n in range(65_000)) + ")",
    "values-of-1-MB": "VALUES " + ", ".join(f"({n}, 'x')" for n in range(80_000)),
    "insert-of-1-MB": "INSERT INTO transactions (amount, currency, user_id) VALUES " + ", ".join("(1, 'EUR', -1)" for _ in range(60_000)),
    "nested-selects": "SELECT * FROM (" * 400 + CARD + ") x" * 400,
    "nested-parentheses": "SELECT " + "(" * 5000 + "1" + ")" * 5000,
    "nested-protected-parentheses": "SELECT " + "(" * 2000 + "credit_card" + ")" * 2000 + " FROM users",
    "nested-subqueries": "SELECT " + "(SELECT " * 1000 + "1" + ")" * 1000,
    "nested-case": "SELECT " + "CASE WHEN true THEN " * 2000 + "credit_card" + " END" * 2000 + " FROM users",
    "nested-functions": "SELECT " + "lower(" * 3000 + "credit_card" + ")" * 3000 + " FROM users",
    "nested-ctes": "".join(f"WITH c{n} AS (" for n in range(200)) + CARD + "".join(f") SELECT * FROM c{n}" for n in reversed(range(200))),
    "ctes-1000": "WITH c0 AS (" + CARD + "), " + ", ".join(f"c{n} AS (SELECT * FROM c{n - 1})" for n in range(1, 1000)) + " SELECT * FROM c999",
    "ctes-that-double": "WITH c0 AS (" + CARD + "), " + ", ".join(f"c{n} AS (SELECT a.* FROM c{n - 1} a, c{n - 1} b)" for n in range(1, 40)) + " SELECT 1",
    "columns-that-double": "WITH c0 AS (SELECT credit_card AS x FROM users), " + ", ".join(f"c{n} AS (SELECT x || x AS x FROM c{n - 1})" for n in range(1, 60)) + " SELECT x FROM c59",
    "stars-that-double": "WITH c0 AS (SELECT id FROM users), " + ", ".join(f"c{n} AS (SELECT a.*, b.* FROM c{n - 1} a, c{n - 1} b)" for n in range(1, 14)) + " SELECT 1",
    "joins-500": "SELECT u0.credit_card FROM users u0 " + " ".join(f"JOIN users u{n} ON u{n}.id = u{n - 1}.id" for n in range(1, 500)) + " WHERE u0.id = -1",
    "columns-1600": "SELECT " + ", ".join(f"credit_card AS c{n}" for n in range(1600)) + " FROM users WHERE id = 1",
    "casts-5000": "SELECT credit_card" + "::text" * 5000 + " FROM users",
    "comment-of-4-MB": "SELECT 1 /* " + "x" * (4 << 20) + " */",
    "nested-comments": "SELECT 1 " + "/* " * 5000 + "*/ " * 5000,
    "literal-of-8-MB": "SELECT length('" + "x" * (8 << 20) + "')",
    "statements-5000": "SELECT 1; " * 5000,
    "semicolons-1-MB": ";" * (1 << 20),
    "not-10000": "SELECT " + "NOT " * 10_000 + "true",
    "minus-10000": "SELECT " + "- " * 10_000 + "1",
    "array-nesting": "SELECT " + "ARRAY[" * 1000 + "1" + "]" * 1000,
    "window-definitions-500": "SELECT " + ", ".join(f"count(*) OVER w{n}" for n in range(500)) + " FROM users WINDOW " + ", ".join(f"w{n} AS (PARTITION BY country)" for n in range(500)),
    "unfinished-quotes": "SELECT " + "'" * 100_001,
    "dollar-quotes": "SELECT " + ", ".join(f"$t{n}$x$t{n}$" for n in range(20_000)),
    "names-of-60-kB": "SELECT " + "x" * 60_000 + " FROM users",
}


@pytest.fixture(scope="module")
def fw(cluster):
    with Firewall(cluster) as f:
        yield f


class Others:
    """Another client that asks all the time; the longest it had to wait."""

    def __init__(self, fw, client, sql):
        self.wire, self.sql, self.longest, self.done, self.failed = fw.wire(client), sql, 0.0, threading.Event(), None
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        try:
            while not self.done.is_set():
                start = time.monotonic()
                self.wire.extended(self.sql, [7]).ok()
                self.longest = max(self.longest, time.monotonic() - start)
                time.sleep(0.005)
        except Exception as e:      # noqa: BLE001  whatever it is, the test tells
            self.failed = e

    def stop(self):
        self.done.set()
        self.thread.join()
        self.wire.close()


@pytest.mark.parametrize("name", TEXTS)
def test_hard_texts_do_not_stop_others(fw, name):
    others = [Others(fw, "users-api", "SELECT id, credit_card, username FROM users WHERE id = $1"), Others(fw, "operator", "SELECT $1::int")]
    try:
        for mode in ("simple", "text"):
            with fw.wire("analyst") as w:
                w.sock.settimeout(60)
                w.simple("SET statement_timeout = '20s'")
                answer = w.ask(TEXTS[name], mode)
                assert answer.status == "I"
                for e in answer.errors:
                    assert e["C"][:2] in ("42", "54", "0A", "57", "53", "23"), e
                assert w.simple("SELECT 40 + 2").ok().rows == [[b"42"]], "the session did not go on"
    finally:
        for o in others:
            o.stop()
    assert fw.process.poll() is None, fw.log()[-2000:]
    for o in others:
        assert o.failed is None, o.failed
        assert o.longest < PATIENCE, f"another connection waited for {o.longest:.2f} s"


def test_many_hard_texts_at_once(fw):
    """As many clients as there are threads, and more: somebody else still gets an answer."""
    texts = [TEXTS[n] for n in ("union-chain-of-15-kB", "expression-of-10000-terms", "in-list-of-1-MB", "nested-selects", "values-of-1-MB", "joins-500")]
    wires = [fw.wire("users-api") for _ in range(8)]
    other = Others(fw, "operator", "SELECT $1::int")
    try:
        threads = [threading.Thread(target=w.simple, args=(texts[n % len(texts)],)) for n, w in enumerate(wires)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
            assert not t.is_alive()
    finally:
        other.stop()
        for w in wires:
            w.close()
    assert fw.process.poll() is None
    assert other.failed is None and other.longest < 2 * PATIENCE, (other.failed, other.longest)
