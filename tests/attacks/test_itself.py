"""Class 12: the firewall itself. What it says of itself, what it lets anybody do to it, and what it does with tokens that
somebody forged, moved or wrote back."""

import concurrent.futures
import http.client
import pathlib
import re
import socket
import struct
import time

import pytest

from harness import Firewall, rss_kib
from pgwire import Closed, Failed, Wire, startup

CARD = "4111111111111111"
POLICY = """
version: 1
labels: { pci: {}, pii: {} }
columns:
  public.members: { card: pci, pan: pci, mail: pii }
roles:
  default:  { pci: encrypt, pii: { handling: tokenize } }
  comparer: { pci: encrypt, pii: { handling: tokenize, filter: equality } }
  masked:   { pci: { mask: last4 }, pii: plain }
  entitled: { pci: plain, pii: plain }
clients:
  api:      { roles: [default] }
  other:    { roles: [default] }
  comparer: { roles: [comparer] }
  masked:   { roles: [masked] }
  issuer:   { roles: [entitled] }
"""


@pytest.fixture(scope="module")
def fw(scene):
    scene.cluster.psql("postgres", "CREATE DATABASE itself")
    scene.cluster.psql("itself", f"""
        CREATE TABLE members (id int PRIMARY KEY, card text, pan text, mail text, note text);
        INSERT INTO members VALUES (1, '{CARD}', '5500005555555559', 'ada@example.com', ''), (2, '4222222222222', NULL, 'bob@example.com', '');
        CREATE TABLE notes (id int GENERATED ALWAYS AS IDENTITY, body text);
        GRANT ALL ON ALL TABLES IN SCHEMA public TO bank_app""")
    with Firewall(scene.cluster, POLICY, database="itself") as f:
        yield f


@pytest.fixture(scope="module")
def admin(scene, fw):
    """Another one: wrong root tokens are counted, and then even the right one waits."""
    with Firewall(scene.cluster, POLICY, database="itself") as f:
        f.token("issuer")
        yield f


@pytest.fixture
def root(scene):
    with scene.cluster.wire("itself", "postgres") as w:
        yield w


def rule(number):
    def mark(f):
        f.rule = number
        return f
    return mark


def one(w, sql):
    a = w.simple(sql)
    return a.error["C"] if a.errors else a.rows[0][0] if a.rows else None


# --- tokens: forged, moved, cut, written back ---------------------------------------------------------------------------

@rule(2)
def test_tokens_of_those_who_may_not_compare_differ(fw):
    """Else a client writes guesses, reads its own tokens back and compares them with everybody's."""
    with fw.wire("api") as w:
        assert one(w, "SELECT mail FROM members WHERE id = 1") != one(w, "SELECT mail FROM members WHERE id = 1")
    with fw.wire("comparer") as w:
        assert one(w, "SELECT mail FROM members WHERE id = 1") == one(w, "SELECT mail FROM members WHERE id = 1")


@rule(2)
def test_guesses_written_and_read_back_tell_nothing(fw, root):
    with fw.wire("api") as w:
        theirs = [one(w, "SELECT mail FROM members WHERE id = 1") for _ in range(3)]
        w.simple("INSERT INTO members (id, mail) VALUES (50, 'ada@example.com')")
        mine = [one(w, "SELECT mail FROM members WHERE id = 50") for _ in range(3)]
        assert not set(theirs) & set(mine)
    root.simple("DELETE FROM members WHERE id = 50").ok()


@rule(3)
def test_a_token_in_a_note_stays_closed(fw, root):
    """A client copies a victim's token into a note, for an entitled service to show it."""
    with fw.wire("api") as w:
        token = one(w, "SELECT card FROM members WHERE id = 1").decode()
        assert token.startswith("rf1_")
        w.simple(f"INSERT INTO notes (body) VALUES ('{token}')")
        w.simple(f"UPDATE members SET note = '{token}' WHERE id = 2")
    try:
        with fw.wire("issuer") as w:
            assert CARD.encode() not in b"".join(v for r in w.simple("SELECT body FROM notes").rows for v in r)
            assert one(w, "SELECT note FROM members WHERE id = 2") in (token.encode(), b"")
    finally:
        root.simple("TRUNCATE notes; UPDATE members SET note = ''").ok()


