"""The wire protocol, message by message, compared with PostgreSQL's own answers where it has one."""

import socket
import struct
import time

import pytest

from pgwire import (FLUSH, GSS_REQUEST, SSL_REQUEST, SYNC, Closed, Failed, Wire, bind, close, cstr, describe, execute, fields, msg, parse, query,
                    startup)

CLIENTS = ["users-api", "operator"]


def both(firewall, client, data, readies=1):
    """The same bytes to the firewall and to PostgreSQL; returns both message lists."""
    out = []
    for w in (firewall.wire(client), firewall.cluster.wire()):
        with w:
            w.send(data)
            got = []
            for _ in range(readies):
                got += w.until(b"Z")
            out.append(got)
    return out


SCRIPTS = {
    "pipelining": parse("SELECT $1::int + 1") + b"".join(bind([i]) + describe() + execute() for i in range(20)) + SYNC,
    "statement-described": parse("SELECT amount, description FROM transactions WHERE id = $1", "s") + describe("S", "s") + SYNC,
    "named-portals": parse("SELECT g FROM generate_series(1, 5) g", "s") + bind(portal="a", statement="s") + bind(portal="b", statement="s")
    + execute("a", 2) + execute("b", 3) + execute("a", 0) + execute("b", 0) + SYNC,
    "suspended": parse("SELECT id FROM transactions ORDER BY id LIMIT 7") + bind() + describe() + execute(rows=3) + execute(rows=3) + execute(rows=3) + SYNC,
    "close-statement": parse("SELECT 1", "s") + close("S", "s") + close("S", "never there") + close("P", "nor this") + SYNC,
    "close-then-use": parse("SELECT 1", "s") + close("S", "s") + bind(statement="s") + execute() + SYNC,
    "error-in-parse": parse("SELEC") + bind() + describe() + execute() + SYNC,
    "error-in-bind": parse("SELECT $1::int") + bind(["x"]) + describe() + execute() + SYNC,
    "error-in-execute": parse("SELECT 1/0") + bind() + describe() + execute() + parse("SELECT 2") + bind() + execute() + SYNC,
    "unknown-statement": bind(statement="nope") + execute() + SYNC,
    "unknown-portal": execute("nope") + SYNC,
    "too-few-parameters": parse("SELECT $1::int, $2::int") + bind([1]) + execute() + SYNC,
    "empty-query": query(""),
    "empty-query-extended": parse("") + bind() + describe() + execute() + SYNC,
    "only-sync": SYNC,
    "multi-statement": query("SELECT 1; SELECT 'two', 3; SELECT NULL"),
    "multi-statement-error": query("SELECT 1; SELECT 1/0; SELECT 3"),
    "multi-statement-transaction": query("BEGIN; SELECT 1; COMMIT; SELECT 2"),
    "multi-in-extended": parse("SELECT 1; SELECT 2") + bind() + execute() + SYNC,
    "insert-no-data": parse("CREATE TEMP TABLE t0 (a int)") + bind() + describe() + execute() + parse("INSERT INTO t0 VALUES (1)") + bind() + describe()
    + execute() + SYNC,
    "binary-results": parse("SELECT id, amount, description, \"timestamp\" FROM transactions WHERE id < 4 ORDER BY id") + bind(results=(1,)) + describe() + execute() + SYNC,
    "mixed-results": parse("SELECT 1, 'a', 2.5") + bind(results=(1, 0, 1)) + describe() + execute() + SYNC,
    "wrong-result-count": parse("SELECT 1, 2, 3") + bind(results=(1, 0)) + describe() + execute() + SYNC,
    "binary-parameters": parse("SELECT $1, $2", types=(23, 25)) + bind([struct.pack("!i", 7), b"t"], formats=(1, 0)) + describe() + execute() + SYNC,
    "null-parameter": parse("SELECT $1::text IS NULL") + bind([None]) + execute() + SYNC,
    "error-position": query("SELECT id, nope FROM transactions"),
    "error-position-multibyte": query("SELECT 'ünïcödé', nope FROM transactions"),
    "notices": query("DROP TABLE IF EXISTS a_table_that_never_was"),
    "warning": query("COMMIT"),
    "set-reported": query("SET application_name = 'x'; SET timezone = 'Europe/Berlin'; SET datestyle = 'SQL, DMY'; SELECT '2024-02-01'::date"),
    "copy-out": query("COPY (SELECT id, amount FROM transactions ORDER BY id LIMIT 100) TO STDOUT"),
    "copy-out-binary": query("COPY (SELECT id FROM transactions ORDER BY id LIMIT 100) TO STDOUT (FORMAT binary)"),
    "copy-out-csv-header": query("COPY transactions TO STDOUT (FORMAT csv, HEADER)"),
    "copy-out-extended": parse("COPY (SELECT 1) TO STDOUT") + bind() + describe() + execute() + SYNC,
    "copy-out-among-others": query("SELECT 1; COPY (SELECT 2) TO STDOUT; SELECT 3"),
    "cursor": query("BEGIN; DECLARE c CURSOR FOR SELECT id FROM transactions ORDER BY id; FETCH 3 c; MOVE 2 c; FETCH BACKWARD 1 c; CLOSE c; COMMIT"),
    "sql-prepare": query("PREPARE p(int) AS SELECT $1 * 2; EXECUTE p(21); DEALLOCATE p"),
    "sql-and-protocol-names": parse("SELECT 5", "shared") + SYNC + query("EXECUTE shared"),
    "savepoints": query("BEGIN; SAVEPOINT a; SELECT 1; ROLLBACK TO a; RELEASE a; COMMIT"),
    "failed-transaction": query("BEGIN") + query("SELECT 1/0") + query("SELECT 1") + query("COMMIT"),
    "transaction-then-extended": query("BEGIN") + parse("SELECT 1/0") + bind() + execute() + SYNC + parse("SELECT 1") + bind() + execute() + SYNC
    + query("ROLLBACK"),
    "explain": query("EXPLAIN (COSTS OFF) SELECT * FROM transactions WHERE id = 1"),
    "show-all-types": query("SELECT true, 1::int2, 1.5::float4, 'x'::char(3), '{1,2}'::int[], '1 day'::interval, '{\"a\":1}'::json"),
    "long-text": query("SELECT length('" + "x" * 300_000 + "')"),
    "wide-row": query("SELECT " + ", ".join(str(i) for i in range(1600))),
    "big-value": query("SELECT repeat('y', 5000000)"),
    "many-rows": query("SELECT g, g * 2 FROM generate_series(1, 50000) g"),
    "listen-notify-self": query("LISTEN me; UNLISTEN me"),
    "describe-unknown": describe("S", "nope") + SYNC,
    "execute-twice": parse("SELECT 1") + bind() + execute() + execute() + SYNC,
    "unnamed-replaced": parse("SELECT 1") + parse("SELECT 2") + bind() + execute() + SYNC,
    "named-twice": parse("SELECT 1", "n") + parse("SELECT 2", "n") + SYNC,
}
READIES = {"sql-and-protocol-names": 2, "failed-transaction": 4, "transaction-then-extended": 4}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", SCRIPTS)
def test_same_answers_as_direct(firewall, client, name):
    through, direct = both(firewall, client, SCRIPTS[name], READIES.get(name, 1))
    assert [k for k, _ in through] == [k for k, _ in direct]
    for a, b in zip(through, direct):
        if a != b and a[0] == b"E" and client != "operator":
            # Names and syntax are judged by the firewall itself: what a program acts on is the same.
            a, b = fields(a[1]), fields(b[1])
            assert a["C"] in ("26000", "34000", "42601")
            a, b = [{k: v for k, v in x.items() if k in "SVCMP"} for x in (a, b)]
        assert a == b


