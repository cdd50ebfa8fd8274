//! Descriptors, held to the image-spec: media type, digest and size, each there and well-formed.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::field::{Field, Reference, ReferenceKind};
use super::media_type::is_distributable;
use super::text::{Key, Keys, Text};
use super::{MAX_REFERENCES, field};
use crate::digest::Digest;
use crate::text::{MAX_ECHO, quote};

/// What is kept of a descriptor.
pub(super) struct Descriptor<'de> {
    pub(super) media_type: Cow<'de, str>,
    pub(super) digest: Digest,
}

/// Reads the descriptor at a place. `null` is None: absent, as in Go.
pub(super) struct DescriptorAt<'a>(pub(super) &'a Field);

impl<'de> DeserializeSeed<'de> for DescriptorAt<'_> {
    type Value = Option<Descriptor<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for DescriptorAt<'_> {
    type Value = Option<Descriptor<'de>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a descriptor as {}", self.0)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let place = self.0;
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
        match size {
            None => return Err(bad(format_args!("no size"))),
            Some(0) if !digest.is_of_nothing() => {
                return Err(bad(format_args!("zero sized content with mismatching digest")));
            }
            Some(_) => {}
        }
        match media_type {
            Some(media_type) if !media_type.is_empty() => Ok(Some(Descriptor { media_type, digest })),
            _ => Err(bad(format_args!("no media type in descriptor"))),
        }
    }
}

/// A field of the descriptor at a place, for messages.
struct Part<'a>(&'static str, &'a Field);

impl fmt::Display for Part<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} of {}", self.0, self.1)
    }
}

/// Reads a size: an integer that fits Go's int64 and is not negative.
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

/// Reads an array of descriptors into a list of references. `null` is an empty one, as in Go.
pub(super) struct DescriptorList<'a> {
    pub(super) name: &'static str,
    pub(super) place: fn(usize) -> Field,
    pub(super) kind: ReferenceKind,
    pub(super) references: &'a mut Vec<Reference>,
}

impl<'de> DeserializeSeed<'de> for DescriptorList<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for DescriptorList<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an array as {}", self.name)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        for index in 0.. {
            let field = (self.place)(index);
            let Some(descriptor) = seq.next_element_seed(DescriptorAt(&field))? else {
                break;
            };
            let descriptor = descriptor.ok_or_else(|| A::Error::custom(format_args!("no descriptor in {field}")))?;
            // Only a layer may be kept elsewhere; what an index lists is what it is made of.
            let required = self.kind != ReferenceKind::Blob || is_distributable(&descriptor.media_type);
            push(self.references, Reference { field, kind: self.kind, digest: descriptor.digest, required })?;
        }
        Ok(())
    }
}

/// Append within the bound.
pub(super) fn push<E: Error>(references: &mut Vec<field::Reference>, reference: Reference) -> Result<(), E> {
    if references.len() == MAX_REFERENCES {
        return Err(E::custom(format_args!("more than {MAX_REFERENCES} descriptors")));
    }
    references.push(reference);
    Ok(())
}
