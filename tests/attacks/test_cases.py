"""Runs cases.yaml. What is searched is the raw byte stream, so that errors, notices and parameter reports count too."""

import time

import pytest

from conftest_attacks import CASES, deep, variants

MODES = ["simple", "text", "binary"]


def texts(case):
    sql = case["sql"]
    return [deep(case, s) for s in (sql if isinstance(sql, list) else [sql])]


def attack(wire, case, mode):
    """Sends the case's texts; returns every byte that came back."""
    start, values = len(wire.log), b""
    for sql in texts(case):
        answer = wire.ask(sql, mode)
        values += b"".join(v for row in answer.rows for v in row if v is not None)
    return bytes(wire.log[start:]), values


def found(case, secrets, log, values):
    return [s for s in secrets if any(v in log or (case.get("join") and v in values) for v in variants(s))]


def lives(wire):
    wire.simple("ROLLBACK")
    assert wire.simple("SELECT 40 + 2").ok().rows == [[b"42"]], "the session did not go on"


PLAIN = [c for c in CASES if "sql" in c]
ORACLES = [c for c in CASES if "oracle" in c]


@pytest.mark.parametrize("case", PLAIN, ids=lambda c: c["id"])
def test_leaks_on_bare_postgres(scene, case):
    secrets = scene.secrets(case)
    for mode in case.get("modes", MODES):
        with scene.bare(case.get("login"), scene.database(case)) as wire:
            log, values = attack(wire, case, mode)
        scene.reset(case)
        assert found(case, secrets, log, values), f"{mode}: no leak, so the case proves nothing\n{log[-600:]!r}"


@pytest.mark.parametrize("case", PLAIN, ids=lambda c: c["id"])
def test_recovers_nothing(scene, walls, case):
    secrets = scene.secrets(case)
    wall = walls(case.get("login"))
    for client in case.get("clients", ["users-api", "analyst"]):
        for mode in case.get("modes", MODES):
            with wall.wire(client, scene.database(case)) as wire:
                log, values = attack(wire, case, mode)
                leaked = found(case, secrets, log, values)
                scene.reset(case)
                assert not leaked, f"{client}, {mode}: recovered {leaked!r}\n{log[-600:]!r}"
                lives(wire)


def oracle_texts(scene, case):
    fill = dict(card=scene.card.decode(), wrong=scene.wrong.decode(), email=scene.email.decode(), wrong_email=scene.wrong_email.decode())
    return [sql.format(**fill) for sql in case["oracle"]]


def answer(scene, case, wire, sql, mode):
    """What the client learns: every message, less the guess itself (it may be quoted back) and how long it took."""
    start = time.monotonic()
    messages = wire.ask(sql, mode).messages
    took = time.monotonic() - start
    hide = {s: b"?" for s in (scene.card, scene.wrong, scene.email, scene.wrong_email)}
    out = []
    for kind, body in messages:
        for s, mark in hide.items():
            body = body.replace(s, mark)
        out.append((kind, body))
    return out, took


@pytest.mark.parametrize("case", ORACLES, ids=lambda c: c["id"])
def test_oracle_answers_on_bare_postgres(scene, case):
    for mode in case.get("modes", MODES):
        (right, slow), (wrong, fast) = both(scene, case, lambda: scene.bare(case.get("login")), mode)
        if "slow" in case:
            assert slow - fast > case["slow"]
        else:
            assert right != wrong, f"{mode}: the oracle does not answer"


@pytest.mark.parametrize("case", ORACLES, ids=lambda c: c["id"])
def test_oracle_is_silent(scene, walls, case):
    wall = walls(case.get("login"))
    for client in case.get("clients", ["users-api", "analyst"]):
        for mode in case.get("modes", MODES):
            (right, slow), (wrong, fast) = both(scene, case, lambda: wall.wire(client), mode)
            assert right == wrong, f"{client}, {mode}: {right!r}\n{wrong!r}"
            if "slow" in case:
                assert abs(slow - fast) < case["slow"], f"{client}, {mode}: {slow} and {fast} seconds"


def both(scene, case, connect, mode):
    out = []
    for sql in oracle_texts(scene, case):
        with connect() as wire:
            out.append(answer(scene, case, wire, sql, mode))
            lives(wire)
        scene.reset(case)
    return out