@pytest.mark.parametrize("name", ["pipelining", "suspended", "error-in-execute", "copy-out", "multi-statement-error", "transaction-then-extended"])
@pytest.mark.parametrize("size", [1, 3, 7, 64])
def test_any_chunking(firewall, name, size):
    """The answers do not depend on how the bytes arrive."""
    data, readies = SCRIPTS[name], READIES.get(name, 1)
    with firewall.wire("users-api") as whole, firewall.wire("users-api") as chunks:
        whole.send(data)
        expected = [m for _ in range(readies) for m in whole.until(b"Z")]
        for i in range(0, len(data), size):
            chunks.send(data[i:i + size])
        assert [m for _ in range(readies) for m in chunks.until(b"Z")] == expected


@pytest.mark.parametrize("client", CLIENTS)
def test_flush_brings_answers_without_sync(firewall, client):
    with firewall.wire(client) as w:
        w.send(parse("SELECT amount FROM transactions WHERE id = 1", "s") + describe("S", "s") + FLUSH)
        assert [k for k, _ in w.until(b"TE")] == [b"1", b"t", b"T"]
        w.send(bind(statement="s") + FLUSH)
        assert [k for k, _ in w.until(b"2E")] == [b"2"]
        w.send(execute() + FLUSH)
        assert [k for k, _ in w.until(b"CE")] == [b"D", b"C"]
        assert w.send(SYNC).until_ready().status == "I"


