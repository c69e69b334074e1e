"""The attacks' table and what test files need of it."""

import pathlib

import yaml

CASES = [case for path in sorted(pathlib.Path(__file__).parent.glob("cases*.yaml")) for case in yaml.safe_load(path.read_text())]


def deep(case, sql):
    """Texts too big for the table."""
    kind = case.get("generate")
    if kind == "deep":
        return sql.format(open="(" * 300, close=")" * 300)
    if kind == "long":
        return sql.format(terms="'" + "x" * 200_000 + "'")
    if kind == "union":
        return sql.format(terms="SELECT 'a' UNION ALL " * 400)
    return sql


def variants(secret):
    """The forms in which the same bytes may come back."""
    out = [secret]
    if b"\n" in secret:
        out.append(secret.replace(b"\n", b""))
    # bytea as text, and inside that
    out.append(secret.hex().encode())
    return out
