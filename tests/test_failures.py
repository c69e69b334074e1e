"""What breaks around the firewall: the server, passwords, certificates, the disk, the control database, itself."""

import os
import re
import resource
import signal
import subprocess
import time

import pytest

from harness import Cluster, Firewall, clean_env, free_port, give, wait_for, workdir
from pgwire import Closed, Failed, SYNC, Wire, bind, execute, parse, query


@pytest.fixture(scope="module")
def spare():
    """A cluster that tests here stop and start."""
    c = Cluster()
    try:
        c.bank(users=100, transactions=100)
        yield c
    finally:
        c.remove()


def login_error(fw, client="users-api"):
    try:
        fw.wire(client).close()
        return None
    except Failed as e:
        return e.diagnostic


def test_upstream_down_at_start(cluster):
    with Firewall(cluster, upstream=f"postgresql://bank_app:x@127.0.0.1:{free_port()}/?sslmode=disable", wait=False) as fw:
        time.sleep(2)
        if fw.process.poll() is None:
            assert fw.http("/livez")[0] == 200 and fw.http("/readyz")[0] == 503
        else:
            assert fw.process.returncode == 1
        assert re.search(r"upstream|connect", fw.log(), re.I) and "panicked" not in fw.log()
        assert "bank_app:x@" not in fw.log()


def test_upstream_stops_and_comes_back(spare):
    with Firewall(spare) as fw:
        idle, busy = fw.wire("users-api"), fw.wire("users-api")
        fw.token("analyst")
        busy.send(query("SELECT pg_sleep(20)"))
        time.sleep(0.3)
        spare.stop("immediate")
        for w in (idle, busy):
            got = w.read_rest()
            errors = [b for k, b in got if k == b"E"]
            assert errors, "closed without a word"
        error = login_error(fw)
        assert error and error["C"][:2] in ("08", "57"), error
        assert fw.process.poll() is None
        spare.start()
        wait_for(lambda: login_error(fw) is None, 20, "the way back")
        with fw.wire("analyst") as w:
            assert w.simple("SELECT 1").ok()


def test_wrong_upstream_password(cluster):
    bad = cluster.url(password="not-the-password")
    with Firewall(cluster, upstream=bad, wait=False) as fw:
        time.sleep(2)
        if fw.process.poll() is None:
            assert fw.http("/readyz")[0] == 503
        else:
            assert fw.process.returncode in (1, 2)
        assert "password" in fw.log() and "not-the-password" not in fw.log() and "panicked" not in fw.log()


def test_database_that_does_not_exist(firewall):
    w = Wire("127.0.0.1", firewall.port)
    with pytest.raises(Failed) as e:
        w.login(*firewall.token("users-api"), "no_such_database")
    assert e.value.sqlstate == "3D000"


def test_server_ends_one_backend(firewall, cluster):
    with firewall.wire("users-api") as w:
        (pid,), = w.simple("SELECT pg_backend_pid()").ok().rows
        cluster.psql("bank", f"SELECT pg_terminate_backend({int(pid)})")
        kind, body = w.read()
        assert kind == b"E" and b"57P01" in body
        assert w.read_rest() == []


def certificate(d, name, days):
    """An own certificate that is good for so many days from a month ago on."""
    key, crt = d / f"{name}.key", d / f"{name}.crt"
    if days < 0:
        conf = ["-not_before", "20200101000000Z", "-not_after", "20200201000000Z"]
    else:
        conf = ["-days", str(days)]
    r = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", crt, *conf], capture_output=True, text=True)
    if r.returncode and days < 0:      # openssl before 3.4 cannot say from when: sign with a small authority
        subprocess.run(["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", key, "-out", d / "r.csr"],
                       check=True, capture_output=True)
        (d / "index").write_text("")
        (d / "serial").write_text("01\n")
        (d / "ca.conf").write_text(f"[ca]\ndefault_ca=c\n[c]\ndatabase={d}/index\nserial={d}/serial\nnew_certs_dir={d}\ndefault_md=sha256\npolicy=p\n"
                                   "x509_extensions=e\n[p]\ncommonName=supplied\n[e]\nsubjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n")
        subprocess.run(["openssl", "ca", "-batch", "-selfsign", "-config", d / "ca.conf", "-keyfile", key, "-in", d / "r.csr", "-out", crt, "-notext",
                        "-startdate", "20200101000000Z", "-enddate", "20200201000000Z"], check=True, capture_output=True)
    else:
        assert r.returncode == 0, r.stderr
    os.chmod(key, 0o600)
    give(key)
    give(crt)
    return crt, key


