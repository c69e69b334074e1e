"""Tokens and logins."""

import json
import re
import socket
import statistics
import subprocess
import threading
import time

import pytest
import yaml

from harness import binary, clean_env, wait_for
from pgwire import Closed, Failed, Wire, fields, query


def attempt(firewall, login, token, tls=True):
    """The error of a failed login, and what came after it."""
    w = Wire("127.0.0.1", firewall.port)
    if tls:
        w.tls()
    start = time.monotonic()
    try:
        w.login(login, token)
    except Failed as e:
        took = time.monotonic() - start
        try:
            after = w.read()
        except Closed:
            after = None
        w.sock.close()
        return e.diagnostic, took, after
    w.close()
    return None, 0, None


@pytest.fixture
def fw(own_firewall):
    """Its own, because rate limits remember."""
    return own_firewall()


def test_all_failures_look_the_same(fw):
    login, token = fw.token("users-api")
    kid = login.split("~")[1]
    other_login, other_token = fw.token("analyst")
    revoked_login, revoked = fw.issue("users-api")
    fw.rfctl("token", "revoke", revoked_login.split("~")[1])
    expired_login, expired = fw.issue("users-api", "--ttl", "1s")
    time.sleep(1.5)
    cases = {
        "wrong secret": (login, token[:-1] + ("A" if token[-1] != "A" else "B")),
        "unknown client": (f"nobody~{kid}", token),
        "unknown kid": ("users-api~zzzzzzzz", token),
        "another client's token": (login, other_token),
        "another client's login": (other_login, token),
        "revoked": (revoked_login, revoked),
        "expired": (expired_login, expired),
        "no token at all": (login, "x"),
        "operator by name": ("operator", token),
    }
    answers = {}
    for name, (user, password) in cases.items():
        diagnostic, _, after = attempt(fw, user, password)
        assert diagnostic, f"{name}: let in"
        assert diagnostic["C"] == "28P01" and diagnostic["S"] == "FATAL", (name, diagnostic)
        assert after is None, f"{name}: the connection stays open"
        answers[name] = {k: v.replace(user, "LOGIN") for k, v in diagnostic.items()}
    assert all(a == answers["wrong secret"] for a in answers.values()), answers
    w = fw.wire("users-api")      # the good one still works
    w.close()


def test_unknown_and_wrong_take_the_same(own_firewall):
    fw = own_firewall()
    login, token = fw.token("users-api")
    wrong = token[:-1] + ("A" if token[-1] != "A" else "B")
    unknown, bad = [], []
    for i in range(4):      # interleaved, below the rate limit
        bad.append(attempt(fw, login, wrong)[1])
        unknown.append(attempt(fw, f"nobody{i}~aaaaaaaa", wrong)[1])
    a, b = statistics.median(bad), statistics.median(unknown)
    assert abs(a - b) < max(0.05, 0.5 * max(a, b)), (bad, unknown)


def test_revocation_ends_live_connections(fw):
    login, token = fw.issue("users-api")
    keep = fw.wire("analyst")
    idle, busy = [Wire("127.0.0.1", fw.port) for _ in range(2)]
    for w in (idle, busy):
        w.login(login, token)
    busy.send(query("SELECT pg_sleep(30)"))
    time.sleep(0.2)
    start = time.monotonic()
    fw.rfctl("token", "revoke", login.split("~")[1])
    for w in (idle, busy):
        got = w.read_rest()
        assert time.monotonic() - start < 3
        fatal = [fields(b) for k, b in got if k == b"E"]
        assert fatal and fatal[-1]["S"] == "FATAL" and fatal[-1]["C"] in ("57P01", "28P01", "28000"), got
    assert keep.simple("SELECT 1").ok().rows == [[b"1"]]
    wait_for(lambda: fw.cluster.psql("bank", "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)%' AND pid <> pg_backend_pid()") == "0",
             10, "the upstream connection ends too")
    assert attempt(fw, login, token)[0]["C"] == "28P01"


