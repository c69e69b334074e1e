"""Configuration mistakes: each with its line and column, what to write instead, and exit code 2. Reloads are all or
nothing and end no connection."""

import os
import re
import signal
import subprocess
import time

import pytest

from harness import ROOT, binary, clean_env, dropped, free_port, give, rss_kib, wait_for, workdir

GOOD = (ROOT / "classification.yaml").read_text() if (ROOT / "classification.yaml").exists() else ""
SMALL = """version: 1
labels:
  pci: {}
  secret: {}
columns:
  public.users: { credit_card: pci, password_hash: secret }
roles:
  default: { pci: encrypt, secret: drop }
  all: { pci: plain, secret: plain, admin: true }
clients:
  api: { roles: [default] }
  op: { roles: [all] }
"""

# name → (what to replace, with what, line, word of the message)
MISTAKES = {
    "no-version": ("version: 1\n", "", None, "version"),
    "version-2": ("version: 1", "version: 2", 1, "version"),
    "unknown-key": ("labels:\n", "lables:\n", 2, "lables"),
    "unknown-label-in-columns": ("credit_card: pci", "credit_card: pcy", 6, "pcy"),
    "unknown-label-in-role": ("default: { pci: encrypt", "default: { pcy: encrypt", 8, "pcy"),
    "unknown-handling": ("pci: encrypt", "pci: encypt", 8, "encypt"),
    "unknown-role": ("api: { roles: [default] }", "api: { roles: [defualt] }", 11, "defualt"),
    "unknown-mask": ("pci: encrypt", "pci: { mask: last5 }", 8, "last5"),
    "duplicate-column": ("credit_card: pci,", "credit_card: pci, credit_card: secret,", 6, "credit_card"),
    "duplicate-client": ("  op:", "  api:", 12, "api"),
    "duplicate-role": ("  all:", "  default:", 9, "default"),
    "duplicate-label": ("  secret: {}\n", "  pci: {}\n", 4, "pci"),
    "at-rest": ("  pci: {}\n", "  pci: { at_rest: encrypt }\n", 3, "at_rest"),
    "syntax": ("roles: [default] }", "roles: [default }", 11, ""),
    "tab": ("  pci: {}", "\tpci: {}", 3, ""),
    "wrong-type": ("roles: [default]", "roles: 7", 11, "roles"),
    "client-without-roles": ("api: { roles: [default] }", "api: {}", 11, "roles"),
    "bad-duration": ("api: { roles: [default] }", "api: { roles: [default], statement_timeout: 60x }", 11, "60x"),
    "bad-client-name": ("  api:", "  'a~b':", 11, "a~b"),
    "table-without-schema": ("public.users:", "users:", 6, "users"),
    "unclassified-typo": ("version: 1\n", "version: 1\nunclassified: alow\n", 2, "alow"),
}


def check(text, *args):
    d = workdir()
    path = d / "classification.yaml"
    path.write_text(text)
    r = subprocess.run([binary("ringfence"), "check", "--classification", str(path), *args], env=clean_env(), capture_output=True, text=True)
    return r.returncode, r.stdout + r.stderr, path


def test_the_sample_is_good(cluster):
    code, out, _ = check(GOOD)
    assert code == 0, out
    code, out, _ = check(GOOD, "--upstream", cluster.url("bank"))
    assert code == 0, out
    code, out, _ = check(SMALL)
    assert code == 0, out


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(name):
    old, new, line, word = MISTAKES[name]
    assert old in SMALL
    code, out, path = check(SMALL.replace(old, new, 1))
    assert code == 2, (code, out)
    m = re.search(rf"{re.escape(str(path))}:(\d+):(\d+)", out)
    if line is not None:
        assert m, out
        assert int(m[1]) == line and int(m[2]) >= 1, out
    assert word in out, out
    if name not in ("syntax", "tab"):
        assert "help:" in out, f"no way out:\n{out}"


LIVE = {
    "unknown-table": ("public.users:", "public.userz:", "userz"),
    "unknown-column": ("credit_card: pci", "creditcard: pci", "creditcard"),
}


@pytest.mark.parametrize("name", LIVE)
def test_mistake_against_the_live_catalog(cluster, name):
    old, new, word = LIVE[name]
    code, out, path = check(SMALL.replace(old, new, 1), "--upstream", cluster.url("bank"))
    assert code == 2, (code, out)
    assert word in out and re.search(rf"{re.escape(str(path))}:6:\d+", out), out


def test_all_mistakes_at_once():
    text = SMALL.replace("credit_card: pci", "credit_card: pcy").replace("[default]", "[defualt]")
    code, out, _ = check(text)
    assert code == 2 and "pcy" in out and "defualt" in out


