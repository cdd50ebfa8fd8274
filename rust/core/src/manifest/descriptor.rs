//! Reads descriptors. Those of the image-spec must have a valid media type, digest and size; those of Docker a digest.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::field::Field;
use super::media_type::Family;
use super::text::{Key, Keys, Text};
use crate::digest::Digest;
use crate::text::{MAX_ECHO, quote};

/// What is used of a descriptor.
pub(super) struct Descriptor<'de> {
    /// Empty if a descriptor of Docker has none.
    pub(super) media_type: Cow<'de, str>,
    pub(super) digest: Digest,
    pub(super) size: Option<u64>,
}

/// Reads the descriptor at a place. `null` is None, as in Go.
#[derive(Clone, Copy)]
pub(super) struct DescriptorAt<'a> {
    pub(super) place: &'a Field,
    pub(super) family: Family,
}

impl<'de> DeserializeSeed<'de> for DescriptorAt<'_> {
    type Value = Option<Descriptor<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for DescriptorAt<'_> {
    type Value = Option<Descriptor<'de>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a descriptor as {}", self.place)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Self { place, family } = self;
        let (mut media_type, mut digest, mut size) = (None, None, None);
        let mut keys = Keys::new(["mediaType", "digest", "size"]);
        while let Some(key) = map.next_key_seed(Key)? {
            match keys.find(&key)? {
                Some(name @ "mediaType") => media_type = map.next_value_seed(Text(Part(name, place)))?,
                Some(name @ "digest") => digest = map.next_value_seed(Text(Part(name, place)))?,
                Some(_) => size = map.next_value_seed(Size(place))?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let bad = |why: fmt::Arguments<'_>| A::Error::custom(format_args!("bad descriptor in {place}: {why}"));
        let digest = digest.unwrap_or_default();
        let digest = Digest::from_bytes(digest.as_bytes())
            .map_err(|_| bad(format_args!("invalid digest {}", quote(digest.as_bytes(), MAX_ECHO))))?;
        let media_type = media_type.unwrap_or_default();
        if family == Family::Oci {
            match size {
                None => return Err(bad(format_args!("no size"))),
                Some(0) if !digest.is_of_empty_content() => {
                    return Err(bad(format_args!("zero sized content with mismatching digest")));
                }
                Some(_) => {}
            }
            if media_type.is_empty() {
                return Err(bad(format_args!("no media type in descriptor")));
            }
        }
        Ok(Some(Descriptor { media_type, digest, size }))
    }
}

/// A field of the descriptor at a place, for messages.
struct Part<'a>(&'static str, &'a Field);

impl fmt::Display for Part<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} of {}", self.0, self.1)
    }
}

/// Reads a size: an integer from 0 to 2^63-1, the largest int64 of Go.
struct Size<'a>(&'a Field);

impl<'de> DeserializeSeed<'de> for Size<'_> {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Size<'_> {
    type Value = Option<u64>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an integer from 0 to 2^63-1 as size of {}", self.0)
    }

    fn visit_u64<E: Error>(self, size: u64) -> Result<Self::Value, E> {
        match i64::try_from(size) {
            Ok(_) => Ok(Some(size)),
            Err(_) => Err(E::invalid_value(serde::de::Unexpected::Unsigned(size), &self)),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// An array of descriptors. `null` is an empty array, as in Go.
pub(super) struct DescriptorList {
    pub(super) name: &'static str,
    pub(super) place: fn(usize) -> Field,
    pub(super) family: Family,
}

impl DescriptorList {
    /// Read the array, and call `take` with each descriptor.
    pub(super) fn each<F: FnMut(Field, Descriptor<'_>)>(self, take: F) -> EachDescriptor<F> {
        EachDescriptor { list: self, take }
    }
}

/// See [`DescriptorList::each`].
pub(super) struct EachDescriptor<F> {
    list: DescriptorList,
    take: F,
}

impl<'de, F: FnMut(Field, Descriptor<'_>)> DeserializeSeed<'de> for EachDescriptor<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: FnMut(Field, Descriptor<'_>)> Visitor<'de> for EachDescriptor<F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an array as {}", self.list.name)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        for index in 0.. {
            let field = (self.list.place)(index);
            let seed = DescriptorAt { place: &field, family: self.list.family };
            let Some(descriptor) = seq.next_element_seed(seed)? else {
                break;
            };
            let descriptor = descriptor.ok_or_else(|| A::Error::custom(format_args!("no descriptor in {field}")))?;
            (self.take)(field, descriptor);
        }
        Ok(())
    }
}
