"""The ground under the other tests: the generated bank, and the raw client against PostgreSQL itself."""

from pgwire import bind, describe, execute, parse, FLUSH, SYNC


def luhn(number):
    digits = [int(c) for c in reversed(number)]
    return sum(d if i % 2 == 0 else d * 2 - 9 * (d > 4) for i, d in enumerate(digits)) % 10 == 0


def test_generated_bank(truth):
    assert luhn(truth[0]["credit_card"])
    assert all(u["credit_card"] is None or (luhn(u["credit_card"]) and len(u["credit_card"]) in (15, 16)) for u in truth.values())
    assert all(len(u["password_hash"]) == 60 and u["password_hash"].startswith("$2b$12$") for u in truth.values())
    assert all(u["email"].endswith("@example.com") for u in truth.values())
    assert len({u["password_hash"] for u in truth.values()}) == len(truth)


def test_raw_client_direct(cluster, truth):
    with cluster.wire() as w:
        for mode in ("simple", "text", "binary"):
            assert w.ask("SELECT email FROM users WHERE id = 7", mode).ok().rows == [[truth[7]["email"].encode()]]
        w.send(parse("SELECT 1", "s") + bind(statement="s") + describe() + execute() + FLUSH)
        assert [k for k, _ in w.until(b"C")] == [b"1", b"2", b"T", b"D", b"C"]
        assert w.send(SYNC).until_ready().status == "I"
        assert w.simple("SELECT 1/0").error["C"] == "22012"
