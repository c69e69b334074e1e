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
    """The databases under attack (see setup.sql, setup_names.sql), and what is secret in them."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.roots = {}
        for database in ("attack", "attack_names"):
            cluster.bank(database, users=1000, transactions=2000)
            card = cluster.psql(database, f"SELECT credit_card FROM users WHERE id = {VICTIM}")
            cluster.file(database, HERE / "setup.sql", card=card)
            if database == "attack_names":
                cluster.file(database, HERE / "setup_names.sql")
            for case in CASES:
                if self.database(case) == database:
                    for sql in case.get("setup", []):
                        cluster.psql(database, sql)
            cluster.psql(database, "ANALYZE")
            self.roots[database] = cluster.wire(database, "postgres")
        self.card, self.hash, self.email = self.root.simple(
            f"SELECT credit_card, password_hash, email FROM ONLY users WHERE id = {VICTIM}").ok().rows[0]
        self.wrong = self.card[:-1] + bytes([self.card[-1] ^ 1])
        self.wrong_email = b"x" + self.email[1:]

    @property
    def root(self):
        return self.roots["attack"]

    @staticmethod
    def database(case):
        return "attack_names" if case.get("names") else "attack"

    def secrets(self, case):
        root = self.roots[self.database(case)]
        if "leak" in case:
            found = [v for row in root.simple(case["leak"]).ok().rows for v in row]
        else:
            found = [getattr(self, case.get("secret", "card"))]
        if "hex" in case:
            found += [bytes.fromhex(row[0].decode()) for row in root.simple(case["hex"]).ok().rows]
        assert found and all(len(s) >= 8 for s in found), "a secret too short to be told from chance"
        return found

    def reset(self, case):
        if "reset" in case:
            self.roots[self.database(case)].simple(case["reset"]).ok()

    def bare(self, login, database="attack", **options):
        return self.cluster.wire(database, "postgres" if login == "superuser" else "bank_app", **options)


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