def test_flush_on_a_protected_table(firewall):
    """The firewall's own Describe is not seen by a client that did not ask."""
    with firewall.wire("users-api") as w:
        w.send(parse("SELECT credit_card FROM users WHERE id = 7") + bind() + execute() + FLUSH)
        assert [k for k, _ in w.until(b"CE")] == [b"1", b"2", b"D", b"C"]
        assert w.send(SYNC).until_ready().kinds == "Z"


def test_suspended_portal_on_a_protected_table(firewall, truth):
    with firewall.wire("users-api") as w:
        w.send(parse("SELECT credit_card, email FROM users ORDER BY id") + bind() + describe() + execute(rows=5) + execute(rows=5) + SYNC)
        a = w.until_ready()
        assert a.kinds == "12T" + "DDDDDs" + "DDDDDs" + "Z"
        assert all(r[0].startswith(b"rf1_") for r in a.rows)
        assert [r[1].decode() for r in a.rows] == [truth[i]["email"] for i in range(10)]


def test_refusal_skips_to_sync(firewall):
    with firewall.wire("users-api") as w:
        a = w.send(parse("SELECT 1") + bind() + execute() + parse("SELECT upper(credit_card) FROM users") + bind() + describe() + execute()
                   + parse("SELECT 2") + bind() + execute() + SYNC).until_ready()
        assert a.kinds == "12DCEZ" and a.error["C"] == "42501"
        assert w.simple("SELECT 3").ok().rows == [[b"3"]]


def test_refusal_inside_multi_statement(firewall):
    """One refused statement refuses the text: nothing of it runs."""
    with firewall.wire("users-api") as w:
        w.simple("CREATE TEMP TABLE seen (a int)").ok()
        a = w.simple("INSERT INTO seen VALUES (1); SELECT upper(credit_card) FROM users; SELECT 3")
        assert a.error["C"] == "42501" and a.status == "I"
        assert w.simple("SELECT count(*) FROM seen").ok().rows == [[b"0"]]


# --- COPY IN ------------------------------------------------------------------------------------------------------------

def test_copy_in(firewall):
    with firewall.wire("users-api") as w:
        w.simple("CREATE TEMP TABLE c (a int, b text)").ok()
        w.send(query("COPY c FROM STDIN"))
        assert w.until(b"GE")[-1][0] == b"G"
        data = b"".join(b"%d\trow %d\n" % (i, i) for i in range(10000))
        for i in range(0, len(data), 777):
            w.send(msg(b"d", data[i:i + 777]))
        assert w.send(msg(b"c")).until_ready().tags == ["COPY 10000"]
        w.send(query("COPY c FROM STDIN"))
        w.until(b"G")
        a = w.send(msg(b"d", b"1\tx\n") + msg(b"f", cstr("changed my mind"))).until_ready()
        assert a.error["C"] == "57014"
        w.send(query("COPY c FROM STDIN"))
        w.until(b"G")
        a = w.send(msg(b"d", b"not a number\tx\n") + msg(b"d", b"2\ty\n") + msg(b"c")).until_ready()
        assert a.error["C"] == "22P02"
        assert w.simple("SELECT count(*) FROM c").ok().rows == [[b"10000"]]


