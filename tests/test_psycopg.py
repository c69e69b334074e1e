"""psycopg 3: text and binary results, prepared statements, pipeline mode, server-side cursors, COPY, notifications."""

import psycopg
import pytest
from psycopg import pq

from expect import CLIENTS, COLUMNS, as_text, check_row

ALL = f"SELECT {', '.join(COLUMNS)} FROM users WHERE id = ANY(%s) ORDER BY id"
IDS = [0, 7, 100, 314]


def connect(firewall, client, **kw):
    return psycopg.connect(firewall.url(client, options="-c timezone=UTC"), autocommit=True, **kw)


def check(client, truth, rows, ids=IDS):
    assert len(rows) == len(ids)
    for i, row in zip(ids, rows):
        check_row(client, truth[i], [as_text(c, v) for c, v in zip(COLUMNS, row)])


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_every_column(firewall, truth, client, binary):
    with connect(firewall, client) as c:
        for prepare in (None, True, False):
            check(client, truth, c.cursor(binary=binary).execute(ALL, [IDS], prepare=prepare).fetchall())


@pytest.mark.parametrize("client", CLIENTS)
def test_pipeline(firewall, truth, client):
    with connect(firewall, client) as c, c.pipeline() as p:
        cursors = [c.cursor(binary=bool(i % 2)).execute(ALL, [[i]]) for i in (0, 7, 100, 314)]
        p.sync()
        for i, cur in zip(IDS, cursors):
            check(client, truth, cur.fetchall(), [i])


def test_refusal_in_a_pipeline(firewall, truth):
    """As an error there would: what follows in the pipeline is skipped until the sync, then the session goes on."""
    with connect(firewall, "users-api") as c:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            with c.pipeline() as p:
                ok = c.execute("SELECT 1")
                c.execute("SELECT upper(credit_card) FROM users")
                c.execute("SELECT 2")
                p.sync()
        assert ok.fetchall() == [(1,)]
        assert c.execute("SELECT 3").fetchone() == (3,)


@pytest.mark.parametrize("client", CLIENTS)
def test_server_side_cursor(firewall, truth, client):
    with connect(firewall, client) as c, c.transaction():
        for binary in (False, True):
            cur = c.cursor(f"named{binary:d}", binary=binary)
            cur.itersize = 2
            cur.execute(ALL, [IDS])
            check(client, truth, list(cur))


@pytest.mark.parametrize("client", ["users-api", "operator"])
def test_simple_protocol_and_multiple_statements(firewall, client):
    with connect(firewall, client) as c:
        cur = psycopg.ClientCursor(c).execute("SELECT 1; SELECT 2")
        assert cur.fetchall() == [(1,)]
        assert cur.nextset() and cur.fetchall() == [(2,)]


def test_transactions_and_savepoints(firewall):
    with connect(firewall, "users-api") as c:
        with pytest.raises(ZeroDivisionError), c.transaction():
            c.execute("UPDATE users SET num_logins = 12345 WHERE id = 7")
            with pytest.raises(psycopg.errors.DivisionByZero), c.transaction():
                c.execute("SELECT 1/0")
            with pytest.raises(psycopg.errors.InsufficientPrivilege), c.transaction():
                c.execute("SELECT id FROM users WHERE credit_card = 'x'")
            assert c.execute("SELECT num_logins FROM users WHERE id = 7").fetchone() == (12345,)
            raise ZeroDivisionError
        assert c.execute("SELECT num_logins FROM users WHERE id = 7").fetchone() != (12345,)


def test_copy(firewall):
    with connect(firewall, "users-api") as c:
        for fmt in ("", " (FORMAT binary)"):
            with c.cursor().copy(f"COPY (SELECT id, amount FROM transactions ORDER BY id LIMIT 1000) TO STDOUT{fmt}") as copy:
                assert sum(len(b) for b in copy) > 5000
        c.execute("CREATE TEMP TABLE scratch (a int, b text)")
        with c.cursor().copy("COPY scratch FROM STDIN") as copy:
            for i in range(1000):
                copy.write_row((i, f"row {i}"))
        assert c.execute("SELECT count(*), max(b) FROM scratch").fetchone() == (1000, "row 999")
        with c.cursor().copy("COPY users (credit_card) TO STDOUT") as copy:
            assert all(bytes(line).startswith((b"rf1_", b"\\N")) for line in copy)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            with c.cursor().copy("COPY users (credit_card) FROM STDIN") as copy:
                copy.write_row(("4111111111111111",))
        assert c.execute("SELECT 1").fetchone() == (1,)


def test_notifications(firewall):
    """Payloads carry others' data: a restricted client gets them empty, an unrestricted one as they are."""
    with connect(firewall, "users-api") as r, connect(firewall, "operator") as u:
        r.execute("LISTEN news")
        u.execute("LISTEN news")
        u.execute("SELECT pg_notify('news', 'payload')")
        got = next(r.notifies(timeout=5, stop_after=1))
        assert (got.channel, got.payload) == ("news", "")
        got = next(u.notifies(timeout=5, stop_after=1))
        assert (got.channel, got.payload) == ("news", "payload")


def test_cancel(firewall):
    import threading
    import time
    with connect(firewall, "users-api") as c:
        start = time.monotonic()
        t = threading.Timer(0.5, c.cancel_safe)
        t.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            c.execute("SELECT pg_sleep(20)")
        assert time.monotonic() - start < 5
        t.join()
        assert c.execute("SELECT 1").fetchone() == (1,)


def test_channel_binding(firewall):
    """SCRAM-SHA-256-PLUS over TLS, which libpq can insist on."""
    login, token = firewall.token("users-api")
    with psycopg.connect(firewall.url("users-api", channel_binding="require")) as c:
        assert c.execute("SELECT 1").fetchone() == (1,)
        assert c.pgconn.used_password and c.info.status == pq.ConnStatus.OK


def test_application_name_and_parameters(firewall):
    with psycopg.connect(firewall.url("users-api", application_name="my app", client_encoding="utf8", connect_timeout=5)) as c:
        assert c.execute("SHOW application_name").fetchone() == ("my app",)
        assert c.info.parameter_status("application_name") == "my app"
        assert c.info.server_version >= 120000
        c.execute("SET application_name = 'other'")
        assert c.info.parameter_status("application_name") == "other"


def test_types_round_trip(firewall):
    import datetime
    import decimal
    import uuid
    values = [1, 2**40, 1.5, decimal.Decimal("1.10"), "té'xt", b"\x00\xff", True, None, datetime.date(2024, 2, 29), uuid.uuid4(), [1, None, 3],
              ["a", None], datetime.timedelta(days=3, seconds=5)]
    with connect(firewall, "users-api") as c:
        for binary in (False, True):
            row = c.cursor(binary=binary).execute("SELECT " + ", ".join(
                ["%b::int", "%b::bigint", "%b::float8", "%b::numeric", "%b::text", "%b::bytea", "%b::bool", "%b::text", "%b::date", "%b::uuid",
                 "%b::int[]", "%b::text[]", "%b::interval"] if binary else ["%s::int", "%s::bigint", "%s::float8", "%s::numeric", "%s::text", "%s::bytea",
                 "%s::bool", "%s::text", "%s::date", "%s::uuid", "%s::int[]", "%s::text[]", "%s::interval"]), values).fetchone()
            assert list(row) == values
