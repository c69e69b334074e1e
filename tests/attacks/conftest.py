"""The attacks' own database, and two firewalls: one as an operator would run it, one whose upstream login is a superuser,
so that nothing but the firewall stands in the way."""

import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE))
from conftest_attacks import CASES  # noqa: E402
from harness import Cluster, Firewall  # noqa: E402

VICTIM = 7


class Scene:
    """The database under attack, and what is secret in it."""

    def __init__(self, cluster):
        self.cluster = cluster
        cluster.bank("attack", users=1000, transactions=2000)
        self.root = None
        card = cluster.psql("attack", f"SELECT credit_card FROM users WHERE id = {VICTIM}")
        cluster.file("attack", HERE / "setup.sql", card=card)
        for case in CASES:
            for sql in case.get("setup", []):
                cluster.psql("attack", sql)
        cluster.psql("attack", "ANALYZE")
        self.root = cluster.wire("attack", "postgres")
        self.card, self.hash, self.email = self.root.simple(
            f"SELECT credit_card, password_hash, email FROM ONLY users WHERE id = {VICTIM}").ok().rows[0]
        self.wrong = self.card[:-1] + bytes([self.card[-1] ^ 1])
        self.wrong_email = b"x" + self.email[1:]

    def secrets(self, case):
        if "leak" in case:
            found = [v for row in self.root.simple(case["leak"]).ok().rows for v in row]
        else:
            found = [getattr(self, case.get("secret", "card"))]
        if "hex" in case:
            found += [bytes.fromhex(row[0].decode()) for row in self.root.simple(case["hex"]).ok().rows]
        assert found and all(len(s) >= 8 for s in found), "a secret too short to be told from chance"
        return found

    def reset(self, case):
        if "reset" in case:
            for statement in [case["reset"]]:
                self.root.simple(statement).ok()

    def bare(self, login):
        return self.cluster.wire("attack", "postgres" if login == "superuser" else "bank_app")


@pytest.fixture(scope="session")
def scene():
    cluster = Cluster()
    try:
        yield Scene(cluster)
    finally:
        cluster.remove()


@pytest.fixture(scope="session")
def walls(scene):
    """login → firewall"""
    made = {}

    def get(login):
        if login not in made:
            if login == "superuser":
                made[login] = Firewall(scene.cluster, upstream_user="postgres", database="attack", unsafe_superuser_upstream=True)
            else:
                made[login] = Firewall(scene.cluster, database="attack")
        return made[login]

    yield get
    for f in made.values():
        f.remove()
