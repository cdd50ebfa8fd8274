//! Reads what a registry needs to know about the content of a manifest (image-spec: manifest, image index).
//!
//! An image or an index, of the image-spec or of Docker, must match its schema in the fields that this module reads:
//! descriptors, subject, artifact type and annotations. Other JSON is searched for descriptors, so that garbage
//! collection knows its references. A content that is not JSON is opaque. Before all that, the module checks the type
//! that the document names (`outline`) and the nesting depth.

mod annotations;
mod descriptor;
mod field;
mod media_type;
mod nesting;
mod outline;
mod referrers;
mod search;
#[cfg(test)]
mod tests;
mod text;
mod typed;

pub use annotations::{Annotations, for_each};
pub use field::{Field, Reference, ReferenceKind};
pub use media_type::MAX_MEDIA_TYPE;
pub use referrers::{Referrer, read_referrers};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::text::printable;
use media_type::Schema;
use outline::Outline;

/// Maximum nesting depth of JSON. The image-spec needs four levels. This leaves room for unknown types, and is far
/// below what would overflow the stack.
pub const MAX_DEPTH: usize = 64;

/// Longest artifact type in bytes: two names of up to 127 characters and a slash (RFC 6838, 4.2). Without a limit, a
/// referrers list of a thousand manifests could have gigabytes of types, and an index of the database too.
pub const MAX_ARTIFACT_TYPE: usize = 255;

/// Maximum number of characters of a message about a manifest.
const MAX_MESSAGE: usize = 300;

/// The kind of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ManifestKind {
    /// An image manifest, of OCI or of Docker (schema 2).
    Image,
    /// An image index, or a manifest list of Docker.
    Index,
    /// Any other JSON.
    Other,
    /// Not JSON, or nested too deep.
    Opaque,
}

impl ManifestKind {
    /// The name in Python.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Index => "index",
            Self::Other => "other",
            Self::Opaque => "opaque",
        }
    }
}

/// What was read of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestInfo {
    /// The media type to store, without parameters: that of the document, else that of the sender.
    pub media_type: String,
    /// The kind.
    pub kind: ManifestKind,
    /// The references in order of appearance, without the subject.
    pub references: Vec<Reference>,
    /// The subject. Only OCI images and indexes have one.
    pub subject: Option<Digest>,
    /// The `artifactType`, or for an image the media type of the config. Referrers lists show it.
    pub artifact_type: Option<String>,
    /// The annotations. Only OCI images and indexes have some.
    pub annotations: Annotations,
}

impl ManifestInfo {
    fn new(kind: ManifestKind, references: Vec<Reference>) -> Self {
        Self {
            media_type: String::new(),
            kind,
            references,
            subject: None,
            artifact_type: None,
            annotations: Annotations::default(),
        }
    }

    fn opaque() -> Self {
        Self::new(ManifestKind::Opaque, Vec::new())
    }
}

/// How much of a manifest must match its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// Every field that is read.
    Strict,
    /// Only that it is JSON, and has no key of another type. If it does not match its schema, it is searched for
    /// descriptors like other JSON, and has no subject. This is for registries that do not check references.
    Lax,
}

/// The media type to store for a manifest, without parameters: the `mediaType` in the document, else that of the
/// sender, else `application/octet-stream`.
///
/// # Errors
/// [`Error::InvalidManifest`] if the two differ (ignoring case), or if a header cannot contain the type.
pub fn media_type(content: &[u8], declared: &str) -> Result<String> {
    Outline::read(content)?.media_type(declared)
}

/// Read a manifest.
///
/// # Errors
/// [`Error::InvalidManifest`] if the sender and the document name different types, or if a manifest of an OCI or Docker
/// type has a key of another type, does not match its schema, or is nested deeper than [`MAX_DEPTH`].
pub fn read(content: &[u8], declared: &str, strictness: Strictness) -> Result<ManifestInfo> {
    let outline = Outline::read(content)?;
    let media_type = outline.media_type(declared)?;
    let schema = Schema::of(&media_type);
    outline.check(schema)?;
    let info = if nesting::is_within(content, MAX_DEPTH) {
        read_as(content, schema, strictness)?
    } else if schema == Schema::Unknown {
        ManifestInfo::opaque()
    } else {
        return Err(Error::InvalidManifest(format!("nested deeper than {MAX_DEPTH} levels")));
    };
    Ok(ManifestInfo { media_type, ..info })
}

/// Read a manifest that the registry stores already. It is never refused.
///
/// If the manifest does not match the schema of its type, it is searched for descriptors like other JSON.
pub fn read_stored(content: &[u8], declared: &str) -> ManifestInfo {
    let outline = Outline::read(content).unwrap_or_default();
    let media_type = outline.stored_media_type(declared);
    let schema = Schema::of(&media_type);
    let schema = if outline.check(schema).is_ok() { schema } else { Schema::Unknown };
    let info = if nesting::is_within(content, MAX_DEPTH) {
        read_as(content, schema, Strictness::Lax).unwrap_or_else(|_| ManifestInfo::opaque())
    } else {
        ManifestInfo::opaque()
    };
    ManifestInfo { media_type, ..info }
}

fn read_as(content: &[u8], schema: Schema, strictness: Strictness) -> Result<ManifestInfo> {
    let (kind, typed) = match schema {
        Schema::Image(family) => (ManifestKind::Image, typed::read(content, ManifestKind::Image, family, strictness)),
        Schema::Index(family) => (ManifestKind::Index, typed::read(content, ManifestKind::Index, family, strictness)),
        Schema::DockerSchema1 | Schema::OciArtifact => {
            let found = search::read(content, schema);
            (ManifestKind::Other, found.map(|found| ManifestInfo::new(ManifestKind::Other, found)))
        }
        Schema::Unknown => {
            return Ok(search::read(content, schema)
                .map_or_else(|_| ManifestInfo::opaque(), |found| ManifestInfo::new(ManifestKind::Other, found)));
        }
    };
    typed
        .or_else(|error| match strictness {
            Strictness::Strict => Err(error),
            Strictness::Lax => {
                search::read(content, Schema::Unknown).map(|found| ManifestInfo::new(kind, found)).map_err(|_| error)
            }
        })
        .map_err(|error| Error::InvalidManifest(printable(&error.to_string(), MAX_MESSAGE)))
}