def test_expired_certificate(cluster):
    """Of our own: it is said at the start; clients that check refuse it."""
    d = workdir()
    crt, key = certificate(d, "old", -1)
    with Firewall(cluster, tls=False, plaintext=False, tls_cert=crt, tls_key=key, wait=False) as fw:
        wait_for(fw.is_ready_or_dead, 20, "start")
        assert re.search("expired", fw.log(), re.I), fw.log()
        if fw.process.poll() is None:
            login, token = fw.token("users-api")
            r = subprocess.run(["psql", "-X", "-c", "select 1", "-d",
                                f"postgresql://{login}:{token}@localhost:{fw.port}/bank?hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={crt}"],
                               env=clean_env(), capture_output=True, text=True)
            assert r.returncode != 0 and "expired" in r.stderr


def test_expired_upstream_certificate():
    """verify-full takes no expired certificate, and says which trouble it is."""
    c = Cluster()
    try:
        c.bank(users=10, transactions=10)
        crt, key = certificate(c.dir, "server", -1)
        with open(c.data / "postgresql.conf", "a") as f:
            f.write(f"ssl = on\nssl_cert_file = '{crt}'\nssl_key_file = '{key}'\n")
        c.stop()
        c.start()
        with Firewall(c, upstream=c.url(sslmode="verify-full") + f"&sslrootcert={crt}", wait=False) as fw:
            time.sleep(2)
            if fw.process.poll() is None:
                assert fw.http("/readyz")[0] == 503
            assert re.search("expired|certificate", fw.log(), re.I) and "panicked" not in fw.log(), fw.log()
        # the same server with a good certificate
        good, key = certificate(c.dir, "good", 30)
        with open(c.data / "postgresql.conf", "a") as f:
            f.write(f"ssl_cert_file = '{good}'\nssl_key_file = '{key}'\n")
        c.stop()
        c.start()
        for mode in ("require", "verify-ca", "verify-full"):
            with Firewall(c, upstream=c.url(sslmode=mode) + f"&sslrootcert={good}") as fw, fw.wire("users-api") as w:
                (ssl,), = w.simple("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").rows or [[b"t"]]
                assert ssl == b"t"
    finally:
        c.remove()


