//! Checks the nesting depth of JSON, before a recursive reader reads it.

use memchr::memchr2;

/// Whether brackets and braces outside of strings nest at most `limit` levels deep.
///
/// It is one pass without a stack, and skips strings quickly. It does not check whether the content is JSON: the reader
/// does that later.
pub(super) fn is_within(json: &[u8], limit: usize) -> bool {
    let mut depth = 0_usize;
    let mut rest = json;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return false;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => rest = after_string(rest),
            _ => {}
        }
    }
    true
}

/// The bytes after the end of the string in which `inside` starts.
fn after_string(mut inside: &[u8]) -> &[u8] {
    while let Some(at) = memchr2(b'"', b'\\', inside) {
        if inside[at] == b'"' {
            return &inside[at + 1..];
        }
        // Skip the byte after a backslash.
        inside = inside.get(at + 2..).unwrap_or_default();
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_levels() {
        for (json, depth) in [
            ("", 0),
            ("1", 0),
            ("{}", 1),
            (r#"{"a":[{}],"b":[]}"#, 3),
            ("[[],[[]],[]]", 3),
            (r#"["[[[["]"#, 1),
            (r#"["\"[[[["]"#, 1),
            (r#"["\\",["x"]]"#, 2),
            // Not JSON. The result does not matter.
            ("]]]][", 1),
            (r#"[""#, 1),
            (r#"["\"#, 1),
        ] {
            assert!(is_within(json.as_bytes(), depth), "{json}");
            assert!(depth == 0 || !is_within(json.as_bytes(), depth - 1), "{json}");
        }
    }

    #[test]
    fn survives_any_depth() {
        assert!(!is_within(&b"[".repeat(4 << 20), 64));
        assert!(is_within(&b"[]".repeat(2 << 20), 64));
    }
}
