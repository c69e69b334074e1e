"""What every black-box test stands on: a throwaway PostgreSQL with the sample bank, `ringfence serve` before it, and
tokens issued as an operator would, through rfctl. Servers never run as root."""

import atexit
import functools
import itertools
import json
import os
import pathlib
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

from pgwire import Wire

ROOT = pathlib.Path(__file__).resolve().parent.parent
FULL = bool(os.environ.get("RINGFENCE_TEST_FULL"))
BIN = pathlib.Path(os.environ.get("RINGFENCE_BIN_DIR", ROOT / "target" / "debug"))
USERS, TRANSACTIONS = 1000, 20000


def account():
    """The account that servers run as, or None for our own."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            pass
    raise RuntimeError("no unprivileged account")


def give(path):
    """Hands a file or directory (with what is in it) to that account."""
    if a := account():
        shutil.chown(path, a.pw_uid, a.pw_gid)
        if os.path.isdir(path):
            for inner in os.listdir(path):
                give(os.path.join(path, inner))
    return path


def dropped():
    """Arguments for subprocess that drop root."""
    a = account()
    return dict(user=a.pw_uid, group=a.pw_gid, extra_groups=[]) if a else {}


# Below those that the kernel gives to outgoing connections (32768), which would take one between two uses.
ports = itertools.count(22000 + (os.getpid() * 41) % 9000)


def free_port():
    for port in ports:
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


@functools.cache
def pgbin():
    found = shutil.which("initdb")
    if found:
        found = pathlib.Path(os.path.realpath(found)).parent
        if (found / "postgres").exists():
            return found
    dirs = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda d: float(d.parent.name))
    assert dirs, "PostgreSQL is not installed: scripts/test installs it"
    return dirs[-1]


@functools.cache
def shared_binaries():
    """Copies of our binaries where the servers' account can read them."""
    where = pathlib.Path(tempfile.mkdtemp(prefix="ringfence-bin-"))
    os.chmod(where, 0o755)
    for name in ("ringfence", "rfctl"):
        assert (BIN / name).exists(), f"{BIN / name} is missing: build the workspace first (scripts/test does)"
        shutil.copy(BIN / name, where / name)
        os.chmod(where / name, 0o755)
    atexit.register(shutil.rmtree, where, ignore_errors=True)
    return where


def binary(name):
    return str(shared_binaries() / name)


def clean_env(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "RINGFENCE_", "RFCTL_"))}
    env.update(more)
    return env


def workdir():
    """A directory of the servers' account; it goes when the run ends, if not before."""
    d = pathlib.Path(tempfile.mkdtemp(prefix="ringfence-test-"))
    os.chmod(d, 0o755)
    give(d)
    atexit.register(shutil.rmtree, d, ignore_errors=True)
    return d


def wait_for(condition, seconds=20, what="condition", every=0.02):
    """Polls until the condition is true; returns how long that took."""
    start = time.monotonic()
    while True:
        if condition():
            return time.monotonic() - start
        assert time.monotonic() - start < seconds, f"{what}: not within {seconds} s"
        time.sleep(every)


# --- PostgreSQL ------------------------------------------------------------------------------------------------------

