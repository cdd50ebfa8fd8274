//! What a document says of itself at its top level, before anything else of it is read.
//!
//! Two clients that read one document in two ways see two images behind one digest (CVE-2021-41190). So a
//! document of a known type must say nothing that fits another one.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::media_type::{MAX_MEDIA_TYPE, OCI_IMAGE, OCI_INDEX, Schema, essence, is_valid};
use super::text::Key;
use crate::error;
use crate::text::{MAX_ECHO, quote};

/// The type of a document of which nobody says one.
const UNKNOWN: &str = "application/octet-stream";
/// In the place of a `mediaType` that is a string, and not Unicode.
const UNUSABLE: &str = "\0";

/// Keys that tell the known types apart.
const TELLING: [&str; 4] = ["config", "layers", "manifests", "fsLayers"];

/// The type that a document names, and the keys that it has of [`TELLING`] with a value that is not null.
#[derive(Debug, Default)]
pub(super) struct Outline {
    media_type: Option<String>,
    keys: Vec<&'static str>,
}

impl Outline {
    /// Read the top level. What is not an object, or not JSON, has an empty outline: its type decides what that means.
    ///
    /// # Errors
    /// [`error::Error::InvalidManifest`] if it names its type twice.
    pub(super) fn read(content: &[u8]) -> error::Result<Self> {
        let mut deserializer = serde_json::Deserializer::from_slice(content);
        match deserializer.deserialize_any(TopLevel) {
            Ok(Some(outline)) => Ok(outline),
            Ok(None) => Err(invalid("mediaType stands there twice")),
            Err(_) => Ok(Self::default()),
        }
    }

    /// The media type to keep, without parameters: what the document names, else what its sender says.
    ///
    /// # Errors
    /// [`error::Error::InvalidManifest`] if the two differ, or the type cannot stand in a header.
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

    /// The media type of a document that is stored already: what it names counts, whatever its sender said. One that
    /// names nothing, and has not the shape that its sender said, has the image-spec's type of its shape: Docker's
    /// documents name theirs.
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

    /// See that the document has no key of another type than its own.
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

/// Reads the top level; None if it names its type twice.
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
                // What is not a string names nothing; a known type refuses it when it is read whole.
                // A string that is not Unicode is no type: it must not count as none, and so as its sender's.
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