def test_bomb():
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12))
    start = time.monotonic()
    code, out, _ = check(bomb)
    assert code == 2 and time.monotonic() - start < 5


def test_schema_is_json():
    import json
    r = subprocess.run([binary("ringfence"), "schema"], env=clean_env(), capture_output=True, text=True)
    assert r.returncode == 0 and "properties" in json.loads(r.stdout)


# --- serve -------------------------------------------------------------------------------------------------------------

class Setup:
    def __init__(self, cluster):
        self.dir = workdir()
        self.cluster = cluster
        (self.dir / "classification.yaml").write_text(SMALL)
        subprocess.run([binary("ringfence"), "keygen", str(self.dir / "key")], check=True, env=clean_env())
        self.write("root", "r" * 40 + "\n")
        give(self.dir)
        (self.dir / "tls").mkdir()
        give(self.dir / "tls")

    def write(self, name, text, mode=0o600):
        p = self.dir / name
        p.write_text(text)
        os.chmod(p, mode)
        give(p)
        return str(p)

    def serve(self, env=None, **over):
        flags = {"listen": f"127.0.0.1:{free_port()}", "admin-listen": f"127.0.0.1:{free_port()}", "upstream": self.cluster.url(),
                 "control": self.cluster.url("postgres", "ringfence_control"), "classification": str(self.dir / "classification.yaml"),
                 "root-token-file": str(self.dir / "root"), "key-file": str(self.dir / "key"), "tls-self-signed": str(self.dir / "tls"), **over}
        args = [x for k, v in flags.items() if v is not None for x in (["--" + k] if v is True else ["--" + k, str(v)])]
        p = subprocess.Popen([binary("ringfence"), "serve", *args], env=clean_env(**(env or {})), stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, cwd=self.dir, **dropped())
        try:
            out, _ = p.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            p.terminate()
            out, _ = p.communicate()
            return None, out
        return p.returncode, out


@pytest.fixture(scope="module")
def setup(cluster):
    return Setup(cluster)


SERVE = {
    "no-upstream": (dict(upstream=None), 2, "upstream"),
    "bad-upstream": (dict(upstream="mysql://x"), 2, "upstream"),
    "no-key": ({"key-file": None}, 2, "key-file"),
    "missing-key-file": ({"key-file": "/does/not/exist"}, 2, "/does/not/exist"),
    "no-root-token": ({"root-token-file": None}, 2, "root-token"),
    "missing-classification": (dict(classification="/does/not/exist"), 2, "/does/not/exist"),
    "bad-listen": (dict(listen="here"), 2, "listen"),
    "no-tls-at-all": ({"tls-self-signed": None}, 2, "tls"),
    "cert-without-key": ({"tls-self-signed": None, "tls-cert": "/does/not/exist"}, 2, "tls"),
    "admin-beyond-loopback": ({"admin-listen": "0.0.0.0:0"}, 2, "admin"),
    "unknown-flag": ({"no-such-flag": True}, 2, "no-such-flag"),
}


@pytest.mark.parametrize("name", SERVE)
def test_serve_refuses_to_start(setup, name):
    over, exit_code, word = SERVE[name]
    code, out = setup.serve(**over)
    assert code == exit_code, (code, out)
    assert word in out and "panicked" not in out and "postgresql://bank_app:" not in out, out


def test_short_root_token(setup):
    code, out = setup.serve(**{"root-token-file": setup.write("short", "tooshort\n")})
    assert code == 2 and "32" in out and "tooshort" not in out


@pytest.mark.parametrize("which", ["root-token-file", "key-file"])
def test_secrets_that_others_can_read(setup, which):
    source = (setup.dir / ("root" if which.startswith("root") else "key")).read_text()
    code, out = setup.serve(**{which: setup.write("open-" + which, source, 0o644)})
    assert code == 2 and ("0600" in out or "mode" in out), out


def test_bad_key(setup):
    code, out = setup.serve(**{"key-file": setup.write("badkey", "not base64!\n")})
    assert code == 2 and "not base64" not in out.replace("is not base64", ""), out


def test_bad_classification_at_start(setup):
    path = setup.write("bad.yaml", SMALL.replace("pci: encrypt", "pci: encypt"), 0o644)
    code, out = setup.serve(classification=path)
    assert code == 2 and "bad.yaml:8:" in out and "encypt" in out


def test_port_in_use(setup, firewall):
    code, out = setup.serve(listen=f"127.0.0.1:{firewall.port}")
    assert code in (1, 2) and str(firewall.port) in out


