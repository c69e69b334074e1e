"""psql as a restricted client: its backslash commands, reconnecting, watching, copying."""

import os
import re
import subprocess

import pytest

from expect import check
from harness import clean_env

BACKSLASH = [r"\d", r"\d users", r"\d+ users", r"\d transactions", r"\d+ transactions", r"\dt", r"\dt+", r"\di", r"\di+", r"\ds", r"\dv", r"\dm",
             r"\df", r"\df+ upper", r"\dn", r"\dn+", r"\l", r"\l+", r"\du", r"\du+", r"\dp", r"\dT", r"\dx", r"\do ||", r"\dC", r"\dD", r"\db", r"\dc",
             r"\dF", r"\dy", r"\drds", r"\sf pg_catalog.upper(text)", r"\encoding", r"\conninfo", r"\z users", r"\dd", r"\dL", r"\dO", r"\des", r"\dew"]


@pytest.mark.parametrize("client", ["users-api", "analyst"])
@pytest.mark.parametrize("command", BACKSLASH)
def test_backslash(firewall, client, command):
    out = firewall.psql(client, command, args=("-v", "ON_ERROR_STOP=1"), check=False)
    assert "ERROR" not in out and "FATAL" not in out and "server closed" not in out, out


def direct(cluster, *commands, args=()):
    return subprocess.run(["psql", "-X", *args, *(x for c in commands for x in ("-c", c)), "-d", cluster.url("bank")], env=clean_env(),
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True).stdout


@pytest.mark.parametrize("command", [r"\d transactions", r"\dt", r"\d users", r"\df upper", r"\dn", r"\du", r"\di"])
def test_backslash_output_is_the_same(firewall, cluster, command):
    """Nothing of users' definition is a secret here, so psql prints what it prints directly."""
    assert firewall.psql("users-api", command) == direct(cluster, command)


def test_query(firewall, truth):
    out = firewall.psql("users-api", "select id, credit_card, email, password_hash from users where id < 2 order by id", args=("-At",))
    rows = [line.split("|") for line in out.splitlines()]
    assert [r[0] for r in rows] == ["0", "1"]
    assert all(r[1].startswith("rf1_") for r in rows)
    assert [r[2] for r in rows] == [truth[0]["email"], truth[1]["email"]]
    assert [r[3] for r in rows] == ["", ""]


def test_refusal_is_readable(firewall):
    out = firewall.psql("users-api", "select id from users where credit_card like '4%'", check=False)
    assert re.search(r"ERROR: .*credit_card", out) and "HINT:" in out and "LINE 1:" in out


def test_reconnect(firewall):
    r"""\c - opens a second connection with the same credentials."""
    out = firewall.psql("users-api", input="\\c -\nselect 40 + 2;\n\\c bank\nselect 2 + 2;\n", args=("-At",))
    assert "42" in out and "4" in out


def test_watch(firewall):
    r = subprocess.Popen(["psql", "-X", "-At", "-d", firewall.url("users-api")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, env=clean_env())
    r.stdin.write("select 'tick' \\watch 0.2\n")
    r.stdin.flush()
    ticks = 0
    for line in r.stdout:
        ticks += "tick" in line
        if ticks == 3:
            break
    r.kill()
    r.wait()
    assert ticks == 3


def test_copy_out_and_in(firewall, cluster, tmp_path):
    out = tmp_path / "t.tsv"
    firewall.psql("users-api", rf"\copy transactions to '{out}'")
    assert len(out.read_text().splitlines()) == 20000
    cluster.psql("bank", "CREATE TABLE copied (LIKE transactions); GRANT ALL ON copied TO bank_app")
    try:
        wait = firewall.psql("users-api", rf"\copy copied from '{out}'")
        assert "COPY 20000" in wait
        assert cluster.psql("bank", "SELECT count(*) FROM (TABLE copied EXCEPT TABLE transactions) x") == "0"
        assert cluster.psql("bank", "SELECT count(*) FROM copied") == "20000"
    finally:
        cluster.psql("bank", "DROP TABLE copied")


@pytest.mark.parametrize("columns", ["credit_card", "password_hash"])
def test_copy_of_a_protected_table_is_handled(firewall, truth, tmp_path, columns):
    """Both forms: COPY of a table and of a query."""
    for name, source in (("table", f"users (id, {columns})"), ("query", f"(select id, {columns} from users)")):
        out = tmp_path / name
        assert "COPY" in firewall.psql("users-api", rf"\copy {source} to '{out}'")
        lines = [line.split("\t") for line in out.read_text().splitlines()]
        assert len(lines) >= len(truth)
        for number, value in lines:
            check("users-api", columns, truth[int(number)][columns], None if value == r"\N" else value)


def test_copy_of_what_may_only_be_read_is_refused(firewall, tmp_path):
    """users-auth reads password hashes, one by one: its role has no `copy`."""
    out = tmp_path / "u"
    text = firewall.psql("users-auth", rf"\copy users to '{out}'", check=False)
    assert "ERROR" in text and "public.users.password_hash" in text and "may not be copied" in text
    assert not out.exists() or out.read_bytes() == b""


def test_notices_and_timing(firewall):
    out = firewall.psql("users-api", "DROP TABLE IF EXISTS no_such_table_here", r"\timing on", "select 1")
    assert "NOTICE" in out and "does not exist" in out


def test_variables_and_gexec(firewall):
    out = firewall.psql("users-api", input="select 'select ' || g from generate_series(1,3) g \\gexec\nselect 5 as x \\gset\n\\echo :x\n", args=("-At",))
    assert out.split() == ["1", "2", "3", "5"]


def test_cancel(firewall):
    """psql's Ctrl-C is a CancelRequest with the key that the firewall gave."""
    import signal
    import time
    r = subprocess.Popen(["psql", "-X", "-c", "select pg_sleep(30)", "-d", firewall.url("users-api")], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, env=clean_env())
    time.sleep(1)
    start = time.monotonic()
    r.send_signal(signal.SIGINT)
    out, _ = r.communicate(timeout=15)
    assert "canceling statement due to user request" in out
    assert time.monotonic() - start < 5


def test_sslmodes(firewall):
    ca = next((firewall.tls_dir / n for n in ("ca.crt", "ca.pem") if (firewall.tls_dir / n).exists()), None)
    assert ca, f"no CA in {os.listdir(firewall.tls_dir)}"
    login, token = firewall.token("users-api")
    for mode in ("require", "verify-ca", "verify-full"):
        url = f"postgresql://{login}:{token}@localhost:{firewall.port}/bank?hostaddr=127.0.0.1&sslmode={mode}&sslrootcert={ca}"
        r = subprocess.run(["psql", "-X", "-At", "-c", "select 42", "-d", url], env=clean_env(), text=True, capture_output=True)
        assert r.stdout.strip() == "42", (mode, r.stderr)
