"""Runs random statements (grammar.py) as restricted clients through the firewall: no canary may come back in any form,
and what mentions nothing protected must give what it gives past the firewall.

    python tests/generator/run.py [--statements 100000] [--seed N] [--count-from K] [--keep-going]

A failure prints the seed and the number of its script, and the smallest statement found that still fails:
`--seed N --count-from K --statements 1` repeats it."""

import argparse
import collections
import pathlib
import random
import re
import secrets
import sys
import time

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE))
from canaries import Canaries                                                       # noqa: E402
from grammar import Node, smaller, statement                                        # noqa: E402
from harness import Cluster, Firewall                                               # noqa: E402
from pgwire import Closed, SYNC, bind, describe, execute, parse, query              # noqa: E402

CLIENTS = ["api", "analyst", "dropper", "strict"]
DATABASE = "generated"
INT4 = 23
BATCH = 30


class World:
    """The database with its canaries, and the connections."""

    def __init__(self, cluster, seed):
        self.cluster = cluster
        cluster.psql("postgres", f"CREATE DATABASE {DATABASE}")
        cluster.file(DATABASE, HERE / "setup.sql")
        self.canaries = Canaries(random.Random(f"canaries {seed}"))
        cluster.psql(DATABASE, self.fill() + "GRANT ALL ON ALL TABLES IN SCHEMA public, alt TO bank_app; VACUUM ANALYZE;")
        self.canaries.ready()
        self.firewall = Firewall(cluster, (HERE / "classification.yaml").read_text(), database=DATABASE)
        self.wires = {}
        self.tables = {0} | {int(n) for n in cluster.psql(DATABASE, "SELECT oid FROM pg_class").split()}

    def fill(self):
        """Every protected cell gets a value of its own."""
        c, out = self.canaries, []
        for table, ids in (("people", [*range(1, 13)]), ("people_old", [*range(101, 105)])):
            for n in ids:
                out.append(f"UPDATE ONLY {table} SET mail = '{c.text()}', card = '{c.text()}', secret = '{c.text()}', ssn = {c.number()}, "
                           f"tags = ARRAY['{c.text()}', '{c.text()}'], meta = '{{\"a\": \"{c.text()}\", \"b\": [\"{c.text()}\"]}}' WHERE id = {n};")
        out += [f"UPDATE events SET who = '{c.text()}' WHERE id = {n};" for n in range(1, 13)]
        out.append("INSERT INTO holder SELECT id, p FROM people p WHERE id < 4;")
        return "".join(out)

    def wire(self, who):
        if who not in self.wires:
            w = self.cluster.wire(DATABASE) if who == "direct" else self.firewall.wire(who)
            w.sock.settimeout(60)
            self.wires[who] = w
        return self.wires[who]

    def drop(self, who):
        if w := self.wires.pop(who, None):
            w.close()

    def close(self):
        for who in list(self.wires):
            self.drop(who)
        self.firewall.remove()


class Script:
    """One generated script: its texts and how they are sent."""

    def __init__(self, seed, number):
        self.number = number
        rng = random.Random(f"{seed} {number}")
        self.texts, self.clean = statement(rng)
        self.client = rng.choice(CLIENTS)
        self.mode = rng.choice(["simple", "simple", "text", "binary"])
        self.described = rng.random() < 0.7
        if any("; " in str(t) or "COPY" in str(t) for t in self.texts):
            self.mode = "simple"
        self.parameters = [[] for _ in self.texts]
        if self.mode != "simple":
            for at, text in enumerate(self.texts):
                if isinstance(text, Node) and not str(text).startswith(("CREATE", "DECLARE", "PREPARE", "EXPLAIN", "COPY", "SET")):
                    self.parameters[at] = self.bound(text, rng)

    @staticmethod
    def bound(text, rng):
        """Turns some integers of the statement into parameters."""
        found = []
        for _, _, node in text.nodes():
            if node.kind == "int" and len(node.parts) == 1 and str(node).isdigit() and rng.random() < 0.3:
                found.append(str(node))
                node.parts = [f"${len(found)}"]
        return found

    def data(self):
        out = []
        for text, parameters in zip(self.texts, self.parameters):
            sql = str(text)
            if self.mode == "simple":
                out.append(query(sql))
            else:
                if any(f"${n + 1}" not in sql for n in range(len(parameters))):
                    parameters = []         # made smaller: the parameter is gone
                out.append(parse(sql, types=[INT4] * len(parameters)) + bind(parameters, results=(1,) if self.mode == "binary" else ())
                           + (describe() if self.described else b"") + execute() + SYNC)
        return out

    def __str__(self):
        return f"script {self.number}, {self.client}, {self.mode}{'' if self.clean else ', reaches protected'}:\n    " + ";\n    ".join(map(str, self.texts))


def ask(world, who, scripts):
    """Sends all scripts in one go; the answers of each, or None from where the connection broke."""
    wire = world.wire(who)
    messages = [s.data() for s in scripts]
    out = []
    try:
        wire.log.clear()
        wire.send(b"".join(m for ms in messages for m in ms))
        for ms in messages:
            start = len(wire.log) - len(wire.buffer)
            answers = [wire.until_ready() for _ in ms]
            out.append((answers, bytes(wire.log[start:len(wire.log) - len(wire.buffer)])))
    except (Closed, OSError) as e:
        world.drop(who)
        out += [(None, str(e).encode())] * (len(scripts) - len(out))
    return out


