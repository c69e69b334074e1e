//! Every mistake in a classification is named with its place and what to write instead.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use ringfence_policy::{ConfigError, Detect, Detectors, Limit, Word, parse};

fn mistakes(text: &str) -> Vec<ConfigError> {
    parse(text, "c.yaml").map_or_else(|errors| errors, |_| Vec::new())
}

/// (name, file, line, column, part of the message, part of the fix)
type Case = (&'static str, &'static str, u32, u32, &'static str, &'static str);

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("empty", "", 0, 0, "empty", "version: 1"),
    ("only a comment", "# nothing\n", 0, 0, "empty", "version: 1"),
    ("not a map", "- a\n", 1, 1, "expected a map, found a list", ""),
    ("syntax", "version: 1\nlabels: {pci: {}\ncolumns: [\n", 0, 0, "", ""),
    ("tab", "version: 1\nlabels:\n\tpci: {}\n", 3, 0, "", ""),
    ("two documents", "version: 1\n---\nversion: 1\n", 2, 0, "more than one document", ""),
    ("no version", "labels: {}\n", 1, 1, "`version` is missing", "version: 1"),
    ("another version", "version: 2\n", 1, 10, "only version is 1", "version: 1"),
    ("unknown key", "version: 1\nlables: {}\n", 2, 1, "unknown key \"lables\"", "did you mean \"labels\"?"),
    ("duplicate key", "version: 1\nlabels:\n  pci: {}\n  pci: {}\n", 4, 3, "duplicate key \"pci\"", "line 3"),
    ("duplicate section", "version: 1\nlabels: {}\nlabels: {}\n", 3, 1, "duplicate key \"labels\"", "line 2"),
    ("labels as a list", "version: 1\nlabels: [pci]\n", 2, 9, "expected a map, found a list", ""),
    ("built-in label", "version: 1\nlabels:\n  statistics: {}\n", 3, 3, "built-in label", "another name"),
    ("built-in label 2", "version: 1\nlabels: { catalog_text: {} }\n", 2, 11, "built-in label", "another name"),
    ("label like a setting", "version: 1\nlabels: { admin: {} }\n", 2, 11, "setting of roles", "another name"),
    ("label name", "version: 1\nlabels: { \"a b\": {} }\n", 2, 11, "cannot be the name of a label", "letters"),
    ("at rest", "version: 1\nlabels:\n  pci: { at_rest: encrypt }\n", 3, 10, "`at_rest` is not available yet", "remove `at_rest`"),
    ("search", "version: 1\nlabels:\n  pci:\n    search: [equality]\n", 4, 5, "`search` is not available yet", "remove `search`"),
    ("unknown key of a label", "version: 1\nlabels: { pci: { colour: red } }\n", 2, 18, "unknown key \"colour\"", "at_rest"),
    ("table without schema", "version: 1\ncolumns:\n  users: {}\n", 3, 3, "schema.table", "public.users"),
    ("table with three parts", "version: 1\ncolumns:\n  a.b.c: {}\n", 3, 3, "schema.table", "double quotes"),
    ("unknown label", "version: 1\nlabels: { pci: {} }\ncolumns:\n  public.users: { card: pcii }\n", 4, 25, "unknown label \"pcii\"", "did you mean \"pci\"?"),
    ("undeclared label", "version: 1\ncolumns:\n  public.users: { card: secret }\n", 3, 25, "unknown label \"secret\"", "declare it"),
    ("built-in label on a column", "version: 1\ncolumns:\n  public.users: { card: statistics }\n", 3, 25, "unknown label", ""),
    ("label is a number", "version: 1\nlabels: { pci: {} }\ncolumns:\n  public.users: { card: 5 }\n", 4, 25, "expected a label, found a number", "quotes"),
    ("label is missing", "version: 1\ncolumns:\n  public.users: { card: }\n", 3, 0, "expected a label, found nothing", ""),
    ("two labels", "version: 1\nlabels: { a: {}, b: {} }\ncolumns:\n  s.t: { c: a }\ndatabases:\n  bank: { columns: { s.t: { c: b } } }\n", 6, 29, "already has the label a (line 4)", "one label"),
    ("database without columns", "version: 1\ndatabases:\n  bank: { tables: {} }\n", 3, 11, "unknown key \"tables\"", "columns"),
    ("unknown label in a role", "version: 1\nlabels: { pci: {} }\nroles:\n  default: { pic: drop }\n", 4, 14, "unknown label \"pic\"", "did you mean"),
    ("misspelled setting of a role", "version: 1\nroles:\n  operator: { admn: true }\n", 3, 21, "a handling is a word or a map", ""),
    ("unknown handling", "version: 1\nlabels: { pci: {} }\nroles:\n  default:\n    pci: encypt\n", 5, 10, "unknown handling \"encypt\"", "did you mean \"encrypt\"?"),
    ("mask as a handling", "version: 1\nlabels: { pci: {} }\nroles:\n  r: { pci: last4 }\n", 4, 13, "unknown handling \"last4\"", "{ mask: last4 }"),
    ("mask without which", "version: 1\nlabels: { pci: {} }\nroles:\n  r: { pci: mask }\n", 4, 13, "needs to know which", "{ mask: last4 }"),
    ("mask without with", "version: 1\nlabels: { pci: {} }\nroles:\n  r: { pci: { handling: mask } }\n", 4, 25, "needs to know which", "last4"),
    ("unknown mask", "version: 1\nlabels: { pci: {} }\nroles:\n  r: { pci: { mask: last5 } }\n", 4, 21, "unknown word \"last5\"", "did you mean \"last4\"?"),
    ("mask and handling", "version: 1\nlabels: { pci: {} }\nroles:\n  r: { pci: { handling: drop, mask: last4 } }\n", 4, 31, "both are given", "remove one"),
    ("with without mask", "version: 1\nlabels: { pci: {} }\nroles:\n  r: { pci: { handling: drop, with: last4 } }\n", 4, 31, "`with` says which mask", "remove `with`"),
    ("fixed without text", "version: 1\nlabels: { pci: {} }\nroles:\n  r: { pci: { mask: { text: x } } }\n", 4, 23, "unknown key \"text\"", "fixed"),
    ("handling missing", "version: 1\nlabels: { pci: {} }\nroles:\n  r: { pci: { filter: none } }\n", 4, 13, "`handling` is missing", "plain"),
    ("handling is a list", "version: 1\nlabels: { pci: {} }\nroles:\n  r: { pci: [drop] }\n", 4, 13, "this is a list", "plain"),
    ("unknown filter", "version: 1\nlabels: { pci: {} }\nroles:\n  r: { pci: { handling: drop, filter: equal } }\n", 4, 39, "unknown word \"equal\"", "equality"),
    ("unknown permission", "version: 1\nlabels: { pci: {} }\nroles:\n  r: { pci: { handling: drop, allow: [read, wirte] } }\n", 4, 45, "unknown word \"wirte\"", ""),
    ("allow as a word", "version: 1\nlabels: { pci: {} }\nroles:\n  r: { pci: { handling: drop, allow: read } }\n", 4, 38, "expected a list, found a word", "[a, b]"),
    ("admin is a word", "version: 1\nroles:\n  r: { admin: yes }\n", 3, 15, "expected true or false", ""),
    ("rows_per_hour", "version: 1\nroles:\n  r: { rows_per_hour: 0 }\n", 3, 23, "above zero", ""),
    ("values_per_hour", "version: 1\nlabels: { pci: {} }\nroles:\n  r: { pci: { handling: plain, values_per_hour: many } }\n", 4, 49, "above zero", ""),
    ("derived", "version: 1\nlabels: { pci: {} }\nroles:\n  r: { pci: { handling: drop, derived: null } }\n", 4, 40, "unknown word \"null\"", "refuse"),
    ("derived on plain", "version: 1\nlabels: { pci: {} }\nroles:\n  r: { pci: { handling: plain, derived: drop } }\n", 4, 41, "means nothing where the handling is plain", "remove `derived`"),
    ("derived on refuse", "version: 1\nlabels: { pci: {} }\nroles:\n  r: { pci: { handling: refuse, derived: drop } }\n", 4, 42, "means nothing where the handling is refuse", "another handling"),
    ("too many values", "version: 1\nlabels: { pci: {} }\nroles:\n  r: { pci: { handling: plain, values_per_hour: 1000001 } }\n", 4, 49, "at most 1000000 different values", "1000000 or less"),
    ("no values", "version: 1\nlabels: { pci: {} }\nroles:\n  r: { pci: { handling: plain, values_per_hour: 0 } }\n", 4, 49, "above zero", ""),
    ("statements as a word", "version: 1\nroles:\n  r: { statements: select }\n", 3, 20, "expected a list, found a word", "[a, b]"),
    ("unknown kind of statement", "version: 1\nroles:\n  r: { statements: [select, upsert] }\n", 3, 29, "unknown word \"upsert\"", "insert"),
    ("misspelled kind of statement", "version: 1\nroles:\n  r: { statements: [slect] }\n", 3, 21, "unknown word \"slect\"", "did you mean \"select\"?"),
    ("label like a limit", "version: 1\nlabels: { statements: {} }\n", 2, 11, "setting of roles", "another name"),
    ("unknown detector", "version: 1\ndetectors: { pam: block }\n", 2, 14, "unknown key \"pam\"", "did you mean \"pan\"?"),
    ("detector's word", "version: 1\ndetectors: { pan: off }\n", 2, 19, "unknown word \"off\"", "audit"),
    ("detectors as a word", "version: 1\ndetectors: block\n", 2, 12, "expected a map, found a word", ""),
    ("detector of a client", "version: 1\nclients:\n  app: { roles: [], detectors: { hash: log } }\n", 3, 40, "unknown word \"log\"", "block"),
    ("unknown role", "version: 1\nroles: { default: {} }\nclients:\n  app: { roles: [defualt] }\n", 4, 18, "unknown role \"defualt\"", "did you mean \"default\"?"),
    ("client without roles", "version: 1\nclients:\n  app: {}\n", 3, 3, "has no roles", "roles: [default]"),
    ("client name", "version: 1\nclients:\n  \"a~b\": { roles: [] }\n", 3, 3, "cannot be the name of a client", "letters"),
    ("unknown key of a client", "version: 1\nclients:\n  app: { roles: [], timeout: 5s }\n", 3, 21, "unknown key \"timeout\"", "statement_timeout"),
    ("roles as a word", "version: 1\nclients:\n  app: { roles: default }\n", 3, 17, "expected a list, found a word", "[a, b]"),
    ("duration without unit", "version: 1\nclients:\n  app: { roles: [], statement_timeout: 60 }\n", 3, 40, "expected a duration", "60s"),
    ("duration with a wrong unit", "version: 1\nclients:\n  app: { roles: [], statement_timeout: 60 parsecs }\n", 3, 40, "expected a duration", "60s"),
    ("duration zero", "version: 1\nclients:\n  app: { roles: [], statement_timeout: 0s }\n", 3, 40, "expected a duration", "above zero"),
    ("max_connections", "version: 1\nclients:\n  app: { roles: [], max_connections: -1 }\n", 3, 38, "above zero", ""),
    ("enforce", "version: 1\nclients:\n  app: { roles: [], enforce: never }\n", 3, 30, "unknown word \"never\"", "observe"),
    ("upstream without user", "version: 1\nclients:\n  app: { roles: [], upstream: { password_file: f } }\n", 3, 31, "`user` is missing", "user"),
    ("unclassified", "version: 1\nunclassified: deny\n", 2, 15, "unknown word \"deny\"", "refuse"),
    ("unclassified by schema", "version: 1\nunclassified: { public: deny }\n", 2, 25, "unknown word \"deny\"", "refuse"),
    ("extensions", "version: 1\ntrusted_extensions: pgcrypto\n", 2, 21, "expected a list", "[a, b]"),
    ("declassified function", "version: 1\ndeclassify: { functions: [check] }\n", 2, 27, "schema.function", "public.check"),
    ("on_bad_token", "version: 1\non_bad_token: ignore\n", 2, 15, "unknown word \"ignore\"", "error"),
    ("audit_on_failure", "version: 1\naudit_on_failure: stop\n", 2, 19, "unknown word \"stop\"", "refuse"),
    ("own channel", "version: 1\nnotifications: [ringfence_policy]\n", 2, 17, "belongs to the firewall", "remove"),
    ("strict_types", "version: 1\nstrict_types: 1\n", 2, 15, "expected true or false", ""),
    ("merge key", "version: 1\nroles:\n  a: &a { admin: true }\n  b:\n    <<: *a\n", 5, 0, "", ""),
];

