//! Quotes input in messages: printable, and of bounded length.

use std::fmt::Write;

/// Maximum number of characters of input that a message quotes: enough to recognize it, too few to flood a log.
pub const MAX_ECHO: usize = 64;

/// Quote bytes as Go's `%q` does. Cuts them after `limit` characters.
///
/// Escapes bytes that are not printable UTF-8, so that a message cannot forge a log line or control a terminal.
pub fn quote(bytes: &[u8], limit: usize) -> String {
    let mut quoted = String::with_capacity(limit.min(bytes.len()) + 2);
    quoted.push('"');
    let mut left = limit;
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if left == 0 {
                return cut(quoted);
            }
            left -= 1;
            push_escaped(&mut quoted, character);
        }
        for byte in chunk.invalid() {
            if left == 0 {
                return cut(quoted);
            }
            left -= 1;
            let _ = write!(quoted, "\\x{byte:02x}");
        }
    }
    quoted.push('"');
    quoted
}

/// Escape a message like [`quote`], but without quotes around it.
pub fn printable(message: &str, limit: usize) -> String {
    let mut text = String::with_capacity(message.len().min(limit));
    for (index, character) in message.chars().enumerate() {
        if index == limit {
            text.push('…');
            break;
        }
        match character {
            '"' | '\\' => text.push(character),
            _ => push_escaped(&mut text, character),
        }
    }
    text
}

fn cut(mut quoted: String) -> String {
    quoted.push_str("…\"");
    quoted
}

fn push_escaped(text: &mut String, character: char) {
    let code = u32::from(character);
    let _ = match character {
        '"' | '\\' => write!(text, "\\{character}"),
        '\n' => write!(text, "\\n"),
        '\r' => write!(text, "\\r"),
        '\t' => write!(text, "\\t"),
        _ if is_printable(character) => write!(text, "{character}"),
        _ if code < 0x80 => write!(text, "\\x{code:02x}"),
        _ if code < 0x1_0000 => write!(text, "\\u{code:04x}"),
        _ => write!(text, "\\U{code:08x}"),
    };
}

/// Whether a character is printable. The standard library tells this only through `escape_debug`.
fn is_printable(character: char) -> bool {
    matches!(character, ' '..='~') || (!character.is_ascii() && character.escape_debug().len() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_like_go() {
        for (bytes, want) in [
            (&b""[..], r#""""#),
            (b"a/b", r#""a/b""#),
            (b"a\"\\", r#""a\"\\""#),
            (b"\n\r\t\x00\x7f", r#""\n\r\t\x00\x7f""#),
            ("café".as_bytes(), r#""café""#),
            (b"\xff\xc3", r#""\xff\xc3""#),
            ("\u{202e}\u{2028}".as_bytes(), r#""\u202e\u2028""#),
            ("\u{80}".as_bytes(), r#""\u0080""#),
            ("\u{e0001}".as_bytes(), r#""\U000e0001""#),
        ] {
            assert_eq!(quote(bytes, 64), want);
        }
    }

    #[test]
    fn cuts_after_the_limit() {
        assert_eq!(quote(b"abcd", 4), r#""abcd""#);
        assert_eq!(quote(b"abcde", 4), r#""abcd…""#);
        assert_eq!(quote(b"\xff\xff\xff", 2), r#""\xff\xff…""#);
        assert_eq!(printable("abcde", 4), "abcd…");
    }

    #[test]
    fn printable_keeps_quotes() {
        assert_eq!(printable("bad \"x\": \u{1b}[2J", 64), "bad \"x\": \\x1b[2J");
    }
}