@rule(3)
def test_a_token_in_another_column_stays_closed(fw, root):
    """A token is bound to its column; the other one has the same label, even."""
    with fw.wire("api") as w:
        token = one(w, "SELECT card FROM members WHERE id = 1").decode()
        w.simple(f"UPDATE members SET pan = '{token}' WHERE id = 2")
    with fw.wire("issuer") as w:
        assert one(w, "SELECT pan FROM members WHERE id = 2") != CARD.encode()
    root.simple("UPDATE members SET pan = NULL WHERE id = 2").ok()


@rule(3)
@pytest.mark.parametrize("damage", ["cut", "flipped", "version", "header", "empty", "longer"])
def test_forged_tokens_open_nothing(fw, root, damage):
    with fw.wire("api") as w:
        token = one(w, "SELECT card FROM members WHERE id = 1").decode()
        forged = {"cut": token[:-6], "flipped": token[:-8] + ("A" if token[-8] != "A" else "B") + token[-7:], "version": "rf1_" + "B" + token[5:],
                  "header": token[:8] + ("A" if token[8] != "A" else "B") + token[9:], "empty": "rf1_", "longer": token + "AAAA"}[damage]
        a = w.simple(f"UPDATE members SET card = '{forged}' WHERE id = 2")
        assert not a.errors or (a.error["C"].startswith(("22", "42")) and CARD not in str(a.errors)), a.errors
    with fw.wire("issuer") as w:
        assert one(w, "SELECT card FROM members WHERE id = 2") != CARD.encode()
    root.simple("UPDATE members SET card = '4222222222222' WHERE id = 2").ok()


@rule(4)
def test_what_was_handled_is_not_written_back(fw, root):
    """An ORM reads a row, changes a field, and saves the whole row."""
    for client in ("masked", "api"):
        with fw.wire(client) as w:
            shown = one(w, "SELECT card FROM members WHERE id = 1").decode()
            assert shown != CARD
            w.extended("UPDATE members SET note = 'changed', card = $1 WHERE id = 1", [shown])
            w.simple(f"UPDATE members SET card = '{shown}' WHERE id = 1")
    assert root.simple("SELECT card FROM members WHERE id = 1").rows == [[CARD.encode()]], "the card was destroyed"


# --- relations that nobody knows -----------------------------------------------------------------------------------------

@rule(13)
def test_an_unknown_relation_is_parsed_and_not_run(fw, root):
    root.simple("CREATE SEQUENCE IF NOT EXISTS witness; GRANT ALL ON SEQUENCE witness TO bank_app").ok()
    with fw.wire("api") as w:
        assert one(w, "SELECT nextval('witness') FROM nothing_like_it") == "42P01"
        for mode in ("text", "binary"):
            assert w.ask("SELECT nextval('witness') FROM nothing_like_it", mode).error["C"] == "42P01"
    assert root.simple("SELECT is_called FROM witness").rows == [[b"f"]]


# --- the admin address -----------------------------------------------------------------------------------------------------

PATHS = ["/api/v1/clients", "/api/v1/tokens", "/api/v1/policy", "/api/v1/explain", "/api/v1/replay", "/api/v1/status", "/api/v1/sessions", "/api/v1/audit",
         "/api/v1", "/api", "/api/v2/clients"]
TRICKS = ["/livez/../api/v1/clients", "/livez/..%2fapi/v1/clients", "//api/v1/clients", "/api//v1/clients", "/api/v1/clients/", "/API/V1/CLIENTS", "/api/v1/clients%00",
          "/%61pi/v1/clients", "/./api/v1/clients", "/metrics/../api/v1/clients", "/api/v1/clients;x=/livez", "/api/v1/clients?token="]


def raw(port, method, path, headers=(), body=None):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        c.putrequest(method, path, skip_host=False, skip_accept_encoding=True)
        for k, v in headers:
            c.putheader(k, v)
        if body is not None:
            c.putheader("Content-Length", str(len(body)))
        c.endheaders(body)
        r = c.getresponse()
        return r.status, r.read()
    finally:
        c.close()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE"])
def test_admin_paths_need_the_token(admin, method):
    for path in PATHS + TRICKS:
        status, body = raw(admin.admin_port, method, path, body=b"{}" if method in ("POST", "PUT", "PATCH") else None)
        assert status in (400, 401, 403, 404, 405, 429), (method, path, status)
        assert b"rft_" not in body and b"issuer" not in body and b"verifier" not in body, (method, path, body)


