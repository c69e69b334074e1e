//! What the server says, in words that hold no value: by SQLSTATE, with names filled in where they are known to be names.

/// Messages of the server that never hold a value or a name. They are kept as they are.
pub(super) const KEPT: &[&str] = &[
    "bigint out of range",
    "canceling statement due to lock timeout",
    "canceling statement due to statement timeout",
    "canceling statement due to user request",
    "cannot execute INSERT in a read-only transaction",
    "cannot execute UPDATE in a read-only transaction",
    "cannot execute DELETE in a read-only transaction",
    "could not serialize access due to concurrent delete",
    "could not serialize access due to concurrent update",
    "could not serialize access due to read/write dependencies among transactions",
    "current transaction is aborted, commands ignored until end of transaction block",
    "date out of range",
    "deadlock detected",
    "division by zero",
    "integer out of range",
    "interval out of range",
    "more than one row returned by a subquery used as an expression",
    "MERGE command cannot affect row a second time",
    "negative substring length not allowed",
    "numeric field overflow",
    "ON CONFLICT DO UPDATE command cannot affect row a second time",
    "query has no destination for result data",
    "smallint out of range",
    "terminating connection because of crash of another server process",
    "terminating connection due to administrator command",
    "terminating connection due to idle-in-transaction timeout",
    "terminating connection due to idle-session timeout",
    "there is already a transaction in progress",
    "there is no transaction in progress",
    "timestamp out of range",
    "value overflows numeric format",
];

/// How messages begin whose end is a type's name, with digits as its modifier: `value too long for type character(3)`.
pub(super) const OF_TYPE: &[&str] = &["value too long for type ", "bit string length does not match type "];

/// How messages begin that go on with a type's name and then a value: `invalid input syntax for type integer: "x"`.
pub(super) const VALUE_OF_TYPE: &[&str] =
    &["invalid input syntax for type ", "invalid input value for enum ", "value out of range for type "];

/// How messages begin whose end is a relation's or schema's quoted name.
pub(super) const OF_NAME: &[&str] = &[
    "permission denied for table ",
    "permission denied for view ",
    "permission denied for sequence ",
    "permission denied for schema ",
];

/// Types that a message may name.
pub(super) const TYPES: &[&str] = &[
    "bigint",
    "bit",
    "bit varying",
    "boolean",
    "box",
    "bytea",
    "character",
    "character varying",
    "cidr",
    "circle",
    "date",
    "double precision",
    "inet",
    "integer",
    "interval",
    "json",
    "jsonb",
    "macaddr",
    "money",
    "name",
    "numeric",
    "oid",
    "point",
    "real",
    "smallint",
    "text",
    "time",
    "time with time zone",
    "timestamp",
    "timestamp with time zone",
    "uuid",
    "xml",
];

