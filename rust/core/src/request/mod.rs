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

/// Most `tag` parameters on one manifest PUT: each is a row to write in the same transaction.
pub const MAX_TAGS: usize = 100;

/// Longest upload id, in decoded bytes. An id may be a whole URL, when the backend is a client; this is
/// as long as the URLs that servers take.
pub const MAX_UPLOAD_ID_LENGTH: usize = 4096;

/// One request. Which fields a kind has is checked by [`Request::check`]; [`parse`] makes no others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Request {
    /// What is asked for.
    pub kind: Kind,
    /// All but ping and catalog.
    pub repository: Option<Repository>,
    /// Blobs, mount, single POST, closing PUT, referrers (the subject), and manifests by digest.
    pub digest: Option<Digest>,
    /// Manifests by tag.
    pub tag: Option<Tag>,
    /// Manifest PUT: the `tag` parameters, in order, without repeats.
    pub tags: Vec<Tag>,
    /// Mount: None is an anonymous mount, from wherever the blob is.
    pub from_repository: Option<Repository>,
    /// Uploads under way: the backend's id.
    pub upload_id: Option<Box<str>>,
    /// Upload start: what the closing digest will use.
    pub digest_algorithm: Option<Algorithm>,
    /// Tags and catalog: most entries wanted; at most `i64::MAX`.
    pub n: Option<u64>,
    /// Lists: only entries after this one.
    pub last: Option<Box<str>>,
    /// Referrers: the filter.
    pub artifact_type: Option<Box<str>>,
    /// Any kind: the `ns` parameter, which tells a mirror whom it mirrors.
    pub namespace: Option<Box<str>>,
}

impl Request {
    /// A request without any fields, to be filled in.
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
