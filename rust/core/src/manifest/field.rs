//! Where in a manifest a reference stands, and what it points at.

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
    /// One or the other: the type of the manifest, or of the entry of an index, is not known.
    Unknown,
}

impl ReferenceKind {
    /// Its name in Python.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Manifest => "manifest",
            Self::Unknown => "unknown",
        }
    }
}

/// Where a reference stands. An index costs no string until it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Field {
    /// `config`.
    Config,
    /// `subject`; only in messages.
    Subject,
    /// `layers[_]`.
    Layer(usize),
    /// `manifests[_]`.
    Manifest(usize),
    /// `blobs[_]`, of OCI's withdrawn artifact manifest.
    Blob(usize),
    /// `fsLayers[_]`, of Docker's schema 1.
    FsLayer(usize),
    /// Anywhere else, such as `a.b[3]`; cut after 128 characters.
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

/// A digest that a manifest holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// Where it stands.
    pub field: Field,
    /// What it points at.
    pub kind: ReferenceKind,
    /// The digest.
    pub digest: Digest,
    /// Bytes of its target, as the manifest says; None if it says nothing that can be read.
    pub size: Option<u64>,
    /// Must its target be in the repository before a strict registry takes the manifest?
    pub required: bool,
}
