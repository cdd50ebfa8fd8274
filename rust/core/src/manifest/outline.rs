//! Reads the top level of a document, before the rest.
//!
//! If two clients interpret a document in different ways, they see two images with one digest (CVE-2021-41190). So a
//! document of a known type must have no key of another type.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::media_type::{MAX_MEDIA_TYPE, OCI_IMAGE, OCI_INDEX, Schema, essence, is_valid};
use super::text::Key;
use crate::error;
use crate::text::{MAX_ECHO, quote};

/// The type if neither the document nor the sender names one.
const UNKNOWN: &str = "application/octet-stream";
/// Stands for a `mediaType` that is a string with invalid Unicode.
const UNUSABLE: &str = "\0";

/// The keys that distinguish the known types.
const TELLING: [&str; 4] = ["config", "layers", "manifests", "fsLayers"];

/// The type that a document names, and its keys in [`TELLING`] whose value is not null.
#[derive(Debug, Default)]
pub(super) struct Outline {
    media_type: Option<String>,
    keys: Vec<&'static str>,
}

impl Outline {
    /// Read the top level. The outline is empty if the content is not a JSON object.
    ///
    /// # Errors
    /// [`error::Error::InvalidManifest`] if it names its type twice.
    pub(super) fn read(content: &[u8]) -> error::Result<Self> {
        let mut deserializer = serde_json::Deserializer::from_slice(content);
        match deserializer.deserialize_any(TopLevel) {
            Ok(Some(outline)) => Ok(outline),
            Ok(None) => Err(invalid("mediaType appears twice")),
            Err(_) => Ok(Self::default()),
        }
    }

    /// The media type to store, without parameters: that of the document, else that of the sender.
    ///
    /// # Errors
    /// [`error::Error::InvalidManifest`] if the two differ, or if a header cannot contain the type.
    pub(super) fn media_type(&self, declared: &str) -> error::Result<String> {
        let (own, declared) = (self.own_media_type(), essence(declared));
        if own != UNUSABLE && !declared.is_empty() && !own.is_empty() && !own.eq_ignore_ascii_case(declared) {
            return Err(invalid(&format!(
                "the Content-Type is {}, but the mediaType in the manifest is {}",
                quote(declared.as_bytes(), MAX_ECHO),
                quote(own.as_bytes(), MAX_ECHO)
            )));
        }
        let found = [own, declared, UNKNOWN].into_iter().find(|one| !one.is_empty()).unwrap_or(UNKNOWN);
        if !is_valid(found) {
            return Err(invalid(&format!("the media type is not 1 to {MAX_MEDIA_TYPE} printable ASCII characters")));
        }
        Ok(found.to_owned())
    }

    /// The media type of a document that is stored already. It is the type that the document names. If it names none,
    /// it is `declared` if the keys fit, else the type of the image-spec that fits the keys: documents of Docker name
    /// their type.
    pub(super) fn stored_media_type(&self, declared: &str) -> String {
        let declared = [essence(declared), UNKNOWN].into_iter().find(|one| is_valid(one)).unwrap_or(UNKNOWN);
        let fits = |media_type: &&str| self.check(Schema::of(media_type)).is_ok();
        let own = Some(self.own_media_type()).filter(|own| is_valid(own));
        let by_shape = || {
            let types = [("config", OCI_IMAGE), ("manifests", OCI_INDEX)];
            types.into_iter().filter(|(key, _)| self.keys.contains(key)).map(|(_, found)| found).find(fits)
        };
        own.or_else(|| Some(declared).filter(fits)).or_else(by_shape).unwrap_or(declared).to_owned()
    }

    fn own_media_type(&self) -> &str {
        self.media_type.as_deref().map_or("", essence)
    }

    /// Check that the document has no key of another type.
    ///
    /// # Errors
    /// [`error::Error::InvalidManifest`], which names the key.
    pub(super) fn check(&self, schema: Schema) -> error::Result<()> {
        let (what, foreign): (_, &[&str]) = match schema {
            Schema::Image(_) => ("an image manifest", &["manifests", "fsLayers"]),
            Schema::Index(_) => ("an index", &["config", "layers", "fsLayers"]),
            Schema::DockerSchema1 => ("a manifest of schema 1", &["config", "layers", "manifests"]),
            Schema::OciArtifact => ("an artifact manifest", &["config", "layers", "manifests"]),
            Schema::Unknown => return Ok(()),
        };
        match foreign.iter().find(|key| self.keys.contains(key)) {
            Some(key) => Err(invalid(&format!("{what} must not have {key}"))),
            None => Ok(()),
        }
    }
}

fn invalid(why: &str) -> error::Error {
    error::Error::InvalidManifest(why.to_owned())
}

/// Reads the top level. None if it names its type twice.
struct TopLevel;

impl<'de> Visitor<'de> for TopLevel {
    type Value = Option<Outline>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut outline = Outline::default();
        let mut is_named_twice = false;
        while let Some(key) = map.next_key_seed(Key)? {
            if key == "mediaType" {
                is_named_twice |= outline.media_type.is_some();
                let value: &RawValue = map.next_value()?;
                // A value that is not a string names no type; the reader of a known type refuses it later. A string
                // with invalid Unicode must not count as no type, because then the type of the sender would count.
                let or_else = if value.get().starts_with('"') { UNUSABLE } else { "" };
                outline.media_type = Some(serde_json::from_str(value.get()).unwrap_or_else(|_| or_else.to_owned()));
                continue;
            }
            let telling = TELLING.into_iter().find(|telling| *telling == key);
            let is_there = map.next_value::<Option<IgnoredAny>>()?.is_some();
            outline.keys.extend(telling.filter(|_| is_there));
        }
        Ok((!is_named_twice).then_some(outline))
    }
}