def test_copy_in_extended_and_pipelined(firewall):
    with firewall.wire("users-api") as w:
        w.simple("CREATE TEMP TABLE c (a int)").ok()
        w.send(parse("COPY c FROM STDIN") + bind() + execute() + SYNC)
        w.until(b"G")
        assert w.send(msg(b"d", b"1\n2\n") + msg(b"c") + SYNC).until_ready().tags == ["COPY 2"]
        assert w.simple("SELECT sum(a) FROM c").ok().rows == [[b"3"]]


# --- asynchronous messages --------------------------------------------------------------------------------------------------

def test_notify_arrives_while_idle(firewall):
    with firewall.wire("operator") as w, firewall.wire("operator") as other:
        w.simple("LISTEN chan").ok()
        other.simple("NOTIFY chan, 'hello'").ok()
        kind, body = w.read()
        assert kind == b"A" and body[4:] == b"chan\0hello\0"


def test_parameter_status_after_set_config(firewall):
    with firewall.wire("users-api") as w:
        w.extended("SELECT set_config('timezone', 'Asia/Tokyo', false)").ok()
        assert w.parameters["TimeZone"] == "Asia/Tokyo"


# --- opening ---------------------------------------------------------------------------------------------------------------

def test_direct_tls(firewall):
    w = Wire("127.0.0.1", firewall.port).tls(direct=True)
    assert w.sock.selected_alpn_protocol() == "postgresql"
    w.login(*firewall.token("users-api"))
    assert w.simple("SELECT 1").ok().rows == [[b"1"]]
    w.close()


def test_direct_tls_with_another_alpn_is_refused(firewall):
    with pytest.raises((OSError, Closed)):
        w = Wire("127.0.0.1", firewall.port).tls(direct=True, alpn="http/1.1")
        w.login(*firewall.token("users-api"))


def test_gssenc_is_declined_then_tls(firewall):
    w = Wire("127.0.0.1", firewall.port)
    w.send(GSS_REQUEST)
    assert w.sock.recv(1) == b"N"
    w.tls().login(*firewall.token("users-api"))
    assert w.simple("SELECT 1").ok().rows == [[b"1"]]
    w.close()


def test_bytes_before_tls_kill_the_connection(firewall):
    """CVE-2021-23214: what came with the SSLRequest must not be taken for something said inside TLS."""
    w = Wire("127.0.0.1", firewall.port)
    w.sock.sendall(SSL_REQUEST + startup([("user", "users-api"), ("database", "bank")]))
    data = b""
    try:
        while chunk := w.sock.recv(4096):
            data += chunk
            if len(data) > 1:
                break
    except OSError:
        pass
    assert data in (b"", b"S"), data
    w.sock.close()


def test_protocol_3_2(firewall):
    with firewall.wire("users-api", minor=2) as w:
        if w.negotiated is not None:
            assert struct.unpack("!i", w.negotiated[:4])[0] in (0, 2, 196608, 196610)
        assert w.key and len(w.key) >= 8
        assert w.simple("SELECT 1").ok().rows == [[b"1"]]


def test_unknown_minor_and_options_are_negotiated(firewall):
    w = Wire("127.0.0.1", firewall.port)
    login, token = firewall.token("users-api")
    w.send(startup([("user", login), ("database", "bank"), ("_pq_.something", "1")], minor=9))
    w.authenticate(token)
    w.until_ready()
    assert w.negotiated is not None and b"_pq_.something" in w.negotiated
    assert w.simple("SELECT 1").ok().rows == [[b"1"]]
    w.close()


