//! Schema dumps to catalogs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use ringfence_analysis::catalog::{FunctionKind, RelationKind, Volatility};
use ringfence_analysis::dump::{Context, Dump, read};
use ringfence_analysis::{Catalog, Relation};

fn dump(text: &str) -> Dump {
    let context = Context {
        database: "bank".into(),
        logins: vec!["bank_app".into()],
        trusted_extensions: ["citext", "pgcrypto", "postgis"].into_iter().map(Into::into).collect(),
    };
    read(text, &context)
}

fn clean(text: &str) -> Catalog {
    let dump = dump(text);
    assert!(dump.warnings.is_empty(), "{:?}", dump.warnings);
    dump.catalog
}

fn relation<'a>(catalog: &'a Catalog, name: &str) -> &'a Relation {
    catalog.by_name(name).find(|r| !r.system).unwrap_or_else(|| panic!("{name}"))
}

fn columns(relation: &Relation) -> Vec<(&str, &str)> {
    relation.columns.iter().map(|c| (&*c.name, &*c.type_name)).collect()
}

#[test]
fn tables_with_their_constraints() {
    let catalog = clean(
        "-- Dumped from database version 16.3 (Debian 16.3-1)\n\
         CREATE TABLE public.users (id integer NOT NULL, email character varying(40), \"Odd Name\" timestamp with time zone[], PRIMARY KEY (id));\n\
         CREATE TABLE public.orders (id integer, user_id integer, total numeric(10,2), twice numeric GENERATED ALWAYS AS ((total * 2)) STORED);\n\
         ALTER TABLE ONLY public.orders ADD CONSTRAINT orders_pkey PRIMARY KEY (id);\n\
         ALTER TABLE ONLY public.orders ADD CONSTRAINT fk FOREIGN KEY (user_id) REFERENCES public.users(id);\n\
         ALTER TABLE public.orders ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME public.orders_id_seq START WITH 1);\n\
         CREATE UNIQUE INDEX one ON public.orders USING btree (lower((total)::text)) WHERE (twice > (1)::numeric);\n\
         ALTER TABLE public.orders ENABLE ROW LEVEL SECURITY;\n\
         ALTER TABLE public.orders OWNER TO somebody;\n",
    );
    assert_eq!((catalog.server_version, &*catalog.database), (160_003, "bank"));
    let (users, orders) = (relation(&catalog, "users"), relation(&catalog, "orders"));
    assert_eq!(
        columns(users),
        [("id", "integer"), ("email", "character varying"), ("Odd Name", "timestamp with time zone[]")]
    );
    assert_eq!((users.columns[1].type_oid, users.columns[1].typmod), (1043, 44));
    assert_eq!(orders.references, [(2, users.oid, 1)]);
    assert_eq!(orders.generated, [(4, 3)]);
    assert_eq!(orders.constrained, [1, 3, 4, 2]);
    assert_eq!(users.constrained, [1]);
    assert!(orders.row_security && users.write_reaches.contains(&orders.oid));
    assert_eq!(relation(&catalog, "orders_id_seq").kind, RelationKind::Sequence);
    assert_eq!(relation(&catalog, "orders_pkey").kind, RelationKind::Index);
    assert!(catalog.by_name("pg_class").next().is_some_and(|r| r.system));
}

#[test]
fn views_have_the_columns_of_their_queries() {
    let catalog = clean(
        "CREATE TABLE public.users (id bigint, email text, born date);\n\
         CREATE VIEW public.names AS\n SELECT u.id,\n    u.email AS address,\n    upper(u.email) AS upper, min(u.born) AS min, (u.id)::text AS id_text\n   FROM public.users u\n  WITH CASCADED CHECK OPTION;\n\
         CREATE MATERIALIZED VIEW public.cached AS\n SELECT names.address\n   FROM public.names\n  WITH NO DATA;\n\
         CREATE VIEW public.sub (a, b) AS WITH c AS (SELECT users.id, users.email FROM public.users) SELECT s.x, c.email FROM c, (SELECT users.born AS x FROM public.users) s;\n\
         CREATE VIEW public.star AS SELECT * FROM public.users;\n",
    );
    let names = relation(&catalog, "names");
    assert_eq!(
        columns(names),
        [("id", "bigint"), ("address", "text"), ("upper", "-"), ("min", "date"), ("id_text", "text")]
    );
    assert!(names.definition.as_deref().is_some_and(|d| d.starts_with("SELECT u.id") && d.ends_with("public.users u")));
    assert_eq!(names.reads, [relation(&catalog, "users").oid]);
    let cached = relation(&catalog, "cached");
    assert_eq!((cached.kind, columns(cached)), (RelationKind::MaterializedView, vec![("address", "text")]));
    assert_eq!(columns(relation(&catalog, "sub")), [("a", "date"), ("b", "text")]);
    assert_eq!(columns(relation(&catalog, "star")).len(), 3);
}

#[test]
fn inheritance_and_partitions() {
    let catalog = clean(
        "CREATE TABLE public.p (id integer, at date) PARTITION BY RANGE (at);\n\
         CREATE TABLE public.p1 (id integer, at date);\n\
         ALTER TABLE ONLY public.p ATTACH PARTITION public.p1 FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');\n\
         CREATE TABLE public.c (extra text) INHERITS (public.p1);\n\
         CREATE FOREIGN TABLE public.f (id integer, name text) SERVER s OPTIONS (table_name 'x');\n",
    );
    let (p, p1) = (relation(&catalog, "p"), relation(&catalog, "p1"));
    assert_eq!((p.kind, &p1.parents[..]), (RelationKind::PartitionedTable, &[p.oid][..]));
    assert_eq!(columns(relation(&catalog, "c")), [("id", "integer"), ("at", "date"), ("extra", "text")]);
    assert_eq!(relation(&catalog, "f").kind, RelationKind::ForeignTable);
}

