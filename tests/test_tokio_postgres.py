"""tokio-postgres: pipelined, prepared, binary, portals in portions."""

import json
import subprocess

import pytest

from expect import CLIENTS, check_row
from harness import BIN, clean_env

COLUMNS = "id credit_card currency email is_active country num_logins password_hash username".split()


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("client", CLIENTS)
def test_every_column(firewall, truth, client, tls):
    login, token = firewall.token(client)
    url = f"postgresql://{login}:{token}@localhost:{firewall.port}/bank?hostaddr=127.0.0.1&sslmode={'require' if tls else 'disable'}"
    program = BIN / "tokio-postgres-check"
    assert program.exists(), "build the workspace first (scripts/test does)"
    r = subprocess.run([str(program), url, *([str(firewall.tls_dir / "ca.crt")] if tls else [])], env=clean_env(), capture_output=True, text=True, timeout=60)
    assert r.returncode == 0, r.stderr
    seen = json.loads(r.stdout)
    for how in ("prepared", "simple", "portal"):
        for i, row in zip((0, 7, 100), seen[how], strict=True):
            check_row(client, truth[i], row, COLUMNS)
    if client == "operator":
        assert seen["refusal"] is None
    else:
        assert seen["refusal"]["code"] == "42501" and seen["refusal"]["hint"]
    assert seen["after"] == 42