@pytest.mark.parametrize("major", [1, 2, 4, 1234])
def test_other_majors_are_refused(firewall, major):
    w = Wire("127.0.0.1", firewall.port)
    w.send(startup([("user", "x")], major=major, minor=1))
    try:
        kind, body = w.read()
        assert kind == b"E" and fields(body)["S"] == "FATAL"
    except Closed:
        assert major == 1234
    w.sock.close()


def test_replication_is_refused(firewall):
    for value in ("true", "database", "1"):
        w = Wire("127.0.0.1", firewall.port)
        with pytest.raises(Failed) as e:
            w.login(*firewall.token("users-api"), replication=value)
        assert e.value.sqlstate in ("42501", "0A000", "28000")
        w.sock.close()


def test_function_call(firewall):
    """Refused to restricted clients; to others as it is (libpq's large objects need it)."""
    for client in CLIENTS:
        with firewall.wire(client) as w, firewall.cluster.wire() as direct:
            (oid,), = direct.simple("SELECT 'pg_catalog.int4pl(int,int)'::regprocedure::oid").ok().rows
            call = msg(b"F", struct.pack("!Ih", int(oid), 0) + struct.pack("!hi", 2, 2) + b"40" + struct.pack("!i", 1) + b"2" + struct.pack("!h", 0))
            a, b = w.send(call).until_ready(), direct.send(call).until_ready()
            if client == "operator":
                assert a.messages == b.messages and a.kinds == "VZ"
            else:
                assert a.error["C"] in ("42501", "0A000"), a.messages
            assert w.simple("SELECT 1").ok().rows == [[b"1"]]


def test_cancel_by_hand(firewall):
    with firewall.wire("users-api") as w:
        w.send(query("SELECT pg_sleep(20)"))
        time.sleep(0.3)
        with socket.create_connection(("127.0.0.1", firewall.port)) as s:
            s.sendall(struct.pack("!ii", 8 + len(w.key), 80877102) + w.key)
            assert s.recv(1) == b""
        assert w.until_ready().error["C"] == "57014"


def test_wrong_cancel_keys_do_nothing(firewall):
    with firewall.wire("users-api") as w:
        w.send(query("SELECT pg_sleep(1)"))
        for secret in (b"\0\0\0\0", bytes(a ^ 1 for a in w.key[4:])):
            with socket.create_connection(("127.0.0.1", firewall.port)) as s:
                s.sendall(struct.pack("!ii", 12 + len(secret), 80877102) + w.key[:4] + secret)
                assert s.recv(1) == b""
        assert not w.until_ready().errors


def test_the_cancel_key_is_not_the_servers(firewall):
    """Who learns the firewall's key cannot cancel at the server, and the other way round."""
    with firewall.wire("users-api") as w:
        (pid,), = w.simple("SELECT pg_backend_pid()").rows
        w.send(query("SELECT pg_sleep(1)"))
        time.sleep(0.1)
        with socket.create_connection(("127.0.0.1", firewall.cluster.port)) as s:
            s.sendall(struct.pack("!iii", 16, 80877102, int(pid)) + w.key[4:8])
            s.recv(1)
        assert not w.until_ready().errors


# --- messages that lie --------------------------------------------------------------------------------------------------------