def plain(world, answer):
    """What of an answer must be equal: without order where none was asked for, without texts of errors, and without the
    numbers of temporary tables."""
    columns = [tuple(v if k != "table" or v in world.tables else "temporary" for k, v in c.items()) for c in answer.columns] if answer.columns else None
    copied = sorted(b for k, b in answer.messages if k == b"d")
    return (columns, sorted(answer.rows, key=repr), answer.tags, [e["C"] for e in answer.errors], answer.status, copied)


def judge(world, script, ours, log, theirs):
    """What is wrong with the answers of a script: a word and a line, or None."""
    if ours is None:
        return "broken", f"the connection ended: {log!r}"
    hit = world.canaries.find(log)
    for answer in ours:
        hit = hit or world.canaries.find_in_rows(answer.rows)
    if hit:
        return "leak", f"a piece of the canary {hit}"
    for answer in ours:
        for e in answer.errors:
            if e["C"].startswith("XX") or "panic" in e.get("M", ""):
                return "broken", f"{e['C']}: {e.get('M')}"
    if script.clean and theirs is not None:
        for at, (a, b) in enumerate(zip(ours, theirs)):
            if b.errors and b.errors[0]["C"] == "57014":
                return None
            if a.errors and b.errors:
                break               # a mistake of the generator's; which of two refusals comes first is nobody's business
            if str(script.texts[at]).startswith("EXPLAIN") and a.rows and b.rows:
                continue            # a plan follows sizes, which change with every write that was undone
            if plain(world, a) != plain(world, b):
                error = a.error or {}
                if error.get("C") in ("42501", "0A000") and not b.errors:
                    return "refused", f"text {at + 1}: {error['C']} {error.get('M')} {error.get('D', '')}"
                return "differs", f"text {at + 1}: {plain(world, a)!r:.400}\n    direct: {plain(world, b)!r:.400}"
    return None


def one(world, script):
    """Plays one script alone; the judgement."""
    (ours, log), = ask(world, script.client, [script])
    theirs = ask(world, "direct", [script])[0][0] if script.clean else None
    return judge(world, script, ours, log, theirs)


def shrink(world, script, word, seconds=20):
    """Makes a failing script smaller while it fails in the same way."""
    end = time.monotonic() + seconds
    progress = True
    while progress and time.monotonic() < end:
        progress = False
        length = len(str(script))
        for _ in smaller(script.texts):
            if len(str(script)) >= length:
                continue
            found = one(world, script)
            if found and found[0] == word:
                progress = True
                break           # the replacement stays: the generator of smaller ones is not resumed
            if time.monotonic() > end:
                break
    return script


def run(world, seed, statements, start=0, keep_going=True, report=print, limit=40):
    """Returns {word: [(script, line)]} and the number of statements sent."""
    failures, sorts, sent, number = collections.defaultdict(list), collections.Counter(), 0, start
    counts = collections.Counter()
    while sent < statements:
        scripts = []
        while len(scripts) < BATCH * len(CLIENTS) and sent < statements:
            s = Script(seed, number)
            scripts.append(s)
            number += 1
            sent += sum(1 for t in s.texts if str(t) not in ("BEGIN", "ROLLBACK"))
        answers = {}
        for client in CLIENTS:
            mine = [s for s in scripts if s.client == client]
            for s, a in zip(mine, ask(world, client, mine) if mine else []):
                answers[s.number] = a
        clean = [s for s in scripts if s.clean]
        direct = dict(zip((s.number for s in clean), ask(world, "direct", clean) if clean else []))
        for s in scripts:
            ours, log = answers[s.number]
            if ours:
                counts["clean" if s.clean else "protected", "refused or failed" if any(a.errors for a in ours) else "answered"] += 1
            found = judge(world, s, ours, log, direct.get(s.number, (None,))[0])
            if found is None:
                continue
            alone = one(world, s)
            if alone is None and found[0] == "broken":
                continue            # a neighbour broke the connection
            word, line = alone or found
            failures[word].append((s, line))
            # One of each sort: what differs only in names and numbers is the same trouble.
            sort = word, re.sub(r'[\d"]+|"[^"]*"|\bt\d+', "", line)[:90]
            sorts[sort] += 1
            if sorts[sort] == 1 and len(sorts) <= limit:
                whole = str(s)
                if alone:
                    shrink(world, s, word)
                report(f"{word}: seed {seed}, {s}\n  {(one(world, s) or (word, line))[1]}\n  (was {len(whole)} characters)")
            if not keep_going:
                return failures, sent
    report(", ".join(f"{n} {' '.join(what)}" for what, n in sorted(counts.items())))
    for (word, line), n in sorts.most_common(limit):
        report(f"{n} times {word}: {line}")
    return failures, sent


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--statements", type=int, default=100_000)
    arguments.add_argument("--seed", default=None)
    arguments.add_argument("--count-from", type=int, default=0)
    arguments.add_argument("--stop", action="store_true", help="at the first failure")
    arguments.add_argument("--limit", type=int, default=20, help="how many sorts of failures are made smaller and shown")
    a = arguments.parse_args()
    seed = a.seed or secrets.token_hex(4)
    print(f"seed {seed}", flush=True)
    cluster = Cluster(autovacuum="off", statement_timeout="10s")
    try:
        world = World(cluster, seed)
        try:
            begin = time.monotonic()
            failures, sent = run(world, seed, a.statements, a.count_from, not a.stop, limit=a.limit, report=lambda t: print(t, flush=True))
        finally:
            world.close()
    finally:
        cluster.remove()
    took = time.monotonic() - begin
    print(f"{sent} statements in {took:.0f} s ({took / sent * 1000:.2f} ms each): "
          + (", ".join(f"{len(v)} {k}" for k, v in failures.items()) or "nothing leaked, nothing differed"))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
