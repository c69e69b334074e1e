"""Random values for protected columns, and the search for them, whole or in part, in what a client received.

A canary is made of letters that hardly occur otherwise, so that one fast expression finds whatever may be a piece of
one; only then it is looked up which."""

import base64
import itertools
import re
import struct

LETTERS = "jkqvwxzJKQVWXZ"
PIECE = 6        # this many characters of a canary in a row are a leak


class Canaries:
    def __init__(self, rng):
        self.rng = rng
        self.texts, self.numbers = [], []
        self.pieces = {}

    def text(self):
        # No letter beside itself, in either case: what is counted or sorted looks like that.
        value = self.rng.choice(LETTERS)
        while len(value) < 24:
            letter = self.rng.choice(LETTERS)
            value += letter if letter.lower() != value[-1].lower() else ""
        self.texts.append(value)
        return value

    def number(self):
        value = self.rng.randrange(10**15, 9 * 10**15)
        self.numbers.append(value)
        return value

    def ready(self):
        """Prepares the search, once all are made."""
        for value in self.texts:
            for form in (value, value[::-1], value.lower(), value.lower()[::-1], value.upper(), value.upper()[::-1]):
                raw = form.encode()
                for at in range(len(raw) - PIECE + 1):
                    piece = raw[at:at + PIECE]
                    self.pieces.setdefault(piece, value)
                    self.pieces.setdefault(piece.hex().encode(), value)
            for form in (value, value[::-1]):
                for shift in range(3):
                    # Whole groups of base64, whatever stands before.
                    coded = base64.b64encode(b"\0" * shift + form.encode())[4 if shift else 0:]
                    for at in range(len(coded) - 8):
                        self.pieces.setdefault(coded[at:at + 8], value)
        for number in self.numbers:
            digits = str(number).encode()
            for form in (digits, digits[::-1]):
                for at in range(len(form) - 9):
                    self.pieces.setdefault(form[at:at + 10], str(number))
            self.pieces.setdefault(b"%x" % number, str(number))
        letters = LETTERS.encode() + LETTERS.swapcase().encode()
        codes = b"|".join(b"%x" % c for c in sorted(set(letters)))
        self.runs = re.compile(b"[" + letters + b"]{%d,}|(?:" % PIECE + codes + b"){%d,}|[0-9]{10,}|[0-9a-f]{12,14}" % PIECE)
        self.binary = re.compile(b"|".join(re.escape(struct.pack("!q", n)) for n in self.numbers))
        self.base64 = re.compile(rb"[A-Za-z0-9+/]{8,}")
        self.tokens = re.compile(rb"(?:rf1_|tok_)[A-Za-z0-9_-]+")
        return self

    def find(self, data):
        """The canary that a part of these bytes belongs to, or None."""
        data = self.tokens.sub(b" ", data)
        for run in self.runs.finditer(data):
            if hit := self.look(run[0]):
                return hit
        if hit := self.binary.search(data):
            return str(struct.unpack("!q", hit[0])[0])
        for run in self.base64.finditer(data):
            if hit := self.look(run[0], (8,)):
                return hit
        return None

    def look(self, run, sizes=(PIECE, 2 * PIECE, 10, 14, 13)):
        if run.isdigit():
            sizes = (10,)       # small numbers side by side look like anything in hexadecimal
        for size in sizes:
            for at in range(len(run) - size + 1):
                if hit := self.pieces.get(run[at:at + size]):
                    return hit
        return None

    def find_in_rows(self, rows):
        """The same for values that come in small parts: one character a row or column, or as codes."""
        if not rows or not rows[0]:
            return None
        for values in (itertools.chain.from_iterable(rows), itertools.chain.from_iterable(zip(*rows))):
            short = [v for v in values if v and len(v) <= PIECE]
            if len(short) < PIECE // 2:
                continue
            if hit := self.find(b"".join(short)):
                return hit
            codes = bytes(int(v) for v in short if v.isdigit() and 32 <= int(v) < 127)
            if len(codes) >= PIECE and (hit := self.find(codes)):
                return hit
        return None
