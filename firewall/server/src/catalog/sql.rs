//! The loader's queries. PostgreSQL 13 and later; every name is qualified, so no `search_path` matters.

/// One snapshot for all queries, and an empty path: whatever this login's settings are. Definitions of views lock their
/// tables; a session that holds such a lock may itself wait for the catalog, so nobody waits for locks for long.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = pg_catalog; \
    SET LOCAL jit = off; SET LOCAL statement_timeout = '30s'; \
    SET LOCAL lock_timeout = '2s'";

pub(super) const HEAD: &str = "SELECT d.oid, pg_catalog.current_setting('server_version_num')::pg_catalog.int4, d.datname \
    FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";

pub(super) const RELATIONS: &str = "SELECT c.oid, n.nspname, c.relname, c.relkind, c.relowner, c.reltype, c.relrowsecurity \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace";

/// Columns of what can be read as a table. (Nobody selects from an index or a toast table by name: analysis refuses.)
pub(super) const COLUMNS: &str = "SELECT a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod \
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind NOT IN ('i', 'I', 't') \
    ORDER BY a.attrelid, a.attnum";

pub(super) const TYPES: &str = "SELECT t.oid, pg_catalog.format_type(t.oid, NULL) FROM pg_catalog.pg_type t \
    WHERE t.typrelid = 0 AND (t.typelem = 0 OR t.oid IN (SELECT DISTINCT atttypid FROM pg_catalog.pg_attribute)) \
    UNION ALL SELECT t.oid, pg_catalog.format_type(t.oid, NULL) FROM pg_catalog.pg_type t \
    WHERE t.typrelid <> 0 AND t.oid IN (SELECT DISTINCT atttypid FROM pg_catalog.pg_attribute)";

/// What types travel as: (oid, base type of a domain, element of an array, its array type, citext).
pub(super) const WIRE_TYPES: &str = "SELECT t.oid, t.typbasetype, CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0::pg_catalog.oid END, t.typarray, \
        t.typname = 'citext' AND EXISTS (SELECT 1 FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid \
            WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid \
              AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e' AND e.extname = 'citext') \
    FROM pg_catalog.pg_type t WHERE t.oid >= 16384 OR t.typarray <> 0";

/// (relation, generated column, a column that it is computed from). Until version 14 the column depends, later its default.
pub(super) const GENERATED: &str = "SELECT a.attrelid, a.attnum, d.refobjsubid::pg_catalog.int2 FROM pg_catalog.pg_attribute a \
    LEFT JOIN pg_catalog.pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum \
    JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = a.attrelid \
        AND d.refobjsubid > 0 AND d.refobjsubid <> a.attnum \
        AND (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = a.attrelid AND d.objsubid = a.attnum \
          OR d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = f.oid) \
    WHERE a.attgenerated <> '' AND NOT a.attisdropped";

/// (relation, column, function of a user's that its default or generation expression calls).
pub(super) const DEFAULT_CALLS: &str = "SELECT DISTINCT f.adrelid, f.adnum, d.refobjid FROM pg_catalog.pg_attrdef f \
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = f.oid \
        AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass WHERE d.refobjid >= 16384";

/// (relation, function that a CHECK constraint or a trigger's condition calls).
pub(super) const ASKS: &str = "SELECT c.conrelid, d.refobjid FROM pg_catalog.pg_constraint c \
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND d.objid = c.oid \
        AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass WHERE c.contype = 'c' AND d.refobjid >= 16384 \
    UNION SELECT t.tgrelid, d.refobjid FROM pg_catalog.pg_trigger t \
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND d.objid = t.oid \
        AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass WHERE NOT t.tgisinternal AND d.refobjid >= 16384 AND d.refobjid <> t.tgfoid";

