"""The benchmark behind scripts/bench: the same work through several ways to one PostgreSQL, interleaved, so that what
else happens on the machine hits all alike. Tables of medians, ratios to the forwarder with 95 % intervals, CPU."""

import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import BIN, Cluster, Firewall, clean_env, dropped, free_port, give, pgbin, rss_kib, wait_for, workdir  # noqa: E402
from pgwire import SYNC, Wire, bind, execute, msg, parse, query  # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")

CLASSIFICATION = """
version: 1
labels: { pii: {}, pci: {} }
columns:
  public.handled: { name: pii, email: pci }
roles:
  default: { pii: { mask: last4 }, pci: encrypt }
  all: { pii: plain, pci: plain, admin: true }
clients:
  restricted: { roles: [default] }
  unrestricted: { roles: [all] }
"""

WIDE = """
CREATE TABLE {name} (id int, customer_id bigint, status smallint, name text, email text, city text, created_at timestamp,
  updated_at timestamp, amount numeric(12,2), balance numeric(14,4));
INSERT INTO {name} SELECT i, 1000000 + (i * 7919::bigint) % 9999991, i % 7, 'name ' || to_char(i, 'FM0000000'),
  'user' || to_char(i, 'FM0000000') || '@example.com', (array['Oslo','Lima','Paris','Tokyo','Berlin','Nairobi','Toronto'])[1 + i % 7],
  timestamp '2020-01-01' + (i % 100000) * interval '17 minutes', timestamp '2024-01-01' + (i % 90000) * interval '31 seconds',
  (i % 1000000) * 1.37, (i % 777777) * 3.14159 FROM generate_series(1, {rows}) i;
GRANT ALL ON {name} TO bank_app;
"""


class Target:
    def __init__(self, name, port, user, password, pid=None):
        self.name, self.port, self.user, self.password, self.pid = name, port, user, password, pid

    def env(self, tls=False):
        return clean_env(PGHOST="127.0.0.1", PGPORT=str(self.port), PGUSER=self.user, PGPASSWORD=self.password, PGDATABASE="bench",
                         PGSSLMODE="require" if tls else "disable", PGGSSENCMODE="disable", PGCONNECT_TIMEOUT="20")

    def wire(self, tls=False):
        w = Wire("127.0.0.1", self.port, timeout=300)
        if tls:
            w.tls()
        w.login(self.user, self.password, "bench")
        return w

    def cpu(self):
        """Seconds so far, user and system; children that ended are in."""
        if not self.pid:
            return None
        f = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(map(int, f[11:15])) / TICK


class Failed(Exception):
    pass


# --- one measurement each: {metric: value}, the first metric is the headline -----------------------------------------------

def pgbench(t, o, *args, tls=False):
    before = t.cpu()
    r = subprocess.run([str(pgbin() / "pgbench"), "-n", "-T", str(o.duration), *args], env=t.env(tls), capture_output=True, text=True,
                       timeout=o.duration * 4 + 60, cwd="/")
    if r.returncode:
        raise Failed(r.stderr.strip().splitlines()[-1][:200])
    n = int(re.search(r"transactions actually processed: (\d+)", r.stdout)[1])
    tps = re.search(r"^tps = ([\d.]+)", r.stdout, re.M)
    if not n or not tps:
        raise Failed("no transaction in the time: --duration is too short for this machine")
    out = {"tps": float(tps[1]),
           "latency_us": float(re.search(r"latency average = ([\d.]+) ms", r.stdout)[1]) * 1000}
    if before is not None:
        time.sleep(0.1)
        out["cpu_s_per_100k"] = (t.cpu() - before) / n * 1e5
    return out


def swallow(w, data):
    """Sends, reads to ReadyForQuery and counts bytes."""
    w.send(data)
    buffer, total, tail = memoryview(bytearray(1 << 18)), 0, b""
    while True:
        n = w.sock.recv_into(buffer)
        if not n:
            raise Failed("closed")
        total += n
        tail = (tail + bytes(buffer[max(0, n - 128):n]))[-128:]
        if tail[-6:-1] == b"Z\0\0\0\5":
            if b"\0M" in tail and b"\0C" in tail and tail[-1:] != b"I":
                raise Failed(repr(tail))
            return total


def bulk(t, o, data, tls=False):
    w = t.wire(tls)
    try:
        before, start, n, size = t.cpu(), time.monotonic(), 0, 0
        while n == 0 or time.monotonic() - start < o.bulk_seconds:
            size += swallow(w, data)
            n += 1
        took = time.monotonic() - start
    finally:
        w.close()
    if size < o.rows * 40:
        raise Failed(f"only {size} bytes: refused?")
    out = {"rows_per_s": n * o.rows / took, "mb_per_s": size / took / 1e6}
    if before is not None:
        out["cpu_s_per_1m_rows"] = (t.cpu() - before) / (n * o.rows) * 1e6
    return out


