//! A load generator for registries: operations of a few requests each, made by many clients at once over
//! HTTP/1.1, and how long they took.
//!
//! It shares its machine with what it measures, so that every cycle of its own is taken from the figure:
//! requests are put together in a buffer that is kept, bodies are made where they are sent from, and answers
//! are counted and thrown away.

mod answer;
mod connection;
pub mod content;
pub mod cores;
mod engine;
mod error;
mod load;
mod origin;
mod step;
mod worker;

pub use engine::Report;
pub use error::Failure;
pub use load::{Load, Watch};
pub use origin::Origin;
pub use step::{Body, Step, Target};
