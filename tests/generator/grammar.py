"""Random statements over the generator's schema. A statement is a tree, so that a failing one can be made smaller.

Half of the statements mention nothing protected (`clean`): they must give what they give past the firewall. The others
do what they like."""

TABLES = {
    "people": dict(id="int", name="text", score="int", country="text", born="ts", balance="num",
                   mail="text!", card="text!", secret="text!", ssn="int!", tags="arr!", meta="json!"),
    "people_old": dict(id="int", name="text", score="int", country="text", born="ts", balance="num",
                       mail="text!", card="text!", secret="text!", ssn="int!", tags="arr!", meta="json!"),
    "orders": dict(id="int", person_id="int", amount="num", note="text", status="text", placed="ts"),
    "items": dict(id="int", order_id="int", sku="text", qty="int", price="num"),
    "countries": dict(code="text", title="text", zone="int"),
    "events": dict(id="int", kind="text", who="text!", n="int"),
    "events_a": dict(id="int", kind="text", who="text!", n="int"),
    "notes": dict(id="int", body="text", n="int"),
    "v_open": dict(id="int", name="text", score="int", country="text"),
    "v_totals": dict(person_id="int", total="num", n="int"),
    "mv_orders": dict(status="text", n="int", total="num"),
    "v_people": dict(id="int", name="text", score="int", mail="text!", card="text!", secret="text!"),
    "v_cards": dict(id="int", number="text!", mail="text!"),
    "v_made": dict(id="int", c="text!"),
}
OPEN = [t for t, columns in TABLES.items() if not any(c.endswith("!") for c in columns.values())]
WHOLE = ["people", "people_old", "orders", "items", "countries", "events", "notes", "v_people", "v_cards", "v_open", "v_made"]
KEYS = {"people": "id", "orders": "id", "items": "id", "countries": "code", "events": "id", "notes": "id", "v_open": "id"}
TYPES = {"int": "int4", "text": "text", "num": "numeric", "bool": "bool", "ts": "timestamp", "json": "jsonb", "arr": "text[]"}


class Node:
    """Parts of a statement: strings and nodes. `kind` says by what it may be replaced when the statement shrinks."""
    __slots__ = ("kind", "parts")

    def __init__(self, kind, *parts):
        self.kind, self.parts = kind, list(parts)

    def __str__(self):
        return "".join(map(str, self.parts))

    def nodes(self):
        for at, part in enumerate(self.parts):
            if isinstance(part, Node):
                yield self, at, part
                yield from part.nodes()


SIMPLE = {"int": "1", "text": "'x'", "num": "1.5", "bool": "true", "ts": "timestamp '2020-01-01'", "json": "'{}'::jsonb", "arr": "ARRAY['x']",
          "optional": "", "query": "SELECT 1"}