def copy_in(t, o, blob):
    w = t.wire()
    try:
        w.simple("TRUNCATE copied").ok()
        before, start = t.cpu(), time.monotonic()
        w.send(query("COPY copied FROM STDIN"))
        w.until(b"GE")
        for chunk in blob:
            w.send(chunk)
        answer = w.send(msg(b"c")).until_ready().ok()
        took = time.monotonic() - start
        if answer.tags != [f"COPY {o.rows}"]:
            raise Failed(str(answer.tags))
    finally:
        w.close()
    out = {"rows_per_s": o.rows / took}
    if before is not None:
        out["cpu_s_per_1m_rows"] = (t.cpu() - before) / o.rows * 1e6
    return out


def binary(table):
    return parse(f"SELECT * FROM {table}") + bind(results=(1,)) + execute() + SYNC


def tests(o, blob):
    """(name, group, targets or None for all, function)"""
    out = []
    for mode in ("simple", "extended", "prepared"):
        for clients in (1, 16):
            args = ("-M", mode, "-c", str(clients), "-j", str(min(2, clients)))
            out.append((f"select {mode} {clients}c", "select", None, lambda t, a=args: pgbench(t, o, "-S", *a)))
    for mode in ("simple", "extended", "prepared"):
        for clients in (1, 16):
            args = ("-M", mode, "-c", str(clients), "-j", str(min(2, clients)))
            out.append((f"tpcb {mode} {clients}c", "tpcb", None, lambda t, a=args: pgbench(t, o, *a)))
    tls = ("direct", "pgbouncer", "ringfence", "restricted")
    out.append(("select prepared 16c tls", "tls", tls, lambda t: pgbench(t, o, "-S", "-M", "prepared", "-c", "16", "-j", "2", tls=True)))
    out.append(("read text tls", "tls", tls, lambda t: bulk(t, o, query("SELECT * FROM wide"), tls=True)))
    out.append(("read text", "bulk", None, lambda t: bulk(t, o, query("SELECT * FROM wide"))))
    out.append(("read binary", "bulk", None, lambda t: bulk(t, o, binary("wide"))))
    out.append(("copy out", "bulk", None, lambda t: bulk(t, o, query("COPY wide TO STDOUT"))))
    out.append(("copy in", "bulk", None, lambda t: copy_in(t, o, blob)))
    out.append(("handled text", "handled", ("forwarder", "ringfence", "restricted"), lambda t: bulk(t, o, query("SELECT * FROM handled"))))
    out.append(("handled binary", "handled", ("forwarder", "ringfence", "restricted"), lambda t: bulk(t, o, binary("handled"))))
    return [x for x in out if not o.only or x[1] in o.only]


# --- the ways ----------------------------------------------------------------------------------------------------------------

def spawn(argv, **kw):
    return subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                            env=clean_env(), cwd="/", **dropped(), **kw)


def listening(port):
    import socket
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Ways:
    def __init__(self, o):
        self.o = o
        self.cluster = Cluster(max_connections=1200, shared_buffers="512MB", wal_level="minimal", max_wal_senders="0", max_wal_size="8GB")
        c = self.cluster
        crt, key = c.dir / "server.crt", c.dir / "server.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost", "-keyout", key, "-out", crt],
                       check=True, capture_output=True)
        os.chmod(key, 0o600)
        give(crt), give(key)
        with open(c.data / "postgresql.conf", "a") as f:
            f.write(f"ssl = on\nssl_cert_file = '{crt}'\nssl_key_file = '{key}'\n")
        c.stop()
        c.start()
        c.psql("postgres", "CREATE DATABASE bench OWNER bank_app")
        subprocess.run([str(pgbin() / "pgbench"), "-i", "-q", "-s", str(o.scale), "-d", c.url("bench")], env=clean_env(), check=True, capture_output=True)
        for name in ("wide", "handled"):
            c.psql("bench", WIDE.format(name=name, rows=o.rows))
        c.psql("bench", "CREATE UNLOGGED TABLE copied (LIKE wide); ALTER TABLE copied OWNER TO bank_app; VACUUM ANALYZE; CHECKPOINT")
        self.processes = []
        direct = Target("direct", c.port, "bank_app", c.app_password)
        port = free_port()
        where = workdir()
        shutil.copy(BIN / "forwarder", where / "forwarder")
        os.chmod(where / "forwarder", 0o755)
        forwarder = spawn([where / "forwarder", f"127.0.0.1:{port}", f"127.0.0.1:{c.port}"])
        self.processes.append(forwarder)
        self.targets = [direct, Target("forwarder", port, "bank_app", c.app_password, forwarder.pid), self.pgbouncer(where, crt, key)]
        self.fw = Firewall(c, CLASSIFICATION, database="bench", max_connections=5000)
        for name, client in (("ringfence", "unrestricted"), ("restricted", "restricted")):
            self.targets.append(Target(name, self.fw.port, *self.fw.token(client), self.fw.process.pid))
        for t in self.targets:
            wait_for(lambda t=t: listening(t.port), 20, t.name)
        if o.targets:
            self.targets = [t for t in self.targets if t.name in o.targets]

    def pgbouncer(self, where, crt, key):
        c, port = self.cluster, free_port()
        (where / "users").write_text(f'"bank_app" "{c.app_password}"\n')
        (where / "ini").write_text(f"""[databases]
bench = host=127.0.0.1 port={c.port} dbname=bench
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {where}/users
pool_mode = session
default_pool_size = 100
max_client_conn = 2000
ignore_startup_parameters = extra_float_digits
client_tls_sslmode = allow
client_tls_key_file = {key}
client_tls_cert_file = {crt}
server_tls_sslmode = disable
log_connections = 0
log_disconnections = 0
""")
        give(where)
        p = spawn([shutil.which("pgbouncer") or "/usr/sbin/pgbouncer", "-q", where / "ini"])
        self.processes.append(p)
        return Target("pgbouncer", port, "bank_app", c.app_password, p.pid)

    def close(self):
        for p in self.processes:
            p.terminate()
            p.wait()
        self.fw.remove()
        self.cluster.remove()


