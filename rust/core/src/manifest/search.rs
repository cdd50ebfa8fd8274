//! Searches JSON of other types for descriptors.
//!
//! Garbage collection keeps every digest that is found. Finding too many costs space, and finding too few costs data.

use std::borrow::Cow;
use std::fmt::{self, Write};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::field::{Field, MAX_PATH, Reference, ReferenceKind};
use super::media_type::Schema;
use super::text::Key;
use crate::digest::Digest;
use crate::text::printable;

/// Find every object with a valid `digest` or `blobSum` (schema 1), in order of appearance.
///
/// # Errors
/// If it is not JSON. The caller must limit the depth.
pub(super) fn read(content: &[u8], schema: Schema) -> serde_json::Result<Vec<Reference>> {
    let mut search = Search { schema, path: Vec::new(), references: Vec::new() };
    let mut deserializer = serde_json::Deserializer::from_slice(content);
    Value(&mut search).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(search.references)
}

enum Step<'de> {
    Key(Cow<'de, str>),
    Index(usize),
}

struct Search<'de> {
    schema: Schema,
    /// The path from the top to the current value.
    path: Vec<Step<'de>>,
    references: Vec<Reference>,
}

impl Search<'_> {
    /// Add a reference if the string at the current path is a digest, under a key for digests.
    fn found(&mut self, text: &str) {
        let Some((Step::Key(key), parents)) = self.path.split_last() else {
            return;
        };
        if !matches!(key.as_ref(), "digest" | "blobSum") {
            return;
        }
        let Ok(digest) = Digest::from_bytes(text.as_bytes()) else {
            return;
        };
        let place = match parents {
            [Step::Key(parent)] => self.schema.place(key, parent, None),
            [Step::Key(parent), Step::Index(index)] => self.schema.place(key, parent, Some(*index)),
            _ => None,
        };
        let (field, kind, required) = match place {
            Some((field, required)) => (field, ReferenceKind::Blob, required),
            None => (Field::Path(show(parents)), ReferenceKind::Unknown, false),
        };
        self.references.push(Reference { field, kind, digest, size: None, required });
    }
}

/// A path as `a.b[3]`. The top is `.`.
fn show(steps: &[Step<'_>]) -> Box<str> {
    let mut path = String::new();
    for step in steps {
        let _ = match step {
            Step::Key(key) if path.is_empty() => write!(path, "{}", printable(key, MAX_PATH)),
            Step::Key(key) => write!(path, ".{}", printable(key, MAX_PATH)),
            Step::Index(index) => write!(path, "[{index}]"),
        };
        if path.len() > MAX_PATH {
            return printable(&path, MAX_PATH).into();
        }
    }
    if path.is_empty() { ".".into() } else { path.into() }
}

/// Reads and searches any value. Returns the value if it is an unsigned integer.
struct Value<'a, 'de>(&'a mut Search<'de>);

impl<'de> DeserializeSeed<'de> for Value<'_, 'de> {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, 'de> {
    type Value = Option<u64>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        // The reference for the digest of this object, and the size beside it.
        let (mut own, mut size) = (None, None);
        while let Some(key) = map.next_key_seed(Key)? {
            let (is_digest, is_size) = (key == "digest", key == "size");
            let before = self.0.references.len();
            self.0.path.push(Step::Key(key));
            let number = map.next_value_seed(Value(self.0))?;
            self.0.path.pop();
            if is_digest && self.0.references.len() == before + 1 {
                own = Some(before);
            } else if is_size {
                size = number;
            }
        }
        if let Some(index) = own {
            self.0.references[index].size = size;
        }
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        for index in 0.. {
            self.0.path.push(Step::Index(index));
            let more = seq.next_element_seed(Value(self.0))?.is_some();
            self.0.path.pop();
            if !more {
                break;
            }
        }
        Ok(None)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        self.0.found(text);
        Ok(None)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}
