//! Annotations: an object of strings, of which a hostile manifest may have hundreds of thousands.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::text::{Key, Text};

/// Keys and values, in order of appearance.
///
/// They lie end to end in one string: four million bytes of annotations take little more than that, where
/// a `String` for each key and value would take ten times as much.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations {
    text: String,
    /// Where each key ends in `text`, and where its value does.
    ends: Vec<(usize, usize)>,
}

impl Annotations {
    /// Each key with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        starts.zip(&self.ends).map(|(start, &(key, value))| (&self.text[start..key], &self.text[key..value]))
    }

    fn push(&mut self, key: &str, value: &str) {
        self.text.push_str(key);
        let end = self.text.len();
        self.text.push_str(value);
        self.ends.push((end, self.text.len()));
    }
}

/// Reads annotations. `null` is none, as in Go.
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
        let mut annotations = Annotations::default();
        let mut seen = Seen::default();
        while let Some(key) = map.next_key_seed(Key)? {
            let value = map.next_value_seed(Text("value in annotations"))?;
            let value = value.ok_or_else(|| A::Error::custom("null as value in annotations"))?;
            if seen.may_have(&key) && annotations.iter().any(|(known, _)| known == key) {
                return Err(A::Error::custom("a key of annotations stands there twice"));
            }
            annotations.push(&key, &value);
        }
        Ok(annotations)
    }
}

/// The keys so far, as 64 bits of a keyed hash each: a hit is looked up, which happens once at most, since
/// nobody can find a collision without the key.
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

/// What is a hash already is not hashed again.
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
