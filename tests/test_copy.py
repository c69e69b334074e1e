"""COPY to the client: text, CSV and binary with their options, of tables and of queries, in both protocols, handled as SELECT is."""

import re
import struct

import pytest

from expect import CLIENTS, COLUMNS, check
from harness import Firewall
from pgwire import SYNC, bind, execute, parse, query

TEXTS = [c for c in COLUMNS if c not in ("id", "created_at", "is_active", "num_logins")]
LIST = ", ".join(["id", *TEXTS])


def copied(w, sql, mode="simple"):
    """(data, error, tag): everything that came as COPY data, and how it ended."""
    w.send(query(sql) if mode == "simple" else parse(sql) + bind() + execute() + SYNC)
    answer = w.until_ready()
    data = b"".join(body for kind, body in answer.messages if kind == b"d")
    return data, answer.error, answer.tags[-1] if answer.tags and not answer.error else None


def of_text(data, delimiter="\t", null="\\N"):
    """Rows of the text format."""
    escapes = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
    rows = []
    for line in data.decode().split("\n")[:-1]:
        fields = re.findall(rf"(?:^|(?<={re.escape(delimiter)}))((?:\\.|[^\\{re.escape(delimiter)}])*)(?={re.escape(delimiter)}|$)", line)
        rows.append([None if f == null else re.sub(r"\\(.)", lambda m: escapes.get(m[1], m[1]), f) for f in fields])
    return rows


def of_csv(data, delimiter=",", quote='"', escape='"', null=""):
    """Rows of CSV; what was not quoted and is the word for NULL is None."""
    rows, row, field, quoted, at, inside = [], [], "", False, 0, False
    text = data.decode()
    while at < len(text):
        c = text[at]
        if inside:
            if c == escape and at + 1 < len(text) and text[at + 1] in (quote, escape) and (escape != quote or text[at + 1] == quote):
                field, at = field + text[at + 1], at + 1
            elif c == quote:
                inside = False
            else:
                field += c
        elif c == quote:
            inside = quoted = True
        elif c in (delimiter, "\n"):
            row.append(None if not quoted and field == null else field)
            field, quoted = "", False
            if c == "\n":
                rows, row = rows + [row], []
        else:
            field += c
        at += 1
    return rows


def of_binary(data):
    assert data[:19] == b"PGCOPY\n\xff\r\n\0" + bytes(8)
    at, rows = 19, []
    while True:
        (count,) = struct.unpack_from("!h", data, at)
        at += 2
        if count == -1:
            assert at == len(data)
            return rows
        row = []
        for _ in range(count):
            (length,) = struct.unpack_from("!i", data, at)
            at += 4
            row.append(None if length < 0 else data[at:at + length])
            at += max(length, 0)
        rows.append(row)


FORMATS = {
    "text": ("", of_text),
    "text with options": ("WITH (DELIMITER '|', NULL '\\Nil')", lambda d: of_text(d, "|", "\\Nil")),
    "legacy": ("USING DELIMITERS ';'", lambda d: of_text(d, ";")),
    "csv": ("(FORMAT csv)", of_csv),
    "csv with options": ("WITH (FORMAT csv, DELIMITER '@', QUOTE '''', ESCAPE '\\', NULL 'nil', FORCE_QUOTE *, ENCODING 'utf-8')",
                         lambda d: of_csv(d, "@", "'", "\\", "nil")),
    "legacy csv": ("CSV HEADER FORCE QUOTE email, country", lambda d: of_csv(d)[1:]),
    "header": ("(FORMAT csv, HEADER true)", lambda d: of_csv(d)[1:]),
    "text header": ("(HEADER)", lambda d: of_text(d)[1:]),
    "binary": ("(FORMAT binary)", lambda d: [[r[0] and str(struct.unpack("!i", r[0][-4:])[0])] + [v if v is None else v.decode() for v in r[1:]] for r in of_binary(d)]),
}


