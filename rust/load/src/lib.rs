//! A load generator for registries: concurrent clients run operations of a few HTTP/1.1 requests each, and it measures
//! how long the operations take.
//!
//! It shares the machine with the server that it measures, so the cycles that it uses lower the result. Therefore it
//! reuses buffers for requests, generates bodies in the buffer that they are sent from, and counts and drops responses.

mod client;
mod connection;
pub mod content;
pub mod cores;
mod engine;
mod error;
mod load;
mod origin;
mod response;
mod step;

pub use engine::Report;
pub use error::Failure;
pub use load::{Load, Progress};
pub use origin::Origin;
pub use step::{Body, Step, Target};
