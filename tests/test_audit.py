"""The audit log: one line per statement, with facts and without values; the same for logs and metrics."""

import json
import re
import secrets
import signal
import subprocess
import time

import pytest

from harness import wait_for
from pgwire import SYNC, bind, execute, parse, query


@pytest.fixture(scope="module")
def fw(cluster):
    from harness import Firewall
    with Firewall(cluster, log_level="debug") as f:
        yield f


def lines(fw, since=0, event="statement"):
    return [a for a in fw.audit_lines()[since:] if a.get("event") == event]


def after(fw, count, since):
    wait_for(lambda: len(lines(fw, since)) >= count, 5, f"{count} audit lines")
    time.sleep(0.1)
    return lines(fw, since)


def test_one_line_per_statement(fw):
    with fw.wire("users-api") as w:
        since = len(fw.audit_lines())
        w.simple("SELECT 1; SELECT 2; SELECT 3").ok()
        w.send(parse("SELECT amount FROM transactions WHERE id = $1") + b"".join(bind([i]) + execute() for i in range(1, 6)) + SYNC).until_ready().ok()
        w.simple("SELECT upper(credit_card) FROM users")
        w.simple("SELECT 1/0")
        w.simple("BEGIN").ok()
        w.simple("COMMIT").ok()
        got = after(fw, 12, since)
    assert len(got) == 12, [(g.get("kind"), g["verdict"]) for g in got]
    assert [g["verdict"] for g in got].count("refused") == 1
    assert [g["verdict"] for g in got].count("failed") == 1


def test_what_a_line_says(fw):
    login, _ = fw.token("analyst")
    with fw.wire("analyst", tls=True) as w:
        since = len(fw.audit_lines())
        w.simple("SELECT id, credit_card, email, password_hash FROM users WHERE id < 5").ok()
        (pid,), = w.simple("SELECT pg_backend_pid()").rows
        w.simple("SELECT id FROM users WHERE credit_card = '4111111111111111'")
        got = after(fw, 3, since)
    first, _, refused = got
    assert first["client"] == "analyst" and first["kid"] == login.split("~")[1]
    assert first["address"].startswith("127.0.0.1:") and first["database"] == "bank"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", first["time"])
    assert first["upstream_pid"] == int(pid)
    assert first["rows"] == 5 and first["verdict"] == "handled" and first["duration_us"] > 0
    assert re.fullmatch(r"[0-9a-f]{16}", first["fingerprint"])
    assert first["tables"] == ["public.users"]
    assert sorted(first["labels"]) == ["pci", "pii", "secret"]
    assert {k.rsplit(".", 1)[-1]: v for k, v in first["handling"].items()} == {"credit_card": "mask", "email": "tokenize", "password_hash": "drop"}
    assert refused["verdict"] == "refused" and refused["rule"]


def test_fingerprints_ignore_literals(fw):
    with fw.wire("users-api") as w:
        since = len(fw.audit_lines())
        for sql in ("SELECT amount FROM transactions WHERE id = 1", "SELECT amount FROM transactions WHERE id = 99999",
                    "select  amount from transactions where id=3", "SELECT amount FROM transactions WHERE user_id = 1"):
            w.simple(sql).ok()
        prints = [g["fingerprint"] for g in after(fw, 4, since)]
    assert prints[0] == prints[1] == prints[2] != prints[3]