LIES = {
    "length-3": b"Q\x00\x00\x00\x03",
    "length-negative": b"Q\xff\xff\xff\xff",
    "unknown-tag": msg(b"~", b"hello"),
    "backend-tag": msg(b"Z", b"I"),
    "query-without-nul": msg(b"Q", b"SELECT 1"),
    "query-with-tail": msg(b"Q", b"SELECT 1\0SELECT 2\0"),
    "query-with-inner-nul": msg(b"Q", b"SELECT \0 1\0"),
    "parse-with-tail": msg(b"P", b"\0SELECT 1\0\0\0tail") + SYNC,
    "parse-count-lies": msg(b"P", b"\0SELECT 1\0\0\x09") + SYNC,
    "bind-count-lies": parse("SELECT 1") + msg(b"B", b"\0\0\0\0\x7f\xff\0\0") + SYNC,
    "bind-size-lies": parse("SELECT $1::text") + msg(b"B", b"\0\0" + struct.pack("!hhi", 0, 1, 1000) + b"x" + struct.pack("!h", 0)) + SYNC,
    "bind-with-tail": parse("SELECT 1") + msg(b"B", b"\0\0\0\0\0\0\0\0tail") + SYNC,
    "describe-of-nothing": msg(b"D", b"X\0") + SYNC,
    "sync-with-body": msg(b"S", b"body"),
    "execute-short": msg(b"E", b"\0\0") + SYNC,
    "a-query-inside-a-parameter": parse("SELECT length($1::text)") + bind([query("SELECT 'smuggled'") + SYNC]) + execute() + SYNC,
    "copy-data-out-of-place": msg(b"d", b"data") + msg(b"c") + query("SELECT 1"),
    "password-out-of-place": msg(b"p", b"x\0"),
}


@pytest.mark.parametrize("name", LIES)
def test_lies(firewall, name):
    """An error or a closed connection, as PostgreSQL itself does; never a reading of its own, and nothing smuggled."""
    results = []
    for w in (firewall.wire("users-api"), firewall.cluster.wire()):
        w.sock.settimeout(5)
        got, closed = [], False
        try:
            w.send(LIES[name] + (b"" if name.startswith("a-query") else query("SELECT 'after'")))
            while True:
                m = w.read()
                got.append(m)
                if m[0] == b"D" and b"after" in m[1]:
                    break
                if name.startswith("a-query") and m[0] == b"Z":
                    break
        except (Closed, OSError):
            closed = True
        w.sock.close()
        results.append(([fields(b).get("S") for k, b in got if k == b"E"], closed, b"smuggled" in bytes(w.log)))
    (errors, closed, smuggled), (direct_errors, direct_closed, _) = results
    assert not smuggled
    assert errors or closed or not (direct_errors or direct_closed), (results, "passed what PostgreSQL refuses")
    with firewall.wire("users-api") as w:      # and nobody else noticed
        assert w.simple("SELECT 1").ok().rows == [[b"1"]]


def test_huge_declared_sizes_cost_nothing(firewall):
    """A message that announces gigabytes is not allocated."""
    from harness import rss_kib
    before = rss_kib(firewall.process.pid)
    held = []
    for _ in range(50):
        w = firewall.wire("users-api")
        w.send(b"Q" + struct.pack("!i", 900_000_000) + b"SELECT '")
        held.append(w)
    for _ in range(50):
        s = socket.create_connection(("127.0.0.1", firewall.port))
        s.sendall(struct.pack("!i", 9_999))
        held.append(s)
    time.sleep(0.5)
    assert rss_kib(firewall.process.pid) - before < 50_000
    for h in held:
        (h.sock if isinstance(h, Wire) else h).close()


def test_huge_startup_is_refused(firewall):
    with socket.create_connection(("127.0.0.1", firewall.port), timeout=5) as s:
        s.sendall(struct.pack("!ii", 1_000_000, 196608) + b"user\0")
        data = b""
        try:
            while chunk := s.recv(4096):
                data += chunk
        except OSError:
            pass
    assert data == b"" or data[:1] == b"E"


def test_silence_before_login_ends(own_firewall):
    """Connections that say nothing are closed after a while, and logins work meanwhile."""
    fw = own_firewall(login_timeout="2s")
    idle = [socket.create_connection(("127.0.0.1", fw.port), timeout=20) for _ in range(100)]
    with fw.wire("users-api") as w:
        assert w.simple("SELECT 1").ok().rows == [[b"1"]]
        start = time.monotonic()
        for s in idle:
            while s.recv(100):      # a farewell may come first
                pass
            s.close()
        assert time.monotonic() - start < 10
        assert w.simple("SELECT 1").ok().rows == [[b"1"]]
