//! Reads a referrers list of another registry: an index whose entries have an artifact type and annotations.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::annotations::{Annotations, AnnotationsSeed};
use super::text::{Key, Text};
use crate::digest::Digest;

/// An entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// Media type of the manifest.
    pub media_type: String,
    /// Digest of the manifest.
    pub digest: Digest,
    /// Size of the manifest in bytes.
    pub size: u64,
    /// Its artifact type. Never empty.
    pub artifact_type: Option<String>,
    /// Its annotations.
    pub annotations: Annotations,
}

/// Read a referrers list. Other keys are ignored. A document without `manifests` is an empty list.
///
/// # Errors
/// If it is not JSON, or an entry is not a descriptor.
pub fn read_referrers(index: &[u8]) -> serde_json::Result<Vec<Referrer>> {
    let mut deserializer = serde_json::Deserializer::from_slice(index);
    let referrers = deserializer.deserialize_map(Index)?;
    deserializer.end()?;
    Ok(referrers)
}

struct Index;

impl<'de> Visitor<'de> for Index {
    type Value = Vec<Referrer>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut referrers = Vec::new();
        while let Some(key) = map.next_key_seed(Key)? {
            if key == "manifests" {
                referrers = map.next_value_seed(Entries)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(referrers)
    }
}

struct Entries;

impl<'de> DeserializeSeed<'de> for Entries {
    type Value = Vec<Referrer>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Entries {
    type Value = Vec<Referrer>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array as manifests")
    }

    /// Registries in Go send `null` for an empty list.
    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut referrers = Vec::new();
        while let Some(referrer) = seq.next_element_seed(Entry)? {
            referrers.push(referrer);
        }
        Ok(referrers)
    }
}

struct Entry;

impl<'de> DeserializeSeed<'de> for Entry {
    type Value = Referrer;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entry {
    type Value = Referrer;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a descriptor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut media_type, mut digest, mut size, mut artifact_type) = (None, None, None, None);
        let mut annotations = Annotations::default();
        while let Some(key) = map.next_key_seed(Key)? {
            match key.as_ref() {
                "mediaType" => media_type = map.next_value_seed(Text("mediaType"))?,
                "digest" => digest = map.next_value_seed(Text("digest"))?,
                "size" => size = Some(map.next_value()?),
                "artifactType" => artifact_type = map.next_value_seed(Text("artifactType"))?,
                "annotations" => annotations = map.next_value_seed(AnnotationsSeed)?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let digest = digest.and_then(|digest| Digest::from_bytes(digest.as_bytes()).ok());
        let (Some(media_type), Some(digest), Some(size)) = (media_type, digest, size) else {
            return Err(A::Error::custom("an entry is not a descriptor"));
        };
        Ok(Referrer {
            media_type: media_type.into(),
            digest,
            size,
            artifact_type: artifact_type.filter(|artifact_type| !artifact_type.is_empty()).map(Into::into),
            annotations,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn read(template: &str) -> Result<Vec<Referrer>, String> {
        read_referrers(template.replace("{d}", DIGEST).as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn entries_in_order() {
        let found = read(
            r#"{"schemaVersion":2,"x":[{}],"manifests":[
                {"mediaType":"a/b","digest":"{d}","size":5,"artifactType":"c/d","annotations":{"k" : "v"},"urls":["x"]},
                {"size":0,"digest":"{d}","mediaType":"","artifactType":"","annotations":null},
                {"size":9,"digest":"{d}","mediaType":"a/b","artifactType":null,"annotations":{}}]}"#,
        )
        .expect("valid");
        let shown: Vec<_> = found
            .iter()
            .map(|one| (one.media_type.as_str(), one.size, one.artifact_type.as_deref(), one.annotations.json()))
            .collect();
        assert_eq!(shown, [("a/b", 5, Some("c/d"), Some(r#"{"k":"v"}"#)), ("", 0, None, None), ("a/b", 9, None, None)]);
        assert!(found.iter().all(|one| one.digest.as_str() == DIGEST));
    }

    #[test]
    fn empty_lists() {
        for template in ["{}", r#"{"manifests":[]}"#, r#"{"manifests":null,"x":1}"#] {
            assert_eq!(read(template), Ok(Vec::new()), "{template}");
        }
    }

    #[test]
    fn invalid_lists_are_errors() {
        for template in [
            "",
            "[]",
            "5",
            "{",
            "{} {}",
            r#"{"manifests":5}"#,
            r#"{"manifests":{}}"#,
            r#"{"manifests":[5]}"#,
            r#"{"manifests":[{}]}"#,
            r#"{"manifests":[{"mediaType":"a","digest":"sha256:x","size":1}]}"#,
            r#"{"manifests":[{"mediaType":"a","digest":"{d}","size":-1}]}"#,
            r#"{"manifests":[{"mediaType":"a","digest":"{d}","size":1.5}]}"#,
            r#"{"manifests":[{"mediaType":"a","digest":"{d}","size":true}]}"#,
            r#"{"manifests":[{"mediaType":"a","digest":"{d}","size":null}]}"#,
            r#"{"manifests":[{"mediaType":null,"digest":"{d}","size":1}]}"#,
            r#"{"manifests":[{"mediaType":"a","digest":"{d}","size":1,"artifactType":5}]}"#,
            r#"{"manifests":[{"mediaType":"a","digest":"{d}","size":1,"annotations":{"a":1}}]}"#,
            r#"{"manifests":[{"mediaType":"a","digest":"{d}","size":1,"annotations":[]}]}"#,
        ] {
            assert!(read(template).is_err(), "{template}");
        }
        assert!(read(&"[".repeat(100_000)).is_err());
        assert!(read(&format!(r#"{{"x":{}"#, "[".repeat(100_000))).is_err());
    }
}
