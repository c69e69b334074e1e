//! Proof that the walk skips nothing: the tree's debug output prints every field of every node, so whatever occurs
//! there as often must have been seen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::seen::Seen;
use super::statements;

/// Texts between lines that hold `;;` alone, and the statements of the golden cases.
fn texts() -> Vec<String> {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let tools = std::fs::read_to_string(golden.join("tools.sql")).unwrap();
    let mut texts: Vec<String> = tools.split("\n;;\n").map(str::to_owned).collect();
    for entry in std::fs::read_dir(golden).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "case") {
            let cases = std::fs::read_to_string(path).unwrap();
            for case in cases.split("\n== ").skip(1) {
                let sql = case.split_once('\n').unwrap().1.split_once("\n--\n").unwrap().0;
                texts.push(sql.to_owned());
            }
        }
    }
    texts.extend(EVERYWHERE.iter().map(|place| place.replace('@', "(SELECT zz.cc FROM zz WHERE ff(zz.dd) > 0)")));
    texts
}

/// Every place of the grammar that takes an expression, and a subquery in it.
const EVERYWHERE: &[&str] = &[
    "SELECT @",
    "SELECT @ AS a, b FROM t",
    "SELECT DISTINCT ON (@) 1 FROM t",
    "SELECT 1 FROM t WHERE @ > 1",
    "SELECT 1 FROM t GROUP BY @",
    "SELECT 1 FROM t GROUP BY ROLLUP (a, @), CUBE (@), GROUPING SETS ((a, @), ())",
    "SELECT 1 FROM t HAVING @ > 1",
    "SELECT sum(a) OVER (PARTITION BY @ ORDER BY @ ROWS BETWEEN @ PRECEDING AND @ FOLLOWING) FROM t",
    "SELECT sum(a) OVER w FROM t WINDOW w AS (PARTITION BY @ ORDER BY @)",
    "SELECT 1 FROM t ORDER BY @ USING <",
    "SELECT 1 FROM t LIMIT @ OFFSET @",
    "SELECT 1 FROM t ORDER BY @ FETCH FIRST (@) ROWS WITH TIES",
    "SELECT f(@, VARIADIC ARRAY[@]), g(a => @), h(DISTINCT @), count(*) FILTER (WHERE @ > 1), array_agg(a ORDER BY @)",
    "SELECT percentile_disc(@) WITHIN GROUP (ORDER BY @)",
    "SELECT CASE @ WHEN @ THEN @ ELSE @ END, CASE WHEN @ THEN @ END",
    "SELECT COALESCE(@, 1), NULLIF(@, @), GREATEST(@), LEAST(@)",
    "SELECT @::text, CAST(@ AS numeric(3)), @ COLLATE \"C\", @ AT TIME ZONE @",
    "SELECT ROW(@, 1), (@, @), ARRAY[@, ARRAY[@]], ARRAY(SELECT @)",
    "SELECT (@).f, (@)[1], (@)[@:@], (t).a[@] FROM t",
    "SELECT NOT @, - @, @ + @, @ IS NULL, @ IS TRUE, @ IS DISTINCT FROM @, @ BETWEEN @ AND @, @ BETWEEN SYMMETRIC @ AND @",
    "SELECT @ LIKE @ ESCAPE @, @ SIMILAR TO @, @ ILIKE @, @ IN (@, @), @ IN (SELECT @), @ = ANY (@), @ > ALL (ARRAY[@])",
    "SELECT EXISTS (SELECT @), (@, @) = (SELECT @, @), (@, 1) IN (SELECT 1, @)",
    "SELECT extract(year FROM @), substring(@ FROM @ FOR @), position(@ IN @), overlay(@ PLACING @ FROM @), trim(@ FROM @), normalize(@), @ IS NORMALIZED",
    "SELECT XMLELEMENT(NAME a, XMLATTRIBUTES(@ AS b), @), XMLFOREST(@ AS c), XMLCONCAT(@), XMLPARSE(DOCUMENT @), XMLPI(NAME x, @), XMLROOT(@, VERSION @), XMLSERIALIZE(CONTENT @ AS text), @ IS DOCUMENT, XMLEXISTS(@ PASSING @)",
    "SELECT JSON_OBJECT(@: @), JSON_ARRAY(@, @), JSON_ARRAY(SELECT @), JSON_OBJECTAGG(@: @), JSON_ARRAYAGG(@ ORDER BY @) FILTER (WHERE @), @ IS JSON, JSON(@), JSON_SCALAR(@), JSON_SERIALIZE(@)",
    "SELECT JSON_VALUE(@, '$' PASSING @ AS x DEFAULT @ ON EMPTY DEFAULT @ ON ERROR), JSON_QUERY(@, '$'), JSON_EXISTS(@, '$')",
    "SELECT * FROM JSON_TABLE(@, '$' PASSING @ AS x COLUMNS (a int PATH '$' DEFAULT @ ON EMPTY, NESTED PATH '$' COLUMNS (b int)))",
    "SELECT * FROM XMLTABLE(XMLNAMESPACES(@ AS n), @ PASSING @ COLUMNS a int PATH @ DEFAULT @, b FOR ORDINALITY) x",
    "SELECT * FROM f(@), LATERAL g(@) WITH ORDINALITY, ROWS FROM (h(@), i(@) AS (a int)) AS r, unnest(@)",
    "SELECT * FROM t TABLESAMPLE bernoulli (@) REPEATABLE (@)",
    "SELECT * FROM a JOIN b ON @ LEFT JOIN (c CROSS JOIN d) ON @ NATURAL JOIN e JOIN g USING (x) AS j",
    "SELECT * FROM (SELECT @) s, LATERAL (VALUES (@, @), (@, 1)) v (a, b), ONLY o, p*",
    "WITH a AS (SELECT @), b AS MATERIALIZED (INSERT INTO t VALUES (@) RETURNING @), c AS (DELETE FROM t WHERE @ RETURNING *), d AS (UPDATE t SET x = @ RETURNING x) SELECT * FROM a, b, c, d",
    "WITH RECURSIVE r AS (SELECT @ UNION ALL SELECT 1 FROM r) SEARCH DEPTH FIRST BY a SET o CYCLE a SET m TO 'x' DEFAULT 'y' USING p SELECT * FROM r",
    "SELECT @ UNION (SELECT @ INTERSECT SELECT @ ORDER BY @ LIMIT @) EXCEPT ALL VALUES (@)",
    "SELECT @ INTO x FROM t FOR UPDATE",
    "INSERT INTO t AS u (a, b[@], c.d) VALUES (@, DEFAULT, $1), (@, @, @) ON CONFLICT (a, (@)) WHERE @ DO UPDATE SET a = @, (b, c) = ROW (@, @) WHERE @ RETURNING @, *",
    "INSERT INTO t OVERRIDING USER VALUE SELECT @ FROM x ON CONFLICT ON CONSTRAINT c DO NOTHING",
    "WITH w AS (SELECT @) INSERT INTO t TABLE w",
    "UPDATE ONLY t AS u SET a = @, b[@] = @, c.d = DEFAULT FROM f(@), x WHERE @ RETURNING @ AS q",
    "UPDATE t SET a = 1 WHERE CURRENT OF c",
    "DELETE FROM t AS u USING x JOIN y ON @ WHERE @ RETURNING u.*",
    "MERGE INTO t USING (SELECT @) s ON @ WHEN MATCHED AND @ THEN UPDATE SET a = @, b = DEFAULT WHEN NOT MATCHED AND @ THEN INSERT (a) VALUES (@) WHEN MATCHED THEN DELETE RETURNING @",
    "DECLARE c CURSOR WITH HOLD FOR SELECT @",
    "PREPARE p (int, text) AS UPDATE t SET a = @",
    "EXECUTE p (@, f(@))",
    "EXPLAIN (ANALYZE) SELECT @ FROM t",
    "COPY (SELECT @) TO STDOUT",
    "COPY t FROM STDIN WHERE @",
    "COPY (UPDATE t SET a = @ RETURNING @) TO STDOUT",
    "CREATE TABLE x AS SELECT @ FROM t",
    "CREATE TABLE x (a int DEFAULT @ CHECK (@ > 0) REFERENCES y (b), b int GENERATED ALWAYS AS (@) STORED, LIKE z, CHECK (@), EXCLUDE USING gist ((@) WITH =) WHERE (@), FOREIGN KEY (a) REFERENCES w) INHERITS (v)",
    "CREATE TABLE x PARTITION OF y (a DEFAULT @) FOR VALUES FROM (@) TO (@) PARTITION BY RANGE ((@))",
    "CREATE INDEX i ON t ((@), f(@)) INCLUDE (b) WHERE @",
    "ALTER TABLE t ADD COLUMN a int DEFAULT @, ALTER b SET DEFAULT @, ALTER c TYPE int USING @, ADD CHECK (@)",
    "ALTER TABLE t ATTACH PARTITION p FOR VALUES IN (@)",
    "TRUNCATE a, b",
    "LOCK TABLE a, b IN SHARE MODE",
    "VACUUM a (x), b",
];

