//! Input and output of the server: files that grow, threads that hash and write, and the log. No protocol, no Python.
//!
//! Only this crate and `ociserver-load` do I/O; `ociserver-core` is pure computation.

// One message instead of a page of errors about `std::os::unix`.
#[cfg(not(unix))]
compile_error!("ociserver needs Linux or macOS. On Windows, install it in WSL or run it in a container.");

pub mod append;
pub mod background;
pub mod file;
pub mod log;
