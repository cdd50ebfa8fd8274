//! Looking for descriptors in JSON of any other type.
//!
//! Nothing is enforced here. What is found keeps garbage collection from deleting what an unknown type
//! may point at: finding too much costs space, finding too little costs data.

use std::borrow::Cow;
use std::fmt::{self, Write};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::descriptor::push;
use super::field::{Field, MAX_PATH, Reference, ReferenceKind};
use super::media_type::Shape;
use super::text::Key;
use crate::digest::Digest;
use crate::text::printable;

/// Find every object with a valid `digest` (or schema 1's `blobSum`), in order of appearance.
///
/// # Errors
/// If it is not JSON, or has more references than are allowed. Depth is the caller's to bound.
pub(super) fn read(content: &[u8], shape: Shape) -> serde_json::Result<Vec<Reference>> {
    let mut search = Search { shape, path: Vec::new(), references: Vec::new() };
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
    shape: Shape,
    /// From the top down to the value that is being read.
    path: Vec<Step<'de>>,
    references: Vec<Reference>,
}

impl Search<'_> {
    /// A string stands at the path: is it a digest under a key that says so?
    fn found<E: Error>(&mut self, text: &str) -> Result<(), E> {
        let Some((Step::Key(key), parents)) = self.path.split_last() else {
            return Ok(());
        };
        if !matches!(key.as_ref(), "digest" | "blobSum") {
            return Ok(());
        }
        let Ok(digest) = Digest::from_bytes(text.as_bytes()) else {
            return Ok(());
        };
        let place = match parents {
            [Step::Key(parent)] => self.shape.place(key, parent, None),
            [Step::Key(parent), Step::Index(index)] => self.shape.place(key, parent, Some(*index)),
            _ => None,
        };
        let (field, kind) = place.unwrap_or_else(|| (Field::Path(show(parents)), ReferenceKind::Unknown));
        push(&mut self.references, Reference { field, kind, digest, required: false })
    }
}

/// A path as `a.b[3]`; the top itself is `.`.
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

/// Reads any value, and searches it.
struct Value<'a, 'de>(&'a mut Search<'de>);

impl<'de> DeserializeSeed<'de> for Value<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, 'de> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Key)? {
            self.0.path.push(Step::Key(key));
            map.next_value_seed(Value(self.0))?;
            self.0.path.pop();
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        for index in 0.. {
            self.0.path.push(Step::Index(index));
            let more = seq.next_element_seed(Value(self.0))?.is_some();
            self.0.path.pop();
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.0.found(text)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}
