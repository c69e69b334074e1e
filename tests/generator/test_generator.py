"""A bounded number of the generator's statements; `scripts/fuzz` runs 100,000 with another seed each time."""

import os
import pathlib
import secrets
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from harness import Cluster  # noqa: E402
from run import World, run  # noqa: E402

SEED = os.environ.get("RINGFENCE_TEST_SEED") or secrets.token_hex(4)
STATEMENTS = 3000


@pytest.fixture(scope="module")
def outcome():
    cluster = Cluster(autovacuum="off", statement_timeout="10s")
    reports = []
    try:
        world = World(cluster, SEED)
        try:
            # Nothing is to be found if the search does not find it.
            value = world.canaries.texts[5].encode()
            for form in (value[3:9], value[::-1][2:8], value.hex().encode()[4:20], value.upper()[:6]):
                assert world.canaries.find(b"x '" + form + b"' y") == value.decode()
            assert world.canaries.find_in_rows([[bytes([c])] for c in value[:8]]) == value.decode()
            assert world.canaries.find_in_rows([[b"%d" % c] for c in value[:8]]) == value.decode()
            assert world.canaries.find(world.wire("direct").simple("SELECT encode(mail::bytea, 'base64') FROM people").ok().messages[3][1])
            failures, sent = run(world, SEED, STATEMENTS, report=reports.append, limit=12)
        finally:
            world.close()
    finally:
        cluster.remove()
    assert sent >= STATEMENTS
    return failures, "\n".join(reports)


def test_no_canary_comes_back(outcome):
    failures, reports = outcome
    assert not failures.get("leak"), f"seed {SEED}\n{reports}"


def test_nothing_breaks(outcome):
    failures, reports = outcome
    assert not failures.get("broken"), f"seed {SEED}\n{reports}"


def test_what_mentions_nothing_protected_is_as_direct(outcome):
    failures, reports = outcome
    assert not failures.get("differs"), f"seed {SEED}\n{reports}"
    # COLLATE after a cast, and some chains of joins, are not read by the second parser: refused, by any seed a few times.
    assert len(failures.get("refused", ())) <= 10, f"seed {SEED}\n{reports}"
