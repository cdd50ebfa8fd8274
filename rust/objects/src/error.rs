//! Errors of operations. A message names the operation and the cause. It never has what the store or `object_store` says,
//! because that can hold the key of the account, a signature or a URL that grants access.

use std::error::Error as _;

use object_store::client::HttpError;

use crate::failure::Failure;
use crate::operation::Operation;

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The object or the multipart upload does not exist.
    NotFound,
    /// The store refuses the credentials, or these have no right to do it.
    Denied,
    /// It may heal: no connection, no answer in time, or an error of the server.
    Unavailable,
    /// Anything else. The same call would fail again.
    Other,
}

/// An error of an operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {cause}")]
pub struct Error {
    /// What a caller can do.
    pub kind: Kind,
    /// What failed.
    pub operation: Operation,
    /// Why.
    pub cause: String,
}

/// The result of an operation.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(kind: Kind, operation: Operation, cause: impl Into<String>) -> Self {
        Self { kind, operation, cause: cause.into() }
    }

    /// The error of an operation that failed after the last request had met `failure`.
    pub(crate) fn of(operation: Operation, error: &object_store::Error, failure: Option<Failure>) -> Self {
        // The body of an answer can break after the transport has seen the answer.
        match failure.or_else(|| broken(error)) {
            Some(Failure::Status { status, code }) => Self::of_status(operation, status, code.as_deref()),
            Some(Failure::Broken { cause, heals }) => {
                Self::new(if heals { Kind::Unavailable } else { Kind::Other }, operation, cause)
            }
            None => match error {
                object_store::Error::NotFound { .. } => Self::new(Kind::NotFound, operation, "it does not exist"),
                object_store::Error::NotSupported { .. } | object_store::Error::NotImplemented { .. } => {
                    Self::new(Kind::Other, operation, "this kind of store cannot do it")
                }
                _ => Self::new(
                    Kind::Other,
                    operation,
                    "no request could be made, or its answer was not understood: check the URL, the options and the \
                     credentials of the bucket",
                ),
            },
        }
    }

    fn of_status(operation: Operation, status: u16, code: Option<&str>) -> Self {
        let shown = code.map_or_else(|| status.to_string(), |code| format!("{status} {code}"));
        let (kind, cause) = match (status, code) {
            (404, Some("NoSuchBucket" | "ContainerNotFound")) => {
                (Kind::Other, format!("the bucket does not exist ({shown})"))
            }
            (404, _) => (Kind::NotFound, format!("it does not exist ({shown})")),
            (401 | 403, _) | (400, Some("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired")) => {
                (Kind::Denied, format!("the store refuses the credentials or their rights ({shown})"))
            }
            (408 | 429 | 500..=599, _) | (_, Some("RequestTimeout" | "SlowDown")) => {
                (Kind::Unavailable, format!("the store answers {shown}"))
            }
            _ => (Kind::Other, format!("the store answers {shown}")),
        };
        Self::new(kind, operation, cause)
    }
}

/// What broke a connection, if this is the reason of an error.
fn broken(error: &object_store::Error) -> Option<Failure> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<HttpError>() {
            return Some(Failure::of(error));
        }
        source = error.source();
    }
    None
}
