//! Readers of JSON strings and keys. Their errors name what they expected.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};

/// Reads a string. Borrows it if it has no escapes. `null` is None, as in Go.
pub(super) struct Text<W>(pub(super) W);

impl<'de, W: fmt::Display> DeserializeSeed<'de> for Text<W> {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, W: fmt::Display> Visitor<'de> for Text<W> {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a string as {}", self.0)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Reads the key of an object.
pub(super) struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// The known keys of an object, and which of them were found.
///
/// A duplicate key is refused: readers that use different duplicates would see different manifests with one digest. A
/// key that differs from a known one only in case is refused too, because Go's `encoding/json` ignores case.
pub(super) struct Keys<const N: usize> {
    known: [&'static str; N],
    seen: [bool; N],
}

impl<const N: usize> Keys<N> {
    pub(super) fn new(known: [&'static str; N]) -> Self {
        Self { known, seen: [false; N] }
    }

    /// Find a key in the known ones. None if it is unknown.
    pub(super) fn find<E: Error>(&mut self, key: &str) -> Result<Option<&'static str>, E> {
        let Some(index) = self.known.iter().position(|known| folds_to(key, known)) else {
            return Ok(None);
        };
        let known = self.known[index];
        if key != known {
            return Err(E::custom(format_args!("a key that differs from {known} only in case")));
        }
        if std::mem::replace(&mut self.seen[index], true) {
            return Err(E::custom(format_args!("{known} appears twice")));
        }
        Ok(Some(known))
    }
}

/// Whether Go treats the two as equal, ignoring case. `known` has only ASCII letters.
fn folds_to(key: &str, known: &str) -> bool {
    let fold = |character: char| match character {
        // The only characters that fold into ASCII: the long s, and the Kelvin sign.
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        _ => character.to_ascii_lowercase(),
    };
    key.len() <= 3 * known.len() && key.chars().map(fold).eq(known.chars().map(fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_once_and_exactly() {
        let mut keys = Keys::new(["size", "digest", "kind"]);
        let mut find = |key: &str| keys.find::<serde_json::Error>(key).map_err(|error| error.to_string());
        assert_eq!(find("other"), Ok(None));
        assert_eq!(find("sizes"), Ok(None));
        assert_eq!(find(""), Ok(None));
        assert_eq!(find("size"), Ok(Some("size")));
        assert_eq!(find("size"), Err("size appears twice".to_owned()));
        for variant in ["Digest", "DIGEST", "dige\u{17f}t"] {
            assert_eq!(find(variant), Err("a key that differs from digest only in case".to_owned()));
        }
        assert_eq!(find("\u{212a}ind"), Err("a key that differs from kind only in case".to_owned()));
        assert_eq!(find("other"), Ok(None));
    }
}