@pytest.mark.parametrize("mode", ["simple", "extended"])
@pytest.mark.parametrize("options", FORMATS)
@pytest.mark.parametrize("client", CLIENTS)
def test_users(firewall, truth, client, options, mode):
    text, read = FORMATS[options]
    with firewall.wire(client) as w:
        if client == "users-auth":
            # Its `allow` for hashes is [read].
            assert copied(w, f"COPY users TO STDOUT {text}", mode)[1]["C"] == "42501"
            return
        for source in (f"users ({LIST})", f"(SELECT {LIST} FROM users WHERE id <= 300)"):
            if options == "legacy" and source[0] == "(":
                continue
            data, error, tag = copied(w, f"COPY {source} TO STDOUT {text}", mode)
            assert error is None, error
            rows = read(data)
            assert tag == f"COPY {len(rows)}" and len(rows) >= 200
            for row in rows:
                true = truth[int(row[0])]
                for column, value in zip(["id", *TEXTS], row, strict=True):
                    check(client, column, true[column], value)
        assert copied(w, "SELECT 1")[2] == "SELECT 1"


def test_a_whole_table_and_what_its_order_is(firewall, truth):
    with firewall.wire("analyst") as w:
        data, error, _ = copied(w, "COPY public.users TO STDOUT (FORMAT csv, HEADER)")
        assert error is None
        header, *rows = of_csv(data)
        for row in rows:
            got = dict(zip(header, row, strict=True))
            for column in TEXTS:
                check("analyst", column, truth[int(got["id"])][column], got[column])


def test_what_is_not_handled_is_the_same_byte_for_byte(firewall, cluster):
    for sql in ("COPY transactions TO STDOUT", "COPY transactions TO STDOUT CSV HEADER", "COPY transactions TO STDOUT (FORMAT binary)",
                "COPY users (id, country) TO STDOUT", "COPY (SELECT id, num_logins FROM users ORDER BY id) TO STDOUT (FORMAT binary)",
                "/* app:1 */ COPY (VALUES (1, 'a)'), (2, E'\\')')) TO STDOUT -- )"):
        with firewall.wire("users-api") as w, cluster.wire() as direct:
            assert copied(w, sql) == copied(direct, sql), sql


WEIRD = """
CREATE TABLE weird (id int PRIMARY KEY, secret text, shown text, twice int GENERATED ALWAYS AS (id * 2) STORED, list text[]);
INSERT INTO weird (id, secret, shown, list) VALUES
 (1, E'tab\\there', E'a\\tb', '{a,"b,c"}'), (2, E'line\\nand "quote", back\\\\slash', 'x,y', '{}'), (3, '', '', NULL), (4, NULL, NULL, '{NULL,"NULL"}'),
 (5, '\\N', '\\N', '{"\\\\"}'), (6, 'nil', 'nil', '{x}'), (7, '\\.', '\\.', '{y}'), (8, E'ünï\\r🔐', 'ü', '{"ü\\"🔐"}');
CREATE TABLE tokens (id int PRIMARY KEY, secret text);
INSERT INTO tokens SELECT n, repeat('x', n * 1000) FROM generate_series(1, 50) n;
GRANT SELECT ON weird, tokens TO bank_app;
"""
CLASSIFICATION = """
version: 1
labels: { a: {} }
columns:
  public.weird: { secret: a, list: a }
  public.tokens: { secret: a }
roles:
  masked: { a: { mask: { fixed: 'm,"m' } } }
  last4: { a: { mask: last4 } }
  encrypted: { a: encrypt }
  dropped: { a: drop }
  uncopied: { a: { mask: last4, allow: [read] } }
  refused: { a: refuse }
  entitled: { a: plain }
clients:
  masked: { roles: [masked] }
  last4: { roles: [last4] }
  encrypted: { roles: [encrypted] }
  dropped: { roles: [dropped] }
  refused: { roles: [refused] }
  entitled: { roles: [entitled] }
  uncopied: { roles: [uncopied] }
"""


@pytest.fixture(scope="module")
def fw(cluster):
    cluster.psql("postgres", "CREATE DATABASE copies")
    cluster.psql("copies", WEIRD)
    with Firewall(cluster, CLASSIFICATION,
                  database="copies") as f:
        yield f