def test_admin_does_not_take_other_credentials(admin):
    login, token = admin.token("issuer")
    good = admin.root_token
    for headers in [("Authorization", f"Bearer {token}")], [("Authorization", f"Basic {good}")], [("Authorization", good)], [("Cookie", f"token={good}")], \
            [("Authorization", f"Bearer {good[:-1]}")], [("Authorization", f"Bearer {good}x")], [("Authorization", "Bearer ")], \
            [("X-Forwarded-For", "127.0.0.1")], [("X-Original-URL", "/livez")], [("Authorization", "Bearer x"), ("Authorization", f"Bearer {good[:-2]}")]:
        for path in ("/api/v1/clients", f"/api/v1/clients?token={good}", f"/api/v1/clients?access_token={good}"):
            assert raw(admin.admin_port, "GET", path, headers)[0] in (400, 401, 403, 404, 429), (headers, path)


def test_a_page_of_another_site_cannot_ask(admin):
    """No cookie, no permission across origins: a browser that is logged in elsewhere is of no use."""
    for origin in ("http://evil.example", "null"):
        c = http.client.HTTPConnection("127.0.0.1", admin.admin_port, timeout=10)
        c.request("OPTIONS", "/api/v1/clients", headers={"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"})
        r = c.getresponse()
        r.read()
        assert r.getheader("Access-Control-Allow-Origin") is None
        assert r.getheader("Set-Cookie") is None
        c.close()


def test_oversized_requests_of_the_admin_address(admin):
    before = rss_kib(admin.process.pid)
    big = b"x" * (8 << 20)
    for method, path, headers in [("POST", "/api/v1/tokens", [("Authorization", f"Bearer {admin.root_token}"), ("Content-Type", "application/json")]), ("POST", "/api/v1/tokens", [])]:
        try:
            status, _ = raw(admin.admin_port, method, path, headers, big)
            assert 400 <= status < 500
        except (ConnectionError, http.client.HTTPException, OSError):
            pass
    for headers in [[("X-Long", "y" * 500_000)], [(f"X-{n}", "z") for n in range(5000)]]:
        try:
            assert 400 <= raw(admin.admin_port, "GET", "/api/v1/clients", headers)[0] < 500
        except (ConnectionError, http.client.HTTPException, OSError):
            pass
    assert admin.http("/livez")[0] == 200
    assert rss_kib(admin.process.pid) - before < 64 * 1024


def test_deep_json_of_the_admin_address(admin):
    for body in (b"[" * 200_000, b'{"a":' * 100_000, b'"' + b"\\u0000" * 100_000 + b'"', b"\xff\xfe", b""):
        try:
            status, _ = raw(admin.admin_port, "POST", "/api/v1/explain", [("Authorization", f"Bearer {admin.root_token}"), ("Content-Type", "application/json")], body)
            assert 400 <= status < 500, status
        except (ConnectionError, http.client.HTTPException, OSError):
            pass
    assert admin.http("/livez")[0] == 200 and admin.process.poll() is None


# --- slow and unfinished clients ---------------------------------------------------------------------------------------------

def test_half_open_startups_do_not_keep_others_out(fw):
    """300 connections that send half a startup message, a byte a second, or nothing."""
    idle = [socket.create_connection(("127.0.0.1", fw.port)) for _ in range(300)]
    try:
        for at, s in enumerate(idle):
            s.sendall([b"", b"\0", struct.pack("!ii", 200, 196608), startup([("user", "api")])[:20]][at % 4])
        start = time.monotonic()
        with fw.wire("api") as w:
            assert w.simple("SELECT 1").ok().rows == [[b"1"]]
        assert time.monotonic() - start < 5
    finally:
        for s in idle:
            s.close()


def test_unfinished_messages_cost_little(fw):
    """Each client announces a message of 60 MB and sends only its beginning."""
    before = rss_kib(fw.process.pid)
    wires = [fw.wire("api") for _ in range(20)]
    try:
        for w in wires:
            w.send(b"Q" + struct.pack("!i", 60_000_000) + b"SELECT '" + b"x" * 1000)
        time.sleep(1)
        assert rss_kib(fw.process.pid) - before < 100 * 1024
        with fw.wire("api") as w:
            assert w.simple("SELECT 1").ok().rows == [[b"1"]]
    finally:
        for w in wires:
            w.sock.close()


def test_huge_declared_sizes_before_login(fw):
    before = rss_kib(fw.process.pid)
    for size in (2**31 - 1, 10**9, 100_000, -1, 0, 3):
        with socket.create_connection(("127.0.0.1", fw.port), timeout=10) as s:
            s.sendall(struct.pack("!iI", size, 196608) + b"x" * 50_000)
            try:
                while s.recv(4096):
                    pass
            except OSError:
                pass
    assert rss_kib(fw.process.pid) - before < 20 * 1024


