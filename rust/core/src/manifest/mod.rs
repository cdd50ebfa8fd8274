//! What a registry needs to know about a manifest's content (image-spec: manifest, image index).
//!
//! The two OCI types are held to their schema as far as it is read here: descriptors, subject, artifact
//! type, annotations. Other JSON is searched for descriptors, so that garbage collection knows what it
//! references; whatever is not JSON is opaque. Bounds hold before any of that, in one pass over the bytes.

mod annotations;
mod descriptor;
mod field;
mod media_type;
mod nesting;
mod oci;
mod referrers;
mod search;
#[cfg(test)]
mod tests;
mod text;

pub use annotations::{Annotations, for_each};
pub use field::{Field, Reference, ReferenceKind};
pub use referrers::{Referrer, read_referrers};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::text::printable;
use media_type::{Schema, Shape};

/// Deepest nesting of JSON. The image-spec needs four levels; this leaves room for whatever an unknown
/// type carries, and is far below what would exhaust a stack.
pub const MAX_DEPTH: usize = 64;

/// Most references in one manifest: each is a row to write and a lookup. Images have a few hundred
/// layers at most (overlayfs takes 500), indexes a few dozen children.
pub const MAX_REFERENCES: usize = 10_000;

/// Longest type that a list of referrers shows, in bytes: two names of up to 127 characters and a slash (RFC 6838, 4.2).
/// A list of a thousand manifests would else have gigabytes of them, and an index of the database too.
pub const MAX_ARTIFACT_TYPE: usize = 255;

/// Most characters of a message about a manifest.
const MAX_MESSAGE: usize = 300;

/// What kind of manifest it turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ManifestKind {
    /// An OCI image manifest.
    Image,
    /// An OCI image index.
    Index,
    /// Any other JSON, Docker's types too.
    Other,
    /// Not readable: not JSON, or beyond the bounds without being of an OCI type.
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
    /// What it is.
    pub kind: ManifestKind,
    /// What it points at, in order of appearance, without the subject.
    pub references: Vec<Reference>,
    /// What it is about; only of an image or an index.
    pub subject: Option<Digest>,
    /// The type that a list of referrers shows: the manifest's own, or for an image its config's.
    pub artifact_type: Option<String>,
    /// Only of an image or an index.
    pub annotations: Annotations,
}

impl ManifestInfo {
    fn new(kind: ManifestKind, references: Vec<Reference>) -> Self {
        Self { kind, references, subject: None, artifact_type: None, annotations: Annotations::default() }
    }
}

/// Read a manifest; parameters of the media type are ignored.
///
/// # Errors
/// [`Error::InvalidManifest`] for one of an OCI type that is not JSON of its schema, or is beyond
/// [`MAX_DEPTH`] or [`MAX_REFERENCES`].
pub fn read(content: &[u8], media_type: &str) -> Result<ManifestInfo> {
    let schema = Schema::of(media_type);
    let shallow = nesting::is_within(content, MAX_DEPTH);
    match schema {
        Schema::Oci(kind) => {
            if !shallow {
                return Err(Error::InvalidManifest(format!("nested deeper than {MAX_DEPTH} levels")));
            }
            oci::read(content, kind).map_err(|error| Error::InvalidManifest(printable(&error.to_string(), MAX_MESSAGE)))
        }
        Schema::Other(shape) => {
            let found = if shallow { search::read(content, shape).ok() } else { None };
            Ok(found.map_or_else(
                || ManifestInfo::new(ManifestKind::Opaque, Vec::new()),
                |references| ManifestInfo::new(ManifestKind::Other, references),
            ))
        }
    }
}

/// Read a manifest for a registry that takes it whatever it references: of an OCI type only the JSON is
/// held to anything. Where its schema does not fit, it is searched for descriptors like any other JSON, and
/// has no subject.
///
/// # Errors
/// [`Error::InvalidManifest`] for one of an OCI type that is not JSON, or is beyond the bounds.
pub fn read_lax(content: &[u8], media_type: &str) -> Result<ManifestInfo> {
    read(content, media_type).or_else(|error| match Schema::of(media_type) {
        Schema::Oci(kind) if nesting::is_within(content, MAX_DEPTH) => {
            let found = search::read(content, Shape::Unknown).map_err(|_| error)?;
            Ok(ManifestInfo::new(kind, found))
        }
        _ => Err(error),
    })
}
