//! Tells an event loop that something has arrived.
//!
//! The thread that has received it writes to a socket, and needs no GIL for that. The event loop takes the rest from here.

use std::io::{self, Read as _, Write as _};
use std::mem;
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;

use pyo3::prelude::*;

/// Python objects that wait no longer.
pub(crate) struct Arrivals {
    arrived: Mutex<Vec<Py<PyAny>>>,
    /// There is one byte to read while `arrived` is not empty.
    reader: UnixStream,
    writer: UnixStream,
}

impl Arrivals {
    pub(crate) fn new() -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        Ok(Self { arrived: Mutex::default(), reader, writer })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.reader.as_raw_fd()
    }

    pub(crate) fn take(&self) -> io::Result<Vec<Py<PyAny>>> {
        let mut arrived = lock(&self.arrived);
        if !arrived.is_empty() {
            (&self.reader).read_exact(&mut [0])?;
        }
        Ok(mem::take(&mut arrived))
    }

    fn add(&self, waiter: Py<PyAny>) {
        let mut arrived = lock(&self.arrived);
        // It cannot fail: there is room for one byte, and this has both ends.
        if !arrived.is_empty() || (&self.writer).write_all(&[0]).is_ok() {
            arrived.push(waiter);
        }
    }
}

/// A Python object that waits.
pub(crate) struct Waiter {
    waiter: Mutex<Option<Py<PyAny>>>,
    arrivals: Arc<Arrivals>,
}

impl Waiter {
    pub(crate) fn new(waiter: Py<PyAny>, arrivals: Arc<Arrivals>) -> Self {
        Self { waiter: Mutex::new(Some(waiter)), arrivals }
    }
}

impl Wake for Waiter {
    fn wake(self: Arc<Self>) {
        if let Some(waiter) = lock(&self.waiter).take() {
            self.arrivals.add(waiter);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