@pytest.mark.parametrize("options,read", [
    ("", of_text),
    ("(DELIMITER '\"')", lambda d: of_text(d, '"')),
    ("(FORMAT csv)", of_csv),
    ("(FORMAT csv, FORCE_QUOTE (secret))", of_csv),
    ("(FORMAT csv, NULL 'nil', ESCAPE '\\')", lambda d: of_csv(d, escape="\\", null="nil")),
    ("(FORMAT binary)", lambda d: [[v if v is None else v.decode() for v in r[1:]] for r in of_binary(d)]),
])
def test_values_of_every_kind(fw, options, read):
    column = "id, secret, shown" if "binary" in options else "secret, shown"
    with fw.wire("masked") as w, fw.wire("last4") as l, fw.wire("encrypted") as e, fw.wire("dropped") as d, fw.wire("entitled") as plain:
        sql = f"COPY (SELECT {column} FROM weird ORDER BY id) TO STDOUT {options}"
        true = read(copied(plain, sql)[0])
        assert len(true) == 8
        masked, last4, encrypted, dropped = (read(copied(c, sql)[0]) for c in (w, l, e, d))
        for i, (secret, shown) in enumerate(true):
            assert masked[i] == [None if secret is None else 'm,"m', shown]
            hidden = None if secret is None else "*" * len(secret) if len(secret) < 8 else "*" * (len(secret) - 4) + secret[-4:]
            assert last4[i] == [hidden, shown]
            assert encrypted[i][1] == shown and (secret is None or re.fullmatch(r"rf1_[\w-]+", encrypted[i][0])) and (encrypted[i][0] is None) == (secret is None)
            assert dropped[i] == [None, shown]


def test_the_word_for_null_is_no_question(fw):
    """Whether a value equals the client's word for NULL must not be seen of what is sent."""
    with fw.wire("masked") as w:
        data, error, _ = copied(w, "COPY (SELECT secret FROM weird ORDER BY id) TO STDOUT (FORMAT csv, NULL 'nil')")
        assert error is None and {line for line in data.decode().splitlines()} == {'"m,""m"', "nil"}
        for null in ("nil", "", "\\\\", "\\n"):
            data, error, _ = copied(w, f"COPY weird (secret) TO STDOUT (NULL '{null}')")
            assert data == b"" and error["C"] == "42501" and "NULL" in error["M"], null
    with fw.wire("dropped") as w:
        assert copied(w, "COPY weird (secret) TO STDOUT (NULL 'nil')")[0] == b"nil\n" * 8


def test_arrays(fw):
    with fw.wire("last4") as w:
        rows = of_text(copied(w, "COPY (SELECT list FROM weird ORDER BY id) TO STDOUT")[0])
        assert rows[0] == ['{"*","***"}'] and rows[2] == [None] and rows[3] == ['{NULL,"****"}']
        rows = of_csv(copied(w, "COPY (SELECT list FROM weird ORDER BY id) TO STDOUT CSV")[0])
        assert rows[0] == ['{"*","***"}']


def test_generated_columns_are_not_copied(fw):
    with fw.wire("last4") as w, fw.wire("entitled") as plain:
        rows, true = (of_csv(copied(c, "COPY weird TO STDOUT CSV HEADER")[0]) for c in (w, plain))
        assert rows[0] == true[0] == ["id", "secret", "shown", "list"]
        assert [r[2] for r in rows] == [r[2] for r in true] and rows[1][1] == "****here"


def test_large_values(fw):
    with fw.wire("last4") as w:
        for options, read in (("", of_text), ("CSV", of_csv)):
            rows = read(copied(w, f"COPY tokens TO STDOUT {options}")[0])
            assert [len(r[1]) for r in rows] == [n * 1000 for n in range(1, 51)] and all(r[1].endswith("*xxxx") for r in rows)


@pytest.mark.parametrize("mode", ["simple", "extended"])
def test_refusals_leave_the_session_usable(fw, mode):
    with fw.wire("last4") as w:
        for sql, state, part in [
            ("COPY weird TO STDOUT (ENCODING 'LATIN1')", "42501", "UTF8"),
            ("COPY weird TO '/tmp/x'", "42501", "file"),
            ("COPY weird TO PROGRAM 'cat'", "42501", "PROGRAM"),
            ("COPY (SELECT upper(secret) FROM weird) TO STDOUT", "42501", "secret"),
            ("COPY (SELECT id FROM weird WHERE secret = 'x') TO STDOUT", "42501", "WHERE"),
            ("COPY weird (nosuch) TO STDOUT", "42703", "nosuch"),
            ("COPY (SELECT id, nosuch FROM weird) TO STDOUT", "42703", "nosuch"),
            ("COPY weird TO STDOUT (FORMAT nonsense)", None, ""),
        ]:
            data, error, tag = copied(w, sql, mode)
            assert data == b"" and tag is None and error, sql
            assert state is None or (error["C"], part in error["M"]) == (state, True), (sql, error)
            assert copied(w, "COPY weird (id) TO STDOUT")[2] == "COPY 8"
        assert copied(w, "COPY (SELECT id, nosuch FROM weird) TO STDOUT", mode)[1]["P"] == "18"
    for client in ("refused", "uncopied"):
        with fw.wire(client) as w:
            assert copied(w, "COPY weird TO STDOUT", mode)[1]["C"] == "42501"
            assert copied(w, "COPY weird (id) TO STDOUT", mode)[2] == "COPY 8"


