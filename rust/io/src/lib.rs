//! Input and output of the server: files that grow, threads that hash and write, and the log. No protocol, no Python.
//!
//! Only this crate and `ociserver-load` do I/O; `ociserver-core` is pure computation.

pub mod append;
pub mod background;
pub mod file;
pub mod log;