def idle(ways, o):
    """Resident size by idle connection, and start to ready, on fresh processes."""
    out = {}
    for tls in (False, True):
        with Firewall(ways.cluster, CLASSIFICATION, database="bench", audit=None, max_connections=5000) as fw:
            t = Target("x", fw.port, *fw.token("restricted"), fw.process.pid)
            t.wire(tls).close()
            time.sleep(3 if o.quick else 30)      # what the start took is given back
            before = rss_kib(fw.process.pid)
            held = []
            for _ in range(o.idle):
                w = t.wire(tls)
                w.simple("SELECT abalance FROM pgbench_accounts WHERE aid = 1").ok()
                held.append(w)
            time.sleep(3 if o.quick else 30)
            out["idle_kb_per_connection_" + ("tls" if tls else "plain")] = (rss_kib(fw.process.pid) - before) / o.idle
            for w in held:
                w.sock.close()
    starts = []
    with Firewall(ways.cluster, CLASSIFICATION, database="bench", audit=None) as fw:
        for _ in range(3 if o.quick else 10):
            fw.stop()
            start = time.monotonic()
            fw.start(wait=False)
            wait_for(fw.is_ready_or_dead, 20, "ready", 0.001)
            starts.append((time.monotonic() - start) * 1000)
    out["start_to_ready_ms"] = statistics.median(starts)
    return out


# --- tables ------------------------------------------------------------------------------------------------------------------

def interval(values):
    """A 95 % interval of the median by order statistics (whole range below 6 values)."""
    v = sorted(values)
    n = len(v)
    k = max(0, int((n - 1.96 * n ** 0.5) / 2)) if n >= 6 else 0
    return v[k], v[n - 1 - k]


def paired(ours, theirs, metric):
    """Ratios of what was measured in the same pass."""
    by_pass = {r["pass"]: r[metric] for r in theirs}
    return [r[metric] / by_pass[r["pass"]] for r in ours if r["pass"] in by_pass]


def number(v):
    return "-" if v is None else f"{v:,.0f}" if abs(v) >= 100 else f"{v:.2f}"


def table(title, head, rows):
    widths = [max(len(str(r[i])) for r in [head, *rows]) for i in range(len(head))]
    print(f"\n{title}")
    for r in [head, *rows]:
        print("  ".join(str(c).ljust(w) if i == 0 else str(c).rjust(w) for i, (c, w) in enumerate(zip(r, widths))))