def test_transactions(fw):
    with fw.wire("last4") as w:
        copied(w, "BEGIN")
        assert copied(w, "COPY weird TO STDOUT")[2] == "COPY 8"
        assert copied(w, "COPY weird TO STDOUT", "extended")[2] == "COPY 8"
        assert copied(w, "COPY weird (nosuch) TO STDOUT")[1]["C"] == "42703"
        assert copied(w, "COPY weird TO STDOUT")[1]["C"] == "25P02"
        assert copied(w, "COPY weird TO STDOUT", "extended")[1]["C"] == "25P02"
        copied(w, "ROLLBACK")
        assert copied(w, "COPY weird TO STDOUT")[2] == "COPY 8"


def test_several_statements_in_one_text(fw):
    with fw.wire("last4") as w:
        data, error, _ = copied(w, "SELECT 1; COPY weird TO STDOUT; SELECT 2")
        assert data == b"" and error["C"] == "42501" and "one text" in error["M"]
        data, error, tag = copied(w, "SELECT 1; COPY weird (id) TO STDOUT; SELECT 2")
        assert data == b"1\n2\n3\n4\n5\n6\n7\n8\n" and error is None


def test_pipelines(fw):
    """COPYs between other messages of one cycle, and a failed one that skips the rest."""
    with fw.wire("last4") as w:
        one = parse("COPY (SELECT secret FROM weird WHERE id = 1) TO STDOUT") + bind() + execute()
        w.send(parse("SELECT 1") + bind() + execute() + one + one + parse("SELECT 2") + bind() + execute() + SYNC)
        kinds = w.until_ready().kinds
        assert kinds == "12DC12HdcC12HdcC12DCZ", kinds
        bad = parse("COPY (SELECT nosuch FROM weird) TO STDOUT") + bind() + execute()
        w.send(one + bad + one + SYNC + one + SYNC)
        kinds = w.until_ready().kinds
        assert kinds == "12HdcC12EZ", kinds
        assert w.until_ready().kinds == "12HdcCZ"
        assert not w.ask("SELECT name FROM pg_prepared_statements WHERE name LIKE 'ringfence%'", "simple").ok().rows


def test_the_name_of_the_private_statement_is_reserved(fw):
    with fw.wire("last4") as w:
        assert w.ask('PREPARE "ringfence copy" AS SELECT 1', "simple").error["C"] == "42939"
        w.send(parse("SELECT 1", "ringfence copy") + SYNC)
        assert w.until_ready().kinds == "EZ"


def test_a_rename_between_description_and_copy_waits(fw, cluster):
    """What a COPY was described as is what it copies: the description holds the lock."""
    with fw.wire("last4") as w, cluster.wire("copies", "postgres") as other:
        copied(w, "BEGIN")
        assert copied(w, "COPY (SELECT id FROM weird WHERE false) TO STDOUT")[2] == "COPY 0"
        other.ask("SET lock_timeout = '200ms'", "simple").ok()
        assert other.ask("ALTER TABLE weird RENAME TO strange", "simple").error["C"] == "55P03"
        copied(w, "COMMIT")


def test_psql_and_audit(fw):
    out = fw.psql("last4", "\\copy weird (id, secret) to stdout csv")
    assert "1,****here" in out.replace('"', "")
    out = fw.psql("last4", "COPY (SELECT 1) TO STDOUT")
    assert out == "1\n"
    line = [l for l in fw.audit_lines() if l["event"] == "statement" and l.get("kind") == "COPY" and l.get("handling")][-1]
    assert line["verdict"] == "handled" and line["rows"] == 8 and line["handling"] == {"public.weird.secret": "mask"}