/// (relation, column that a constraint or a unique index compares). An index over expressions or with a predicate
/// compares, or is chosen by, whatever those read.
pub(super) const CONSTRAINED: &str = "SELECT i.indrelid, k.attnum FROM pg_catalog.pg_index i, pg_catalog.unnest(i.indkey::pg_catalog.int2[]) k (attnum) \
        WHERE i.indrelid >= 16384 AND (i.indisunique OR i.indisexclusion) AND k.attnum > 0 \
    UNION SELECT i.indrelid, d.refobjsubid::pg_catalog.int2 FROM pg_catalog.pg_index i \
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = i.indexrelid \
            AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = i.indrelid AND d.refobjsubid > 0 \
        WHERE i.indrelid >= 16384 AND (i.indisunique OR i.indisexclusion) \
    UNION SELECT c.conrelid, k.attnum FROM pg_catalog.pg_constraint c, pg_catalog.unnest(c.conkey) k (attnum) \
        WHERE c.contype IN ('f', 'p', 'u', 'x') AND c.conrelid >= 16384 AND k.attnum > 0 \
    UNION SELECT c.confrelid, k.attnum FROM pg_catalog.pg_constraint c, pg_catalog.unnest(c.confkey) k (attnum) \
        WHERE c.contype = 'f' AND c.confrelid >= 16384";

/// (child, parent).
pub(super) const INHERITS: &str = "SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits";

/// Rules and views that users made: the relation, whether it is a view's own rule, and the rule's node tree (it names
/// relations and functions by OID, those of the server's own included, which pg_depend leaves out).
pub(super) const RULES: &str = "SELECT r.ev_class, r.rulename = '_RETURN', r.ev_action::pg_catalog.text || r.ev_qual::pg_catalog.text \
    FROM pg_catalog.pg_rewrite r WHERE r.ev_class >= 16384";

/// What every rule depends on: (relation, view's own rule, relation named or 0, function called or 0).
pub(super) const RULE_DEPENDS: &str = "SELECT DISTINCT r.ev_class, r.rulename = '_RETURN', \
        CASE WHEN d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass THEN d.refobjid ELSE 0::pg_catalog.oid END, \
        CASE WHEN d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass THEN d.refobjid \
             WHEN d.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass THEN (SELECT o.oprcode::pg_catalog.oid FROM pg_catalog.pg_operator o WHERE o.oid = d.refobjid) \
             ELSE 0::pg_catalog.oid END \
    FROM pg_catalog.pg_rewrite r \
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid \
    WHERE d.refclassid IN ('pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass) \
      AND d.refobjid <> r.ev_class";

/// Functions that are not the server's own. `prosqlbody` came with version 14. An aggregate is what its functions make of it.
pub(super) fn functions(version: i32) -> String {
    let body =
        if version >= 140_000 { "coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc)" } else { "p.prosrc" };
    format!(
        "SELECT p.oid, n.nspname, p.proname, p.proowner, l.lanname, {body}, e.extname, p.prokind, \
            p.proargtypes::pg_catalog.oid[], p.prorettype, p.proretset, p.provolatile, p.prosecdef, \
            pg_catalog.pg_get_expr(p.proargdefaults, 0), p.proconfig, part.oids, part.names \
         FROM pg_catalog.pg_proc p \
         JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
         JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
         LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid \
            AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e' \
         LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid \
         LEFT JOIN (SELECT a.aggfnoid::pg_catalog.oid, \
                pg_catalog.array_agg(f.oid) FILTER (WHERE f.oid >= 16384), \
                pg_catalog.array_agg(f.proname::pg_catalog.text) FILTER (WHERE f.oid < 16384) \
            FROM pg_catalog.pg_aggregate a JOIN pg_catalog.pg_proc f ON f.oid IN (a.aggtransfn::pg_catalog.oid, a.aggfinalfn::pg_catalog.oid, \
                a.aggcombinefn::pg_catalog.oid, a.aggserialfn::pg_catalog.oid, a.aggdeserialfn::pg_catalog.oid, \
                a.aggmtransfn::pg_catalog.oid, a.aggminvtransfn::pg_catalog.oid, a.aggmfinalfn::pg_catalog.oid) \
            WHERE a.aggfnoid::pg_catalog.oid >= 16384 GROUP BY 1) part (aggregate, oids, names) ON part.aggregate = p.oid \
         WHERE p.oid >= 16384 OR n.nspname <> 'pg_catalog'"
    )
}

