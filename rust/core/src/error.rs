//! The reasons for refusing an input. `Display` is the message for the client.

use crate::kind::Methods;

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// One variant per kind of response. Text that quotes input is bounded (see [`crate::text`]).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The path is outside `/v2/`: `NAME_UNKNOWN`, 404.
    #[error("unknown URL path")]
    UnknownUrlPath,
    /// No endpoint has this path: 404.
    #[error("page not found")]
    PageNotFound,
    /// The endpoint does not have this method: 405. Holds the methods that it has.
    #[error("method not allowed")]
    MethodNotAllowed(Methods),
    /// Another error in a request line: 400.
    #[error("{0}")]
    BadRequest(String),
    /// Not `algorithm:hex` of a known algorithm: `DIGEST_INVALID`, 400.
    #[error("badly formed digest")]
    BadlyFormedDigest,
    /// An algorithm that is not one of [`crate::digest::Algorithm`]: `DIGEST_INVALID`, 400.
    #[error("unknown digest algorithm {0}: it is not one of sha256, sha384, sha512")]
    UnknownAlgorithm(String),
    /// Not a repository name: `NAME_INVALID`, 400.
    #[error("invalid repository name")]
    InvalidRepositoryName,
    /// A repository name that is too long: `NAME_INVALID`, 400.
    #[error("invalid repository name: longer than {} characters", crate::limits::MAX_REPOSITORY_LENGTH)]
    RepositoryNameTooLong,
    /// Not a tag.
    #[error("invalid tag {0}")]
    InvalidTag(String),
    /// Fields of a request that do not match its kind.
    #[error("{0}")]
    InvalidRequest(String),
    /// Not a reference to an image. The message is that of Go's `ociref`.
    #[error("{0}")]
    InvalidReference(String),
    /// A malformed Range header: `RANGE_INVALID`, 416.
    #[error("{0}")]
    InvalidRange(&'static str),
    /// A Content-Range that is not `start-end`: `UNSUPPORTED`, 400.
    #[error("we don't understand your Content-Range")]
    InvalidContentRange,
    /// A manifest that does not match its schema, or exceeds a limit: `MANIFEST_INVALID`, 400.
    #[error("invalid manifest: {0}")]
    InvalidManifest(String),
    /// Bytes that are not the result of [`crate::hash::Hasher::save`].
    #[error("not a saved state of a hash")]
    InvalidHashState,
}
