//! The log of a server: what a line of it looks like, and a thread that writes lines, so that no request waits for a
//! pipe or a disk, and none for the interpreter.

mod line;
mod writer;

pub use line::{Event, Format};
pub use writer::{LineWriter, MAX_LINES, RESERVE, WRITE_SIZE};
