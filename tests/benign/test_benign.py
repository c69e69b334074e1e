"""Statements that ordinary applications and tools send, as restricted clients: they pass, and give what they give past
the firewall. Only the values of labelled columns are as the client's handling says. `statements.yaml` describes its format."""

import pathlib
import re

import pytest
import yaml

from harness import ROOT, Firewall

HERE = pathlib.Path(__file__).parent
DATABASE = "benign"
LABELS = {"credit_card": "pci", "email": "pii", "password_hash": "secret"}
HANDLED = {
    "users-api": {"pci": lambda v: v.startswith(b"rf1_"), "pii": None, "secret": lambda v: False},
    "analyst": {"pci": lambda v: re.fullmatch(rb"\*+.{4}", v), "pii": lambda v: v.startswith(b"tok_"), "secret": lambda v: False},
}


def statements():
    out = []
    for group in yaml.safe_load((HERE / "statements.yaml").read_text()):
        for at, case in enumerate(group["statements"]):
            case = {"sql": case} if isinstance(case, str) else case
            out.append({**{k: v for k, v in group.items() if k != "statements"}, **case, "id": f"{group['from']}-{at + 1}"})
    return out


def tools():
    """What psql and pg_dump send (tests/golden/tools.sql)."""
    texts = (ROOT / "tests" / "golden" / "tools.sql").read_text().split("\n;;\n")
    return [{"sql": t.strip(), "id": f"tools-{at + 1}", "definitions": True} for at, t in enumerate(texts) if t.strip()]


# psql's dD, dp and dX put definitions into expressions: refused as long as definitions of protected relations exist.
REFUSED = {"tools-93", "tools-102", "tools-103", "tools-110"}

CASES = statements()
TOOLS = tools()


@pytest.fixture(scope="module")
def wall(cluster):
    cluster.bank(DATABASE, users=300, transactions=1500)
    cluster.file(DATABASE, HERE / "setup.sql")
    with Firewall(cluster, database=DATABASE) as f:
        yield f


def play(wire, case, mode):
    """The answers of a case's texts, in a transaction that is undone (unless it says `alone`)."""
    texts = case["sql"] if isinstance(case["sql"], list) else [case["sql"]]
    if not case.get("alone"):
        wire.simple("BEGIN").ok()
    try:
        if case.get("params") is not None:
            return [wire.extended(sql, case["params"], results=(1,) if mode == "binary" else ()) for sql in texts]
        return [wire.ask(sql, mode) for sql in texts]
    finally:
        wire.simple("ROLLBACK")


def modes(case):
    if case.get("params") is not None:
        return ["text", "binary"]
    first = case["sql"][0] if isinstance(case["sql"], list) else case["sql"]
    if case.get("alone") or re.match(r"\s*(COPY|BEGIN|LISTEN|UNLISTEN)\b", first, re.I) or ";" in first.rstrip("; \n"):
        return ["simple"]
    return ["simple", "text", "binary"]


def labelled(case, column):
    """The label of an output column: by its name, unless the case says otherwise."""
    if column in case.get("handled", {}):
        return case["handled"][column]
    return next((label for name, label in LABELS.items() if column.lower().endswith(name)), None)


def compare(case, client, direct, ours):
    assert not direct.errors, f"the case itself is wrong: {direct.error}"
    assert not ours.errors, f"{client}: refused: {ours.error.get('C')} {ours.error.get('M')} | {ours.error.get('D', '')}"
    assert ours.tags == direct.tags
    names = [c["name"] for c in direct.columns or []]
    assert [(c["name"], c["type"], c["format"]) for c in ours.columns or []] == [(c["name"], c["type"], c["format"]) for c in direct.columns or []]
    assert [b for k, b in ours.messages if k == b"d"] == [b for k, b in direct.messages if k == b"d"]
    assert len(ours.rows) == len(direct.rows)
    skip = {at for at, name in enumerate(names) if name in case.get("any", [])}
    handled = {at: labelled(case, name) for at, name in enumerate(names) if labelled(case, name)}
    handled = {at: label for at, label in handled.items() if HANDLED[client][label]}
    order = [at for at in range(len(names)) if at not in handled and at not in skip]
    key = (lambda row: [row[at] is not None and row[at] for at in order] and repr([row[at] for at in order])) if not case.get("ordered") else None
    mine, theirs = (sorted(a.rows, key=key) if key else a.rows for a in (ours, direct))
    for a, b in zip(mine, theirs):
        for at, (x, y) in enumerate(zip(a, b)):
            if at in skip:
                continue
            if at in handled:
                assert x is None or x != y and HANDLED[client][handled[at]](x), f"{client}: {names[at]} is {x!r}"
                assert x is not None or y is None or handled[at] == "secret", f"{client}: {names[at]} was dropped"
            elif case.get("definitions"):
                assert x == y or x is None, f"{client}: {names[at]} is {x!r} instead of {y!r}"
            else:
                assert x == y, f"{client}: {names[at]} is {x!r} instead of {y!r}"


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["id"])
def test_passes_and_is_the_same(cluster, wall, case):
    for client in case.get("clients", ["users-api", "analyst"]):
        for mode in modes(case):
            with cluster.wire(DATABASE) as wire:
                direct = play(wire, case, mode)
            with wall.wire(client) as wire:
                ours = play(wire, case, mode)
            if "refused" in case:
                errors = [o.error for o in ours if o.errors]
                assert errors and errors[0]["C"] == "42501" and case["refused"] in str(errors[0]), errors
                continue
            for d, o in zip(direct, ours, strict=True):
                compare(case, client, d, o)


@pytest.mark.parametrize("case", TOOLS, ids=lambda c: c["id"])
def test_tools(cluster, wall, case):
    """A definition may be NULL where it belongs to a relation with labelled columns; all else is the same."""
    with cluster.wire(DATABASE) as direct, wall.wire("users-api") as ours:
        d, = play(direct, case, "simple")
        o, = play(ours, case, "simple")
        if d.errors:
            # It belongs to another schema or needs a privilege; then the client learns that, and nothing else.
            assert o.errors and o.error["C"] in (d.error["C"], "42501", "0A000"), o.error
        else:
            if case["id"] in REFUSED:
                assert o.error["C"] == "42501" and "catalog-text" in o.error["M"] + o.error.get("H", "") + o.error.get("D", ""), o.error
                return
            compare(case, "users-api", d, o)


def test_there_are_enough():
    assert len(CASES) >= 200
