"""pg_dump as a restricted client: what is unprotected dumps and restores equal; what is not is refused."""

import subprocess

import pytest

from harness import clean_env, pgbin


def dump(url, *args):
    return subprocess.run([str(pgbin() / "pg_dump"), "-d", url, *args], env=clean_env(), capture_output=True, text=True)


@pytest.mark.parametrize("client", ["users-api", "analyst"])
def test_dump_and_restore(firewall, cluster, client):
    through = dump(firewall.url(client), "-t", "transactions", "--no-owner")
    assert through.returncode == 0, through.stderr
    direct = dump(cluster.url("bank"), "-t", "transactions", "--no-owner")
    assert direct.returncode == 0, direct.stderr

    def lines(text):
        return [line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]
    assert lines(through.stdout) == lines(direct.stdout)

    cluster.psql("postgres", "DROP DATABASE IF EXISTS restored")
    cluster.psql("postgres", "CREATE DATABASE restored")
    try:
        cluster.psql("restored", "CREATE TABLE public.users (id int PRIMARY KEY)")
        cluster.psql("restored", f"INSERT INTO users SELECT generate_series(0, 100000)")
        cluster.psql("restored", through.stdout)
        count = "SELECT count(*), sum(amount), min(\"timestamp\"), md5(string_agg(t::text, '' ORDER BY id)) FROM transactions t"
        assert cluster.psql("restored", count) == cluster.psql("bank", count)
    finally:
        cluster.psql("postgres", "DROP DATABASE restored")


def test_inserts_format(firewall):
    r = dump(firewall.url("users-api"), "-t", "transactions", "--inserts", "--rows-per-insert=500")
    assert r.returncode == 0, r.stderr
    assert r.stdout.count("INSERT INTO") == 40


def test_schema_only(firewall):
    r = dump(firewall.url("users-api"), "--schema-only")
    assert r.returncode == 0, r.stderr
    assert "CREATE TABLE public.users" in r.stdout and "CREATE TABLE public.transactions" in r.stdout


def test_a_protected_table_is_dumped_as_the_client_sees_it(firewall, truth):
    r = dump(firewall.url("users-api"), "-t", "users")
    assert r.returncode == 0, r.stderr
    assert "rf1_" in r.stdout
    assert not any(u["credit_card"] in r.stdout + r.stderr for u in truth.values() if u["credit_card"])


def test_unrestricted_client_dumps_all(firewall, cluster):
    through, direct = dump(firewall.url("operator")), dump(cluster.url("bank"))
    assert through.returncode == 0, through.stderr
    strip = lambda t: [line for line in t.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]  # noqa: E731
    assert strip(through.stdout) == strip(direct.stdout)
