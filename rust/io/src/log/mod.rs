//! The log of a server: the format of its lines, and a thread that writes them. No request waits for a pipe, a disk or
//! the interpreter.

mod line;
mod writer;

pub use line::{Event, Format};
pub use writer::{LineWriter, MAX_LINES, RESERVE, WRITE_SIZE};
