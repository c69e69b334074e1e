"""The golden cases against a real server: where it accepts the statement, the columns that it describes are those of the
facts, by number, name and origin."""

import collections
import re
import subprocess

import pytest

from harness import BIN, ROOT
from pgwire import SYNC, describe, parse

HERE = ROOT / "tests" / "golden"
# What the schema's lines do not say: the bodies of views whose columns are computed, and functions' arguments.
VIEWS = {"public.order_totals": "SELECT user_id, sum(amount) FROM public.orders GROUP BY user_id", "public.nested": "SELECT id FROM public.user_emails"}
FUNCTIONS = """
CREATE FUNCTION check_password(text, text DEFAULT '') RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
CREATE FUNCTION dynamic(text DEFAULT '') RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE FUNCTION add_one(bigint DEFAULT 1) RETURNS bigint LANGUAGE sql AS 'SELECT $1 + 1';
CREATE FUNCTION reads_users(text DEFAULT '') RETURNS text LANGUAGE sql AS 'SELECT email FROM public.users';
CREATE FUNCTION reads_orders(text DEFAULT '') RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.orders';
"""


def schema():
    """DDL of bank.schema."""
    tables, views, after = [], [], []
    for line in (HERE / "bank.schema").read_text().splitlines():
        words, *clauses = line.split(" ; ")
        kind, *rest = words.split()
        if kind == "table":
            columns = ", ".join('"{}" {}'.format(c.split(":")[0], c.split(":")[1].split("=")[0]) for c in rest[1:])
            tables.append(f"CREATE TABLE {rest[0]} ({columns})")
            after += [f"ALTER TABLE {rest[0]} INHERIT {c.split()[1]}" for c in clauses if c.startswith("parent ")]
        elif kind in ("view", "matview"):
            source = next((c.split()[1] for c in clauses if c.startswith("reads ")), None)
            names = [c.split(":")[0] for c in rest[1:]]
            body = VIEWS.get(rest[0], f"SELECT {', '.join(names)} FROM {source}")
            views.append(f"CREATE {'MATERIALIZED ' if kind == 'matview' else ''}VIEW {rest[0]} ({', '.join(names)}) AS {body}")
    return ["CREATE SCHEMA other", "CREATE SCHEMA evil", *tables, *after, *views]


def cases():
    """file → its statements, in order."""
    return {path.name: [case.split("\n", 1)[1].split("\n--\n")[0] for case in ("\n" + path.read_text()).split("\n== ")[1:]] for path in HERE.glob("*.case")}


@pytest.fixture(scope="module")
def server(cluster):
    cluster.psql("postgres", "CREATE DATABASE golden")
    for sql in schema():
        cluster.psql("golden", sql)
    cluster.psql("golden", FUNCTIONS)
    with cluster.wire("golden", "postgres") as w:
        yield w


def facts():
    program = BIN / "examples" / "golden_facts"
    if not program.exists():
        subprocess.run(["cargo", "build", "-q", "--locked", "-p", "ringfence-analysis", "--example", "golden_facts"], cwd=ROOT, check=True)
    assert program.exists(), f"{program} is missing: cargo build --examples makes it"
    out = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout
    for line in out.splitlines():
        file, number, statements, kind, *columns = line.split("\t")
        yield file, int(number), int(statements), kind, [c.split("|") for c in columns]


@pytest.fixture(scope="module")
def compared(server):
    """What differs between facts and server: (names, everything else), and how many were compared."""
    names = {(int(oid), int(attnum)): name for oid, attnum, name in (
        (v.decode() for v in row) for row in server.simple(
            "SELECT attrelid, attnum, nspname || '.' || relname || '.' || attname FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid "
            "JOIN pg_namespace n ON n.oid = relnamespace WHERE attnum > 0").ok().rows)}
    labelled = {f"{m[1]}.{c.split(':')[0]}" for m in re.finditer(r"^table (\S+) (.*)$", (HERE / "bank.schema").read_text(), re.M)
                for c in m[2].split(" ; ")[0].split() if "=" in c}
    assert "public.users.email" in labelled
    texts, seen, named, wrong = cases(), collections.Counter(), [], []
    for file, number, statements, kind, columns in facts():
        sql = texts[file][number]
        if statements != 1 or kind in ("Fetch", "Execute", "Prepare", "Declare", "Explain", "CopyOut", "CopyIn", "Show"):
            continue        # several, or their columns belong to something the session made before
        answer = server.send(parse(sql, "s") + describe("S", "s") + SYNC).until_ready()
        server.simple("DEALLOCATE ALL")
        if answer.errors:
            seen["not accepted: " + answer.error["C"]] += 1
            continue
        if columns and columns[0] == ["unknown"]:
            seen["columns not known"] += 1
            continue
        told = answer.columns or []
        columns = [c for c in columns if c != [""]]
        seen["compared"] += 1
        where = f"{file} {number}: {sql}\n    facts {columns}\n    server {[(c['name'], names.get((c['table'], c['attnum']), '-')) for c in told]}"
        if len(told) != len(columns):
            wrong.append(f"{len(told)} columns, not {len(columns)}: {where}")
            continue
        for (name, what, of), column in zip(columns, told):
            origin = names.get((column["table"], column["attnum"]))
            if name and name != column["name"]:
                named.append(f"name {column['name']}, not {name}: {where}")
            if what == "bare" and origin not in of.split(","):
                wrong.append(f"origin {origin}, not {of}: {where}")
            elif what == "carried" and origin in labelled and origin not in of.split(","):
                wrong.append(f"origin {origin}, carried from {of}: {where}")
            elif what in ("free", "text") and origin in labelled:      # derived is stricter: a cast that changes nothing
                wrong.append(f"origin {origin}, but {what}: {where}")
    return named, wrong, seen


def test_number_and_origins_of_columns_are_the_server_s(compared):
    _, wrong, seen = compared
    assert not wrong, "\n".join(wrong)
    assert seen["compared"] >= 200, seen


def test_names_of_columns_are_the_server_s(compared):
    """By name, what a statement makes of its columns gets its labels (CREATE TABLE AS)."""
    named, _, _ = compared
    assert not named, "\n".join(named)
