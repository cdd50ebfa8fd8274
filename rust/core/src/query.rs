//! Query strings, with the rules of Go's `url.ParseQuery`.

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::percent::{Plus, check, decode};

/// A query string with valid escapes.
///
/// It is not parsed into a map. An endpoint looks for the few parameters that it knows, each in one pass over the
/// bytes, so a query of many parameters takes no memory.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a>(&'a [u8]);

impl<'a> Query<'a> {
    /// Check a raw query, without its `?`.
    ///
    /// # Errors
    /// [`Error::BadRequest`] for a malformed escape or a `;`. Some servers treat `;` as a separator, so Go refuses it.
    pub fn parse(raw: &'a [u8]) -> Result<Self> {
        if raw.is_empty() {
            return Ok(Self(raw));
        }
        let bad = |why: &str| Error::BadRequest(format!("invalid query parameters: {why}"));
        if raw.contains(&b';') {
            return Err(bad("invalid semicolon separator in query"));
        }
        for (key, value) in pieces(raw) {
            check(key).and_then(|()| check(value)).map_err(|escape| bad(&escape.to_string()))?;
        }
        Ok(Self(raw))
    }

    /// Every value of a parameter, decoded, in order.
    pub fn all(self, name: &'static str) -> impl Iterator<Item = Cow<'a, [u8]>> {
        self.values(name, Plus::Space)
    }

    /// The first value of a parameter, decoded. None if it is empty.
    pub fn first(self, name: &'static str) -> Option<Cow<'a, [u8]>> {
        if self.0.is_empty() {
            return None;
        }
        self.all(name).next().filter(|value| !value.is_empty())
    }

    /// The first value as text, with U+FFFD for invalid UTF-8. None if it is empty.
    pub fn text(self, name: &'static str) -> Option<Box<str>> {
        self.first(name).map(|value| text(&value))
    }

    /// The first value as a media type. None if it is empty.
    ///
    /// A `+` means a plus, not a space: no media type has a space (RFC 6838, 4.2), and some clients send
    /// `artifactType=application/vnd.x+json` without an escape.
    pub fn media_type(self, name: &'static str) -> Option<Box<str>> {
        self.values(name, Plus::Literal).next().filter(|value| !value.is_empty()).map(|value| text(&value))
    }

    fn values(self, name: &'static str, plus: Plus) -> impl Iterator<Item = Cow<'a, [u8]>> {
        pieces(self.0)
            .filter(move |(key, _)| decoded(key, Plus::Space).as_ref() == name.as_bytes())
            .map(move |(_, value)| decoded(value, plus))
    }
}

fn text(value: &[u8]) -> Box<str> {
    String::from_utf8_lossy(value).into()
}

/// The `key=value` pairs of a raw query, not decoded. A piece without `=` is a key with an empty value.
fn pieces(raw: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    raw.split(|&byte| byte == b'&').filter(|piece| !piece.is_empty()).map(|piece| {
        let equals = piece.iter().position(|&byte| byte == b'=');
        equals.map_or((piece, &b""[..]), |at| (&piece[..at], &piece[at + 1..]))
    })
}

/// Decode a part that [`Query::parse`] has checked. The error cannot happen; then it would return the raw bytes.
fn decoded(encoded: &[u8], plus: Plus) -> Cow<'_, [u8]> {
    decode(encoded, plus).unwrap_or(Cow::Borrowed(encoded))
}

/// Whether this piece of a raw query sets `name`. A malformed piece sets nothing.
pub(crate) fn sets(piece: &[u8], name: &str) -> bool {
    pieces(piece).any(|(key, _)| decode(key, Plus::Space).is_ok_and(|key| key.as_ref() == name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(raw: &str, name: &'static str) -> Option<String> {
        let query = Query::parse(raw.as_bytes()).expect("valid");
        query.text(name).map(Into::into)
    }

    #[test]
    fn first_value_counts() {
        for (raw, want) in [
            ("", None),
            ("n", None),
            ("n=", None),
            ("n=5", Some("5")),
            ("n=5&n=6", Some("5")),
            // An empty first value counts as the first.
            ("n=&n=6", None),
            ("n&n=6", None),
            ("&&x=1&n=5&", Some("5")),
            ("n=a=b", Some("a=b")),
            ("n=+5", Some(" 5")),
            ("n=%2B5", Some("+5")),
            ("%6e=7", Some("7")),
            ("N=7", None),
            ("nn=7", None),
            ("n=%ff", Some("\u{fffd}")),
        ] {
            assert_eq!(first(raw, "n").as_deref(), want, "{raw}");
        }
    }

    #[test]
    fn a_plus_in_a_media_type_is_a_plus() {
        for (raw, want) in [
            ("t=a/b+json", Some("a/b+json")),
            ("t=a%2Fb%2Bjson", Some("a/b+json")),
            ("t=a/b%20json", Some("a/b json")),
            ("t=a/b+json&t=c/d", Some("a/b+json")),
            ("t=&t=a/b", None),
            ("n=1", None),
            ("", None),
        ] {
            let query = Query::parse(raw.as_bytes()).expect("valid");
            assert_eq!(query.media_type("t").as_deref(), want, "{raw}");
        }
    }

    #[test]
    fn all_values_in_order() {
        let query = Query::parse(b"tag=a&x=1&tag=&tag=b%2Bc&tag=a").expect("valid");
        let tags: Vec<_> = query.all("tag").map(Cow::into_owned).collect();
        assert_eq!(tags, [&b"a"[..], b"", b"b+c", b"a"]);
    }

    #[test]
    fn refuses_semicolons_and_bad_escapes_anywhere() {
        for (raw, why) in [
            ("a=%zz", "invalid URL escape \"%zz\""),
            ("a=1&%4", "invalid URL escape \"%4\""),
            ("a=1;b=2", "invalid semicolon separator in query"),
            (";", "invalid semicolon separator in query"),
            // An escape does not extend over a separator.
            ("a=%4&1", "invalid URL escape \"%4\""),
            ("%4=1", "invalid URL escape \"%4\""),
        ] {
            let error = Query::parse(raw.as_bytes()).map(|_| ()).map_err(|e| e.to_string());
            assert_eq!(error, Err(format!("invalid query parameters: {why}")), "{raw}");
        }
    }
}
