"""A PostgreSQL client by hand: it sends whatever a test wants and keeps every byte that came back."""

import base64
import hashlib
import hmac
import secrets
import socket
import ssl
import struct

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
GSS_REQUEST = struct.pack("!ii", 8, 80877104)


def msg(tag, body=b""):
    return tag + struct.pack("!i", len(body) + 4) + body


def cstr(text):
    return (text if isinstance(text, bytes) else text.encode()) + b"\0"


def startup(parameters, major=3, minor=0):
    body = struct.pack("!hh", major, minor) + b"".join(cstr(k) + cstr(v) for k, v in parameters) + b"\0"
    return struct.pack("!i", len(body) + 4) + body


def query(sql):
    return msg(b"Q", cstr(sql))


def parse(sql, name="", types=()):
    return msg(b"P", cstr(name) + cstr(sql) + struct.pack("!h", len(types)) + b"".join(struct.pack("!I", t) for t in types))


def bind(parameters=(), portal="", statement="", formats=(), results=()):
    body = cstr(portal) + cstr(statement) + struct.pack(f"!h{len(formats)}h", len(formats), *formats)
    body += struct.pack("!h", len(parameters))
    for p in parameters:
        if p is None:
            body += struct.pack("!i", -1)
        else:
            p = p if isinstance(p, bytes) else str(p).encode()
            body += struct.pack("!i", len(p)) + p
    return msg(b"B", body + struct.pack(f"!h{len(results)}h", len(results), *results))


def describe(kind="P", name=""):
    return msg(b"D", kind.encode() + cstr(name))


def execute(portal="", rows=0):
    return msg(b"E", cstr(portal) + struct.pack("!i", rows))


def close(kind="S", name=""):
    return msg(b"C", kind.encode() + cstr(name))


SYNC, FLUSH, TERMINATE = msg(b"S"), msg(b"H"), msg(b"X")


def fields(body):
    """ErrorResponse or NoticeResponse to a dict."""
    return {f[:1].decode(): f[1:].decode(errors="replace") for f in body.split(b"\0") if f}


def row(body):
    """DataRow to a list of bytes or None."""
    (n,), at, out = struct.unpack("!H", body[:2]), 2, []
    for _ in range(n):
        (size,) = struct.unpack("!i", body[at:at + 4])
        at += 4
        if size < 0:
            out.append(None)
        else:
            out.append(body[at:at + size])
            at += size
    assert at == len(body), "DataRow with a tail"
    return out


def columns(body):
    """RowDescription to a list of dicts."""
    (n,), at, out = struct.unpack("!H", body[:2]), 2, []
    for _ in range(n):
        end = body.index(b"\0", at)
        table, attnum, type_oid, size, typmod, fmt = struct.unpack("!IhIhih", body[end + 1:end + 19])
        out.append(dict(name=body[at:end].decode(), table=table, attnum=attnum, type=type_oid, size=size, typmod=typmod, format=fmt))
        at = end + 19
    return out


class Closed(Exception):
    """The other side closed the connection."""


class Failed(Exception):
    """An ErrorResponse where none was expected."""

    def __init__(self, diagnostic):
        super().__init__(f"{diagnostic.get('C')}: {diagnostic.get('M')}")
        self.diagnostic = diagnostic
        self.sqlstate = diagnostic.get("C")


class Answer:
    """The messages up to a ReadyForQuery."""

    def __init__(self, messages):
        self.messages = messages
        self.kinds = "".join(k.decode("latin1") for k, _ in messages)
        self.rows = [row(b) for k, b in messages if k == b"D"]
        self.errors = [fields(b) for k, b in messages if k == b"E"]
        self.notices = [fields(b) for k, b in messages if k == b"N"]
        self.tags = [b[:-1].decode() for k, b in messages if k == b"C"]
        self.columns = next((columns(b) for k, b in messages if k == b"T"), None)
        self.status = messages[-1][1].decode() if messages and messages[-1][0] == b"Z" else None

    @property
    def error(self):
        return self.errors[0] if self.errors else None

    def ok(self):
        if self.errors:
            raise Failed(self.errors[0])
        return self


