//! Arrays on the wire, element by element.

use super::value::Unpresentable;

type Apply<'a> = dyn Fn(&[u8], &mut Vec<u8>) -> Result<(), Unpresentable> + 'a;

/// Binary: dimensions, flags, element type, (size, lower bound) per dimension, then length-prefixed elements.
pub(super) fn binary(
    value: &[u8],
    out: &mut Vec<u8>,
    apply: impl Fn(&[u8], &mut Vec<u8>) -> Result<(), Unpresentable>,
) -> Result<(), Unpresentable> {
    let apply: &Apply<'_> = &apply;
    let dimensions = int(value, 0)?;
    if !(0..=6).contains(&dimensions) {
        return Err(Unpresentable);
    }
    let header = 12 + 8 * usize::try_from(dimensions).map_err(|_| Unpresentable)?;
    out.extend_from_slice(value.get(..header).ok_or(Unpresentable)?);
    let mut at = header;
    while at < value.len() {
        let length = int(value, at)?;
        at += 4;
        let Ok(length) = usize::try_from(length) else {
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            continue;
        };
        let element = value.get(at..at + length).ok_or(Unpresentable)?;
        at += length;
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        apply(element, out)?;
        let written = i32::try_from(out.len() - start - 4).map_err(|_| Unpresentable)?;
        if let Some(word) = out.get_mut(start..start + 4) {
            word.copy_from_slice(&written.to_be_bytes());
        }
    }
    Ok(())
}

fn int(value: &[u8], at: usize) -> Result<i32, Unpresentable> {
    let bytes = value.get(at..at + 4).ok_or(Unpresentable)?;
    bytes.try_into().map(i32::from_be_bytes).map_err(|_| Unpresentable)
}

/// Text: `[2:3]={{a,"b c"},{NULL,"\""}}`. Elements are unquoted, handled, and quoted again.
pub(super) fn text(
    value: &[u8],
    out: &mut Vec<u8>,
    apply: impl Fn(&[u8], &mut Vec<u8>) -> Result<(), Unpresentable>,
) -> Result<(), Unpresentable> {
    let apply: &Apply<'_> = &apply;
    let mut at = value.iter().position(|&b| b == b'{').ok_or(Unpresentable)?;
    out.extend_from_slice(value.get(..at).ok_or(Unpresentable)?);
    let mut element = Vec::new();
    let mut handled = Vec::new();
    while let Some(&byte) = value.get(at) {
        match byte {
            b'{' | b'}' | b',' => {
                out.push(byte);
                at += 1;
            }
            b'"' => {
                element.clear();
                at += 1;
                loop {
                    match value.get(at) {
                        Some(b'"') => break,
                        Some(b'\\') => {
                            element.push(*value.get(at + 1).ok_or(Unpresentable)?);
                            at += 2;
                        }
                        Some(&other) => {
                            element.push(other);
                            at += 1;
                        }
                        None => return Err(Unpresentable),
                    }
                }
                at += 1;
                quoted(&element, &mut handled, out, apply)?;
            }
            _ => {
                let rest = value.get(at..).ok_or(Unpresentable)?;
                let length = rest.iter().position(|b| matches!(b, b',' | b'}')).ok_or(Unpresentable)?;
                let bare = rest.get(..length).ok_or(Unpresentable)?;
                at += length;
                if bare.eq_ignore_ascii_case(b"NULL") {
                    out.extend_from_slice(bare);
                } else {
                    quoted(bare, &mut handled, out, apply)?;
                }
            }
        }
    }
    Ok(())
}

fn quoted(element: &[u8], handled: &mut Vec<u8>, out: &mut Vec<u8>, apply: &Apply<'_>) -> Result<(), Unpresentable> {
    handled.clear();
    apply(element, handled)?;
    out.push(b'"');
    for &byte in handled.iter() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shout(element: &[u8], out: &mut Vec<u8>) -> Result<(), Unpresentable> {
        out.extend(element.iter().map(u8::to_ascii_uppercase));
        Ok(())
    }

    #[test]
    fn text_elements_are_handled_one_by_one() {
        for (input, expected) in [
            (r#"{a,"b c",NULL}"#, r#"{"A","B C",NULL}"#),
            (r#"{{a,b},{c,d}}"#, r#"{{"A","B"},{"C","D"}}"#),
            (r#"[2:3]={x,"y\"z\\"}"#, r#"[2:3]={"X","Y\"Z\\"}"#),
            ("{}", "{}"),
            (r#"{"NULL"}"#, r#"{"NULL"}"#),
        ] {
            let mut out = Vec::new();
            text(input.as_bytes(), &mut out, shout).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn a_broken_array_is_no_array() {
        for input in ["", "abc", "{\"a", "{a", "{\"a\\"] {
            assert_eq!(text(input.as_bytes(), &mut Vec::new(), shout), Err(Unpresentable), "{input}");
        }
        assert_eq!(binary(&[0, 0, 0, 1], &mut Vec::new(), shout), Err(Unpresentable));
    }

    #[test]
    fn binary_elements_change_length() {
        let mut value = Vec::new();
        for word in [1_i32, 1, 25, 3, 1] {
            value.extend_from_slice(&word.to_be_bytes());
        }
        value.extend_from_slice(&2_i32.to_be_bytes());
        value.extend_from_slice(b"ab");
        value.extend_from_slice(&(-1_i32).to_be_bytes());
        value.extend_from_slice(&0_i32.to_be_bytes());
        let mut out = Vec::new();
        binary(&value, &mut out, |element, out| {
            out.extend_from_slice(element);
            out.push(b'!');
            Ok(())
        })
        .unwrap();
        let tail = out.get(20..).unwrap();
        assert_eq!(
            tail,
            [&3_i32.to_be_bytes()[..], b"ab!", &(-1_i32).to_be_bytes(), &1_i32.to_be_bytes(), b"!"].concat()
        );
    }
}
