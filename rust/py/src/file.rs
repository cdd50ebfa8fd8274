//! Files, always without the GIL: any of these calls may wait for the disk.

use std::io;
use std::sync::Arc;

use ociserver_core::file;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::errors::system_error;
use crate::hash::PyHasher;

#[pyfunction]
#[pyo3(signature = (fd, offset, data, hasher, write_out=None))]
pub(crate) fn append_to(
    py: Python<'_>,
    fd: i32,
    offset: u64,
    data: PyBackedBytes,
    hasher: &PyHasher,
    write_out: Option<u64>,
) -> PyResult<()> {
    let data = Arc::new(data);
    hasher
        .with(py, true, |hasher| file::append(fd, offset, &data, hasher, write_out))
        .map_err(|error| system_error(&error))
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

/// Have at most `length` bytes read into a new object. Its memory is not cleared before, as `PyBytes::new_with` does
/// it: of what a download takes in processor time that is a twelfth.
fn read_into(
    py: Python<'_>,
    length: usize,
    read: impl FnOnce(&mut [u8]) -> io::Result<Option<usize>> + Send,
) -> PyResult<Option<Bound<'_, PyBytes>>> {
    let size = ffi::Py_ssize_t::try_from(length)?;
    // SAFETY: without a source it gives a new bytes object of that size, or no object and an exception. Nobody else
    // has it, so it may be written to until it is given away, and nothing of it is given that was not written: `read`
    // passes the buffer to the system alone, and says how much the system put there.
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
