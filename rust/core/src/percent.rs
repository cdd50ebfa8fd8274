//! Percent-encoding (RFC 3986, 2.1), with the rules and messages of Go's `net/url`.

use std::borrow::Cow;
use std::fmt::Write;

use crate::text::quote;

/// The meaning of a `+`: itself in a path, a space in a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plus {
    /// In a path.
    Literal,
    /// In a query (`application/x-www-form-urlencoded`).
    Space,
}

/// A `%` without two hex digits after it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid URL escape {0}")]
pub struct BadEscape(String);

/// Decode once. Borrows the input if it has no escapes.
///
/// # Errors
/// [`BadEscape`], which quotes the first malformed escape.
pub fn decode(encoded: &[u8], plus: Plus) -> Result<Cow<'_, [u8]>, BadEscape> {
    let special = |byte: &u8| *byte == b'%' || (*byte == b'+' && plus == Plus::Space);
    let Some(first) = encoded.iter().position(special) else {
        return Ok(Cow::Borrowed(encoded));
    };
    let mut decoded = Vec::with_capacity(encoded.len());
    decoded.extend(&encoded[..first]);
    let mut rest = &encoded[first..];
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => {
                let (value, tail) = escaped(tail)?;
                decoded.push(value);
                rest = tail;
            }
            b'+' if plus == Plus::Space => decoded.push(b' '),
            _ => decoded.push(byte),
        }
    }
    Ok(Cow::Owned(decoded))
}

/// Check that [`decode`] would succeed.
///
/// # Errors
/// Those of [`decode`].
pub fn check(encoded: &[u8]) -> Result<(), BadEscape> {
    let mut rest = encoded;
    while let Some(at) = memchr::memchr(b'%', rest) {
        (_, rest) = escaped(&rest[at + 1..])?;
    }
    Ok(())
}

/// Decode the bytes after a `%`.
fn escaped(after: &[u8]) -> Result<(u8, &[u8]), BadEscape> {
    if let [high, low, tail @ ..] = after {
        if let (Some(high), Some(low)) = (hex(*high), hex(*low)) {
            return Ok((high << 4 | low, tail));
        }
    }
    let shown = [b"%", &after[..after.len().min(2)]].concat();
    Err(BadEscape(quote(&shown, shown.len())))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Append bytes to a URL. Encodes all but the unreserved characters of RFC 3986.
pub fn encode_into(url: &mut String, bytes: &[u8]) {
    push(url, bytes, is_unreserved);
}

/// Append a part of a URL as received. Encodes only the bytes that no URL may contain.
///
/// So the URL is safe in a header, between `<` and `>`.
pub fn sanitize_into(url: &mut String, part: &[u8]) {
    push(url, part, |byte| is_unreserved(byte) || b"%:/?#[]@!$&'()*+,;=".contains(&byte));
}

fn push(url: &mut String, bytes: &[u8], keep: impl Fn(u8) -> bool) {
    for &byte in bytes {
        if keep(byte) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_once() {
        for (encoded, path, query) in [
            ("", "", ""),
            ("a", "a", "a"),
            ("a+b", "a+b", "a b"),
            ("%2B", "+", "+"),
            ("+%41+", "+A+", " A "),
            ("%2525", "%25", "%25"),
            ("%41%42c", "ABc", "ABc"),
            ("caf%C3%A9", "café", "café"),
            ("%c3%a9", "é", "é"),
        ] {
            assert_eq!(decode(encoded.as_bytes(), Plus::Literal).as_deref(), Ok(path.as_bytes()));
            assert_eq!(decode(encoded.as_bytes(), Plus::Space).as_deref(), Ok(query.as_bytes()));
            assert_eq!(check(encoded.as_bytes()), Ok(()));
        }
    }

    #[test]
    fn quotes_the_malformed_escape() {
        for (encoded, shown) in [
            ("%zz", r#""%zz""#),
            ("%", r#""%""#),
            ("a%4", r#""%4""#),
            ("%%41", r#""%%4""#),
            ("%4g1", r#""%4g""#),
            ("%+1", r#""%+1""#),
            ("ok%41%\n", r#""%\n""#),
        ] {
            let want = format!("invalid URL escape {shown}");
            assert_eq!(decode(encoded.as_bytes(), Plus::Literal).map_err(|e| e.to_string()), Err(want.clone()));
            assert_eq!(check(encoded.as_bytes()).map_err(|e| e.to_string()), Err(want));
        }
    }

    #[test]
    fn encodes_what_is_reserved() {
        let mut url = String::new();
        encode_into(&mut url, "a b/c:é~%".as_bytes());
        assert_eq!(url, "a%20b%2Fc%3A%C3%A9~%25");
    }

    #[test]
    fn sanitizes_what_breaks_a_header() {
        let mut url = String::new();
        sanitize_into(&mut url, b"/v2/a%2Fb?x=<y>\"\r\n\xff");
        assert_eq!(url, "/v2/a%2Fb?x=%3Cy%3E%22%0D%0A%FF");
    }
}