def report(o, names, data, sizes):
    def med(test, target, metric):
        v = [r[metric] for r in data[test].get(target, []) if metric in r]
        return statistics.median(v) if v else None

    headline = {test: next(iter(next(iter(d.values()))[0])) for test, d in data.items() if d}
    table(f"Median of {o.reps}", ["test"] + names, [[f"{t} [{m}]"] + [number(med(t, n, m)) for n in names] for t, m in headline.items()])
    ratios, summary = [], {}
    for base in ("forwarder", "pgbouncer", "direct"):
        if base not in names:
            continue
        rows = []
        for t, m in headline.items():
            if base not in data[t]:
                continue
            line = [t]
            for n in names:
                pairs = paired(data[t].get(n, []), data[t][base], m)
                if n == base or not pairs:
                    line.append("-")
                    continue
                low, high = interval(pairs)
                line.append(f"{statistics.median(pairs):.3f} ({low:.2f}-{high:.2f})")
                summary.setdefault(t, {}).setdefault(n, {})[f"to_{base}"] = [statistics.median(pairs), low, high]
            rows.append(line)
        ratios.append((base, rows))
    for base, rows in ratios[:2 if "pgbouncer" in names else 1]:
        table(f"Ratio to {base}: median of pairs (95 % interval)", ["test"] + names, rows)
    for metric in ("cpu_s_per_100k", "cpu_s_per_1m_rows"):
        rows = [[t] + [number(med(t, n, metric)) for n in names] for t in data if any(med(t, n, metric) is not None for n in names)]
        if rows:
            table(f"CPU of the proxy's process [{metric}]", ["test"] + names, rows)
    for kind in ("text", "binary"):
        if f"handled {kind}" in data and f"read {kind}" in data:
            pairs = paired(data[f"handled {kind}"].get("restricted", []), data[f"read {kind}"].get("restricted", []), "rows_per_s")
            if pairs:
                low, high = interval(pairs)
                sizes[f"handled_to_passing_{kind}"] = statistics.median(pairs)
                print(f"\nTwo handled columns of ten, {kind}: {statistics.median(pairs):.3f} of the passing rate ({low:.2f}-{high:.2f})")
    if sizes:
        table("Sizes and times", ["what", "value"], [[k, number(v)] for k, v in sizes.items()])
    return summary


def busy():
    def snap():
        v = list(map(int, open("/proc/stat").readline().split()[1:9]))
        return sum(v), v[3] + v[4]
    a = snap()
    time.sleep(1)
    b = snap()
    return 1 - (b[1] - a[1]) / max(1, b[0] - a[0])


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--quick", action="store_true", help="3 short passes, 100,000 rows, 100 idle connections")
    p.add_argument("--reps", type=int, default=9)
    p.add_argument("--duration", type=int, default=3, help="seconds of each pgbench run")
    p.add_argument("--rows", type=int, default=1_000_000)
    p.add_argument("--idle", type=int, default=1000)
    p.add_argument("--scale", type=int, default=10)
    p.add_argument("--bulk-seconds", type=float, default=1.5)
    p.add_argument("--only", type=lambda s: set(s.split(",")), default=set(), help="select, tpcb, tls, bulk, handled, idle")
    p.add_argument("--targets", type=lambda s: set(s.split(",")), default=set(), help="direct, forwarder, pgbouncer, ringfence, restricted")
    p.add_argument("--json", metavar="FILE")
    o = p.parse_args()
    if o.quick:
        o.reps, o.duration, o.rows, o.idle, o.scale, o.bulk_seconds = min(o.reps, 3), 1, 100_000, 100, 1, 0.3
    load = busy()
    if load > 0.1:
        print(f"WARNING: {load:.0%} of the CPU is in use by others; these are no numbers to publish", file=sys.stderr)
    ways = Ways(o)
    try:
        blob, part = [], bytearray()
        if not o.only or "bulk" in o.only:
            w = ways.targets[0].wire()
            for kind, body in w.send(query("COPY wide TO STDOUT")).until(b"Z"):
                if kind == b"d":
                    part += msg(b"d", body)
                    if len(part) > 60_000:
                        blob.append(bytes(part))
                        part.clear()
            blob.append(bytes(part))
            w.close()
        todo = tests(o, blob)
        data, errors = {name: {} for name, *_ in todo}, {}
        total, k = o.reps * sum(len([t for t in ways.targets if not only or t.name in only]) for _, _, only, _ in todo), 0
        for rep in range(o.reps):
            order = ways.targets[rep % len(ways.targets):] + ways.targets[:rep % len(ways.targets)]
            for name, _, only, f in todo:
                for t in order:
                    if only and t.name not in only:
                        continue
                    k += 1
                    try:
                        r = f(t)
                    except Exception as e:
                        errors[f"{name}, {t.name}"] = f"{type(e).__name__}: {e}"[:300]
                        continue
                    data[name].setdefault(t.name, []).append(r | {"pass": rep})
                    print(f"\r[{k}/{total}] {name:26} {t.name:12} {number(next(iter(r.values()))):>12}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        sizes = idle(ways, o) if not o.only or "idle" in o.only else {}
        summary = report(o, [t.name for t in ways.targets], {k: v for k, v in data.items() if v}, sizes)
        for what, error in errors.items():
            print(f"FAILED {what}: {error}")
        print(f"\nCPU in use by others before the start: {load:.0%}")
        if o.json:
            pathlib.Path(o.json).write_text(json.dumps({"options": {k: str(v) for k, v in vars(o).items()}, "busy_before": load, "cpus": os.cpu_count(),
                                                        "runs": data, "ratios": summary, "sizes": sizes, "errors": errors}, indent=1))
        sys.exit(1 if errors else 0)
    finally:
        ways.close()


if __name__ == "__main__":
    main()
