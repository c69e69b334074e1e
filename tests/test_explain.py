"""explain and replay as a stranger would use them: live through rfctl, offline from a schema dump; both say the same, and
what they say is what a session is answered."""

import json
import re
import subprocess

import pytest

from harness import ROOT, binary, clean_env, pgbin, workdir

CLASSIFICATION = (ROOT / "classification.yaml").read_text()
CLIENTS = ["users-api", "users-auth", "analyst", "card-issuer", "operator"]

# What surrounds protected columns in real databases.
SURROUNDINGS = """
CREATE EXTENSION IF NOT EXISTS pgcrypto;
CREATE EXTENSION IF NOT EXISTS citext;
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('good', 'bad');
CREATE DOMAIN app.iban AS varchar(34) CHECK (length(VALUE) > 3);
CREATE TABLE app.orders (
    id bigserial PRIMARY KEY, user_id integer NOT NULL REFERENCES public.users (id), note text DEFAULT 'x;y', mood app.mood,
    account app.iban, tags text[], total numeric(10,2), double_total numeric GENERATED ALWAYS AS (total * 2) STORED, UNIQUE (user_id, note));
CREATE TABLE app.events (id bigint, at timestamptz NOT NULL, email citext) PARTITION BY RANGE (at);
CREATE TABLE app.events_2024 PARTITION OF app.events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE VIEW app.user_names AS SELECT id, username, email, upper(email) AS shouted FROM public.users;
CREATE VIEW app.spending AS SELECT u.country, sum(t.amount) AS amount FROM public.users u JOIN public.transactions t ON t.user_id = u.id GROUP BY 1;
CREATE VIEW app.nested AS SELECT n.id, n.email AS address FROM app.user_names n;
CREATE MATERIALIZED VIEW app.cards AS SELECT id, credit_card FROM public.users WITH NO DATA;
CREATE FUNCTION app.add_one(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
CREATE FUNCTION app.atomic(a integer, b integer) RETURNS integer LANGUAGE sql BEGIN ATOMIC SELECT a + 1; SELECT CASE WHEN b > 0 THEN a ELSE b END; END;
CREATE FUNCTION app.peek(integer) RETURNS text LANGUAGE sql STABLE AS $$ SELECT email FROM public.users WHERE id = $1; $$;
CREATE FUNCTION app.dynamic(text) RETURNS void LANGUAGE plpgsql AS $body$
BEGIN
  EXECUTE $1;
END; $body$;
CREATE FUNCTION app.log_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO app.events VALUES (1, now(), NEW.email); RETURN NEW; END $$;
CREATE TRIGGER log_change AFTER UPDATE ON public.users FOR EACH ROW EXECUTE FUNCTION app.log_change();
CREATE INDEX users_by_country ON public.users (country);
CREATE TABLE app.parent (id integer, email text);
CREATE TABLE app.child (extra text) INHERITS (app.parent);
COMMENT ON TABLE app.orders IS 'it''s; a comment';
ALTER TABLE app.orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON app.orders USING (user_id > 0);
CREATE OPERATOR app.=== (FUNCTION = app.add_one, RIGHTARG = integer);
CREATE AGGREGATE app.total(integer) (SFUNC = int4pl, STYPE = integer);
CREATE SEQUENCE app.numbers;
GRANT USAGE ON SCHEMA app TO bank_app;
GRANT ALL ON ALL TABLES IN SCHEMA app TO bank_app;
INSERT INTO app.parent VALUES (1, 'x');
"""