def test_two_live_tokens(fw):
    first, second = fw.issue("users-api"), fw.issue("users-api")
    for login, token in (first, second):
        w = Wire("127.0.0.1", fw.port)
        w.login(login, token)
        assert w.simple("SELECT 1").ok()
        w.close()
    w = Wire("127.0.0.1", fw.port)      # the plain name means the oldest live token
    w.login("users-api", first[1])
    w.close()
    fw.rfctl("token", "revoke", first[0].split("~")[1])
    w = Wire("127.0.0.1", fw.port)
    w.login(*second)
    w.close()
    wait_for(lambda: attempt(fw, "users-api", second[1])[0] is None, 5, "the next oldest takes the plain name")


def test_token_survives_a_restart(fw):
    login, token = fw.issue("users-api")
    assert fw.stop() == 0
    fw.start()
    w = Wire("127.0.0.1", fw.port)
    w.login(login, token)
    assert w.simple("SELECT 1").ok()
    w.close()


def test_wrong_tokens_are_rate_limited(own_firewall):
    fw = own_firewall()
    login, token = fw.token("users-api")
    analyst = fw.token("analyst")
    limited = False
    start = time.monotonic()
    for _ in range(60):
        diagnostic, took, _ = attempt(fw, login, "wrong", tls=False)
        assert diagnostic
        if diagnostic["C"] != "28P01" or took > 0.9:
            limited = True
            break
        if time.monotonic() - start > 60:
            break
    assert limited, "60 wrong passwords in a row were all heard at once"
    # a limit on one client does not lock out others from elsewhere: a different loopback address
    s = socket.socket()
    s.bind(("127.0.0.2", 0))
    s.settimeout(20)
    s.connect(("127.0.0.1", fw.port))
    w = Wire.__new__(Wire)
    w.sock, w.buffer, w.log, w.parameters, w.key, w.channel_binding, w.negotiated = s, b"", bytearray(), {}, None, None, None
    w.login(*analyst)
    assert w.simple("SELECT 1").ok()
    w.close()


def test_formats(fw):
    raw = fw.rfctl("client", "token", "users-api", "--format", "raw").stdout
    assert re.fullmatch(r"rft_[A-Za-z0-9]{8}_[A-Za-z0-9_-]{43}\n?", raw)
    url = fw.rfctl("client", "token", "users-api", "--format", "url", "--database", "bank").stdout.strip()
    m = re.fullmatch(r"postgres(?:ql)?://users-api(?:~|%7E)([a-z0-9]{8}):(rft_\1_[A-Za-z0-9_-]{43})@127\.0\.0\.1:(\d+)/bank\?sslmode=\w[\w-]*(?:&.*)?", url)
    assert m and int(m[3]) == fw.port, url
    out = subprocess.run(["psql", "-XAt", "-d", url, "-c", "select 42"], env=clean_env(), capture_output=True, text=True)
    assert out.stdout.strip() == "42", out.stderr
    env = fw.rfctl("client", "token", "users-api", "--format", "env", "--database", "bank").stdout
    values = dict(line.removeprefix("export ").split("=", 1) for line in env.strip().splitlines())
    out = subprocess.run(["sh", "-c", f"set -a\n{env}\npsql -XAt -c 'select 43'"], env=clean_env(), capture_output=True, text=True)
    assert out.stdout.strip() == "43", (out.stderr, sorted(values))
    doc = json.loads(fw.rfctl("client", "token", "users-api", "--format", "json").stdout)
    assert "rft_" in json.dumps(doc)
    doc = yaml.safe_load(fw.rfctl("client", "token", "users-api", "--format", "yaml").stdout)
    assert "rft_" in json.dumps(doc)


def test_unknown_client_gets_no_token(fw):
    r = fw.rfctl("client", "token", "nobody-we-know", check=False)
    assert r.returncode == 1 and "nobody-we-know" in r.stderr and "rft_" not in r.stdout


