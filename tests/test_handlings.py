"""Every handling on every type that carries it: text and binary results, NULL, arrays; and what a type cannot carry."""

import re
import struct
import uuid

import pytest

from harness import Firewall

CLASSIFICATION = """
version: 1
labels:
  encrypted: {}
  tokenized: {}
  last4: {}
  first6: {}
  mail: {}
  fixed: {}
  dropped: {}
  refused: {}
columns:
  public.things:
    encrypted: encrypted
    tokenized: tokenized
    last4: last4
    first6: first6
    mail: mail
    fixed: fixed
    dropped: dropped
    refused: refused
    number: tokenized
    big: tokenized
    id128: tokenized
    digits: tokenized
    day: dropped
    encrypted_list: encrypted
    last4_list: last4
    tokenized_list: tokenized
    number_list: tokenized
    money: encrypted
roles:
  seen:
    encrypted: encrypt
    tokenized: { handling: tokenize, filter: equality }
    last4: { mask: last4 }
    first6: { mask: first6last4 }
    mail: { mask: email }
    fixed: { handling: mask, with: { fixed: "[hidden]" } }
    dropped: drop
    refused: refuse
  entitled: { encrypted: plain, tokenized: plain, last4: plain, first6: plain, mail: plain, fixed: plain, dropped: plain, refused: plain }
clients:
  seen: { roles: [seen] }
  entitled: { roles: [entitled] }
"""

TABLE = """
CREATE TABLE things (id int PRIMARY KEY, encrypted text, tokenized text, last4 text, first6 varchar(30), mail text, fixed char(9), dropped text,
    refused text, number int, big bigint, id128 uuid, digits text, day date, encrypted_list text[], last4_list text[], tokenized_list text[],
    number_list int[], money numeric(12,2), open text);
INSERT INTO things VALUES
 (1, 'secret one', 'token me', '4111111111111111', '4111111111111111', 'alice@example.com', 'abcdefghi', 'gone', 'never', 123456, 9876543210,
  '11111111-2222-3333-4444-555555555555', '0123456789', '2024-02-29', '{one,two,NULL}', '{4111111111111111,NULL,123}', '{a,b,a}', '{1000001,NULL}', 12.50, 'open'),
 (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
 (3, '', '', '', '', '', '', '', '', 0, -5, '00000000-0000-0000-0000-000000000000', '', '1999-12-31', '{}', '{}', '{}', '{}', 0, ''),
 (4, 'ünïcödé 🔐', 'ünï', 'ünï🔐', '🔐', 'no-at-sign', 'x', 'ü', 'ü', -123456, 1, 'ffffffff-ffff-ffff-ffff-ffffffffffff', '12', '2000-01-01',
  '{"with space","with\\"quote"}', '{ünïcödé12345}', '{}', '{-7}', -1, 'ü');
GRANT SELECT, INSERT, UPDATE, DELETE ON things TO bank_app;
"""


@pytest.fixture(scope="module")
def fw(cluster):
    cluster.psql("postgres", "CREATE DATABASE handlings")
    cluster.psql("handlings", TABLE)
    with Firewall(cluster, CLASSIFICATION, database="handlings") as f:
        yield f


def values(fw, column, mode, client="seen"):
    with fw.wire(client) as w:
        return [r[0] for r in w.ask(f"SELECT {column} FROM things ORDER BY id", mode).ok().rows]


MODES = ["simple", "text", "binary"]
RF1 = re.compile(rb"rf1_[A-Za-z0-9_-]+")


@pytest.mark.parametrize("mode", MODES)
def test_encrypt(fw, mode):
    got = values(fw, "encrypted", mode)
    assert got[1] is None
    assert all(RF1.fullmatch(got[i]) for i in (0, 2, 3)), got
    assert b"secret" not in got[0]


@pytest.mark.parametrize("mode", MODES)
def test_tokenize_text(fw, mode):
    got = values(fw, "tokenized", mode)
    assert got[1] is None and got[0].startswith(b"tok_") and got[3].startswith(b"tok_") and got[0] != got[3]
    assert got[0] == values(fw, "tokenized", "simple")[0]


@pytest.mark.parametrize("mode", MODES)
def test_tokenize_integers(fw, mode):
    read = (lambda v, f: struct.unpack(f, v)[0]) if mode == "binary" else (lambda v, f: int(v))
    for column, fmt, true in (("number", "!i", [123456, None, 0, -123456]), ("big", "!q", [9876543210, None, -5, 1])):
        got = values(fw, column, mode)
        assert got[1] is None
        seen = [read(got[i], fmt) for i in (0, 2, 3)]
        assert seen != [true[i] for i in (0, 2, 3)] and len(set(seen)) == 3
        assert seen == [int(v) for v in (values(fw, column, "simple")[i] for i in (0, 2, 3))], "another token in another format"


