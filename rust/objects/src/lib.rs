//! Contents in object storage: one bucket of S3, Google Cloud Storage or Azure, without Python.
//!
//! - [`Bucket`] has the operations, each bounded in time. [`settings`] opens it.
//! - [`Reading`] is one object, or a range of it, that arrives in pieces.
//! - [`PartWriter`] hashes bytes, cuts them into equal parts, and stores these in parallel.
//!
//! `transport` sits between `object_store` and its HTTP client. It counts requests, limits waiting, and remembers why a
//! request failed: the errors of `object_store` do not say it in a form that could be shown to anybody.

mod bucket;
mod error;
mod failure;
mod operation;
mod parts;
mod reading;
pub mod runtime;
pub mod settings;
mod transport;

pub use bucket::Bucket;
pub use error::{Error, Kind, Result};
pub use operation::Operation;
pub use parts::{Added, Callback, MOST_PARTS, PartWriter, Parts, Upload};
pub use reading::{Piece, Reading};