#[test]
fn the_places_are_grammatical() {
    let wrong: Vec<String> = EVERYWHERE
        .iter()
        .map(|place| place.replace('@', "(SELECT 1)"))
        .filter_map(|text| super::message_of(&text).map(|message| format!("{message}: {text}")))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn everything_in_the_tree_is_seen() {
    let mut checked = 0;
    let mut failures = Vec::new();
    for text in texts() {
        let Ok(tree) = pg_raw_parse::parse(&text) else {
            continue;
        };
        // Repeated in the tree under every column that they assign.
        let repeats = text.contains(") = (") || text.contains(") = ROW");
        let printed: Vec<String> = tree.stmts().map(|statement| format!("{statement:?}")).collect();
        let mut at = 0;
        let _ = statements(&text, |seen| {
            let tree = &printed[at];
            at += 1;
            let refused = !seen.violations.is_empty();
            checked += 1;
            if repeats || (refused && seen.columns.is_empty() && seen.relations.is_empty()) {
                return;
            }
            failures.extend(compare(&text, tree, &seen));
        });
    }
    assert!(failures.is_empty(), "{}: {}", failures.len(), failures.join("\n\n"));
    assert!(checked > 500, "{checked}");
}

/// What the walk and the tree disagree on.
fn compare(text: &str, tree: &str, seen: &Seen<'_>) -> Option<String> {
    let count = |node: &str| tree.matches(&format!("{node} {{ ")).count();
    // Names that are no ColumnRef nodes have no position; the star of TABLE has none either.
    let columns = seen.columns.iter().filter(|c| c.star || c.position != usize::MAX).count();
    let relations = seen.relations.iter().filter(|r| r.position != usize::MAX).count();
    // FOR UPDATE OF names aliases, SET CONSTRAINTS constraints.
    let aliases = text.contains(" OF ") || text.contains("CONSTRAINTS");
    let pairs = [
        ("columns", columns, count("ColumnRef")),
        ("relations", relations, if aliases { relations } else { count("RangeVar") }),
        ("functions", seen.functions.len(), count("FuncCall") + count("RangeTableSample")),
        ("types", seen.types.len(), count("TypeName")),
    ];
    let (what, walked, there) = pairs.into_iter().find(|(_, walked, there)| walked != there)?;
    Some(format!("{what} {walked} of {there}: {text}\n{tree}"))
}
