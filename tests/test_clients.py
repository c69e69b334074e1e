"""Every column of public.users as every sample client sees it, by hand-made messages: simple protocol, extended
protocol with text and with binary results."""

import datetime
import struct

import pytest

from expect import CLIENTS, COLUMNS, HANDLED, check_row
from pgwire import fields

EPOCH = datetime.datetime(2000, 1, 1, tzinfo=datetime.timezone.utc)
IDS = (0, 7, 100, 314)      # 100 has no card
LIST = f"SELECT {', '.join(COLUMNS)} FROM users WHERE id IN (0, 7, 100, 314) ORDER BY id"


def decode(column, value, fmt):
    if value is None:
        return None
    if fmt == 0 or column not in ("id", "num_logins", "created_at", "is_active"):
        return value.decode()
    if column == "created_at":
        return (EPOCH + datetime.timedelta(microseconds=struct.unpack("!q", value)[0])).strftime("%Y-%m-%d %H:%M:%S") + "+00"
    if column == "is_active":
        return "t" if value == b"\x01" else "f"
    return str(struct.unpack("!i", value)[0])


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("mode", ["simple", "text", "binary"])
@pytest.mark.parametrize("client", CLIENTS)
def test_every_column(firewall, truth, client, mode, tls):
    with firewall.wire(client, tls=tls) as w:
        for sql in (LIST, "SELECT * FROM users WHERE id IN (0, 7, 100, 314) ORDER BY id"):
            answer = w.ask(sql, mode).ok()
            assert answer.tags == ["SELECT 4"]
            assert [c["name"] for c in answer.columns] == COLUMNS
            for i, got in zip(IDS, answer.rows):
                check_row(client, truth[i], [decode(c, v, mode == "binary") for c, v in zip(COLUMNS, got)])


SHAPES = {
    "alias": "SELECT credit_card AS a, email AS b, password_hash AS c FROM users WHERE id = 7",
    "subquery": "SELECT a, b, c FROM (SELECT id, credit_card AS a, email AS b, password_hash AS c FROM users) x WHERE id = 7",
    "cte": "WITH x AS (SELECT id, credit_card, email, password_hash FROM users) SELECT credit_card, email, password_hash FROM x WHERE id = 7",
    "join": "SELECT u.credit_card, u.email, u.password_hash FROM users u JOIN transactions t ON t.user_id = u.id WHERE u.id = 7 LIMIT 1",
    "returning": "UPDATE users SET num_logins = num_logins WHERE id = 7 RETURNING credit_card, email, password_hash",
    "quoted": 'SELECT "users"."credit_card", users.email, public.users.password_hash FROM "public"."users" WHERE id = 7',
}


@pytest.mark.parametrize("mode", ["simple", "text", "binary"])
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_that_pass(firewall, truth, client, mode, shape):
    with firewall.wire(client) as w:
        rows = w.ask(SHAPES[shape], mode).ok().rows
        assert len(rows) == 1
        check_row(client, truth[7], [v if v is None else v.decode() for v in rows[0]], ["credit_card", "email", "password_hash"])


@pytest.mark.parametrize("mode", ["simple", "text", "binary"])
def test_syntax_that_one_parser_misreads(firewall, truth, mode):
    """Handled, or refused as a gap (0A000); never passed."""
    with firewall.wire("users-api") as w:
        answer = w.ask("SELECT credit_card, email, password_hash FROM ONLY users WHERE id = 7", mode)
        if answer.error:
            assert answer.error["C"] == "0A000" and answer.error["H"]
        else:
            check_row("users-api", truth[7], [v if v is None else v.decode() for v in answer.rows[0]], ["credit_card", "email", "password_hash"])


@pytest.mark.parametrize("client", CLIENTS)
def test_cursor_and_prepared(firewall, truth, client):
    columns = ["credit_card", "email", "password_hash"]
    with firewall.wire(client) as w:
        w.simple("BEGIN").ok()
        w.simple("DECLARE c CURSOR FOR SELECT credit_card, email, password_hash FROM users ORDER BY id").ok()
        rows = w.simple("FETCH 3 FROM c").ok().rows
        for i in range(3):
            check_row(client, truth[i], [v if v is None else v.decode() for v in rows[i]], columns)
        w.simple("COMMIT").ok()
        w.simple("PREPARE p(int) AS SELECT credit_card, email, password_hash FROM users WHERE id = $1").ok()
        rows = w.simple("EXECUTE p(314)").ok().rows
        check_row(client, truth[314], [v if v is None else v.decode() for v in rows[0]], columns)


def test_same_email_same_token(firewall):
    """Tokens are keyed and deterministic, in every protocol and for another connection."""
    seen = set()
    for mode in ("simple", "text", "binary"):
        with firewall.wire("analyst") as w:
            seen.add(w.ask("SELECT email FROM users WHERE id = 7", mode).ok().rows[0][0])
            other = w.ask("SELECT email FROM users WHERE id = 8", mode).ok().rows[0][0]
            assert other not in seen
    assert len(seen) == 1


def test_encryption_is_randomised(firewall):
    with firewall.wire("users-api") as w:
        seen = {w.simple("SELECT credit_card FROM users WHERE id = 7").ok().rows[0][0] for _ in range(5)}
    assert len(seen) == 5


def test_description_fits_what_is_sent(firewall):
    """A token column is text without a length limit; names, origins and plain columns stay."""
    with firewall.wire("users-api") as w, firewall.cluster.wire() as direct:
        through, really = w.simple(LIST).ok().columns, direct.simple(LIST).ok().columns
        for a, b in zip(through, really):
            if a["name"] not in HANDLED["users-api"]:
                assert a == b
        card = next(c for c in through if c["name"] == "credit_card")
        assert card["typmod"] == -1 and card["size"] == -1