# --- what it says of itself ----------------------------------------------------------------------------------------------------

def test_process_shows_no_secret_and_leaves_no_core(fw):
    proc = pathlib.Path(f"/proc/{fw.process.pid}")
    secrets_ = [fw.root_token, fw.token("api")[1], fw.cluster.app_password, fw.cluster.control_password]
    line = (proc / "cmdline").read_bytes().decode(errors="replace")
    assert not [s for s in secrets_ if s in line]
    limits = (proc / "limits").read_text()
    soft, hard = re.search(r"Max core file size\s+(\S+)\s+(\S+)", limits).groups()
    assert soft == "0", f"core dumps of {soft} bytes would hold keys"


def test_no_secret_after_attacks(fw, root):
    """After statements that fail in every way, neither log nor audit nor metrics hold a value, a literal or a token."""
    canary = "canary4929000000006"
    root.simple(f"INSERT INTO members VALUES (60, '{canary}', '{canary}', '{canary}', '{canary}')").ok()
    login, token = fw.token("api")
    with fw.wire("api") as w:
        for sql in ("SELECT card::int FROM members WHERE id = 60", f"SELECT '{canary}'::int", f"SELECT * FROM members WHERE card = '{canary}'", "INSERT INTO members SELECT * FROM members",
                    f"SELECT {canary}", f"SELEC '{canary}'", f"SET x.y = '{canary}'", f"CREATE ROLE {canary}", f"COPY members FROM '/tmp/{canary}'", f"NOTIFY x, '{canary}'",
                    f"EXECUTE {canary}('{canary}')", f"DECLARE {canary} CURSOR FOR SELECT card FROM members", f"ALTER ROLE bank_app PASSWORD '{canary}'"):
            w.simple(sql)
            w.extended(sql, results=(1,))
        w.extended("SELECT * FROM members WHERE card = $1", [canary])
        w.extended("INSERT INTO members (id, card) VALUES (1, $1)", [canary])
    with pytest.raises((Failed, Closed)):
        Wire("127.0.0.1", fw.port).login(login, canary, "itself")
    time.sleep(0.5)
    for name, text in (("log", fw.log()), ("audit", fw.audit.read_text()), ("metrics", fw.metrics()), ("status", fw.http("/api/v1/status", fw.root_token)[1])):
        for secret in (canary, canary[::-1], canary.encode().hex(), token, token.rsplit("_", 1)[1], fw.root_token, fw.cluster.app_password):
            assert secret not in text, (name, secret[:12])
    root.simple("DELETE FROM members WHERE id = 60").ok()


def test_errors_of_login_do_not_repeat_what_was_sent(fw):
    for user, password in (("api", "hunter2-secret"), ("nobody-" + CARD, "x"), ("api~zzzzzzzz", CARD)):
        w = Wire("127.0.0.1", fw.port)
        try:
            w.login(user, password, "itself")
            raise AssertionError("it let that in")
        except (Failed, Closed):
            assert b"hunter2" not in bytes(w.log) and (CARD.encode() not in bytes(w.log) or CARD in user)


@rule(20)
def test_control_schema_is_out_of_reach(fw):
    with fw.wire("issuer", "postgres") as w:
        for sql in ("SELECT * FROM ringfence.tokens", "SELECT * FROM information_schema.columns WHERE table_schema = 'ringfence'", "CREATE SCHEMA ringfence", "DROP SCHEMA ringfence CASCADE",
                    "DELETE FROM ringfence.tokens", "SET ROLE ringfence_control"):
            a = w.simple(sql)
            assert a.errors or not a.rows, (sql, a.rows)


def test_a_swarm_of_wrong_tokens_does_not_shut_out_the_right_one(fw):
    """Guessing is slowed down, by address and client; whoever holds a token of another client still gets in."""
    def guess(n):
        w = Wire("127.0.0.1", fw.port)
        try:
            w.login("other", f"rft_abcdefgh_{n:043d}", "itself")
        except (Failed, Closed, OSError):
            return False
        return True
    for client in ("other", "issuer"):
        fw.token(client)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert not any(pool.map(guess, range(60)))
    deadline = time.monotonic() + 90
    while True:
        try:
            with fw.wire("issuer") as w:
                assert w.simple("SELECT 1").ok().rows == [[b"1"]]
            break
        except (Failed, Closed):
            assert time.monotonic() < deadline, "still shut out"
            time.sleep(2)