def test_no_value_anywhere(fw, cluster, truth):
    """Canaries as literals, parameters, COPY data, stored values, logins and errors: in no audit line, log or metric."""
    canaries = [secrets.token_hex(12) for _ in range(8)]
    a, b, c, d, e, f, g, h = canaries
    cluster.psql("bank", f"INSERT INTO users (id, credit_card, currency, email, country, username, password_hash) "
                         f"VALUES (95001, '{a}', 'USD', '{b}@example.com', 'US', 'canary', '{c}')")
    try:
        for client in ("users-api", "analyst", "card-issuer", "operator"):
            with fw.wire(client) as w:
                w.simple("SELECT * FROM users WHERE id = 95001")
                w.simple(f"SELECT id FROM users WHERE credit_card = '{d}'")
                w.simple(f"SELECT '{e}'::int")
                w.extended("SELECT $1::text, $1::int", [f])
                w.extended("UPDATE users SET credit_card = $1 WHERE id = 95001", [d])
                w.simple(f"SELECT {g} FROM nowhere")
                w.simple(f"SELECT /* {h} */ 1 -- {h}")
                w.simple("SELECT credit_card::date FROM users WHERE id = 95001")
                w.simple(f"syntax error {h}")
                w.simple("CREATE TEMP TABLE t (a text)")
                w.send(query("COPY t FROM STDIN"))
                if w.until(b"GZ")[-1][0] == b"G":
                    from pgwire import msg
                    w.send(msg(b"d", e.encode() + b"\n") + msg(b"c")).until_ready()
                w.simple("ROLLBACK")
        from pgwire import Failed, Wire
        for user, password in (("users-api~aaaaaaaa", f), (f"nobody-{g}"[:60], "x")):
            w = Wire("127.0.0.1", fw.port)
            with pytest.raises(Failed):
                w.login(user, password)
        time.sleep(0.5)
        places = {"audit": fw.audit.read_text(), "log": fw.log(), "metrics": fw.metrics()}
        for place, text in places.items():
            for canary in canaries:
                if canary == g and place == "audit":
                    continue      # the login name of a failed login is audited as it was given
                assert canary not in text, f"{canary} in the {place}: …{text[max(0, text.index(canary) - 300):][:600]}"
            for login, token in fw.tokens.values():
                assert token not in text and token.split("_", 2)[2] not in text, place
            assert fw.root_token not in text, place
            assert truth[7]["credit_card"] not in text, place
    finally:
        cluster.psql("bank", "DELETE FROM users WHERE id = 95001")


def test_no_secret_in_the_process_list(fw):
    out = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert fw.cluster.app_password not in out and fw.cluster.control_password not in out and fw.root_token not in out


def test_logins_and_admin_actions_are_audited(fw):
    since = len(fw.audit_lines())
    login, token = fw.issue("users-api")
    from pgwire import Failed, Wire
    w = Wire("127.0.0.1", fw.port)
    w.login(login, token)
    w.close()
    w = Wire("127.0.0.1", fw.port)
    with pytest.raises(Failed):
        w.login(login, "wrong")
    fw.rfctl("token", "revoke", login.split("~")[1])
    def kinds():
        return [a["event"] for a in fw.audit_lines()[since:]]
    wait_for(lambda: kinds().count("admin") >= 2 and "login_failed" in kinds(), 5, "the lines")


def test_rotation(fw):
    """logrotate moves the file and sends SIGHUP; nothing is lost."""
    moved = fw.audit.with_name("audit.jsonl.1")
    fw.audit.rename(moved)
    fw.process.send_signal(signal.SIGHUP)
    with fw.wire("users-api") as w:
        wait_for(lambda: w.simple("SELECT 12345").ok() and fw.audit.exists(), 10, "a new audit file")
    assert moved.exists() and all(json.loads(line) for line in moved.read_text().splitlines())


def test_metrics(fw):
    text = fw.metrics()
    for line in text.splitlines():
        assert line.startswith("#") or re.fullmatch(r'[a-z_]+(\{[^}]*\})? [-+0-9.eEInf]+', line), line
    before = fw.metric("ringfence_refusals_total")
    with fw.wire("users-api") as w:
        w.simple("SELECT upper(credit_card) FROM users")
    wait_for(lambda: fw.metric("ringfence_refusals_total") == before + 1, 5, "the counter")
    assert fw.metric("ringfence_audit_healthy") == 1
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names)) and len(names) > 10


def test_audit_to_standard_output(own_firewall):
    fw = own_firewall(audit="-")
    with fw.wire("users-api") as w:
        w.simple("SELECT 1").ok()
    wait_for(lambda: '"event":"statement"' in fw.log(), 5, "the line")


def test_explain_of_a_refusal_needs_no_value(fw):
    """The log names the rule; a person finds it in ERRORS.md."""
    from harness import ROOT
    rules = {a["rule"] for a in lines(fw) if "rule" in a}
    anchors = set(re.findall(r"^## +`?([a-z_-]+)`?", (ROOT / "firewall/ERRORS.md").read_text(), re.M))
    assert rules and rules <= anchors, rules - anchors
