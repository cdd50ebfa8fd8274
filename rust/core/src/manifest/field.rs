//! References: where they are in a manifest, and what they point at.

use std::fmt;

use crate::digest::Digest;

/// Longest path of a reference in a manifest of unknown type, in characters.
pub(super) const MAX_PATH: usize = 128;

/// What a reference points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReferenceKind {
    /// A blob of the same repository.
    Blob,
    /// A manifest of the same repository.
    Manifest,
    /// A blob or a manifest: the type of the manifest, or of the entry of an index, is unknown.
    Unknown,
}

impl ReferenceKind {
    /// The name in Python.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Manifest => "manifest",
            Self::Unknown => "unknown",
        }
    }
}

/// The place of a reference in a manifest. It becomes a string only for display.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Field {
    /// `config`.
    Config,
    /// `subject`. Only messages use it.
    Subject,
    /// `layers[_]`.
    Layer(usize),
    /// `manifests[_]`.
    Manifest(usize),
    /// `blobs[_]`, of the artifact manifest, which the image-spec has withdrawn.
    Blob(usize),
    /// `fsLayers[_]`, of Docker's schema 1.
    FsLayer(usize),
    /// Any other path, such as `a.b[3]`. It is cut after 128 characters.
    Path(Box<str>),
}

impl fmt::Display for Field {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config => formatter.write_str("config"),
            Self::Subject => formatter.write_str("subject"),
            Self::Layer(index) => write!(formatter, "layers[{index}]"),
            Self::Manifest(index) => write!(formatter, "manifests[{index}]"),
            Self::Blob(index) => write!(formatter, "blobs[{index}]"),
            Self::FsLayer(index) => write!(formatter, "fsLayers[{index}]"),
            Self::Path(path) => formatter.write_str(path),
        }
    }
}

/// A digest in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// Where it is.
    pub field: Field,
    /// What it points at.
    pub kind: ReferenceKind,
    /// The digest.
    pub digest: Digest,
    /// Size of the target in bytes, according to the manifest. None if the manifest has no valid size.
    pub size: Option<u64>,
    /// Whether a strict registry requires the target to be in the repository.
    pub required: bool,
}
