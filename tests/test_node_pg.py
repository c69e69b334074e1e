"""node-postgres."""

import json
import os
import subprocess

import pytest

from expect import CLIENTS, COLUMNS, check_row
from harness import ROOT, clean_env


@pytest.mark.parametrize("client", CLIENTS)
def test_every_column(firewall, truth, client):
    env = clean_env(URL=firewall.url(client).split("?")[0], COLUMNS=", ".join(COLUMNS),
                    RINGFENCE_TEST_NODE=os.environ.get("RINGFENCE_TEST_NODE", str(ROOT / "target" / "test-node")))
    r = subprocess.run(["node", str(ROOT / "tests/node/check.js")], env=env, capture_output=True, text=True, timeout=60)
    assert r.returncode == 0, r.stderr
    seen = json.loads(r.stdout)
    for how in ("simple", "parameters", "prepared"):
        for i, row in zip((0, 7, 100), seen[how], strict=True):
            check_row(client, truth[i], [v if v is None else {True: "t", False: "f"}.get(v, str(v)) if isinstance(v, bool) else str(v) for v in row])
    if client == "operator":
        assert seen["refusal"] is None
    else:
        assert seen["refusal"]["code"] == "42501" and seen["refusal"]["hint"]
    assert seen["after"] == 42
    assert seen["multi"] == [{"a": 1}, {"b": 2}]
