//! A load: the operations to run, and its progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::connection::Connection;
use crate::origin::Origin;
use crate::step::Step;

/// The operations to run against a server.
pub struct Load {
    origin: Arc<Origin>,
    common: Arc<str>,
    operations: Vec<Vec<Arc<Step>>>,
    repeat: bool,
    hash: bool,
    begun: AtomicUsize,
    finished: AtomicU64,
    stopped: AtomicBool,
}

/// The progress of a load.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Number of operations that were started.
    pub begun: u64,
    /// Number of operations that have ended.
    pub finished: u64,
}

impl Load {
    /// Prepare a load.
    ///
    /// Every request has `headers`. With `repeat`, the first operation follows the last. With `hash`, the clients hash
    /// what they send and receive, as real clients do.
    pub fn new(
        origin: Arc<Origin>,
        headers: &[(String, String)],
        operations: Vec<Vec<Arc<Step>>>,
        repeat: bool,
        hash: bool,
    ) -> Self {
        let mut common = format!("Host: {}\r\n", origin.authority);
        for (name, value) in headers {
            common.extend([name, ": ", value, "\r\n"]);
        }
        Self {
            origin,
            common: common.into(),
            operations,
            repeat,
            hash,
            begun: AtomicUsize::new(0),
            finished: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    /// Stop soon, and close connections with requests in progress.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// The progress of the load.
    pub fn progress(&self) -> Progress {
        Progress { begun: self.begun(), finished: self.finished.load(Ordering::Relaxed) }
    }

    pub(crate) fn next(&self) -> Option<&[Arc<Step>]> {
        if self.is_stopped() {
            return None;
        }
        let index = self.begun.fetch_add(1, Ordering::Relaxed);
        let index = if self.repeat { index.checked_rem(self.operations.len())? } else { index };
        self.operations.get(index).map(Vec::as_slice)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// A connection for one client. It is not open yet.
    pub(crate) fn connection(&self) -> Connection {
        Connection::new(self.origin.clone(), self.common.clone(), self.hash)
    }

    pub(crate) fn done(&self) {
        self.finished.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn authority(&self) -> &str {
        &self.origin.authority
    }

    pub(crate) fn begun(&self) -> u64 {
        let begun = self.begun.load(Ordering::Relaxed);
        (if self.repeat { begun } else { begun.min(self.operations.len()) }) as u64
    }
}
