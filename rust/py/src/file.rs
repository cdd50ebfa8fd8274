//! Files. These functions release the GIL, because they may wait for the disk.

use std::io;
use std::sync::Arc;

use ociserver_io::append::Appender;
use ociserver_io::file;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::errors::system_error;
use crate::hash::{PyBackgroundHasher, PyHasher, notifying};

#[pyclass(frozen, name = "Appender", module = "ociserver._core")]
pub(crate) struct PyAppender(Arc<Appender<PyBackedBytes>>);

#[pymethods]
impl PyAppender {
    #[new]
    fn new(fd: i32, size: u64, hash: &PyBackgroundHasher, early_writeback: bool) -> Self {
        Self(Arc::new(Appender::new(fd, size, hash.hashing(), early_writeback)))
    }

    fn add(&self, data: PyBackedBytes) -> Option<usize> {
        self.0.add(data)
    }

    fn when_left(&self, py: Python<'_>, backlog: usize, callback: Py<PyAny>) {
        py.detach(|| self.0.when_left(backlog, notifying(callback)));
    }

    fn when_written(&self, py: Python<'_>, callback: Py<PyAny>) {
        py.detach(|| self.0.when_written(notifying(callback)));
    }

    fn left(&self) -> usize {
        self.0.left()
    }

    fn close(&self) {
        self.0.close();
    }

    fn size(&self) -> Option<u64> {
        self.0.size()
    }

    fn check(&self) -> PyResult<()> {
        self.0.failure().map_or(Ok(()), |error| Err(system_error(&error)))
    }
}

#[pyfunction]
pub(crate) fn hash_range(py: Python<'_>, fd: i32, offset: u64, length: u64, hasher: &PyHasher) -> PyResult<()> {
    hasher.with(py, true, |hasher| file::hash_range(fd, offset, length, hasher)).map_err(|error| system_error(&error))
}

#[pyfunction]
pub(crate) fn read_at(py: Python<'_>, fd: i32, offset: u64, length: usize) -> PyResult<Bound<'_, PyBytes>> {
    let bytes = read_into(py, length, |buffer| file::read(fd, offset, buffer).map(Some))?;
    Ok(bytes.unwrap_or_else(|| PyBytes::new(py, b"")))
}

#[pyfunction]
pub(crate) fn read_cached(py: Python<'_>, fd: i32, offset: u64, length: usize) -> PyResult<Option<Bound<'_, PyBytes>>> {
    read_into(py, length, |buffer| file::read_cached(fd, offset, buffer))
}

/// Call `read` with the memory of a new bytes object. `PyBytes::new_with` would clear the memory first, which takes a
/// twelfth of the processor time of a download.
fn read_into(
    py: Python<'_>,
    length: usize,
    read: impl FnOnce(&mut [u8]) -> io::Result<Option<usize>> + Send,
) -> PyResult<Option<Bound<'_, PyBytes>>> {
    let size = ffi::Py_ssize_t::try_from(length)?;
    // SAFETY: with a null source, the call returns a new bytes object of that size, or null and an exception. No other
    // code has the object, so we may write to it until we return it. We return only bytes that were written: `read`
    // passes the buffer only to the system, and returns how many bytes the system wrote.
    #[allow(unsafe_code)]
    let (bytes, buffer) = unsafe {
        let object = ffi::PyBytes_FromStringAndSize(std::ptr::null(), size);
        let bytes = Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked::<PyBytes>();
        let buffer = std::slice::from_raw_parts_mut(ffi::PyBytes_AsString(object).cast::<u8>(), length);
        (bytes, buffer)
    };
    let read = py.detach(|| read(buffer)).map_err(|error| system_error(&error))?;
    Ok(read.map(|read| if read == length { bytes } else { PyBytes::new(py, &bytes.as_bytes()[..read]) }))
}
