"""One cluster and one firewall for the whole run; a test that breaks or bends one starts its own."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from harness import Cluster, Firewall  # noqa: E402


@pytest.fixture(scope="session")
def cluster():
    c = Cluster()
    try:
        c.bank()
        yield c
    finally:
        c.remove()


@pytest.fixture(scope="session")
def firewall(cluster):
    with Firewall(cluster) as f:
        yield f


@pytest.fixture
def own_firewall(cluster):
    """A maker of firewalls that end with the test."""
    made = []

    def make(*args, **kw):
        f = Firewall(kw.pop("cluster", cluster), *args, **kw)
        made.append(f)
        return f

    yield make
    for f in made:
        f.remove()


@pytest.fixture(scope="session")
def truth(cluster):
    """The users as they really are: id → {column: text}."""
    names = "id created_at credit_card currency email is_active country num_logins password_hash username".split()
    out = {}
    for line in cluster.psql("bank", f"SELECT {', '.join(names)} FROM users ORDER BY id", args=("-F", "\t", "-P", "null=\\N")).splitlines():
        values = [None if v == "\\N" else v for v in line.split("\t")]
        out[int(values[0])] = dict(zip(names, values))
    assert len(out) > 200 and out[100]["credit_card"] is None
    return out