def full_disk():
    """Run in the child: no file may grow beyond 60 kB, and the signal that says so is ignored."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))


def test_full_disk_for_the_audit_file(cluster):
    """What reaches labelled columns is refused; the rest goes on; nothing already written is lost; it recovers."""
    with Firewall(cluster, preexec_fn=full_disk) as fw:
        w = fw.wire("users-api")
        refused = None
        for i in range(3000):
            a = w.simple("SELECT email, credit_card FROM users WHERE id = 7")
            if a.error:
                refused = a.error
                break
        assert refused and refused["C"] == "53100", refused
        before = fw.audit.read_bytes()
        assert before and len(before) <= 60_000
        assert w.simple("SELECT email, credit_card FROM users WHERE id = 7").error["C"] == "53100"
        ok = w.simple("SELECT 1")
        assert not ok.error or ok.error["C"] == "53100"
        assert fw.process.poll() is None
        assert "audit" in fw.log()
        lines = [line for line in before.decode().splitlines() if line.endswith("}")]
        assert lines
        os.truncate(fw.audit, 0)      # space again (the file is opened for appending)
        wait_for(lambda: not w.simple("SELECT email, credit_card FROM users WHERE id = 7").error, 20, "recovery")
        w.close()


def test_audit_to_dev_full(cluster):
    with Firewall(cluster, audit="/dev/full", wait=False) as fw:
        wait_for(fw.is_ready_or_dead, 20, "start")
        if fw.process.poll() is None:
            with fw.wire("users-api") as w:
                w.simple("SELECT credit_card FROM users WHERE id = 7")
                time.sleep(0.5)
                assert w.simple("SELECT credit_card FROM users WHERE id = 7").error["C"] == "53100"
        else:
            assert "audit" in fw.log()


def test_audit_directory_missing(cluster):
    with Firewall(cluster, audit="/does/not/exist/audit.jsonl", wait=False) as fw:
        wait_for(fw.is_ready_or_dead, 20, "start")
        assert fw.process.poll() in (1, 2) and "/does/not/exist/audit.jsonl" in fw.log()


def test_control_database_away(spare, cluster):
    """Known verifiers go on serving while the control database is away, for the stated grace."""
    with Firewall(cluster, control=spare.url("postgres", "ringfence_control"), control_grace="4s") as fw:
        login, token = fw.token("users-api")
        live = fw.wire("users-api")
        spare.stop("immediate")
        try:
            with fw.wire("users-api") as w:
                assert w.simple("SELECT email FROM users WHERE id = 7").ok().rows
            assert live.simple("SELECT 1").ok()
            r = fw.rfctl("client", "token", "users-api", check=False)
            assert r.returncode == 1 and r.stderr
            wait_for(lambda: login_error(fw) is not None, 20, "the end of the grace")
        finally:
            spare.start()
        wait_for(lambda: login_error(fw) is None, 20, "recovery")


def test_kill_9_leaves_everything_usable(cluster):
    with Firewall(cluster) as fw:
        login, token = fw.token("users-api")
        w = fw.wire("users-api")
        for _ in range(50):
            w.simple("SELECT email FROM users WHERE id = 7").ok()
        time.sleep(0.5)      # lines are written in batches; what is older than a moment is on the disk
        w.send(parse("UPDATE users SET num_logins = 1 WHERE id = 7") + bind() + execute())
        fw.process.send_signal(signal.SIGKILL)
        fw.process.wait()
        written = fw.audit.read_text().splitlines()
        assert len(written) >= 50
        fw.start()
        with fw.wire("users-api") as again:
            assert again.simple("SELECT email FROM users WHERE id = 7").ok()
        assert fw.audit.read_text().splitlines()[:len(written)] == written


def test_sigterm_drains(cluster):
    """New logins are refused, what runs may end, idle sessions are closed, exit code 0."""
    with Firewall(cluster) as fw:
        busy, idle = fw.wire("users-api"), fw.wire("users-api")
        in_transaction = fw.wire("users-api")
        in_transaction.simple("BEGIN").ok()
        fw.token("analyst")
        busy.send(query("SELECT pg_sleep(2), 'finished'"))
        time.sleep(0.3)
        fw.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert fw.http("/readyz")[0] in (0, 503)
        with pytest.raises((Failed, OSError, Closed)):
            fw.wire("analyst")
        assert [b"E"] == [k for k, _ in idle.read_rest()][:1]
        assert in_transaction.simple("SELECT 1").ok().rows == [[b"1"]]
        assert busy.until_ready().ok().rows[0][1] == b"finished"
        in_transaction.simple("COMMIT")
        fw.process.wait(15)
        assert fw.process.returncode == 0


def test_client_that_vanishes_frees_its_backend(firewall, cluster):
    w = firewall.wire("users-api")
    (pid,), = w.simple("SELECT pg_backend_pid()").ok().rows
    w.sock.close()
    wait_for(lambda: cluster.psql("bank", f"SELECT count(*) FROM pg_stat_activity WHERE pid = {int(pid)}") == "0", 10, "the backend ends")


def test_nothing_panicked(firewall):
    assert "panicked" not in firewall.log()
