//! The reviewed list: what may stand between a labelled column and a client for whom `derived: drop` makes it NULL.
//!
//! Each of these cannot fail for any value, makes no NULL of what is not NULL, returns one value, and takes about the same
//! time for values of the same length. What repeats or pads (`repeat`, `lpad`) is not here: its result's size is chosen. Nor is what can fail for some values (`substr` with a negative length, `convert_from`, `to_number`),
//! and what tells a value from others (`nullif`, `position`), or makes texts of one length longer or shorter by what stands
//! in them (`ltrim`, `quote_literal`): put together with itself often enough, one character becomes a gigabyte. For the same
//! reason `||` and `concat` are droppable only where no column stands on both sides.

/// Functions of the server, by name, sorted.
const FUNCTIONS: [&str; 16] = [
    "bit_length",
    "char_length",
    "character_length",
    "coalesce",
    "concat",
    "concat_ws",
    "initcap",
    "left",
    "length",
    "lower",
    "md5",
    "octet_length",
    "reverse",
    "right",
    "text",
    "upper",
];

/// Whether the server's function of that name is on the list.
pub(super) fn is_reviewed(name: &str) -> bool {
    FUNCTIONS.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::{FUNCTIONS, is_reviewed};

    #[test]
    fn sorted_and_without_what_can_fail_or_tell() {
        assert!(FUNCTIONS.is_sorted());
        assert!(FUNCTIONS.iter().all(|name| is_reviewed(name)));
        for name in [
            "repeat",
            "lpad",
            "substr",
            "substring",
            "nullif",
            "ascii",
            "chr",
            "to_number",
            "split_part",
            "format",
            "ltrim",
        ] {
            assert!(!is_reviewed(name), "{name}");
        }
    }
}