class Cluster:
    """A throwaway PostgreSQL: superuser `postgres`, the application's login `bank_app`, the control login."""

    def __init__(self, **settings):
        self.dir = workdir()
        self.data = self.dir / "pg"
        self.port = free_port()
        self.password = secrets.token_urlsafe(16)
        self.app_password = secrets.token_urlsafe(16)
        self.control_password = secrets.token_urlsafe(16)
        pw = self.dir / "pw"
        pw.write_text(self.password)
        give(pw)
        self.run("initdb", "-D", self.data, "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={pw}", "--encoding=UTF8",
                 "--locale=C.UTF-8", "--no-sync")
        pw.unlink()
        settings = dict(listen_addresses="127.0.0.1", port=self.port, unix_socket_directories=str(self.dir), max_connections=300,
                        shared_buffers="128MB", fsync="off", synchronous_commit="off", full_page_writes="off", timezone="UTC",
                        max_prepared_transactions=5, wal_level="logical", max_wal_size="2GB") | settings
        with open(self.data / "postgresql.conf", "a") as f:
            f.writelines(f"{k} = '{v}'\n" for k, v in settings.items())
        with open(self.data / "pg_hba.conf", "a") as f:
            f.write("host replication all 127.0.0.1/32 scram-sha-256\n")
        self.start()
        self.psql("postgres", f"""
            CREATE ROLE bank_app LOGIN PASSWORD '{self.app_password}';
            CREATE ROLE ringfence_control LOGIN PASSWORD '{self.control_password}';
            GRANT CREATE ON DATABASE postgres TO ringfence_control""")

    def run(self, program, *args, check=True):
        r = subprocess.run([str(pgbin() / program), *map(str, args)], cwd=self.dir, env=clean_env(HOME=str(self.dir)), text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **dropped())
        assert not check or r.returncode == 0, f"{program}: {r.stdout}"
        return r

    def start(self):
        # The server keeps the log file; a pipe would never see its end.
        with open(self.dir / "start.log", "w") as out:
            r = subprocess.run([str(pgbin() / "pg_ctl"), "-D", str(self.data), "-l", str(self.dir / "postgres.log"), "-w", "-s", "start"],
                               cwd=self.dir, env=clean_env(HOME=str(self.dir)), stdout=out, stderr=out, **dropped())
        if r.returncode:
            log = self.dir / "postgres.log"
            raise RuntimeError(log.read_text() if log.exists() else (self.dir / "start.log").read_text())

    def stop(self, mode="fast"):
        self.run("pg_ctl", "-D", self.data, "-m", mode, "-w", "-s", "stop", check=False)

    def remove(self):
        self.stop("immediate")
        shutil.rmtree(self.dir, ignore_errors=True)

    def url(self, database="", user="bank_app", password=None, sslmode="disable"):
        password = password or {"bank_app": self.app_password, "postgres": self.password, "ringfence_control": self.control_password}[user]
        return f"postgresql://{user}:{urllib.parse.quote(password, safe='')}@127.0.0.1:{self.port}/{database}?sslmode={sslmode}"

    def psql(self, database, sql, user="postgres", args=(), **variables):
        """Runs SQL directly, returns psql's output without decoration."""
        cmd = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", *(x for k, v in variables.items() for x in ("-v", f"{k}={v}")), *args,
               "-d", self.url(database, user)]
        r = subprocess.run(cmd, input=sql, env=clean_env(), text=True, capture_output=True)
        assert r.returncode == 0, f"psql: {r.stderr}\n{sql[:2000]}"
        return r.stdout.rstrip("\n")

    def file(self, database, path, **variables):
        return self.psql(database, path.read_text(), **variables)

    def wire(self, database="bank", user="bank_app", **options):
        """A connection by hand, past the firewall."""
        w = Wire("127.0.0.1", self.port)
        w.login(user, {"bank_app": self.app_password, "postgres": self.password}[user], database, **options)
        return w

    def bank(self, name="bank", users=USERS, transactions=TRANSACTIONS):
        """Creates a database with the sample bank in it."""
        self.psql("postgres", f"CREATE DATABASE {name}")
        for path in sorted((ROOT / "migrations" / "bank").glob("*.sql")):
            self.file(name, path, app="bank_app")
        self.file(name, ROOT / "scripts/bank/users.sql", **{"from": 0, "to": users})
        self.file(name, ROOT / "scripts/bank/transactions.sql", **{"from": 0, "to": transactions, "users": users})
        self.file(name, ROOT / "scripts/bank/finish.sql")
        return name


# --- the firewall ----------------------------------------------------------------------------------------------------

