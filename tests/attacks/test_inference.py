"""Runs inference.yaml: scripts that reconstruct a value from answers. On bare PostgreSQL each recovers it; through the
firewall no answer may depend on the guess."""

import pathlib
import re
import time

import pytest
import yaml

from harness import ROOT, Firewall
from pgwire import row

HERE = pathlib.Path(__file__).parent
CASES = yaml.safe_load((HERE / "inference.yaml").read_text())
MODES = ["simple", "text", "binary"]
DIGITS = "0123456789"
ALPHABETS = {"card": DIGITS, "hash": "$./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "email": ".0123456789@abcdefghijklmnopqrstuvwxyz"}
DATABASE = "inference"
LABELS = """
  public.payments: { card: pci }
  public.ordered: { card: pci }
  public.vault: { card: pci }
  public.accounts: { card: pci }
"""


class Stage:
    def __init__(self, cluster):
        self.cluster = cluster
        cluster.bank(DATABASE, users=300, transactions=100)
        # A number whose digits are not all at the ends of the alphabet, so that answers flip between two guesses.
        card = "4012888731595167"
        cluster.psql(DATABASE, f"UPDATE users SET credit_card = '{card}' WHERE id = 7")
        cluster.file(DATABASE, HERE / "setup_inference.sql", card=card)
        self.root = cluster.wire(DATABASE, "postgres")
        row = self.root.simple("SELECT credit_card, password_hash, email FROM users WHERE id = 7").ok().rows[0]
        self.secrets = dict(zip(("card", "hash", "email"), (v.decode() for v in row)))
        text = (ROOT / "classification.yaml").read_text().replace("  public.transactions: {}\n", "  public.transactions: {}" + LABELS)
        self.wall = Firewall(cluster, text, database=DATABASE)

    def reset(self, case):
        if "reset" in case:
            self.root.simple(case["reset"]).ok()


@pytest.fixture(scope="module")
def stage(scene):
    s = Stage(scene.cluster)
    yield s
    s.wall.remove()


class Oracle:
    """Asks one connection one case's questions."""

    def __init__(self, stage, case, wire, mode):
        self.stage, self.case, self.wire, self.mode = stage, case, wire, mode
        self.secret = stage.secrets[case.get("secret", "card")]
        self.alphabet = sorted(ALPHABETS[case.get("secret", "card")])
        if case.get("kind") == "order":
            # One behind the last: nothing is above it, so that the last character has a flip, too.
            self.alphabet.append({"card": ":", "hash": "{", "email": "{"}[case.get("secret", "card")])
        for sql in case.get("before", []):
            self.ask(sql, "")

    def ask(self, sql, guess):
        quoted = guess.replace("'", "''")
        if self.mode == "parameter":
            return self.wire.extended(sql, [guess])
        if "{g}" in sql:
            sql = sql.replace("{{", "{").replace("}}", "}").replace("{g}", quoted)
        return self.wire.ask(sql, self.mode)

    def answer(self, guess):
        """Everything that comes back, less the guess itself and what is random; or whether it took long."""
        texts = self.case["sql"] if isinstance(self.case["sql"], list) else [self.case["sql"]]
        start, out = time.monotonic(), []
        for sql in texts:
            for kind, body in self.ask(sql, guess).messages:
                out.append((kind, self.without(kind, body, guess.encode())))
        took = time.monotonic() - start
        self.stage.reset(self.case)
        return took > self.case["slow"] * 0.6 if "slow" in self.case else out

    def without(self, kind, body, guess):
        """A message less the guess, where it is quoted back or shown; a short one could be anything else, too."""
        if kind == b"D" and self.case.get("shows"):
            masked = b"*" * (len(guess) - 4) + guess[-4:]
            body = b"\0".join(b"?" if v in (guess, masked) else repr(v).encode() for v in row(body))
        elif len(guess) >= 6 or kind == b"S":
            body = body.replace(guess, b"?")
        elif kind in (b"E", b"N", b"D"):
            body = re.sub(rb"([\"'(:~^])" + re.escape(guess) + rb"(?=[\"')%])", rb"\1?", body)
        return re.sub(rb"rf1_[\w-]+", lambda m: b"rf1 %d" % len(m[0]), body)

    def guesses(self, known, at):
        """Each character at this place, behind what is known; a whole value has the last one in question."""
        if self.case.get("kind") == "whole":
            return [self.secret[:-1] + c for c in self.alphabet]
        return [known + c for c in self.alphabet]

    def next(self, known, at):
        """The character that the answers tell, or None."""
        answers = [self.answer(g) for g in self.guesses(known, at)]
        if all(a == answers[0] for a in answers):
            return None
        if self.case.get("kind") == "order":
            # The answers to what is above everything, from the end on.
            first = next(i for i, _ in enumerate(answers) if all(a == answers[-1] for a in answers[i:]))
            return self.alphabet[first - 1]
        odd = [i for i, a in enumerate(answers) if sum(a == b for b in answers) == 1]
        return self.alphabet[odd[0]] if len(odd) == 1 else "?"


def modes(case):
    return case.get("modes", MODES)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["id"])
def test_reconstructs_on_bare_postgres(stage, case):
    for mode in modes(case):
        with stage.cluster.wire(DATABASE) as wire:
            oracle = Oracle(stage, case, wire, mode)
            if case.get("kind") == "whole":
                assert oracle.next("", 0) == oracle.secret[-1], f"{mode}: the last character was not told"
                continue
            known, length = "", len(oracle.secret)
            if "slow" in case or case.get("secret") == "hash":
                length = 2          # enough to show that it goes on
            if case.get("secret") == "email":
                length = 4
            if case.get("shows"):
                length -= 1         # where guess and value are equal, it does not show which of them was shown; the check digit tells
            while len(known) < length:
                told = oracle.next(known, len(known))
                assert told == oracle.secret[len(known)], f"{mode}: {known!r} and then {told!r}"
                known += told


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["id"])
def test_recovers_no_character(stage, case):
    for client in ["analyst"] if case.get("secret") == "email" else ["users-api", "analyst"]:
        for mode in modes(case):
            with stage.wall.wire(client) as wire:
                oracle = Oracle(stage, case, wire, mode)
                last = len(oracle.secret) - 1
                for at in {last} if case.get("kind") == "whole" else {0} if "slow" in case else {0, 1, last // 2, last}:
                    told = oracle.next(oracle.secret[:at], at)
                    assert told is None, f"{client}, {mode}: the answers tell character {at} apart ({told!r})"
                wire.simple("ROLLBACK")
                assert wire.simple("SELECT 40 + 2").ok().rows == [[b"42"]], "the session did not go on"
