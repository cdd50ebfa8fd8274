//! Annotations: an object of strings. A hostile manifest may have hundreds of thousands.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::text::{Key, Text};

/// Keys and values in order of appearance, stored as the JSON for referrers lists.
///
/// So they take no more memory than in the manifest. A `String` for each key and value would take ten times as much.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations {
    /// Without spaces, and with as few escapes as JSON allows. Empty if there are no annotations.
    json: String,
}

impl Annotations {
    /// `{"key":"value",...}`, or None if there are no annotations.
    pub fn json(&self) -> Option<&str> {
        (!self.json.is_empty()).then_some(self.json.as_str())
    }

    /// Convert into [`Self::json`].
    pub fn into_json(self) -> Option<String> {
        (!self.json.is_empty()).then_some(self.json)
    }
}

/// Builds [`Annotations`].
struct Writer(Vec<u8>);

impl Writer {
    fn push<E: Error>(&mut self, key: &str, value: &str) -> Result<(), E> {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        self.string(key)?;
        self.0.push(b':');
        self.string(value)
    }

    fn string<E: Error>(&mut self, text: &str) -> Result<(), E> {
        serde_json::to_writer(&mut self.0, text).map_err(E::custom)
    }

    /// Whether this key was written already. It searches all keys.
    fn has(&self, key: &str) -> bool {
        let whole = [&self.0[..], b"}"].concat();
        let mut has = false;
        let _ = for_each(&whole, |known, _| has |= known == key);
        has
    }

    fn end<E: Error>(mut self) -> Result<Annotations, E> {
        if !self.0.is_empty() {
            self.0.push(b'}');
        }
        Ok(Annotations { json: String::from_utf8(self.0).map_err(E::custom)? })
    }
}

/// Call `give` with each key and value.
///
/// # Errors
/// If `json` is not from [`Annotations::json`].
pub fn for_each(json: &[u8], give: impl FnMut(&str, &str)) -> serde_json::Result<()> {
    struct Each<F>(F);

    impl<'de, F: FnMut(&str, &str)> Visitor<'de> for Each<F> {
        type Value = ();

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object of strings")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key_seed(Key)? {
                let value = map.next_value_seed(Text("value"))?.unwrap_or_default();
                (self.0)(&key, &value);
            }
            Ok(())
        }
    }

    serde_json::Deserializer::from_slice(json).deserialize_map(Each(give))
}

/// Reads annotations. `null` means none, as in Go.
pub(super) struct AnnotationsSeed;

impl<'de> DeserializeSeed<'de> for AnnotationsSeed {
    type Value = Annotations;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Annotations, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnnotationsSeed {
    type Value = Annotations;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of strings as annotations")
    }

    fn visit_unit<E: Error>(self) -> Result<Annotations, E> {
        Ok(Annotations::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
        let mut annotations = Writer(Vec::new());
        let mut seen = Seen::default();
        while let Some(key) = map.next_key_seed(Key)? {
            let value = map.next_value_seed(Text("value in annotations"))?;
            let value = value.ok_or_else(|| A::Error::custom("null as value in annotations"))?;
            if seen.may_have(&key) && annotations.has(&key) {
                return Err(A::Error::custom("a key of annotations appears twice"));
            }
            annotations.push(&key, &value)?;
        }
        annotations.end()
    }
}

/// The keys so far, as a keyed hash of 64 bits each. After a hit, the caller searches the keys. That happens at most
/// once, because a client cannot find a collision without the key of the hash.
#[derive(Default)]
struct Seen {
    state: RandomState,
    hashes: HashSet<u64, BuildHasherDefault<AsItIs>>,
}

impl Seen {
    fn may_have(&mut self, key: &str) -> bool {
        !self.hashes.insert(self.state.hash_one(key))
    }
}

/// A hasher for values that are hashes already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