/// The words for an SQLSTATE. `{table}`, `{column}` and `{constraint}` stand for the fields of these names; the second
/// wording is for where one of them is not known.
pub(super) fn template(code: &[u8]) -> Option<(&'static str, &'static str)> {
    let plain = |words| Some((words, words));
    match code {
        b"21000" => plain("more rows than one where one was expected"),
        b"22001" => plain("value too long for its type"),
        b"22003" => plain("numeric value out of range"),
        b"22004" => plain("null value not allowed"),
        b"22007" => plain("invalid input syntax for a date or time"),
        b"22008" => plain("date or time value out of range"),
        b"22012" => plain("division by zero"),
        b"22021" => plain("invalid byte sequence for the encoding"),
        b"22023" => plain("invalid parameter value"),
        b"22025" => plain("invalid escape sequence"),
        b"2201B" => plain("invalid regular expression"),
        b"2202E" => plain("array dimensions do not match"),
        b"22P02" => plain("invalid input syntax for a type"),
        b"22P03" => plain("invalid binary data for a type"),
        b"22P04" => plain("COPY data is malformed"),
        b"22P05" => plain("character has no equivalent in the encoding"),
        b"23001" => plain("delete violates a restriction"),
        b"23502" => Some((
            "null value in column \"{column}\" of relation \"{table}\" violates not-null constraint",
            "null value in a column violates a not-null constraint",
        )),
        b"23503" => Some((
            "insert, update or delete on table \"{table}\" violates foreign key constraint \"{constraint}\"",
            "insert, update or delete violates a foreign key constraint",
        )),
        b"23505" => Some((
            "duplicate key value violates unique constraint \"{constraint}\"",
            "duplicate key value violates a unique constraint",
        )),
        b"23514" => Some((
            "new row for relation \"{table}\" violates check constraint \"{constraint}\"",
            "value or new row violates a check constraint",
        )),
        b"23P01" => Some((
            "conflicting key value violates exclusion constraint \"{constraint}\"",
            "conflicting key value violates an exclusion constraint",
        )),
        b"25001" => plain("the command cannot run inside a transaction block"),
        b"25006" => plain("cannot write in a read-only transaction"),
        b"25P01" => plain("the command can only be used in transaction blocks"),
        b"25P02" => plain("current transaction is aborted, commands ignored until end of transaction block"),
        b"26000" => plain("prepared statement does not exist"),
        b"27000" => plain("a trigger changed the row that was to be changed"),
        b"34000" => plain("portal or cursor does not exist"),
        b"3B001" => plain("savepoint does not exist"),
        b"40001" => plain("could not serialize access"),
        b"40P01" => plain("deadlock detected"),
        b"42501" => plain("permission denied"),
        b"42601" => plain("syntax error"),
        b"42701" => plain("column is named more than once"),
        b"42702" => plain("column reference is ambiguous"),
        b"42703" => plain("column does not exist"),
        b"42704" => plain("object does not exist"),
        b"42710" => plain("object already exists"),
        b"42803" => plain("grouping error"),
        b"42804" => plain("data types do not match"),
        b"42846" => plain("no cast between the types"),
        b"42883" => plain("function or operator does not exist"),
        b"42P01" => plain("relation does not exist"),
        b"42P03" => plain("cursor already exists"),
        b"42P05" => plain("prepared statement already exists"),
        b"42P06" => plain("schema already exists"),
        b"42P07" => plain("relation already exists"),
        b"42P18" => plain("could not determine a data type"),
        b"44000" => {
            Some(("new row violates check option for view \"{table}\"", "new row violates the check option of a view"))
        }
        b"53100" => plain("the server's disk is full"),
        b"53200" => plain("the server is out of memory"),
        b"54000" | b"54001" => plain("statement too complex"),
        b"55000" => plain("object not in prerequisite state"),
        b"55006" => plain("object in use"),
        b"55P03" => Some(("could not obtain lock on relation \"{table}\"", "lock not available")),
        b"57014" => plain("canceling statement due to timeout or user request"),
        b"57P01" => plain("terminating connection due to administrator command"),
        b"57P02" => plain("terminating connection because of a crash of the server"),
        b"57P03" => plain("the server does not accept connections"),
        b"P0001" => plain("raised by a function or trigger"),
        b"P0002" => plain("query returned no rows"),
        b"P0003" => plain("query returned more than one row"),
        b"P0004" => plain("assertion failed"),
        _ => None,
    }
}

/// The words for a class of SQLSTATEs.
pub(super) fn class(code: &[u8], error: bool) -> &'static str {
    match code.get(..2).unwrap_or_default() {
        b"00" => "notice withheld",
        b"01" => "warning withheld",
        b"02" => "no data",
        b"08" => "connection failure",
        b"0A" => "feature not supported",
        b"21" => "cardinality violation",
        b"22" => "data exception",
        b"23" => "constraint violation",
        b"25" => "invalid transaction state",
        b"28" => "invalid authorization",
        b"2B" => "objects depend on it",
        b"40" => "transaction rolled back",
        b"42" => "syntax error or access rule violation",
        b"53" => "insufficient resources",
        b"54" => "program limit exceeded",
        b"55" => "object not in prerequisite state",
        b"57" => "operator intervention",
        b"58" => "system error",
        b"P0" => "error in a function or trigger",
        _ if error => "the server reported an error",
        _ => "the server sent a notice",
    }
}