class Firewall:
    """One `ringfence serve`, with everything it needs in a directory of its own."""

    def __init__(self, cluster, classification=None, upstream_user="bank_app", upstream=None, control=None, tls=True, plaintext=True,
                 args=(), env=None, audit="file", wait=True, preexec_fn=None, database="bank", **flags):
        self.cluster, self.database = cluster, database
        self.dir = workdir()
        self.port, self.admin_port = free_port(), free_port()
        self.root_token = secrets.token_urlsafe(36)
        self.classification = self.dir / "classification.yaml"
        self.classification.write_text(classification if classification is not None else (ROOT / "classification.yaml").read_text())
        self.root_token_file = self.secret("root_token", self.root_token + "\n")
        self.key_file = self.dir / "key"
        if not self.key_file.exists():
            subprocess.run([binary("ringfence"), "keygen", str(self.key_file)], check=True, env=clean_env())
            give(self.key_file)
        self.audit = self.dir / "audit.jsonl"
        self.log_path = self.dir / "ringfence.log"
        self.tls_dir = self.dir / "tls"
        self.tls_dir.mkdir(exist_ok=True)
        give(self.tls_dir)
        give(self.classification)
        self.env = clean_env(RINGFENCE_UPSTREAM=upstream or cluster.url(user=upstream_user),
                             RINGFENCE_CONTROL=control or cluster.url("postgres", "ringfence_control"), **(env or {}))
        self.argv = [binary("ringfence"), "serve", "--listen", f"127.0.0.1:{self.port}", "--admin-listen", f"127.0.0.1:{self.admin_port}",
                     "--classification", str(self.classification), "--root-token-file", str(self.root_token_file),
                     "--key-file", str(self.key_file)]
        if audit == "file":
            self.argv += ["--audit", str(self.audit)]
        elif audit:
            self.argv += ["--audit", str(audit)]
        if tls:
            self.argv += ["--tls-self-signed", str(self.tls_dir)]
        if plaintext:
            self.argv += ["--allow-plaintext"]
        for k, v in flags.items():
            flag = "--" + k.replace("_", "-")
            self.argv += [flag] if v is True else [flag, str(v)]
        self.argv += list(args)
        self.tokens = {}
        self.preexec_fn = preexec_fn
        self.process = None
        self.start(wait)

    def secret(self, name, text):
        path = self.dir / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.touch(0o600)
        path.write_text(text)
        os.chmod(path, 0o600)
        give(path)
        return path

    def start(self, wait=True):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.argv, env=self.env, cwd=self.dir, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            preexec_fn=self.preexec_fn, **dropped())
        if wait:
            wait_for(self.is_ready_or_dead, 30, "readiness", 0.01)
            assert self.process.poll() is None, f"ringfence ended with {self.process.returncode}:\n{self.log()}"

    def is_ready_or_dead(self):
        return self.process.poll() is not None or self.http("/readyz")[0] == 200

    def log(self):
        return self.log_path.read_text(errors="replace")

    def http(self, path, token=None, method="GET", body=None):
        """(status, body) of the admin address; status 0 where it does not answer."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.admin_port}{path}", method=method,
                                         data=None if body is None else json.dumps(body).encode())
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        if body is not None:
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=10) as r:
                return r.status, r.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()
        except OSError:
            return 0, ""

    def metrics(self):
        status, text = self.http("/metrics")
        assert status == 200
        return text

    def metric(self, name, **labels):
        """The sum of a metric's samples that carry these labels."""
        total, found = 0.0, False
        for line in self.metrics().splitlines():
            m = re.match(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? ([-+.\w]+)", line)
            if m and m[1] == name and all(f'{k}="{v}"' in (m[2] or "") for k, v in labels.items()):
                total, found = total + float(m[3]), True
        assert found or not labels, f"no sample of {name} {labels}"
        return total

    def rfctl(self, *args, check=True):
        r = subprocess.run([binary("rfctl"), "--url", f"http://127.0.0.1:{self.admin_port}", "--token-file", str(self.root_token_file),
                            *args], env=clean_env(HOME=str(self.dir)), text=True, capture_output=True, cwd=self.dir)
        assert not check or r.returncode == 0, f"rfctl {' '.join(args)}: exit {r.returncode}\n{r.stdout}{r.stderr}"
        return r

    def issue(self, client, *args):
        """A new token: (login, token)."""
        token = self.rfctl("client", "token", client, "--format", "raw", *args).stdout.strip()
        m = re.fullmatch(r"rft_([^_]{8})_([A-Za-z0-9_-]{43})", token)
        assert m, f"odd token {token[:12]}…"
        return f"{client}~{m[1]}", token

    def token(self, client):
        """The one token of a client for the whole session."""
        if client not in self.tokens:
            self.tokens[client] = self.issue(client)
        return self.tokens[client]

    def url(self, client, database=None, sslmode="require", **more):
        login, token = self.token(client)
        options = "&".join(f"{k}={urllib.parse.quote(str(v))}" for k, v in {"sslmode": sslmode, **more}.items())
        return f"postgresql://{login}:{token}@127.0.0.1:{self.port}/{database or self.database}?{options}"

    def psql(self, client, *commands, args=(), database=None, sslmode="require", input=None, check=True):
        """psql as that client; returns its output, with errors in it."""
        cmd = ["psql", "-X", *args, *(x for c in commands for x in ("-c", c)), "-d", self.url(client, database, sslmode)]
        r = subprocess.run(cmd, env=clean_env(PGCONNECT_TIMEOUT="10"), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           input=input, timeout=120)
        assert not check or r.returncode == 0, r.stdout
        return r.stdout

    def wire(self, client, database=None, tls=False, minor=0, **options):
        w = Wire("127.0.0.1", self.port)
        if tls:
            w.tls()
        w.login(*self.token(client), database or self.database, minor=minor, **options)
        return w

    def audit_lines(self):
        return [json.loads(line) for line in self.audit.read_text().splitlines() if line.strip()]

    def reload(self, text, expect_change=True):
        """Replaces the classification and asks for a reload."""
        self.classification.write_text(text)
        self.process.send_signal(signal.SIGHUP)

    def stop(self, sig=signal.SIGTERM, seconds=15):
        if self.process and self.process.poll() is None:
            self.process.send_signal(sig)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"ringfence did not end within {seconds} s of signal {sig}")
        return self.process.returncode if self.process else None

    def remove(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()


def rss_kib(pid, field="VmRSS"):
    return int(re.search(rf"^{field}:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1])
