"""Every class of THREATS.md and every rule that keeps the promises true has its attacks."""

import collections

from conftest_attacks import CASES
import test_inference
import test_itself
import test_protocol_attacks
import test_time

RULES = {
    1: "a handling applies to an unmodified value only",
    2: "tokens that can be compared are shown only to those who may compare",
    3: "tokens open only in columns of their own label",
    4: "values that were handled are not written back",
    5: "set operations, USING, IS DISTINCT FROM, peers, MERGE ON and the like are filters",
    6: "constraints are filters",
    7: "stored predicates that compare with what a client controls are filters of its statement",
    8: "physical order answers: planner settings, ctid and tableoid",
    9: "the portal's description is the origin, not the statement's",
    10: "a column without origin is never plain by default",
    11: "a column is labelled by its name or by its recorded identity",
    12: "COPY is preceded by the description of the equivalent query",
    13: "an unknown relation gets a Parse and no Execute",
    14: "functions, operators and types are known by a reviewed list; shadows are what they shadow with",
    15: "plans are keyed by all that gives a text its meaning; names of statements and portals are one space",
    16: "settings that change how a text reads are not changed, and pipelining does not outrun their report",
    17: "diagnostics are rebuilt wherever a transaction reached protected columns",
    18: "notifications carry payloads only on channels that the policy lists",
    19: "DDL through the firewall, in whatever session, is known before the next statement is judged",
    20: "server and role control needs admin",
    21: "a trigger on an unprotected table does not refuse the write; its diagnostics are rebuilt",
}


def cases():
    """(class, rule) of every attack."""
    for case in CASES:
        yield case["class"], case.get("soundness")
    for case in test_inference.CASES:
        yield 3, case.get("soundness")
    for name, (_, class_, _, _) in test_protocol_attacks.ATTACKS.items():
        yield class_, test_protocol_attacks.SOUNDNESS.get(name)
    for _, _, _, rule in test_time.ATTACKS.values():
        yield 11, rule
    for test in vars(test_itself).values():
        if callable(test) and getattr(test, "__name__", "").startswith("test_"):
            yield 12, getattr(test, "rule", None)


def test_every_class_has_several():
    count = collections.Counter(class_ for class_, _ in cases())
    assert set(count) == set(range(1, 14))
    assert min(count.values()) >= 5, count
    assert sum(count.values()) >= 500, count


def test_every_rule_has_a_case():
    named = {rule for _, rule in cases() if rule}
    assert named == set(RULES), (set(RULES) - named, named - set(RULES))
