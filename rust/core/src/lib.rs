//! The OCI distribution protocol as pure computation: no I/O, no threads, no clock, no Python.
//!
//! It follows the [distribution spec] and the [image spec]. Where they leave a choice, it follows Go's
//! `cuelabs.dev/go/oci/ociregistry`. All input is hostile: every function takes time and memory linear in its input,
//! within named limits, and no function panics.
//!
//! [distribution spec]: https://github.com/opencontainers/distribution-spec/blob/967efdc/spec.md
//! [image spec]: https://github.com/opencontainers/image-spec/blob/main/spec.md

pub mod digest;
mod error;
pub mod hash;
pub mod kind;
pub mod limits;
pub mod link;
pub mod manifest;
pub mod name;
pub mod percent;
pub mod query;
pub mod range;
pub mod reference;
pub mod request;
pub mod request_id;
pub mod text;

pub use error::{Error, Result};
