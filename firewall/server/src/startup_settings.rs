//! What a client may set with its StartupMessage. An unrestricted client: anything. A restricted one: what it may SET
//! later, too.

use ringfence_analysis::settings::may_set;

use crate::shared::Problem;
use crate::startup::Parameters;

/// Parameters that are no settings.
const NOT_SETTINGS: &[&str] = &["user", "database", "options", "replication"];

/// Refuses the first parameter that may not be given.
pub(crate) fn check(parameters: &Parameters, restricted: bool) -> Result<(), Problem> {
    if let Some(value) = parameters.get(b"replication")
        && !is_false(value)
    {
        return Err(Problem::new("0A000", "replication connections are not supported through the firewall")
            .hint("Connect to the database server directly for replication."));
    }
    if !restricted {
        return Ok(());
    }
    for (name, value) in &parameters.0 {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        if name == "options" {
            for (name, value) in options(value)? {
                setting(&name, &value)?;
            }
        } else if !NOT_SETTINGS.contains(&name.as_str()) {
            setting(&name, value)?;
        }
    }
    Ok(())
}

fn setting(name: &str, value: &[u8]) -> Result<(), Problem> {
    let value = String::from_utf8_lossy(value);
    // libpq takes quotes around an encoding's name; so does the server.
    if may_set(name, Some(value.trim_matches(['\'', '"']))) {
        return Ok(());
    }
    let message = format!("parameter \"{name}\" may not be set to this value by a restricted client");
    Err(Problem::new("42501", message)
        .hint("Leave it out of the connection string (and of PGOPTIONS), or ask for a role that is not restricted."))
}

/// A boolean as the server reads it for `replication`.
fn is_false(value: &[u8]) -> bool {
    let value = value.to_ascii_lowercase();
    matches!(value.as_slice(), b"false" | b"off" | b"no" | b"0" | b"f" | b"n")
}

/// The settings in `-c NAME=VALUE` and `--NAME=VALUE`; everything else is refused. Words are split as the server
/// does: at white space that no backslash precedes.
fn options(text: &[u8]) -> Result<Vec<(String, Vec<u8>)>, Problem> {
    let mut settings = Vec::new();
    let mut words = words(text).into_iter();
    while let Some(word) = words.next() {
        let assignment = match word.as_slice() {
            b"-c" => words.next(),
            _ => word.strip_prefix(b"--").or_else(|| word.strip_prefix(b"-c")).map(<[u8]>::to_vec),
        };
        let pair = assignment.and_then(|a| {
            let at = a.iter().position(|b| *b == b'=')?;
            let name = String::from_utf8_lossy(a.get(..at)?).to_ascii_lowercase().replace('-', "_");
            Some((name, a.get(at + 1..)?.to_vec()))
        });
        settings.push(pair.ok_or_else(|| {
            Problem::new("42501", "startup options other than -c NAME=VALUE may not be given by this client")
                .hint("Leave other options out of the connection string and of PGOPTIONS.")
        })?);
    }
    Ok(settings)
}

fn words(text: &[u8]) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut open = false;
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte.is_ascii_whitespace() || byte == 0x0b {
            open = false;
            continue;
        }
        if !open {
            words.push(Vec::new());
            open = true;
        }
        let byte = if byte == b'\\' { bytes.next() } else { Some(byte) };
        if let (Some(word), Some(byte)) = (words.last_mut(), byte) {
            word.push(byte);
        }
    }
    words
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn restricted(pairs: &[(&str, &str)]) -> Result<(), String> {
        let parameters = pairs.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
        check(&Parameters(parameters), true).map_err(|p| format!("{} {}", p.sqlstate, p.message))
    }

    #[test]
    fn what_drivers_send_passes() {
        for pairs in [
            &[("user", "u"), ("database", "d"), ("application_name", "psql"), ("client_encoding", "UTF8")][..],
            &[("client_encoding", "'utf-8'"), ("DateStyle", "ISO"), ("TimeZone", "UTC"), ("extra_float_digits", "2")],
            &[("options", "-c statement_timeout=5s --search-path=a\\ b -cjit=off"), ("replication", "false")],
        ] {
            assert_eq!(restricted(pairs), Ok(()));
        }
    }

    #[test]
    fn what_changes_meaning_plan_or_role_is_refused() {
        for pair in [
            ("client_encoding", "LATIN1"),
            ("standard_conforming_strings", "off"),
            ("role", "postgres"),
            ("session_authorization", "postgres"),
            ("enable_seqscan", "off"),
            ("options", "-c role=postgres"),
            ("options", "-c\tEnable-Seqscan=off"),
            ("options", "--session_replication_role=replica"),
            ("options", "-P"),
            ("options", "-c"),
            ("options", "x"),
            ("myapp.user", "x"),
        ] {
            assert!(restricted(&[pair]).unwrap_err().starts_with("42501"), "{pair:?}");
        }
        assert!(restricted(&[("replication", "database")]).unwrap_err().starts_with("0A000"));
    }

    #[test]
    fn an_unrestricted_client_sets_what_it_likes_but_replication() {
        let options = Parameters(vec![(b"options".to_vec(), b"-c role=x -P".to_vec())]);
        assert_eq!(check(&options, false), Ok(()));
        let replication = Parameters(vec![(b"replication".to_vec(), b"on".to_vec())]);
        assert!(check(&replication, false).is_err());
    }
}