def test_superuser_upstream(setup):
    code, out = setup.serve(upstream=setup.cluster.url(user="postgres"))
    assert code in (1, 2) and "superuser" in out and "unsafe-superuser-upstream" in out


def test_config_file_and_environment(own_firewall, cluster):
    d = workdir()
    config = d / "ringfence.yaml"
    config.write_text("plan-cache-mib: 8\nlog-level: info\n")
    give(config)
    fw = own_firewall(config=config)
    assert fw.psql("users-api", "select 1", args=("-At",)).strip() == "1"
    config.write_text("no-such-key: 8\n")
    r = subprocess.run([binary("ringfence"), "serve", "--config", str(config)], env=clean_env(), capture_output=True, text=True)
    assert r.returncode == 2 and "no-such-key" in r.stderr + r.stdout and ":1:" in r.stderr + r.stdout


def test_keygen():
    d = workdir()
    path = d / "k"
    r = subprocess.run([binary("ringfence"), "keygen", str(path)], env=clean_env(), capture_output=True, text=True)
    assert r.returncode == 0 and (path.stat().st_mode & 0o777) == 0o600
    key = path.read_text()
    assert key.strip() not in r.stdout + r.stderr
    r = subprocess.run([binary("ringfence"), "keygen", str(path)], env=clean_env(), capture_output=True, text=True)
    assert r.returncode != 0 and path.read_text() == key


# --- reload ------------------------------------------------------------------------------------------------------------

def card(wire):
    """What this session sees, or the SQLSTATE."""
    answer = wire.simple("SELECT credit_card FROM users WHERE id = 7")
    return answer.error["C"].encode() if answer.error else answer.rows[0][0] or b"NULL"


@pytest.mark.parametrize("how", ["SIGHUP", "file change"])
def test_reload(own_firewall, truth, how):
    fw = own_firewall(classification=SMALL)
    w, op = fw.wire("api"), fw.wire("op")
    assert card(w).startswith(b"rf1_") and card(op) == truth[7]["credit_card"].encode()

    def change(text):
        fw.classification.write_text(text)
        if how == "SIGHUP":
            fw.process.send_signal(signal.SIGHUP)

    change(SMALL.replace("default: { pci: encrypt", "default: { pci: { mask: last4 }"))
    wait_for(lambda: card(w).endswith(truth[7]["credit_card"][-4:].encode()), 10, "the mask")
    # a mistake changes nothing, in whole
    change(SMALL.replace("default: { pci: encrypt", "default: { pci: drop").replace("roles: [all]", "roles: [al]"))
    wait_for(lambda: "al" in fw.log() and re.search(r"classification\.yaml:12:", fw.log()), 10, "the complaint")
    time.sleep(0.3)
    assert card(w).endswith(truth[7]["credit_card"][-4:].encode()), "half of a refused file is in force"
    assert fw.http("/readyz")[0] == 200
    change(SMALL.replace("default: { pci: encrypt", "default: { pci: refuse"))
    wait_for(lambda: card(w) == b"42501", 10, "the refusal")
    change(SMALL)
    wait_for(lambda: card(w).startswith(b"rf1_"), 10, "the first policy")
    assert op.simple("SELECT 1").ok()
    w.close()
    op.close()


def test_reload_in_a_transaction_and_a_prepared_statement(own_firewall, truth):
    from pgwire import SYNC, bind, execute, parse
    fw = own_firewall(classification=SMALL)
    with fw.wire("api") as w:
        w.simple("BEGIN").ok()
        w.send(parse("SELECT credit_card FROM users WHERE id = 7", "s") + SYNC).until_ready().ok()
        fw.reload(SMALL.replace("default: { pci: encrypt", "default: { pci: drop"))

        def dropped_now():
            return w.send(bind(statement="s") + execute() + SYNC).until_ready().ok().rows == [[None]]
        wait_for(dropped_now, 10, "the new policy on an old statement")
        w.simple("COMMIT").ok()


def test_client_removed_by_reload(own_firewall):
    fw = own_firewall(classification=SMALL)
    w, op = fw.wire("api"), fw.wire("op")
    fw.reload(SMALL.replace("  api: { roles: [default] }\n", ""))
    assert any(k == b"E" for k, _ in w.read_rest())
    assert op.simple("SELECT 1").ok()


def test_many_reloads_do_not_grow(own_firewall):
    fw = own_firewall(classification=SMALL)
    with fw.wire("api") as w:
        for i in range(60):
            fw.reload(SMALL.replace("pci: encrypt", "pci: encrypt" if i % 2 else "pci: drop"))
            time.sleep(0.02)
            w.simple("SELECT credit_card FROM users WHERE id = 7").ok()
        assert rss_kib(fw.process.pid) < 200_000
