//! A request of the distribution API as one typed value.

mod build;
mod check;
mod parse;
#[cfg(test)]
mod parse_tests;

pub use build::upload_path;
pub use parse::parse;

use crate::digest::{Algorithm, Digest};
use crate::kind::Kind;
use crate::name::{Repository, Tag};

/// Maximum number of `tag` parameters of a manifest PUT. Each is a row in the same transaction.
pub const MAX_TAGS: usize = 100;

/// Longest upload ID, in decoded bytes. If the backend is a client, the ID is a whole URL. Servers accept URLs of this
/// length.
pub const MAX_UPLOAD_ID_LENGTH: usize = 4096;

/// One request. [`Request::check`] checks that the fields match the kind; [`parse`] returns only such requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Request {
    /// The kind of the request.
    pub kind: Kind,
    /// Every kind except ping and catalog.
    pub repository: Option<Repository>,
    /// Blobs, mount, single POST, closing PUT, referrers (the subject), and manifests by digest.
    pub digest: Option<Digest>,
    /// Manifests by tag.
    pub tag: Option<Tag>,
    /// Manifest PUT: the `tag` parameters in order, without duplicates.
    pub tags: Vec<Tag>,
    /// Mount: the source repository. None is an anonymous mount: the registry chooses the source.
    pub from_repository: Option<Repository>,
    /// Uploads in progress: the ID of the backend.
    pub upload_id: Option<Box<str>>,
    /// Upload start: the algorithm of the closing digest.
    pub digest_algorithm: Option<Algorithm>,
    /// Tags and catalog: maximum number of entries, at most `i64::MAX`.
    pub n: Option<u64>,
    /// Lists: return only entries after this one.
    pub last: Option<Box<str>>,
    /// Referrers: return only this artifact type.
    pub artifact_type: Option<Box<str>>,
    /// Any kind: the `ns` parameter, which tells a mirror the host of the upstream registry.
    pub namespace: Option<Box<str>>,
}

impl Request {
    /// A request without fields.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            repository: None,
            digest: None,
            tag: None,
            tags: Vec::new(),
            from_repository: None,
            upload_id: None,
            digest_algorithm: None,
            n: None,
            last: None,
            artifact_type: None,
            namespace: None,
        }
    }
}
