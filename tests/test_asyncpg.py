"""asyncpg: binary only, prepares everything, introspects types by catalog queries."""

import asyncio

import asyncpg
import pytest

from expect import CLIENTS, COLUMNS, as_text, check_row


def run(firewall, client, body):
    async def main():
        login, token = firewall.token(client)
        c = await asyncpg.connect(host="127.0.0.1", port=firewall.port, user=login, password=token, database="bank", ssl="require",
                                  server_settings={"timezone": "UTC"})
        try:
            return await body(c)
        finally:
            await c.close()
    return asyncio.run(main())


def check(client, truth, rows, ids):
    assert len(rows) == len(ids)
    for i, row in zip(ids, rows):
        check_row(client, truth[i], [as_text(c, row[c]) for c in COLUMNS])


@pytest.mark.parametrize("client", CLIENTS)
def test_every_column(firewall, truth, client):
    async def body(c):
        sql = f"SELECT {', '.join(COLUMNS)} FROM users WHERE id = ANY($1::int[]) ORDER BY id"
        check(client, truth, await c.fetch(sql, [0, 7, 100, 314]), [0, 7, 100, 314])
        statement = await c.prepare("SELECT * FROM users WHERE id = $1")
        for i in (0, 314):
            check(client, truth, await statement.fetch(i), [i])
        assert [a.name for a in statement.get_attributes()] == COLUMNS
    run(firewall, client, body)


@pytest.mark.parametrize("client", CLIENTS)
def test_cursor(firewall, truth, client):
    async def body(c):
        async with c.transaction():
            rows = [r async for r in c.cursor("SELECT * FROM users WHERE id < 20 ORDER BY id", prefetch=7)]
        check(client, truth, rows, list(range(20)))
    run(firewall, client, body)


def test_refusal(firewall):
    async def body(c):
        with pytest.raises(asyncpg.InsufficientPrivilegeError) as e:
            await c.fetch("SELECT id FROM users WHERE credit_card = $1", "4111111111111111")
        assert e.value.hint
        async with c.transaction():
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with c.transaction():
                    await c.fetch("SELECT lower(credit_card) FROM users")
            assert await c.fetchval("SELECT 1") == 1
    run(firewall, "users-api", body)


def test_executemany_copy_and_script(firewall):
    async def body(c):
        await c.execute("CREATE TEMP TABLE scratch (a int, b text); INSERT INTO scratch VALUES (0, 'zero')")
        await c.executemany("INSERT INTO scratch VALUES ($1, $2)", [(i, str(i)) for i in range(1, 500)])
        await c.copy_records_to_table("scratch", records=[(i, str(i)) for i in range(500, 1000)])
        assert await c.fetchval("SELECT count(*) FROM scratch") == 1000
    run(firewall, "users-api", body)


def test_types_are_introspected(firewall):
    """Composite and array types make asyncpg ask the catalog."""
    async def body(c):
        row = await c.fetchrow("SELECT ROW(1, 'a') AS r, ARRAY[1.5, 2.5] AS n, '{\"a\": 1}'::jsonb AS j, int4range(1, 5) AS g")
        assert row["r"] == (1, "a") or tuple(row["r"]) == (1, "a")
        assert len(row["n"]) == 2
    run(firewall, "users-api", body)


def test_timeout_cancels(firewall):
    async def body(c):
        with pytest.raises(asyncio.TimeoutError):
            await c.fetch("SELECT pg_sleep(20)", timeout=0.5)
        assert await c.fetchval("SELECT 1") == 1
    run(firewall, "users-api", body)


def test_pool(firewall):
    async def main():
        login, token = firewall.token("users-api")
        async with asyncpg.create_pool(host="127.0.0.1", port=firewall.port, user=login, password=token, database="bank", ssl="require",
                                       min_size=2, max_size=5) as pool:
            async def one(i):
                async with pool.acquire() as c:
                    return await c.fetchval("SELECT $1::int * 2", i)
            assert await asyncio.gather(*(one(i) for i in range(50))) == [i * 2 for i in range(50)]
    asyncio.run(main())
