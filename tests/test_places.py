"""`ringfence check --upstream` names every place where the database copies a protected column, or tells of it."""

import json
import subprocess

from harness import binary, clean_env, workdir

CLASSIFICATION = """
version: 1
labels: { pci: {}, pii: {} }
columns: { public.people: { card: pci, email: pii } }
roles: { default: { pci: drop, pii: drop } }
clients: { app: { roles: [default] } }
"""
SCHEMA = """
CREATE DOMAIN mailbox AS text CHECK (VALUE LIKE '%@%');
CREATE TABLE people (id int PRIMARY KEY, name text, card text, email mailbox UNIQUE, short text GENERATED ALWAYS AS (left(card, 4)) STORED,
    CHECK (card <> ''), CONSTRAINT harmless CHECK (id > 0));
CREATE TABLE log (note text, at timestamptz DEFAULT now());
CREATE TABLE orders (id int, who mailbox REFERENCES people (email));
CREATE INDEX led ON people (card, id);
CREATE INDEX plain ON people (id, name);
CREATE INDEX lowered ON people (lower(email));
CREATE INDEX partly ON people (id) WHERE card IS NOT NULL;
CREATE STATISTICS stat ON card, name FROM people;
CREATE MATERIALIZED VIEW copied AS SELECT id, email FROM people;
CREATE VIEW asked AS SELECT id FROM people WHERE email = current_setting('app.me');
CREATE VIEW fine AS SELECT id, name FROM people;
CREATE RULE noted AS ON UPDATE TO people DO ALSO INSERT INTO log VALUES (old.card);
CREATE FUNCTION copies() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (NEW.card); RETURN NEW; END $$;
CREATE TRIGGER copying AFTER INSERT ON people FOR EACH ROW EXECUTE FUNCTION copies();
CREATE FUNCTION whole() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (row_to_json(NEW)::text); RETURN NEW; END $$;
CREATE TRIGGER wholly AFTER INSERT ON people FOR EACH ROW WHEN (NEW.email <> '') EXECUTE FUNCTION whole();
CREATE FUNCTION stamps() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := upper(NEW.name); RETURN NEW; END $$;
CREATE TRIGGER stamping BEFORE INSERT ON people FOR EACH ROW EXECUTE FUNCTION stamps();
CREATE FUNCTION mail(i int) RETURNS text LANGUAGE sql AS 'SELECT email FROM people WHERE id = i';
CREATE FUNCTION mails() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(email) FROM people); END $$;
CREATE FUNCTION through(i int) RETURNS text LANGUAGE sql AS 'SELECT mail(i)';
CREATE FUNCTION names() RETURNS SETOF text LANGUAGE sql AS 'SELECT name FROM people';
CREATE TABLE filled (a text DEFAULT mail(1), b int);
ALTER TABLE people ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON people USING (email = current_user);
CREATE PUBLICATION pub FOR TABLE people;
"""


def test_every_place_is_named(cluster):
    cluster.psql("postgres", "CREATE DATABASE places")
    try:
        cluster.psql("places", SCHEMA)
        path = workdir() / "c.yaml"
        path.write_text(CLASSIFICATION)

        def check(*args, text=CLASSIFICATION):
            path.write_text(text)
            r = subprocess.run([binary("ringfence"), "check", "--classification", str(path), "--upstream", cluster.url("places", "postgres"), *args],
                               env=clean_env(), capture_output=True, text=True)
            assert r.returncode == 0, r.stdout + r.stderr
            return r.stdout

        found = [f for f in json.loads(check("--json"))["findings"] if f.get("object")]
        assert all(f["severity"] == "warning" and f["help"] and f["message"] for f in found)
        by = {(f["kind"], f["object"]): (f["columns"], f["labels"]) for f in found}
        card, email = ["public.people.card"], ["public.people.email"]
        expected = {
            ("index", "led"): card, ("expression index", "lowered"): email, ("partial index", "partly"): card,
            ("check", "people_card_check of people"): card, ("domain", "mailbox"): None, ("policy", "own of people"): email,
            ("trigger condition", "wholly of people"): email, ("statistics", "public.stat"): card, ("rule", "noted of people"): card,
            ("publication", "pub"): None, ("view", "public.asked"): [], ("materialised view", "public.copied"): ["public.copied.email"],
            ("generated column", "public.people.short"): card, ("foreign key", "public.orders.who"): email,
            ("default", "public.filled.a"): email, ("function", "public.mail"): email, ("function", "public.mails"): email,
            ("function", "public.through"): email, ("trigger", "copying of people"): card, ("trigger", "wholly of people"): None,
        }
        for key, columns in expected.items():
            got = next((v for (k, o), v in by.items() if k == key[0] and o.removeprefix("public.") == key[1].removeprefix("public.")), None)
            assert got is not None, (key, sorted(by))
            assert columns is None or got[0] == columns, (key, got)
        names = {o for _, o in by}
        for harmless in ("plain", "public.fine", "harmless of people", "stamping of people", "public.names"):
            assert not any(o.removeprefix("public.") == harmless.removeprefix("public.") for o in names), harmless
        text = check()
        assert "generated column public.people.short" in text and "help: " in text
        declassified = check("--json", text=CLASSIFICATION + "declassify: { functions: [public.mail] }\n")
        functions = {f["object"] for f in json.loads(declassified)["findings"] if f.get("kind") == "function"}
        assert functions == {"public.mails"}
    finally:
        cluster.psql("postgres", "DROP DATABASE places WITH (FORCE)")