@pytest.mark.parametrize("mode", MODES)
def test_tokenize_uuid(fw, mode):
    got = values(fw, "id128", mode)
    assert got[1] is None
    read = (lambda v: uuid.UUID(bytes=v)) if mode == "binary" else (lambda v: uuid.UUID(v.decode()))
    seen = [read(got[i]) for i in (0, 2, 3)]
    assert len(set(seen)) == 3 and uuid.UUID("11111111-2222-3333-4444-555555555555") not in seen
    assert seen[0] == uuid.UUID(values(fw, "id128", "simple")[0].decode())


@pytest.mark.parametrize("mode", MODES)
def test_tokenize_digits_keeps_their_shape(fw, mode):
    got = values(fw, "digits", mode)
    assert re.fullmatch(rb"\d{10}", got[0]) and got[0] != b"0123456789"
    assert got[1] is None


@pytest.mark.parametrize("mode", MODES)
def test_masks(fw, mode):
    assert values(fw, "last4", mode) == [b"************1111", None, b"", b"****"]
    assert values(fw, "first6", mode) == [b"411111******1111", None, b"", b"*"]
    assert values(fw, "mail", mode) == [b"a***@example.com", None, b"***", b"***"]
    assert values(fw, "fixed", mode)[:2] == [b"[hidden]", None]


@pytest.mark.parametrize("mode", MODES)
def test_drop(fw, mode):
    assert values(fw, "dropped", mode) == [None] * 4
    assert values(fw, "day", mode) == [None] * 4


@pytest.mark.parametrize("mode", MODES)
def test_refuse(fw, mode):
    with fw.wire("seen") as w:
        for sql in ("SELECT refused FROM things", "SELECT * FROM things"):
            error = w.ask(sql, mode).error
            assert error and error["C"] == "42501" and "refused" in error["M"]
        assert w.ask("SELECT id, open FROM things WHERE id = 1", mode).ok().rows[0][1] == b"open"


def elements(value, mode):
    """A one-dimensional text[] to a list."""
    if mode != "binary":
        text = value.decode()
        assert text[0] == "{" and text[-1] == "}", text
        return [None if e == "NULL" else e.strip('"') for e in text[1:-1].split(",")] if text != "{}" else []
    dims, _, oid = struct.unpack("!iiI", value[:12])
    if dims == 0:
        return []
    (n, _), at, out = struct.unpack("!ii", value[12:20]), 20, []
    for _ in range(n):
        (size,) = struct.unpack("!i", value[at:at + 4])
        at += 4
        out.append(None if size < 0 else value[at:at + size])
        at += max(0, size)
    assert at == len(value)
    return [e if e is None or oid == 23 else e.decode() for e in out]


@pytest.mark.parametrize("mode", MODES)
def test_arrays(fw, mode):
    got = values(fw, "encrypted_list", mode)
    a = elements(got[0], mode)
    assert len(a) == 3 and a[2] is None and all(x.startswith("rf1_") for x in a[:2])
    assert got[1] is None and elements(got[2], mode) == []
    assert elements(values(fw, "last4_list", mode)[0], mode) == ["************1111", None, "***"]
    a = elements(values(fw, "tokenized_list", mode)[0], mode)
    assert a[0] == a[2] != a[1] and all(x.startswith("tok_") for x in a)
    a = elements(values(fw, "number_list", mode)[0], mode)
    assert a[1] is None and a[0] not in ("1000001", struct.pack("!i", 1000001))


@pytest.mark.parametrize("mode", MODES)
def test_what_a_type_cannot_carry_is_dropped(fw, mode):
    """numeric cannot carry a token."""
    assert values(fw, "money", mode) == [None] * 4


@pytest.mark.parametrize("mode", MODES)
def test_entitled_sees_all(fw, cluster, mode):
    with fw.wire("entitled") as w, cluster.wire("handlings") as direct:
        assert w.ask("SELECT * FROM things ORDER BY id", mode).messages == direct.ask("SELECT * FROM things ORDER BY id", mode).messages


@pytest.mark.parametrize("mode", ["text", "binary"])
def test_mixed_formats_in_one_row(fw, mode):
    from pgwire import SYNC, bind, describe, execute, parse
    with fw.wire("seen") as w:
        a = w.send(parse("SELECT id, last4, number, encrypted, dropped, open FROM things WHERE id = 1")
                   + bind(results=(1, 0, 1, 1, 0, 0) if mode == "binary" else (0, 1, 0, 0, 1, 1)) + describe() + execute() + SYNC).until_ready().ok()
        row = a.rows[0]
        assert row[1] == b"************1111" and row[3].startswith(b"rf1_") and row[4] is None and row[5] == b"open"
        assert len(row[2]) == 4 if mode == "binary" else row[2].lstrip(b"-").isdigit()


def test_check_warns_of_types(fw, cluster):
    from harness import binary, clean_env
    import subprocess
    r = subprocess.run([binary("ringfence"), "check", "--classification", str(fw.classification), "--upstream", cluster.url("handlings")],
                       env=clean_env(), capture_output=True, text=True)
    assert r.returncode == 0, r.stdout + r.stderr
    assert "money" in r.stdout + r.stderr and "warning" in (r.stdout + r.stderr).lower()
