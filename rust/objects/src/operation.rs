//! The operations on a bucket, and how many requests each has sent.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// An operation on a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Operation {
    Put,
    Size,
    Read,
    Delete,
    CreateMultipart,
    PutPart,
    Complete,
    Abort,
    Sign,
    List,
}

impl Operation {
    /// All operations, in the order of their declaration.
    pub const ALL: [Self; 10] = [
        Self::Put,
        Self::Size,
        Self::Read,
        Self::Delete,
        Self::CreateMultipart,
        Self::PutPart,
        Self::Complete,
        Self::Abort,
        Self::Sign,
        Self::List,
    ];

    /// The name in Python, in metrics and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Size => "size",
            Self::Read => "read",
            Self::Delete => "delete",
            Self::CreateMultipart => "create_multipart",
            Self::PutPart => "put_part",
            Self::Complete => "complete",
            Self::Abort => "abort",
            Self::Sign => "sign",
            Self::List => "list",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Requests sent, by operation.
#[derive(Debug, Default)]
pub(crate) struct Counts([AtomicU64; Operation::ALL.len()]);

impl Counts {
    pub(crate) fn add(&self, operation: Operation) {
        self.0[operation as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self, operation: Operation) -> u64 {
        self.0[operation as usize].load(Ordering::Relaxed)
    }
}