STATEMENTS = """
SELECT id, username FROM users
SELECT * FROM users
SELECT credit_card AS card, email, password_hash FROM users ORDER BY id
SELECT u.email, t.amount FROM users u JOIN transactions t ON t.user_id = u.id
SELECT id FROM users WHERE email = 'a@b.c'
SELECT id FROM users WHERE email LIKE 'a%'
SELECT id FROM users WHERE credit_card = '4111'
SELECT id FROM users ORDER BY email
SELECT country, count(*) FROM users GROUP BY country
SELECT email, count(*) FROM users GROUP BY email
SELECT upper(email) FROM users
SELECT u FROM users u
SELECT min(email), count(credit_card) FROM users
SELECT email FROM users UNION ALL SELECT note FROM app.orders
WITH x AS (SELECT email FROM users) SELECT * FROM x
INSERT INTO users (currency, email, country, username) VALUES ('EUR', 'x@y.z', 'DE', 'x')
INSERT INTO users (currency, email, country, username) VALUES ('EUR', 'x@y.z', 'DE', 'x') RETURNING id, email
UPDATE users SET email = 'new@b.c' WHERE id = 1
UPDATE users SET country = 'FR' WHERE id = 1
UPDATE users SET username = email WHERE id = 1
DELETE FROM users WHERE id = 1
DELETE FROM users WHERE email = 'x'
TRUNCATE users
INSERT INTO app.orders (user_id, note) SELECT id, email FROM users
INSERT INTO app.orders (user_id, note) VALUES (1, 'x')
SELECT id, email, shouted FROM app.user_names
SELECT id, username FROM app.user_names
SELECT * FROM app.spending
SELECT address FROM app.nested
SELECT * FROM app.cards
SELECT app.add_one(3)
SELECT app.atomic(1, 2)
SELECT app.peek(3)
SELECT app.dynamic('SELECT 1')
SELECT app.total(id) FROM users
SELECT crypt('x', gen_salt('bf')), digest('x', 'sha256')
SELECT pg_read_file('/etc/passwd')
SELECT * FROM pg_stats
SELECT tablename, schemaname FROM pg_stats
SELECT relname FROM pg_class
SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef
SELECT table_name FROM information_schema.tables
SELECT * FROM pg_stat_activity
SELECT id, email FROM app.events
SELECT * FROM app.events_2024
SELECT email FROM app.parent
SELECT email, extra FROM app.child
SELECT mood, account, tags, double_total FROM app.orders
SELECT 'good'::app.mood, 'x'::app.iban, 'Y'::citext
COPY users TO STDOUT
COPY users (id, country) TO STDOUT
COPY (SELECT id, email FROM users) TO STDOUT
COPY app.orders FROM STDIN
EXPLAIN SELECT * FROM users
EXPLAIN SELECT * FROM app.orders
CREATE TABLE copy_of AS SELECT id, email FROM users
CREATE TEMP TABLE t (id integer)
ALTER TABLE users ADD COLUMN x integer
CREATE INDEX ON users (email)
DROP TABLE app.orders
CREATE VIEW v AS SELECT 1
SET search_path = app
SET role postgres
SHOW timezone
BEGIN
LISTEN channel
VACUUM users
DO $$ BEGIN END $$
CALL nothing()
GRANT SELECT ON users TO public
SELECT * FROM nosuch
SELECT nextval('app.numbers'), last_value FROM app.numbers
SELECT ctid FROM users
SELECT 1; SELECT email FROM users
PREPARE p AS SELECT email FROM users
EXECUTE p
FETCH ALL FROM c
SELEC 1
""".strip().splitlines()