#[test]
fn each_mistake_has_its_place_message_and_fix() {
    let mut wrong = Vec::new();
    for &(name, text, line, column, message, fix) in CASES {
        let found = mistakes(text);
        let hit = found.iter().any(|e| {
            (line == 0 || e.line == line)
                && (column == 0 || e.column == column)
                && e.message.contains(message)
                && e.fix.as_deref().unwrap_or_default().contains(fix)
                && e.file == "c.yaml"
        });
        if !hit {
            wrong.push(format!("{name}: {line}:{column} {message} | found {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_mistakes_are_found_in_one_run_in_the_order_of_the_file() {
    let found = mistakes(
        "version: 3\nlabels: { pci: { at_rest: encrypt } }\ncolumns:\n  users: {}\n  public.t: { a: nope }\nroles:\n  default: { pci: hide }\n\
         clients:\n  app: { roles: [dfault], statement_timeout: 5 }\n",
    );
    let lines: Vec<u32> = found.iter().map(|e| e.line).collect();
    assert_eq!(lines, [1, 2, 4, 5, 7, 9, 9], "{found:#?}");
}

#[test]
fn a_mistake_prints_with_its_line_and_a_mark() {
    let found = mistakes("version: 1\nlabels: { pci: {} }\nroles:\n  default: { pci: encypt }\n");
    assert_eq!(
        found[0].to_string(),
        "c.yaml:4:19: unknown handling \"encypt\"\n   |\n 4 |   default: { pci: encypt }\n   |                   ^\n  fix: did you mean \"encrypt\"?"
    );
}

#[test]
fn bombs_are_refused() {
    let mut bomb = String::from("version: 1\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let items = vec![format!("*a{}", i - 1); 10].join(", ");
        bomb.push_str(&format!("a{i}: &a{i} [{items}]\n"));
    }
    assert!(!mistakes(&bomb).is_empty());
    let deep = format!("version: 1\nlabels: {}{}\n", "[".repeat(5_000), "]".repeat(5_000));
    assert!(!mistakes(&deep).is_empty());
    let long = format!("version: 1\n# {}\n", "x".repeat(5 << 20));
    assert!(mistakes(&long)[0].message.contains("longer"));
}

#[test]
fn the_whole_form_is_understood() {
    let text = r#"
version: 1
labels: { pci: , pii: {}, secret: {} }
columns:
  public.users: { credit_card: pci, email: pii, password_hash: secret }
  '"Odd.Schema"."A ""table"""': { "Col 1": pci }
databases:
  bank: { columns: { public.accounts: { iban: pci } } }
roles:
  default:             { pci: encrypt, pii: plain, secret: drop }
  analyst:             { pci: { mask: last4, filter: none }, pii: { handling: tokenize, filter: equality }, secret: drop, rows_per_hour: 100000, statements: [select, explain] }
  card_issuer:         { pci: plain }
  credential_verifier: { secret: { handling: plain, allow: [read], values_per_hour: 10000 } }
  masks:               { pci: { mask: { fixed: "[card]" } }, pii: { handling: mask, with: email }, secret: { mask: fixed, derived: drop } }
  operator:            { pci: plain, pii: plain, secret: plain, admin: true }
clients:
  users-api:   { roles: [default] }
  users-auth:  { roles: [default, credential_verifier], upstream: { user: users_auth, password_file: secrets/users_auth } }
  analyst:     { roles: [analyst], statement_timeout: 60s, max_connections: 5, enforce: observe, detectors: { pan: audit, private_key: block } }
  operator:    { roles: [operator] }
unclassified: { public: refuse, reporting: allow }
trusted_extensions: [pgcrypto]
declassify: { functions: [public.check_password], aggregates: [count] }
on_bad_token: null
detectors: { pan: block }
audit_on_failure: continue
notifications: [orders]
strict_types: true
"#;
    let policy = parse(text, "c.yaml").unwrap_or_else(|e| panic!("{e:#?}"));
    assert_eq!(policy.client("users-auth").unwrap().upstream.as_ref().unwrap().user, "users_auth");
    assert!(policy.client("analyst").unwrap().policy.observe);
    assert_eq!(policy.databases().collect::<Vec<_>>(), ["bank"]);
    assert_eq!(policy.trusted_extensions, ["pgcrypto"]);
    assert_eq!(policy.declassify.functions, ["public.check_password"]);
    let analyst = &policy.client("analyst").unwrap().policy;
    assert_eq!(analyst.rows_per_hour, Some(Limit { most: 100_000, role: "analyst".into() }));
    assert_eq!(analyst.statements.as_deref(), Some(&[Word::Select, Word::Explain][..]));
    assert_eq!(analyst.detectors, Detectors { pan: Detect::Audit, hash: Detect::Audit, private_key: Detect::Block });
    let auth = &policy.client("users-auth").unwrap().policy;
    let secret = &auth.labels[usize::from(policy.label_id("secret").unwrap().0)];
    assert_eq!(secret.values_per_hour, Some(Limit { most: 10_000, role: "credential_verifier".into() }));
    assert_eq!(auth.detectors, Detectors { pan: Detect::Block, ..Detectors::default() });
    assert!(policy.warnings.is_empty(), "{:#?}", policy.warnings);
}

#[test]
fn a_file_without_labels_restricts_nobody() {
    let policy = parse("version: 1\nroles: { r: {} }\nclients: { app: { roles: [r] } }\n", "c.yaml").unwrap();
    assert!(!policy.has_labels());
    assert!(!policy.client("app").unwrap().policy.restricted);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(version: 1\n)?([a-z{}\\[\\]:,&*<>|\"'#\n -]{0,80})") {
        let _ = parse(&text, "c.yaml");
    }

    #[test]
    fn no_change_of_the_sample_makes_it_panic(at in 0usize..4000, with in "\\PC{0,3}") {
        let sample = include_str!("../../../classification.yaml");
        let at = (at..=sample.len()).find(|at| sample.is_char_boundary(*at)).unwrap_or(sample.len());
        let text = format!("{}{with}{}", &sample[..at], sample[at..].get(1..).unwrap_or_default());
        let _ = parse(&text, "c.yaml");
    }
}