WRITES = [
    # client, sql, parameters, allowed
    ("users-api", "INSERT INTO users (id, credit_card, currency, email, country, username) VALUES ($1, $2, 'USD', $3, 'US', $4)",
     ["90001", "4111111111111111", "w1@example.com", "w1"], True),
    ("card-issuer", "UPDATE users SET credit_card = $1 WHERE id = 90001", ["5555555555554444"], True),
    ("users-api", "UPDATE users SET num_logins = num_logins + 1 WHERE id = 90001", [], True),
    ("users-api", "UPDATE users SET password_hash = $1 WHERE id = 90001", ["x"], False),       # drop: update is not a default
    ("analyst", "UPDATE users SET credit_card = $1 WHERE id = 90001", ["5555555555554444"], False),
    ("users-auth", "UPDATE users SET password_hash = $1 WHERE id = 90001", ["x"], False),      # allow: [read]
    ("users-api", "UPDATE users SET credit_card = username WHERE id = 90001", [], True),       # from an unprotected column
    ("users-api", "UPDATE users SET username = credit_card WHERE id = 90001", [], False),
    ("users-api", "UPDATE users SET credit_card = $1 WHERE id = 90001", ["rf1_AQFwY2kAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"], False),
    ("users-api", "DELETE FROM users WHERE id = 90001", [], True),
]


def test_writes(firewall):
    direct = firewall.cluster.wire("bank", "postgres")
    try:
        for client, sql, parameters, allowed in WRITES:
            with firewall.wire(client) as w:
                answer = w.extended(sql, parameters)
                if allowed:
                    answer.ok()
                else:
                    assert answer.error and answer.error["C"] == "42501", (client, sql, answer.error, answer.tags)
                    assert answer.error.get("H"), "a refusal without a hint"
                    assert w.simple("SELECT 1").ok().rows == [[b"1"]]
            if "INSERT" in sql:
                assert direct.simple("SELECT credit_card FROM users WHERE id = 90001").rows == [[b"4111111111111111"]]
    finally:
        direct.simple("DELETE FROM users WHERE id = 90001")
        direct.close()


REFUSED = [
    ("SELECT id FROM users WHERE credit_card = '4111111111111111'", "credit_card"),
    ("SELECT upper(credit_card) FROM users", "credit_card"),
    ("SELECT id FROM users ORDER BY password_hash", "password_hash"),
    ("SELECT u FROM users u", "users"),
    ("COPY users FROM STDIN", "users"),
    ("SELECT pg_read_file('postgresql.conf')", "pg_read_file"),
    ("DO $$ BEGIN END $$", "DO"),
    ("ALTER ROLE CURRENT_USER PASSWORD 'x'", "ALTER ROLE"),
    ("ALTER TABLE users ADD COLUMN x int", "users"),
    ("SELECT query FROM pg_stat_activity", "pg_stat_activity"),
    ("SELECT count(DISTINCT credit_card) FROM users", "credit_card"),
    ("SET standard_conforming_strings = off", "standard_conforming_strings"),
    ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "FUNCTION"),
]


@pytest.mark.parametrize("sql,names", REFUSED, ids=[r[0][:40] for r in REFUSED])
def test_a_refusal_says_why(firewall, sql, names):
    """42501 with the construct, a hint, and the session goes on, in a transaction block as an error there would."""
    with firewall.wire("users-api") as w:
        for mode in ("simple", "text"):
            answer = w.ask(sql, mode)
            assert answer.error, f"{mode}: passed"
            assert answer.error["C"] == "42501", answer.error
            assert names.lower() in (answer.error["M"] + answer.error.get("D", "")).lower(), answer.error
            assert answer.error.get("H"), answer.error
            assert answer.error["S"] == "ERROR" and answer.status == "I"
            assert w.simple("SELECT 1").ok().rows == [[b"1"]]
        assert w.simple("BEGIN").status == "T"
        assert w.simple(sql).status == "E"
        assert w.simple("SELECT 1").error["C"] == "25P02"
        assert w.simple("ROLLBACK").ok().status == "I"


def test_nothing_protected_nothing_changes(firewall):
    """A restricted client on unprotected tables gets the server's own bytes."""
    texts = ["SELECT * FROM transactions ORDER BY id LIMIT 50", "SELECT count(*), sum(amount) FROM transactions GROUP BY currency ORDER BY 1",
             "SELECT 1/0", "SELECT nope FROM transactions", "SELECT * FROM no_such_table", "selec", "", ";", "SELECT 1; SELECT 2; SELECT 3",
             "SELECT 1; SELECT 1/0; SELECT 2", "SHOW server_version", "SELECT now() IS NOT NULL", "BEGIN; SELECT 1; ROLLBACK",
             "SELECT 'ünïcödé'", "SELECT NULL::int[], ARRAY[1,2], ROW(1,'a')", "SELECT FROM transactions LIMIT 2"]
    for client in ("users-api", "analyst", "operator"):
        with firewall.wire(client) as w, firewall.cluster.wire() as direct:
            for sql in texts:
                for mode in ("simple", "text", "binary"):
                    if mode != "simple" and sql.count(";") and len(sql) > 1:
                        continue
                    through, really = w.ask(sql, mode).messages, direct.ask(sql, mode).messages
                    if sql == "selec" and client != "operator":
                        # The firewall's parser finds it first: the same answer, less the server's source lines.
                        through, really = [[(k, k == b"E" and {f: v for f, v in fields(b).items() if f in "SVCMP"}) for k, b in m]
                                           for m in (through, really)]
                    assert through == really, (client, mode, sql)