@pytest.fixture(scope="module")
def bank(cluster):
    name = cluster.bank("explained", users=20, transactions=20)
    cluster.psql(name, SURROUNDINGS)
    yield name
    cluster.psql("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def fw(cluster, bank):
    from harness import Firewall
    classification = CLASSIFICATION.replace("  public.transactions: {}\n", "  public.transactions: {}\n  app.events: { email: pii }\n  app.parent: { email: pii }\n")
    firewall = Firewall(cluster, classification=classification, database=bank)
    yield firewall
    firewall.stop()


@pytest.fixture(scope="module")
def schema(cluster, bank):
    d = workdir()
    path = d / "schema.sql"
    r = subprocess.run([str(pgbin() / "pg_dump"), "--schema-only", cluster.url(bank, "postgres")], env=clean_env(), capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    path.write_text(r.stdout)
    return path


def run(program, *args, stdin=None, **env):
    return subprocess.run([binary(program), *map(str, args)], env=clean_env(**env), capture_output=True, text=True, input=stdin)


def offline(fw, schema, client, sql, *args):
    return run("ringfence", "explain", "--schema", schema, "--classification", fw.classification, "--login", "bank_app", "--database", fw.database,
               "--client", client, *args, stdin=sql)


def live(fw, client, sql, *args, check=False):
    return fw.rfctl("explain", "--client", client, "-d", fw.database, *args, "--", sql, check=check)


# --- live ---------------------------------------------------------------------------------------------------------------

def test_a_table_of_columns(fw):
    r = live(fw, "analyst", "SELECT id, credit_card AS card, email, password_hash FROM users")
    assert r.returncode == 0, r.stderr
    assert "passes, with values handled" in r.stdout and "\x1b" not in r.stdout
    line = next(l for l in r.stdout.splitlines() if "credit_card" in l)
    assert re.search(r"2 +card +public\.users\.credit_card +pci +mask last4 +role analyst: mask last4", line), r.stdout
    # columns line up
    head = next(l for l in r.stdout.splitlines() if "HANDLING" in l)
    assert line.index("mask last4") == head.index("HANDLING")


def test_a_refusal_has_its_place_and_a_way_out(fw):
    sql = "SELECT id\nFROM users\nWHERE credit_card = 'x'"
    r = live(fw, "users-api", sql)
    assert r.returncode == 0
    lines = r.stdout.splitlines()
    at = next(i for i, l in enumerate(lines) if "LINE 3: WHERE credit_card" in l)
    assert lines[at + 1].index("^") == lines[at].index("credit_card"), r.stdout
    assert "HINT:" in r.stdout and "ERRORS.md#filter" in r.stdout and "rule filter" in r.stdout
    assert live(fw, "users-api", sql, "--check").returncode == 1
    assert live(fw, "operator", sql, "--check").returncode == 0


def test_stdin_and_file(fw):
    d = workdir()
    (d / "q.sql").write_text("SELECT email FROM users")
    r = fw.rfctl("explain", "--client", "analyst", "-d", fw.database, "-f", str(d / "q.sql"))
    assert "tokenize" in r.stdout
    args = [binary("rfctl"), "--url", f"http://127.0.0.1:{fw.admin_port}", "--token-file", str(fw.root_token_file), "explain", "-c", "analyst", "-d", fw.database]
    for more in ([], ["-"], ["-f", "-"]):
        r = subprocess.run(args + more, env=clean_env(HOME=str(fw.dir)), capture_output=True, text=True, input="SELECT email FROM users")
        assert r.returncode == 0 and "tokenize" in r.stdout, r.stderr
    assert fw.rfctl("explain", "--client", "analyst", "-f", "/does/not/exist", check=False).returncode == 2


def test_json(fw):
    r = live(fw, "analyst", "SELECT credit_card FROM users WHERE email = 'x'", "--json")
    document = json.loads(r.stdout)
    assert document["verdict"] == "handle"
    [statement] = document["statements"]
    assert statement["outputs"][0] == {"position": 1, "name": "credit_card", "from": ["public.users.credit_card"], "labels": ["pci"],
                                       "handling": "mask last4", "why": "role analyst: mask last4"}
    [predicate] = statement["predicates"]
    assert (predicate["needs"], predicate["granted"], predicate["allowed"]) == ("equality", "equality", True)
    assert predicate["at"]["line"] == 1
    assert statement["fingerprint"] and statement["relations"][0]["name"] == "public.users"


def test_mistakes(fw):
    r = live(fw, "analyts", "SELECT 1")
    assert r.returncode == 1 and 'did you mean "analyst"' in r.stderr
    r = fw.rfctl("explain", "--client", "analyst", "-d", "nosuchbase", "SELECT 1", check=False)
    assert r.returncode == 1 and "nosuchbase" in r.stderr and "does not exist" in r.stderr
    assert fw.rfctl("explain", "SELECT 1", check=False).returncode == 2
    long = workdir() / "long.sql"
    long.write_text("SELECT " + "x" * (1 << 20))
    r = fw.rfctl("explain", "--client", "analyst", "-d", fw.database, "-f", str(long), check=False)
    assert r.returncode == 1 and "longer than" in r.stderr
    long.write_text("SELECT " + "x" * (4 << 20))
    r = fw.rfctl("explain", "--client", "analyst", "-d", fw.database, "-f", str(long), check=False)
    assert r.returncode == 1 and "rfctl: " in r.stderr
    for body in ({}, {"client": "analyst"}, {"client": "analyst", "sql": 1}, {"client": "analyst", "sql": "SELECT 1", "typo": 1}):
        status, text = fw.http("/api/v1/explain", token=fw.root_token, method="POST", body=body)
        assert status == 400 and "error" in json.loads(text)
    assert fw.http("/api/v1/explain", method="POST", body={"client": "analyst", "sql": "SELECT 1"})[0] == 401
    assert fw.http("/api/v1/replay", method="POST", body={})[0] == 401


def test_writes(fw):
    r = live(fw, "analyst", "UPDATE users SET email = 'x' WHERE id = 1")
    assert re.search(r"public\.users\.email +pii +update +(yes|no)", r.stdout), r.stdout


def test_nothing_of_the_text_is_logged(fw):
    live(fw, "analyst", "SELECT 'cAnArY42' FROM users WHERE email = 'cAnArY42'")
    live(fw, "analyst", "SELEC 'cAnArY42'")
    d = workdir()
    (d / "s.sql").write_text("SELECT 'cAnArY42';")
    fw.rfctl("replay", str(d / "s.sql"), "--policy", str(fw.classification), "-d", fw.database)
    assert "cAnArY42" not in fw.log()
    assert "cAnArY42" not in (fw.audit.read_text() if fw.audit.exists() else "")


def test_what_is_explained_is_what_happens(fw):
    """Verdict and rule are those of a session."""
    wires = {c: fw.wire(c) for c in CLIENTS}
    for sql in STATEMENTS:
        if sql.startswith(("COPY", "LISTEN", "VACUUM", "DROP", "TRUNCATE", "CREATE", "ALTER", "GRANT", "EXECUTE", "FETCH", "PREPARE", "SET", "BEGIN", "CALL", "DO ")):
            continue
        for client, wire in wires.items():
            document = json.loads(live(fw, client, sql, "--json", check=True).stdout)
            wire.simple("BEGIN")
            answer = wire.simple(sql)
            wire.simple("ROLLBACK")
            detail = (answer.error or {}).get("D", "")
            rule = re.fullmatch(r"Rule ([a-z-]+)\.", detail)
            refusals = [s["refusal"] for s in document["statements"] if s["refusal"]]
            if rule:
                assert document["verdict"] == "refuse" and refusals[0]["rule"] == rule[1], (client, sql, document)
                assert refusals[0]["message"] == answer.error["M"], (client, sql)
            elif not refusals or refusals[0]["sqlstate"] != "42P01":
                assert document["verdict"] != "refuse" or document["refusal"], (client, sql, answer.error)
    for wire in wires.values():
        wire.close()


# --- offline ------------------------------------------------------------------------------------------------------------

def essence(document):
    """What must be the same without a server."""
    def statement(s):
        return (s["kind"], s["verdict"], s["fingerprint"], s["refusal"] and (s["refusal"]["rule"], s["refusal"]["message"]),
                [(o["name"], o["labels"], o["handling"], o["from"]) for o in s["outputs"] or []],
                [(w["column"], w["permission"], w["allowed"]) for w in s["writes"]],
                [(p["column"], p["place"], p["needs"], p["allowed"]) for p in s["predicates"]],
                sorted((r["name"], r["access"]) for r in s["relations"]))
    return document["verdict"], document["refusal"] and document["refusal"]["message"], [statement(s) for s in document["statements"]]


def test_a_dump_explains_as_the_server_does(fw, schema):
    different = []
    for client in CLIENTS:
        for sql in STATEMENTS:
            there = json.loads(live(fw, client, sql, "--json", check=True).stdout)
            r = offline(fw, schema, client, sql, "--json")
            assert r.returncode == 0, r.stderr
            here = json.loads(r.stdout)
            if essence(there) != essence(here):
                different.append((client, sql, essence(there), essence(here)))
    assert not different, f"{len(different)} differ:\n" + "\n".join(f"{c}: {s}\n   live {a}\n   dump {b}" for c, s, a, b in different[:10])


def test_the_dump_is_understood_whole(fw, schema):
    r = offline(fw, schema, "analyst", "SELECT 1")
    assert r.returncode == 0
    assert not [line for line in r.stderr.splitlines() if "warning" in line and str(schema) in line], r.stderr


def test_offline_mistakes(fw, schema):
    d = workdir()
    r = offline(fw, "/does/not/exist", "analyst", "SELECT 1")
    assert r.returncode == 2 and "/does/not/exist" in r.stderr
    r = offline(fw, schema, "analyts", "SELECT 1")
    assert r.returncode == 2 and 'did you mean "analyst"' in r.stderr
    (d / "custom").write_bytes(b"PGDMP\x01\x0e\x00\xff\xfe")
    r = offline(fw, d / "custom", "analyst", "SELECT 1")
    assert r.returncode == 2 and "pg_restore" in r.stderr
    (d / "latin").write_bytes(b"-- \xe9\n")
    r = offline(fw, d / "latin", "analyst", "SELECT 1")
    assert r.returncode == 2 and "UTF" in r.stderr
    (d / "odd.sql").write_text(schema.read_text() + "\nALTER SYSTEM SET x = 1;\nSELEC;\n")
    lines = (d / "odd.sql").read_text().count("\n")
    r = offline(fw, d / "odd.sql", "analyst", "SELECT email FROM users")
    assert r.returncode == 0 and f"odd.sql:{lines - 1}: warning: not understood" in r.stderr and f"odd.sql:{lines}: warning: cannot be read" in r.stderr
    (d / "empty.sql").write_text("")
    r = offline(fw, d / "empty.sql", "analyst", "SELECT 1")
    assert r.returncode == 2 and "there is no table public.users" in r.stderr and re.search(r":\d+:\d+: error", r.stderr)
    r = offline(fw, schema, "users-api", "SELECT id FROM users WHERE email LIKE credit_card", "--check")
    assert r.returncode == 1


def test_full_dumps_do_as_well(cluster, bank, fw):
    d = workdir()
    r = subprocess.run([str(pgbin() / "pg_dump"), "--create", cluster.url(bank, "postgres")], env=clean_env(), capture_output=True, text=True)
    (d / "full.sql").write_text(r.stdout)
    r = offline(fw, d / "full.sql", "analyst", "SELECT email FROM users")
    assert r.returncode == 0 and "tokenize" in r.stdout and "rows were skipped" in r.stderr


# --- replay -------------------------------------------------------------------------------------------------------------

STRICTER = ("pii: { handling: tokenize, filter: equality }", "pii: drop")
CAPTURED = """\\set x 1
SELECT id, email FROM users WHERE email = 'a';
SELECT id, email FROM users;
SELECT id, email FROM users;
SELECT count(*) FROM transactions;
SELEC 1;
"""


def replay(fw, path, policy, *args, check=False):
    return fw.rfctl("replay", str(path), "--policy", str(policy), *args, check=check)


@pytest.fixture(scope="module")
def files(fw):
    d = workdir()
    text = fw.classification.read_text()
    assert STRICTER[0] in text
    (d / "new.yaml").write_text(text.replace(*STRICTER))
    (d / "captured.sql").write_text(CAPTURED)
    return d


def test_replay_of_statements(fw, files, schema):
    r = replay(fw, files / "captured.sql", files / "new.yaml", "-d", fw.database)
    assert r.returncode == 0, r.stderr
    assert "1 newly refused" in r.stdout and "1 handled otherwise" in r.stdout and "\\set" in r.stdout and "could not be read (line 6)" in r.stdout
    assert re.search(r"handled otherwise +analyst +2 +line 3: .* public\.users\.email: tokenize, now drop", r.stdout), r.stdout
    here = run("ringfence", "replay", "--schema", schema, "--classification", fw.classification, "--policy", files / "new.yaml",
               "--database", fw.database, "--login", "bank_app", files / "captured.sql")
    assert here.returncode == 0 and here.stdout.strip() == r.stdout.strip(), here.stdout + here.stderr


def test_replay_exit_codes_and_json(fw, files):
    r = replay(fw, files / "captured.sql", files / "new.yaml", "-d", fw.database, "--fail-on-change", "--json")
    document = json.loads(r.stdout)
    assert r.returncode == 1 and document["judged_by"] == "text" and len(document["changes"]) == 2
    assert {c["what"] for c in document["changes"]} == {"newly-refused", "handled-otherwise"}
    assert document["changes"][0]["new"]["rule"] == "filter"
    r = replay(fw, files / "captured.sql", fw.classification, "-d", fw.database, "--fail-on-change")
    assert r.returncode == 0 and "0 newly refused" in r.stdout
    r = replay(fw, files / "captured.sql", files / "new.yaml", "-d", fw.database, "--client", "users-api", "--fail-on-change")
    assert r.returncode == 0


def test_replay_with_a_wrong_policy(fw, files):
    text = (files / "new.yaml").read_text()
    (files / "bad.yaml").write_text(text.replace("secret: drop", "secrt: drop", 1))
    r = replay(fw, files / "captured.sql", files / "bad.yaml", "-d", fw.database)
    assert r.returncode == 1 and re.search(r"bad\.yaml:\d+:\d+: error: .*secrt", r.stderr) and "did you mean" in r.stderr
    (files / "bad.yaml").write_text(text.replace("public.users:", "public.userz:"))
    r = replay(fw, files / "captured.sql", files / "bad.yaml", "-d", fw.database)
    assert r.returncode == 1 and "did you mean public.users" in r.stderr
    assert fw.http("/readyz")[0] == 200 and "userz" not in fw.rfctl("status").stdout
    assert replay(fw, "/does/not/exist", files / "new.yaml").returncode == 2
    assert replay(fw, files / "captured.sql", "/does/not/exist").returncode == 2
    r = replay(fw, files / "captured.sql", files / "new.yaml", "-d", fw.database, "--client", "nobody")
    assert r.returncode == 1 and "nobody" in r.stderr


def test_replay_of_an_audit_log(fw, files, schema):
    from harness import wait_for
    with fw.wire("analyst") as w:
        w.simple("SELECT email FROM users LIMIT 1").ok()
        w.simple("SELECT count(*) FROM transactions").ok()
        w.simple("SELECT pg_read_file('x')")
    wait_for(lambda: '"rule":"function"' in fw.audit.read_text(), 10, "the audit line")
    log = files / "audit.jsonl"
    log.write_text(fw.audit.read_text())   # the firewall goes on writing
    r = replay(fw, log, files / "new.yaml", "--client", "analyst", "--json")
    assert r.returncode == 0, r.stderr
    document = json.loads(r.stdout)
    assert document["judged_by"] == "labels"
    changed = [c for c in document["changes"] if c["old"]["handling"].get("public.users.email") == "tokenize"]
    assert changed and all(c["new"]["handling"]["public.users.email"] == "drop" for c in changed), document
    assert not [c for c in document["changes"] if c["old"]["rule"] == "function"], "what no label excuses stays refused"
    plain = replay(fw, log, files / "new.yaml", "--client", "analyst").stdout
    assert "holds no text" in plain
    here = run("ringfence", "replay", "--schema", schema, "--classification", fw.classification, "--policy", files / "new.yaml", "--json",
               "--database", fw.database, "--login", "bank_app", "--client", "analyst", log)
    assert here.returncode == 0 and json.loads(here.stdout)["changes"] == document["changes"], here.stderr


# --- help ---------------------------------------------------------------------------------------------------------------

def test_help_completions_and_manual_pages():
    for program, command in [("rfctl", "explain"), ("rfctl", "replay"), ("ringfence", "explain"), ("ringfence", "replay")]:
        r = run(program, command, "--help")
        assert r.returncode == 0 and "Examples:" in r.stdout and "--client" in r.stdout
    assert "explain" in run("rfctl", "completions", "bash").stdout
    d = workdir()
    r = run("rfctl", "man", "--dir", d / "man")
    assert r.returncode == 0, r.stderr
    pages = sorted(p.name for p in (d / "man").iterdir())
    assert "rfctl.1" in pages and "rfctl-explain.1" in pages and "rfctl-replay.1" in pages
    assert "explain" in (d / "man" / "rfctl-explain.1").read_text()
    assert run("rfctl", "man").stdout.startswith(".ie")