#[test]
fn functions_triggers_and_rules() {
    let catalog = clean(
        "CREATE TABLE public.a (id integer);\nCREATE TABLE public.b (id integer DEFAULT public.f(1));\n\
         CREATE FUNCTION public.f(integer, OUT x text) RETURNS text\n    LANGUAGE sql STABLE SECURITY DEFINER SET search_path TO 'public'\n    AS $_$ SELECT $1::text; $_$;\n\
         ALTER FUNCTION public.f(integer, OUT x text) OWNER TO bank_app;\n\
         CREATE PROCEDURE public.p() LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END;\n\
         CREATE FUNCTION public.t() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO \"b\" VALUES (1); RETURN NEW; END $$;\n\
         CREATE TRIGGER t AFTER INSERT ON public.a FOR EACH ROW EXECUTE FUNCTION public.t();\n\
         CREATE RULE r AS ON DELETE TO public.b DO INSTEAD UPDATE public.a SET id = public.f(2)::integer;\n\
         CREATE AGGREGATE public.total(integer) (SFUNC = int4pl, STYPE = integer, FINALFUNC = public.f);\n\
         CREATE OPERATOR public.=== (FUNCTION = public.f, LEFTARG = integer);\n\
         CREATE CAST (integer AS public.mood) WITH FUNCTION public.f(integer);\n\
         CREATE TYPE public.mood AS ENUM ('a', 'b');\n\
         CREATE DOMAIN public.d AS public.mood CHECK (public.f(VALUE) IS NOT NULL);\n\
         CREATE DOMAIN public.e AS text;\n",
    );
    let [f] = catalog.functions("f") else { panic!() };
    assert_eq!(
        (&*f.language, f.volatility, f.security_definer, f.body.as_deref()),
        ("sql", Volatility::Stable, true, Some(" SELECT $1::text; "))
    );
    assert_eq!((&f.arguments[..], f.returns, &*f.settings[0]), (&[23][..], 25, "search_path=public"));
    assert!(catalog.client_roles.contains(&f.owner), "owned by the firewall's login");
    let [p] = catalog.functions("p") else { panic!() };
    assert_eq!((p.kind, p.body.as_deref()), (FunctionKind::Procedure, Some("BEGIN ATOMIC SELECT 1; SELECT 2; END")));
    let [total] = catalog.functions("total") else { panic!() };
    assert_eq!(
        (total.kind, &total.parts[..], &*total.server_parts[0]),
        (FunctionKind::Aggregate, &[f.oid][..], "int4pl")
    );
    let (a, b) = (relation(&catalog, "a"), relation(&catalog, "b"));
    assert!(a.active && !a.ruled && a.write_reaches.contains(&b.oid));
    assert!(b.active && b.ruled && b.calls == [f.oid] && b.default_calls == [(1, f.oid)]);
    assert!(catalog.foreign_operators.contains("===") && catalog.calls.operators["==="] == [f.oid]);
    assert!(catalog.foreign_types.contains("int4") && catalog.foreign_types.contains("mood"));
    assert!(catalog.active_domains.contains("d") && !catalog.active_domains.contains("e"));
    assert!(catalog.wire_types.values().any(|like| *like == 25), "a domain over text is text on the wire");
}

#[test]
fn extensions_bring_functions_and_types() {
    let catalog = clean(
        "CREATE EXTENSION IF NOT EXISTS citext WITH SCHEMA public;\nCREATE EXTENSION IF NOT EXISTS pgcrypto WITH SCHEMA app;\n\
         CREATE TABLE public.t (a public.citext, b public.citext[]);\n",
    );
    let [crypt] = catalog.functions("crypt") else { panic!() };
    assert_eq!((&*crypt.schema, crypt.extension.as_deref(), catalog.trusts(crypt)), ("app", Some("pgcrypto"), true));
    let t = relation(&catalog, "t");
    assert_eq!(catalog.wire_types[&t.columns[0].type_oid], 25);
    assert_eq!(catalog.wire_types[&t.columns[1].type_oid], 1009);
    assert_eq!(columns(t)[1].1, "public.citext[]");
    let unknown = dump("CREATE EXTENSION postgis WITH SCHEMA public;\nCREATE TABLE t (g public.geometry);");
    assert_eq!(unknown.warnings.iter().map(|w| w.line).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn what_is_not_understood_is_said_with_its_line() {
    let dump = dump(
        "SET x = 1;\n\\restrict abc\nALTER SYSTEM SET a = 1;\nCREATE TABLE;\nALTER TABLE nosuch ADD x integer;\nCOPY public.t (a) FROM stdin;\n1\n\\.\n\\echo x\n",
    );
    let lines: Vec<(usize, &str)> = dump.warnings.iter().map(|w| (w.line, &*w.message)).collect();
    assert_eq!(lines.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 4, 5, 7, 9], "{lines:?}");
    assert!(lines[0].1.contains("ALTER SYSTEM SET") && lines[3].1.contains("1 rows"));
    for odd in [
        "",
        ";",
        "CREATE",
        "CREATE FOREIGN TABLE x",
        "CREATE VIEW v AS",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC",
        "'",
    ] {
        self::dump(odd);
    }
}