/// Queries of views and materialised views that users made.
pub(super) const VIEWS: &str = "SELECT c.oid, pg_catalog.pg_get_viewdef(c.oid) FROM pg_catalog.pg_class c \
    WHERE c.relkind IN ('v', 'm') AND c.oid >= 16384";

/// (table, function) of every trigger that is not a constraint's own.
pub(super) const TRIGGERS: &str = "SELECT tgrelid, tgfoid FROM pg_catalog.pg_trigger WHERE NOT tgisinternal";

pub(super) const FOREIGN_KEYS: &str =
    "SELECT conrelid, confrelid, conkey, confkey FROM pg_catalog.pg_constraint WHERE contype = 'f'";

/// Operators that users made; types that run code of theirs (base types), or that are named as one of the server's; the
/// ends of casts by function: (kind, name, function or 0, its name if it is the server's own). $1: trusted extensions.
pub(super) const FOREIGN_NAMES: &str = "WITH trusted AS (SELECT d.classid, d.objid FROM pg_catalog.pg_depend d \
        JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid \
        WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e' AND e.extname = ANY ($1)), \
    found (kind, name, function) AS ( \
    SELECT 'operator', o.oprname::pg_catalog.text, o.oprcode::pg_catalog.oid FROM pg_catalog.pg_operator o \
    WHERE (o.oid >= 16384 OR o.oprnamespace <> 'pg_catalog'::pg_catalog.regnamespace) \
      AND NOT EXISTS (SELECT 1 FROM trusted t WHERE t.classid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND t.objid = o.oid) \
    UNION SELECT 'type', t.typname::pg_catalog.text, 0::pg_catalog.oid FROM pg_catalog.pg_type t \
    WHERE t.oid >= 16384 AND t.typname !~ '^_' \
      AND NOT EXISTS (SELECT 1 FROM trusted x WHERE x.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND x.objid = t.oid) \
      AND (t.typtype = 'b' AND t.typelem = 0 \
        OR EXISTS (SELECT 1 FROM pg_catalog.pg_type s WHERE s.typname = t.typname AND s.oid < 16384 AND s.typnamespace = 'pg_catalog'::pg_catalog.regnamespace)) \
    UNION SELECT 'cast', t.typname::pg_catalog.text, c.castfunc FROM pg_catalog.pg_cast c JOIN pg_catalog.pg_type t ON t.oid IN (c.castsource, c.casttarget) \
    WHERE c.oid >= 16384 AND c.castmethod <> 'b' \
      AND NOT EXISTS (SELECT 1 FROM trusted x WHERE x.classid = 'pg_catalog.pg_cast'::pg_catalog.regclass AND x.objid = c.oid)) \
    SELECT f.kind, f.name, f.function, CASE WHEN p.oid < 16384 THEN p.proname::pg_catalog.text END \
    FROM found f LEFT JOIN pg_catalog.pg_proc p ON p.oid = f.function";

/// Domains, with the node trees of their checks and defaults.
pub(super) const DOMAINS: &str = "SELECT t.typname, \
        coalesce(t.typdefaultbin::pg_catalog.text, '') || coalesce((SELECT pg_catalog.string_agg(c.conbin::pg_catalog.text, '') \
            FROM pg_catalog.pg_constraint c WHERE c.contypid = t.oid), '') \
    FROM pg_catalog.pg_type t WHERE t.typtype = 'd' AND t.oid >= 16384";

/// The clients' logins ($1), and the roles that they are members of.
pub(super) const ROLES: &str = "WITH RECURSIVE member AS ( \
        SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = ANY ($1) \
        UNION SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN member ON m.member = member.oid) \
    SELECT r.oid, r.rolname::pg_catalog.text, r.rolsuper AND r.rolname = ANY ($1) FROM pg_catalog.pg_roles r JOIN member USING (oid)";