class Wire:
    def __init__(self, host, port, timeout=20):
        self.sock = socket.create_connection((host, port), timeout=timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.log = bytearray()      # every byte received, after TLS
        self.parameters = {}
        self.key = None
        self.channel_binding = None
        self.negotiated = None

    # --- getting in ---

    def tls(self, direct=False, context=None, alpn=None):
        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if direct or alpn:
            context.set_alpn_protocols([alpn or "postgresql"])
        if not direct:
            self.sock.sendall(SSL_REQUEST)
            answer = self.sock.recv(1)
            if answer != b"S":
                raise Failed({"C": "tls", "M": f"TLS refused: {answer!r}"})
        self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        return self

    def login(self, user, password, database="bank", minor=0, **options):
        self.send(startup([("user", user), ("database", database), *options.items()], minor=minor))
        self.authenticate(password)
        answer = Answer(self.until(b"ZE"))
        if answer.errors:
            raise Failed(answer.errors[0])
        return answer

    def authenticate(self, password):
        """Answers the server's requests until AuthenticationOk."""
        first = expected = None
        while True:
            kind, body = self.read()
            if kind == b"E":
                raise Failed(fields(body))
            if kind == b"v":
                self.negotiated = body
                continue
            if kind in (b"N", b"S"):
                continue
            assert kind == b"R", kind
            (code,) = struct.unpack("!i", body[:4])
            if code == 0:
                return
            if code == 3:
                self.send(msg(b"p", cstr(password)))
            elif code == 10:
                self.mechanisms = [m.decode() for m in body[4:].split(b"\0") if m]
                nonce = base64.b64encode(secrets.token_bytes(18)).decode()
                first = f"n=,r={nonce}"
                text = ("n,," + first).encode()
                self.send(msg(b"p", cstr("SCRAM-SHA-256") + struct.pack("!i", len(text)) + text))
            elif code == 11:
                server = body[4:].decode()
                a = dict(x.split("=", 1) for x in server.split(","))
                salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(a["s"]), int(a["i"]))
                client = hmac.digest(salted, b"Client Key", "sha256")
                bare = f"c=biws,r={a['r']}"
                signed = f"{first},{server},{bare}".encode()
                proof = bytes(x ^ y for x, y in zip(client, hmac.digest(hashlib.sha256(client).digest(), signed, "sha256")))
                expected = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
                self.send(msg(b"p", f"{bare},p={base64.b64encode(proof).decode()}".encode()))
            elif code == 12:
                assert base64.b64decode(body[4:].decode()[2:]) == expected, "the server did not prove itself"
            else:
                raise Failed({"C": "auth", "M": f"authentication method {code}"})

    # --- bytes and messages ---

    def send(self, data):
        self.sock.sendall(data)
        return self

    def need(self, n):
        while len(self.buffer) < n:
            try:
                data = self.sock.recv(65536)
            except (ConnectionError, ssl.SSLError) as e:
                raise Closed(str(e)) from None
            if not data:
                raise Closed()
            self.log += data
            self.buffer += data

    def read(self):
        self.need(5)
        kind, (size,) = self.buffer[:1], struct.unpack("!i", self.buffer[1:5])
        assert size >= 4, f"message {kind!r} of length {size}"
        self.need(size + 1)
        body, self.buffer = self.buffer[5:size + 1], self.buffer[size + 1:]
        if kind == b"S":
            name, value = body.split(b"\0")[:2]
            self.parameters[name.decode()] = value.decode()
        elif kind == b"K":
            self.key = body
        return kind, body

    def until(self, kinds):
        out = []
        while True:
            m = self.read()
            out.append(m)
            if m[0] in [bytes([k]) for k in kinds]:
                return out

    def until_ready(self):
        return Answer(self.until(b"Z"))

    def read_rest(self):
        """Everything until the other side closes."""
        out = []
        try:
            while True:
                out.append(self.read())
        except Closed:
            return out

    def silent(self, seconds):
        """True if nothing arrives for so long."""
        if self.buffer:
            return False
        before = self.sock.gettimeout()
        self.sock.settimeout(seconds)
        try:
            data = self.sock.recv(65536)
        except (socket.timeout, TimeoutError, ssl.SSLWantReadError):
            return True
        finally:
            self.sock.settimeout(before)
        self.log += data
        self.buffer += data
        return False

    # --- asking ---

    def simple(self, sql):
        return self.send(query(sql)).until_ready()

    def extended(self, sql, parameters=(), types=(), formats=(), results=()):
        self.send(parse(sql, types=types) + bind(parameters, formats=formats, results=results) + describe() + execute() + SYNC)
        return self.until_ready()

    def ask(self, sql, mode):
        """mode: simple, text or binary (the extended protocol with that result format)."""
        if mode == "simple":
            return self.simple(sql)
        return self.extended(sql, results=(1,) if mode == "binary" else ())

    def close(self):
        try:
            self.sock.sendall(TERMINATE)
        except OSError:
            pass
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