class Generator:
    def __init__(self, rng):
        self.rng = rng
        self.clean = rng.random() < 0.5
        # Of the others, half reach protected columns in results only: what is shown must be handled, not just refused.
        self.gentle = not self.clean and rng.random() < 0.5
        self.names = 0
        self.ctes = []
        self.depth = 0

    # --- choices ---

    def maybe(self, p):
        return self.rng.random() < p

    def pick(self, *choices):
        return self.rng.choice(choices)

    def name(self, prefix):
        self.names += 1
        return f"{prefix}{self.names}"

    def columns(self, scope, want=None):
        """(alias, column, type) of what may be named here."""
        out = []
        for alias, columns in scope:
            for column, t in columns.items():
                if t.endswith("!"):
                    if self.clean:
                        continue
                    t = t[:-1]
                if want is None or t == want:
                    out.append((alias, column, t))
        return out

    def column(self, scope, want):
        found = self.columns(scope, want)
        if not self.clean and self.maybe(0.5):
            protected = [(a, c, t[:-1]) for a, columns in scope for c, t in columns.items() if t.endswith("!") and t[:-1] == want]
            found = protected or found
        if not found:
            return None
        alias, column, _ = self.rng.choice(found)
        return Node(want, f"{alias}.{column}")

    # --- expressions ---

    def expr(self, t, scope, aggregate=False):
        self.depth += 1
        try:
            if self.depth > 6 or self.maybe(0.15 if t == "bool" else 0.42):
                return (None if self.maybe(0.15) else self.column(scope, t)) or self.literal(t)
            return getattr(self, t)(scope) or self.literal(t)
        finally:
            self.depth -= 1

    def literal(self, t):
        rng = self.rng
        if self.maybe(0.03):
            return Node(t, f"NULL::{TYPES[t]}")
        if t == "int":
            return Node(t, str(rng.choice([0, 1, 2, 3, 5, 7, 12, -1])))
        if t == "text":
            return Node(t, rng.choice(["'x'", "'name3'", "'c1'", "'new'", "''", "'a_b%'", "E'q\\n'", "$$d$$", "U&'\\0061'", "'it''s'"]))
        if t == "num":
            return Node(t, rng.choice(["1.5", "0.25", "10", "-3.75"]))
        if t == "bool":
            return Node(t, rng.choice(["true", "false"]))
        if t == "ts":
            return Node(t, rng.choice(["timestamp '2020-01-05'", "'2001-05-01 10:00'::timestamp"]))
        if t == "json":
            return Node(t, rng.choice(["'{\"a\": 1}'::jsonb", "'[1, 2]'::jsonb"]))
        return Node(t, rng.choice(["ARRAY['x', 'y']", "'{a,b}'::text[]"]))

    def int(self, s):
        e = self.expr
        return self.rng.choice([
            lambda: Node("int", "(", e("int", s), self.pick(" + ", " - ", " * "), e("int", s), ")"),
            lambda: Node("int", "length(", e("text", s), ")"),
            lambda: Node("int", "coalesce(", e("int", s), ", ", e("int", s), ")"),
            lambda: self.case("int", s),
            lambda: Node("int", "nullif(", e("int", s), ", ", e("int", s), ")"),
            lambda: Node("int", "ascii(", e("text", s), ")"),
            lambda: Node("int", "position(", e("text", s), " IN ", e("text", s), ")"),
            lambda: Node("int", "(extract(", self.pick("year", "month", "day"), " FROM ", e("ts", s), "))::int"),
            lambda: Node("int", self.pick("greatest(", "least("), e("int", s), ", ", e("int", s), ")"),
            lambda: Node("int", "cardinality(", e("arr", s), ")"),
            lambda: Node("int", "(", e("int", s), " % 7)"),
            lambda: Node("int", "abs(", e("int", s), ")"),
            lambda: Node("int", "f_twice((", e("int", s), ")::int)"),
            lambda: Node("int", "f_orders((", e("int", s), ")::int)::int"),
            lambda: Node("int", *(("(", e("text", s), ")::int") if self.maybe(0.2) else ("length(", e("text", s), ") * 2"))),
            lambda: self.scalar("int", s),
            lambda: self.scalar("int", s),
            lambda: Node("int", "1 / ", *(("(", e("int", s), ")") if self.maybe(0.2) else ("nullif(", e("int", s), ", 0)"))),
            lambda: Node("int", "octet_length(", e("text", s), ")"),
        ])()

    def text(self, s):
        e = self.expr
        choices = [
            lambda: Node("text", "(", e("text", s), " || ", e("text", s), ")"),
            lambda: Node("text", self.pick("upper(", "lower(", "reverse(", "initcap(", "btrim(", "quote_literal("), e("text", s), ")"),
            lambda: Node("text", "substr(", e("text", s), ", ", self.pick("1", "2", "n.n" if any(a == "n" for a, _ in s) else "3"), ", ", self.pick("1", "4", "9"), ")"),
            lambda: Node("text", self.pick("left(", "right("), e("text", s), ", ", self.pick("1", "7", "-2"), ")"),
            lambda: Node("text", "substring(", e("text", s), " FROM 2 FOR 8)"),
            lambda: Node("text", "replace(", e("text", s), ", ", e("text", s), ", ", e("text", s), ")"),
            lambda: Node("text", "split_part(", e("text", s), ", ' ', 1)"),
            lambda: Node("text", "format('%s-%s', ", e("text", s), ", ", e("int", s), ")"),
            lambda: Node("text", "concat(", e("text", s), ", ", e("int", s), ")"),
            lambda: Node("text", "concat_ws('/', ", e("text", s), ", ", e("text", s), ")"),
            lambda: Node("text", "(", e("int", s), ")::text"),
            lambda: Node("text", "CAST(", e("num", s), " AS varchar)"),
            lambda: Node("text", "encode(convert_to(", e("text", s), ", 'UTF8'), ", self.pick("'hex'", "'base64'", "'escape'"), ")"),
            lambda: Node("text", "coalesce(", e("text", s), ", ", e("text", s), ")"),
            lambda: self.case("text", s),
            lambda: Node("text", "nullif(", e("text", s), ", ", e("text", s), ")"),
            lambda: Node("text", self.pick("lpad(", "rpad("), e("text", s), ", 30, '*')"),
            lambda: Node("text", "translate(", e("text", s), ", 'ab', 'ba')"),
            lambda: Node("text", "repeat(", e("text", s), ", 2)"),
            lambda: Node("text", "(", e("json", s), " ->> 'a')"),
            lambda: Node("text", "array_to_string(", e("arr", s), ", ',')"),
            lambda: Node("text", "(", e("arr", s), ")[1]"),
            lambda: Node("text", "to_char(", e("ts", s), ", 'YYYY-MM')"),
            lambda: self.scalar("text", s),
            lambda: Node("text", "chr((abs(", e("int", s), ") % 90 + 33)::int)"),
            lambda: Node("text", "(", e("text", s), " COLLATE \"C\")"),
            lambda: Node("text", "regexp_replace(", e("text", s), ", 'a|b', '-')"),
        ]
        if not self.clean:
            choices += [lambda: self.whole(s)] * 4 + [
                lambda: Node("text", "f_card((", e("int", s), ")::int)"),
                lambda: Node("text", "md5(", e("text", s), ")"),
                lambda: Node("text", "(SELECT string_agg(", "w.card, '' ORDER BY w.id) FROM people w)"),
            ]
        return self.rng.choice(choices)()

    def whole(self, s):
        """A whole row, or a field of one."""
        found = [a for a, columns in s if columns.get("__row")]
        if not found:
            return None
        a = self.rng.choice(found)
        return Node("text", self.pick(f"{a}::text", f"row_to_json({a})::text", f"to_jsonb({a})::text", f"({a}).id::text", f"ROW({a}.*)::text",
                                      f"(to_jsonb({a}) ->> 'card')", f"({a}.*)::text", f"format('%s', {a})", f"jsonb_build_object('r', {a})::text"))

    def num(self, s):
        e = self.expr
        return self.rng.choice([
            lambda: Node("num", "(", e("num", s), self.pick(" + ", " - ", " * "), e("num", s), ")"),
            lambda: Node("num", "round(", e("num", s), ", 1)"),
            lambda: Node("num", "(", e("int", s), ")::numeric"),
            lambda: Node("num", "coalesce(", e("num", s), ", ", e("num", s), ")"),
            lambda: self.case("num", s),
            lambda: Node("num", "abs(", e("num", s), ")"),
            lambda: self.scalar("num", s),
        ])()

    def bool(self, s):
        e, q = self.expr, self.subquery
        return self.rng.choice([
            lambda: Node("bool", "(", e("int", s), self.pick(" = ", " <> ", " < ", " > ", " <= "), e("int", s), ")"),
            lambda: Node("bool", "(", e("text", s), self.pick(" = ", " <> ", " < ", " > "), e("text", s), ")"),
            lambda: Node("bool", "(", e("text", s), self.pick(" LIKE ", " ILIKE ", " ~ ", " NOT LIKE "), self.pick("'n%'", "'%a%'", "'x.'"), ")"),
            lambda: Node("bool", "(", e("num", s), self.pick(" >= ", " < "), e("num", s), ")"),
            lambda: Node("bool", "(", e("int", s), " IN (1, 2, ", e("int", s), "))"),
            lambda: Node("bool", "(", e("text", s), " IN ('new', ", e("text", s), "))"),
            lambda: Node("bool", "(", e("int", s), " IN (", q(["int"], s), "))"),
            lambda: Node("bool", "(", e("text", s), " = ANY (", e("arr", s), "))"),
            lambda: Node("bool", self.pick("EXISTS (", "NOT EXISTS ("), q(["int"], s), ")"),
            lambda: Node("bool", "(", e(self.pick("text", "int", "num"), s), self.pick(" IS NULL", " IS NOT NULL"), ")"),
            lambda: Node("bool", "(", e("int", s), " BETWEEN ", e("int", s), " AND ", e("int", s), ")"),
            lambda: Node("bool", "(", e("bool", s), self.pick(" AND ", " OR "), e("bool", s), ")"),
            lambda: Node("bool", "(NOT ", e("bool", s), ")"),
            lambda: Node("bool", "(", e("text", s), " IS DISTINCT FROM ", e("text", s), ")"),
            lambda: Node("bool", "((", e("int", s), ", ", e("text", s), ")", self.pick(" = ", " < "), "(", e("int", s), ", ", e("text", s), "))"),
            lambda: Node("bool", "(", e("ts", s), " > ", e("ts", s), ")"),
            lambda: Node("bool", "starts_with(", e("text", s), ", ", e("text", s), ")"),
        ])()

    def ts(self, s):
        e = self.expr
        return self.rng.choice([
            lambda: Node("ts", "date_trunc('month', ", e("ts", s), ")"),
            lambda: Node("ts", "(", e("ts", s), " + interval '1 day')"),
            lambda: Node("ts", "coalesce(", e("ts", s), ", ", e("ts", s), ")"),
            lambda: self.case("ts", s),
        ])()

    def json(self, s):
        e = self.expr
        return self.rng.choice([
            lambda: Node("json", "jsonb_build_object('a', ", e("text", s), ", 'b', ", e("int", s), ")"),
            lambda: Node("json", "to_jsonb(", e("text", s), ")"),
            lambda: Node("json", "jsonb_build_array(", e("int", s), ", ", e("text", s), ")"),
            lambda: Node("json", "(", e("json", s), " || ", e("json", s), ")"),
        ])()

    def arr(self, s):
        e = self.expr
        return self.rng.choice([
            lambda: Node("arr", "ARRAY[", e("text", s), ", ", e("text", s), "]"),
            lambda: Node("arr", "string_to_array(", e("text", s), ", ' ')"),
            lambda: Node("arr", "array_append(", e("arr", s), ", ", e("text", s), ")"),
            lambda: Node("arr", "ARRAY(", self.subquery(["text"], s, ordered=True), ")"),
        ])()

    def case(self, t, s):
        if self.maybe(0.3):
            return Node(t, "CASE ", self.expr("text", s), " WHEN ", self.expr("text", s), " THEN ", self.expr(t, s), " ELSE ", self.expr(t, s), " END")
        return Node(t, "CASE WHEN ", self.expr("bool", s), " THEN ", self.expr(t, s), " ELSE ", self.expr(t, s), " END")

    def scalar(self, t, s):
        """A subquery with one value."""
        inner, text, key = self.simple_from()
        how = self.pick("min", "max", "key")
        if t in ("int", "text", "num") and how != "key":
            return Node(t, f"(SELECT {how}(q.x) FROM (SELECT ", self.expr(t, inner + s), " AS x FROM ", text, self.where(inner + s), ") q)")
        return Node(t, "(SELECT ", self.expr(t, inner), " FROM ", text, f" WHERE {key} = ", self.literal_key(key), " LIMIT 1)")

    def literal_key(self, key):
        return "'c2'" if key.endswith(".code") else "3"

    def simple_from(self):
        table = self.rng.choice(list(KEYS))
        alias = self.name("s")
        return [(alias, self.table_columns(table))], f"{table} {alias}", f"{alias}.{KEYS[table]}"

    def table_columns(self, table):
        columns = dict(TABLES[table])
        if table in WHOLE and not self.clean:
            columns["__row"] = "row"
        return columns

    # --- FROM ---

    def relation(self, outer):
        """(scope entries, text) of one item of FROM."""
        kind = self.rng.random()
        alias = self.name("t")
        if self.ctes and kind < 0.15:
            name, columns = self.rng.choice(self.ctes)
            return [(alias, dict(columns))], Node("from", f"{name} AS {alias}")
        if kind < 0.70 or self.depth > 4:
            # Tables with protected columns as often as the others: their other columns must pass.
            table = self.rng.choice(list(TABLES)) if self.maybe(0.5) else self.rng.choice(["people", "people", "orders", "events"])
            if self.clean and table in ("v_people", "v_cards", "v_made"):
                table = "people"
            text = f"{table} {self.pick('AS ', '')}{alias}"
            if table in ("people", "orders", "items") and self.maybe(0.1):
                text = "public." + text
            if table in ("people", "events") and self.maybe(0.1):
                text = "ONLY " + text
            columns = self.table_columns(table)
            if self.maybe(0.08):
                columns = {k: v for k, v in columns.items() if k != "__row"}
                names = {k: f"c{i}" for i, k in enumerate(columns)}
                if table in ("people", "orders", "items", "events", "countries", "notes"):
                    return [(alias, {names[k]: v for k, v in columns.items()})], Node("from", f"{table} AS {alias}({', '.join(names.values())})")
            return [(alias, columns)], Node("from", text)
        if kind < 0.88:
            types = [self.pick("int", "text", "num") for _ in range(self.rng.randint(1, 3))]
            names = [self.name("c") for _ in types]
            lateral = bool(outer) and self.maybe(0.4)
            query = self.subquery(types, outer if lateral else [], names)
            return [(alias, dict(zip(names, types)))], Node("from", "LATERAL (" if lateral else "(", query, f") AS {alias}({', '.join(names)})")
        if kind < 0.94:
            return [(alias, {"v": "int", "w": "text"})], Node("from", "(VALUES (1, 'x'), (", self.expr("int", []), ", ", self.expr("text", []), f")) AS {alias}(v, w)")
        return [(alias, {alias: "int"})], Node("from", f"generate_series(1, {self.pick('2', '4')}) AS {alias}")

    def from_clause(self, outer):
        scope, text = self.relation(outer)
        node = Node("from", text)
        for _ in range(self.pick(0, 0, 0, 1, 1, 2) if self.depth < 3 else 0):
            more, right = self.relation(scope + outer)
            kind = self.rng.random()
            lateral = str(right).startswith("LATERAL")
            if kind < 0.62:
                join = self.pick(" JOIN ", " LEFT JOIN ", " LEFT JOIN ", " RIGHT JOIN " if not lateral else " JOIN ", " FULL JOIN " if not lateral else " LEFT JOIN ")
                before, self.clean = self.clean, self.clean or self.gentle
                left, there = self.columns(scope, "int"), self.columns(more, "int")
                self.clean = before
                if left and there:
                    a, b = self.rng.choice(left), self.rng.choice(there)
                    on = Node("bool", f"{a[0]}.{a[1]} = {b[0]}.{b[1]}")
                else:
                    on = Node("bool", "true") if " FULL" not in join else Node("bool", "1 = 1")
                if self.maybe(0.2) and " FULL" not in join:
                    on = Node("bool", "(", on, " AND ", self.condition(scope + more), ")")
                node = Node("from", node, join, right, " ON ", on)
            elif kind < 0.75:
                shared = [c for _, columns in scope for c in columns for _, others in more
                          if c in others and c != "__row" and columns[c] == others[c] and not (self.clean and columns[c].endswith("!"))]
                if len(scope) == 1 and shared:
                    node = Node("from", node, self.pick(" JOIN ", " LEFT JOIN "), right, f" USING ({self.rng.choice(shared)})")
                else:
                    node = Node("from", node, " CROSS JOIN ", right)
            elif kind < 0.8 and not self.clean:
                node = Node("from", node, " NATURAL JOIN ", right)
            else:
                node = Node("from", node, self.pick(" CROSS JOIN ", ", "), right)
            scope = scope + more
        return scope, node

    def where(self, scope, p=0.6):
        return Node("optional", " WHERE ", self.condition(scope)) if self.maybe(p) else Node("optional", "")

    def condition(self, scope):
        before, self.clean = self.clean, self.clean or self.gentle
        try:
            return self.expr("bool", scope)
        finally:
            self.clean = before

    def shown(self, t, scope):
        """An item of a select list."""
        if self.gentle and self.maybe(0.8):
            return self.column(scope, t) or self.literal(t)
        return self.expr(t, scope)

    # --- queries ---

    def subquery(self, types, outer, names=None, ordered=False):
        self.depth += 1
        try:
            scope, text = self.from_clause(outer) if self.depth < 5 else (lambda a: (a[0], a[1]))(self.simple_from())
            parts = ["SELECT "]
            for at, t in enumerate(types):
                parts += [", " if at else "", self.shown(t, scope + outer)]
                if names:
                    parts.append(f" AS {names[at]}")
            parts += [" FROM ", text, self.where(scope + outer)]
            if ordered:
                parts.append(" ORDER BY 1")
            return Node("query", *parts)
        finally:
            self.depth -= 1

    def select(self, outer=()):
        """(text, number of columns, or None behind a star)"""
        kind = self.rng.random()
        if kind < 0.14:
            return self.grouped()
        if kind < 0.26:
            return self.set_operation()
        scope, text = self.from_clause(list(outer))
        everything = scope + list(outer)
        items, n = [], self.rng.randint(1, 5)
        starred = False
        for at in range(n):
            items.append(", " if at else "")
            if self.maybe(0.12) and not self.clean:
                a = self.rng.choice(scope)[0]
                items.append(self.pick("*", f"{a}.*", a if self.maybe(0.5) else f"{a}.*"))
                starred = True
                continue
            if self.clean and self.maybe(0.05):
                for a, columns in scope:
                    if not any(c.endswith("!") for c in columns.values()):
                        items.append(f"{a}.*")
                        starred = True
                        break
                else:
                    items.append("1")
                continue
            if self.maybe(0.35):
                found = self.columns(scope)
                hot = [(a, c, t[:-1]) for a, columns in scope for c, t in columns.items() if t.endswith("!")]
                if hot and not self.clean and self.maybe(0.6):
                    found = hot
                if found:
                    a, c, t = self.rng.choice(found)
                    if c != "__row":
                        items.append(Node(t if t in SIMPLE else "from", f"{a}.{c}"))
                        if self.maybe(0.3):
                            items.append(f" AS {self.name('o')}")
                        continue
            if self.maybe(0.1):
                items.append(self.window(scope))
                continue
            items.append(self.shown(self.pick("int", "text", "text", "num", "bool", "ts", "json", "arr"), everything))
            if self.maybe(0.2):
                items.append(f" AS {self.name('o')}")
        distinct = "DISTINCT " if self.maybe(0.07) else ""
        node = Node("query", "SELECT ", distinct, *items, " FROM ", text, self.where(everything))
        return node, None if starred else n

    def window(self, scope):
        found = self.columns(scope, "int")
        if not found:
            return self.literal("int")
        a, c, _ = self.rng.choice(found)
        everything = [x for x in self.columns(scope) if x[2] in ("int", "text", "num") and x[1] != "__row"]
        order = ", ".join(f"{x}.{y}" for x, y, _ in everything)
        function = self.pick("row_number()", "rank()", "dense_rank()", "count(*)", f"sum({a}.{c})", f"lag({a}.{c})", f"first_value({a}.{c})", "ntile(2)", f"max({a}.{c})")
        partition = f"PARTITION BY {a}.{c} " if self.maybe(0.4) else ""
        frame = self.pick("", "", " ROWS BETWEEN 1 PRECEDING AND CURRENT ROW", " RANGE UNBOUNDED PRECEDING") if order else ""
        return Node("int", f"{function} OVER ({partition}ORDER BY {order}{frame})")

    def grouped(self):
        scope, text = self.from_clause([])
        found = [x for x in self.columns(scope) if x[2] in ("int", "text", "num", "ts")]
        keys = self.rng.sample(found, min(len(found), self.rng.randint(0, 2)))
        items, n = [], 0
        for a, c, _ in keys:
            items += [", " if n else "", f"{a}.{c}"]
            n += 1
        for _ in range(self.rng.randint(1, 3)):
            items += [", " if n else "", self.aggregate(scope)]
            n += 1
        by = ", ".join(f"{a}.{c}" for a, c, _ in keys)
        group = f" GROUP BY {by}" if by else ""
        if by and self.maybe(0.15):
            group = self.pick(f" GROUP BY ROLLUP ({by})", f" GROUP BY CUBE ({by})", f" GROUP BY GROUPING SETS (({by}), ())")
        having = Node("optional", " HAVING count(*) > ", self.pick("0", "1", "2")) if self.maybe(0.3) else ""
        return Node("query", "SELECT ", *items, " FROM ", text, self.where(scope), group, having), n

    def aggregate(self, scope):
        e = self.expr
        node = self.rng.choice([
            lambda: Node("int", "count(*)"),
            lambda: Node("int", "count(", self.pick("", "", "DISTINCT "), e("text", scope), ")"),
            lambda: Node("num", self.pick("sum(", "avg(", "max(", "min("), e("num", scope), ")"),
            lambda: Node("int", self.pick("sum(", "max(", "min("), e("int", scope), ")"),
            lambda: Node("text", self.pick("max(", "min("), e("text", scope), ")"),
            lambda: (lambda x: Node("text", f"string_agg({x}, ',' ORDER BY {x})"))(e("text", scope)),
            lambda: (lambda x: Node("text", f"array_agg({x} ORDER BY {x})"))(e("text", scope)),
            lambda: Node("text", "array_agg(", e("text", scope), ")::text") if not self.clean else Node("int", "count(*)"),
            lambda: (lambda x: Node("text", f"jsonb_agg({x} ORDER BY {x})"))(e("int", scope)),
            lambda: Node("bool", self.pick("bool_or(", "bool_and("), e("bool", scope), ")"),
            lambda: (lambda x: Node("num", f"percentile_disc(0.5) WITHIN GROUP (ORDER BY {x})"))(e("num", scope)),
        ])()
        if self.maybe(0.15):
            return Node(node.kind, node, " FILTER (WHERE ", e("bool", scope), ")") if not str(node).endswith("::text") else node
        return node

    def set_operation(self):
        types = [self.pick("int", "text", "num") for _ in range(self.rng.randint(1, 3))]
        operator = self.pick(" UNION ALL ", " UNION ALL ", " UNION ", " INTERSECT ", " EXCEPT ")
        left, right = self.subquery(types, []), self.subquery(types, [])
        return Node("query", left, operator, right), len(types)

    def with_clause(self):
        parts = []
        for at in range(self.pick(1, 1, 2)):
            types = [self.pick("int", "text", "num") for _ in range(self.rng.randint(1, 3))]
            names = [self.name("c") for _ in types]
            name = self.name("w")
            materialized = self.pick("", "", "MATERIALIZED ", "NOT MATERIALIZED ")
            parts += [", " if at else "", f"{name}({', '.join(names)}) AS {materialized}(", self.subquery(types, []), ")"]
            self.ctes.append((name, dict(zip(names, types))))
        return Node("optional", "WITH ", *parts, " ")

    def recursive(self):
        scope, text, _ = self.simple_from()
        union = "UNION ALL" if self.clean or self.maybe(0.7) else "UNION"
        value = self.expr("text", scope)
        extra = self.pick("x", "x", "r.v") if not self.clean else "r.v"
        step = "r.v" if extra != "x" else "substr(r.v, 2)"
        return Node("query", "WITH RECURSIVE r(k, v) AS (SELECT 1, ", value, " FROM ", text, f" {union} SELECT k + 1, {step} FROM r WHERE k < 4) SELECT k, v FROM r"), 2

    def query(self):
        """A whole query: (text, whether its rows come in an order)."""
        self.ctes = []
        if self.maybe(0.05):
            node, n = self.recursive()
            return Node("query", node), False
        head = self.with_clause() if self.maybe(0.2) else ""
        node, n = self.select()
        tail, ordered = "", False
        if n and self.maybe(0.35) and (self.clean or (not self.gentle and self.maybe(0.5))):
            by = ", ".join(f"{i + 1}{self.pick('', ' DESC', ' NULLS FIRST')}" for i in range(n))
            tail = Node("optional", f" ORDER BY {by}", self.pick("", " LIMIT 5", " LIMIT 3 OFFSET 1", " FETCH FIRST 4 ROWS ONLY"))
            ordered = True
        elif not self.clean and self.maybe(0.15):
            tail = Node("optional", self.pick(" LIMIT 5", " ORDER BY 1 LIMIT 5", " FOR UPDATE", " LIMIT (SELECT 2)"))
        return Node("query", head, node, tail), ordered

    # --- statements: each gives a script, a list of texts ---

    def script(self):
        kind = self.rng.random()
        if kind < 0.70:
            query, _ = self.query()
            return [query]
        if kind < 0.86:
            return ["BEGIN", self.write(), "ROLLBACK"]
        query, _ = self.query()
        return self.rng.choice([
            lambda: [Node("query", "EXPLAIN (COSTS OFF) ", query)],
            lambda: [Node("query", "COPY (", query, ") TO STDOUT", self.pick("", " (FORMAT csv)", " (FORMAT csv, HEADER)"))],
            lambda: ["BEGIN", Node("query", "DECLARE cur ", self.pick("", "NO SCROLL "), "CURSOR FOR ", query), f"FETCH {self.pick('ALL', '3', 'FORWARD 2')} FROM cur", "MOVE 1 IN cur", "FETCH NEXT FROM cur", "ROLLBACK"],
            lambda: [Node("query", "PREPARE ps AS ", query), "EXECUTE ps", "EXECUTE ps", "DEALLOCATE ps"],
            lambda: ["BEGIN", Node("query", "CREATE TEMP TABLE tmp AS ", query), "SELECT * FROM tmp", "SELECT count(*) FROM tmp", "ROLLBACK"],
            # Views are definitions, which not every client may make: no promise of the same result.
            lambda: [query] if self.clean else ["BEGIN", Node("query", "CREATE TEMP VIEW tv AS ", query), "SELECT * FROM tv", "ROLLBACK"],
            lambda: ["BEGIN", Node("query", "SET LOCAL search_path = ", self.pick("alt, public", "public, alt", "public")), query, "ROLLBACK"],
            lambda: [Node("query", query, "; ", "SELECT 1")],
        ])()

    def write(self):
        e = self.expr
        table = self.pick("orders", "items", "people", "events", "notes")
        columns = {c: t for c, t in TABLES[table].items() if c != KEYS[table] and c not in ("person_id", "order_id", "country", "kind")}
        if self.clean:
            columns = {c: t for c, t in columns.items() if not t.endswith("!")}
        name = self.rng.choice(list(columns))
        t = columns[name].rstrip("!")
        scope = [("x", self.table_columns(table))]
        returning = self.returning(scope, table)
        key = KEYS[table]
        return self.rng.choice([
            lambda: Node("query", f"UPDATE {table} AS x SET {name} = ", e(t, scope), f" WHERE x.{key} = {self.pick('1', '2', '3')}", returning),
            lambda: Node("query", f"UPDATE {table} AS x SET {name} = y.{name} FROM {table} y WHERE x.{key} = 1 AND y.{key} = 2", returning),
            lambda: Node("query", f"UPDATE {table} AS x SET ({name}, {key}) = (SELECT ", e(t, []), f", x.{key}) WHERE x.{key} = 2", returning),
            lambda: Node("query", f"DELETE FROM {table} AS x WHERE x.{key} = {self.pick('1', '5')} AND ", e("bool", scope), returning),
            lambda: Node("query", "INSERT INTO notes AS x (id, body, n) VALUES (", self.pick("900", "1"), ", ", e("text", []), ", ", e("int", []), ")", self.returning([("x", TABLES["notes"])], "notes")),
            lambda: Node("query", "INSERT INTO notes AS x (id, body, n) SELECT 1000 + s.id, ", e("text", [("s", self.table_columns("people"))]), ", s.score FROM people s WHERE s.id < 9", self.returning([("x", TABLES["notes"])], "notes")),
            lambda: Node("query", "INSERT INTO notes AS x (id, body, n) VALUES (1, ", e("text", []), ", 5) ON CONFLICT (id) DO UPDATE SET body = ", self.pick("excluded.body", "x.body || excluded.body", "x.body"), ", n = ", e("int", [("x", TABLES["notes"])]), self.returning([("x", TABLES["notes"])], "notes")),
            lambda: Node("query", "INSERT INTO notes AS x (id, body, n) VALUES (1, 'a', 5), (901, 'b', 6) ON CONFLICT DO NOTHING", self.returning([("x", TABLES["notes"])], "notes")),
            lambda: Node("query", "MERGE INTO notes x USING (", self.subquery(["int", "text"], [], ["k", "v"]), " LIMIT 1) y ON x.id = y.k WHEN MATCHED THEN UPDATE SET body = y.v WHEN NOT MATCHED THEN INSERT (id, body) VALUES (950, y.v)"),
            lambda: Node("query", f"WITH d AS (DELETE FROM {table} AS x WHERE x.{key} = 3", returning if str(returning) else f" RETURNING x.{key}", ") SELECT * FROM d"),
            lambda: Node("query", "CREATE TEMP TABLE made AS ", self.subquery(["int", "text"], [], ["a", "b"])),
        ])()

    def returning(self, scope, table):
        if self.maybe(0.5):
            return Node("optional", "")
        if not self.clean and self.maybe(0.4):
            return Node("optional", " RETURNING ", self.pick("*", "x.*", "x", "x::text"))
        return Node("optional", " RETURNING ", self.expr(self.pick("int", "text", "num"), scope), " AS a, ", self.expr("text", scope), " AS b")


def statement(rng):
    """(script, whether it mentions nothing protected)"""
    g = Generator(rng)
    script = g.script()
    # A plan prints the conditions of a view, whatever is selected of it.
    plan = any(str(text).startswith("EXPLAIN") and "v_open" in str(text) for text in script)
    return script, g.clean and not plan


def smaller(script):
    """Scripts with one part of a tree replaced by something simpler, biggest parts first."""
    for at, text in enumerate(script):
        if not isinstance(text, Node):
            continue
        found = sorted(text.nodes(), key=lambda n: -len(str(n[2])))
        for parent, index, node in found:
            now = str(node)
            options = [inner for _, _, inner in node.nodes() if inner.kind == node.kind]
            if node.kind in SIMPLE and now != SIMPLE[node.kind]:
                options.insert(0, Node(node.kind, SIMPLE[node.kind]))
            for option in options:
                parent.parts[index] = option
                yield script
                parent.parts[index] = node