def test_lists_and_status_show_no_secret(fw):
    login, token = fw.issue("users-api")
    kid, secret = login.split("~")[1], token.split("_", 2)[2]
    for args in (["client", "list"], ["client", "get", "users-api"], ["token", "list"], ["status"], ["whoami"], ["config", "show"], ["ping"]):
        r = fw.rfctl(*args, check=False)
        assert r.returncode == 0, (args, r.stderr)
        assert secret not in r.stdout + r.stderr and fw.root_token not in r.stdout + r.stderr, args
    assert kid in fw.rfctl("token", "list").stdout
    assert "users-api" in fw.rfctl("client", "list").stdout


def test_rfctl_errors_are_errors(fw):
    run = lambda *a, **k: subprocess.run([binary("rfctl"), *a], env=clean_env(HOME=str(fw.dir)), capture_output=True, text=True, **k)  # noqa: E731
    url = f"http://127.0.0.1:{fw.admin_port}"
    wrong = fw.secret("wrong_root", "w" * 40 + "\n")
    r = run("--url", url, "--token-file", str(wrong), "client", "list")
    assert r.returncode == 1 and r.stderr and not r.stdout, (r.returncode, r.stdout, r.stderr)
    r = run("--url", "http://127.0.0.1:1", "--token-file", str(fw.root_token_file), "client", "list")
    assert r.returncode == 1 and "127.0.0.1:1" in r.stderr
    r = run("--url", url, "--token-file", "/does/not/exist", "client", "list")
    assert r.returncode in (1, 2) and "/does/not/exist" in r.stderr
    r = run("no-such-command")
    assert r.returncode == 2
    r = run("--help")
    assert r.returncode == 0 and "client" in r.stdout
    assert fw.rfctl("token", "revoke", "aaaaaaaa", check=False).returncode == 1


def test_admin_api_needs_the_token(fw):
    for path in ("/api/v1/clients", "/clients", "/api/v1/tokens", "/tokens", "/api/v1/status", "/api/v1/config", "/api/clients", "//api/v1/clients",
                 "/livez/../api/v1/clients", "/api/%76%31/clients", "/api/v1/clients/", "/api/v1/openapi.json"):
        for token in (None, "x", fw.root_token[:-1]):
            status, body = fw.http(path, token)
            assert status in (400, 401, 403, 404, 429), (path, status, body)
            assert "users-api" not in body
    for path in ("/livez", "/readyz"):
        assert fw.http(path)[0] == 200


def test_tokens_are_only_verifiers_in_the_database(fw):
    login, token = fw.issue("users-api")
    secret = token.split("_", 2)[2]
    from harness import pgbin
    r = subprocess.run([str(pgbin() / "pg_dump"), "-d", fw.cluster.url("postgres", "postgres"), "-n", "ringfence"], env=clean_env(), capture_output=True,
                       text=True)
    assert r.returncode == 0 and "ringfence." in r.stdout, r.stderr
    assert secret not in r.stdout and token not in r.stdout
    assert "SCRAM-SHA-256$" in r.stdout


def test_max_connections_of_a_client(own_firewall):
    fw = own_firewall(classification=open(__import__("harness").ROOT / "classification.yaml").read().replace("max_connections: 5", "max_connections: 2"))
    held = [fw.wire("analyst") for _ in range(2)]
    diagnostic, _, _ = attempt(fw, *fw.token("analyst"))
    assert diagnostic and diagnostic["C"] == "53300", diagnostic
    for w in held:
        w.close()
    wait_for(lambda: attempt(fw, *fw.token("analyst"))[0] is None, 5, "a free place")


def test_threads_of_logins(fw):
    errors = []

    def one():
        try:
            with fw.wire("users-api", tls=True) as w:
                w.simple("SELECT 1").ok()
        except Exception as e:
            errors.append(e)
    threads = [threading.Thread(target=one) for _ in range(60)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors[:3]
