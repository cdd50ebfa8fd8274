//! What a registry needs to know about a manifest's content (image-spec: manifest, image index).
//!
//! Images and indexes, the image-spec's and Docker's, are held to their schema as far as it is read here:
//! descriptors, subject, artifact type, annotations. Other JSON is searched for descriptors, so that garbage
//! collection knows what it references; whatever is not JSON is opaque. What a document says of its own type
//! (`outline`) and the bound on its depth come before any of that.

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

/// Deepest nesting of JSON. The image-spec needs four levels; this leaves room for whatever an unknown
/// type carries, and is far below what would exhaust a stack.
pub const MAX_DEPTH: usize = 64;

/// Longest type that a list of referrers shows, in bytes: two names of up to 127 characters and a slash (RFC 6838,
/// 4.2). A list of a thousand manifests would else have gigabytes of them, and an index of the database too.
pub const MAX_ARTIFACT_TYPE: usize = 255;

/// Most characters of a message about a manifest.
const MAX_MESSAGE: usize = 300;

/// What kind of manifest it turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ManifestKind {
    /// An image manifest, of OCI or of Docker (schema 2).
    Image,
    /// An image index, or a manifest list of Docker.
    Index,
    /// Any other JSON.
    Other,
    /// Not readable: not JSON, or nested too deep.
    Opaque,
}

impl ManifestKind {
    /// Its name in Python.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Index => "index",
            Self::Other => "other",
            Self::Opaque => "opaque",
        }
    }
}

/// A manifest, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestInfo {
    /// The media type to keep: what the document says itself, else what its sender says; without parameters.
    pub media_type: String,
    /// What it is.
    pub kind: ManifestKind,
    /// What it points at, in order of appearance, without the subject.
    pub references: Vec<Reference>,
    /// What it is about; only of an image or an index of OCI.
    pub subject: Option<Digest>,
    /// The type that a list of referrers shows: the manifest's own, or for an image its config's.
    pub artifact_type: Option<String>,
    /// Only of an image or an index of OCI.
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

/// What of a manifest is held to its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// Everything that is read of it.
    Strict,
    /// For a registry that takes manifests whatever they reference: that it is JSON, and has no key of another type.
    /// Where its schema does not fit, it is searched for descriptors like any other JSON, and has no subject.
    Lax,
}

/// The media type to keep of a manifest, without parameters: what the document says itself (`mediaType`), else what its
/// sender says, else `application/octet-stream`.
///
/// # Errors
/// [`Error::InvalidManifest`] if the two differ (compared without case), or if the type cannot stand in a header.
pub fn media_type(content: &[u8], declared: &str) -> Result<String> {
    Outline::read(content)?.media_type(declared)
}

/// Read a manifest.
///
/// # Errors
/// [`Error::InvalidManifest`] if its sender names another type than the document, or if a type of OCI or Docker has not
/// the shape of that type, is not JSON of its schema, or is nested deeper than [`MAX_DEPTH`].
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

/// Read a manifest that a registry has already, whoever let it in: it is never refused.
///
/// Its type is what the document says. What does not fit that type is searched for descriptors like any other JSON.
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
