//! Texts that the server's lexer reads again and again: nested comment openings and signs in one run of operator
//! characters cost it the run's length each.

/// Shorter texts cannot cost much.
const SHORT: usize = 4_096;
/// Bytes that the lexer may read more than once, in all.
const BUDGET: usize = 64 << 20;

/// Whether lexing the text takes about as long as it is.
pub(super) fn is_linear(text: &str) -> bool {
    if text.len() <= SHORT {
        return true;
    }
    let mut spent = 0_usize;
    for run in text.as_bytes().split(|byte| !is_operator(*byte)) {
        if run.len() > 32 {
            let signs = run.iter().filter(|byte| matches!(byte, b'+' | b'-')).count();
            let comments = run.windows(2).filter(|pair| *pair == b"/*").count();
            spent = spent.saturating_add(run.len().saturating_mul(signs + comments));
        }
    }
    spent <= BUDGET
}

fn is_operator(byte: u8) -> bool {
    matches!(
        byte,
        b'~' | b'!'
            | b'@'
            | b'#'
            | b'^'
            | b'&'
            | b'|'
            | b'`'
            | b'?'
            | b'+'
            | b'-'
            | b'*'
            | b'/'
            | b'%'
            | b'<'
            | b'>'
            | b'='
    )
}

#[cfg(test)]
mod tests {
    use super::is_linear;

    #[test]
    fn only_what_repeats_costs() {
        assert!(is_linear(&"SELECT 1 -- +++++\n".repeat(10_000)));
        assert!(is_linear(&format!("SELECT '{}'", "=".repeat(1_000_000))));
        assert!(is_linear(&format!("/*{}*/ SELECT 1", "*".repeat(100_000))));
        assert!(is_linear(&format!("SELECT '{}'", "+".repeat(5_000))));
        assert!(!is_linear(&"/*".repeat(50_000)));
        assert!(!is_linear(&format!("SELECT {}1", "+".repeat(50_000))));
    }
}
