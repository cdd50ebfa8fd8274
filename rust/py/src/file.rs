//! Files, always without the GIL: any of these calls may wait for the disk.

use ociserver_core::file;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::system_error;
use crate::hash::PyHasher;

#[pyfunction]
pub(crate) fn append_to(py: Python<'_>, fd: i32, offset: u64, data: &[u8], hasher: &PyHasher) -> PyResult<()> {
    hasher.with(py, true, |hasher| file::append(fd, offset, data, hasher)).map_err(|error| system_error(&error))
}

#[pyfunction]
pub(crate) fn hash_range(py: Python<'_>, fd: i32, offset: u64, length: u64, hasher: &PyHasher) -> PyResult<()> {
    hasher.with(py, true, |hasher| file::hash_range(fd, offset, length, hasher)).map_err(|error| system_error(&error))
}

#[pyfunction]
pub(crate) fn read_at(py: Python<'_>, fd: i32, offset: u64, length: usize) -> PyResult<Bound<'_, PyBytes>> {
    let mut read = 0;
    let bytes = PyBytes::new_with(py, length, |buffer| {
        read = py.detach(|| file::read(fd, offset, buffer)).map_err(|error| system_error(&error))?;
        Ok(())
    })?;
    Ok(shortened(py, bytes, read))
}

#[pyfunction]
pub(crate) fn read_cached(py: Python<'_>, fd: i32, offset: u64, length: usize) -> PyResult<Option<Bound<'_, PyBytes>>> {
    let mut read = None;
    let bytes = PyBytes::new_with(py, length, |buffer| {
        read = py.detach(|| file::read_cached(fd, offset, buffer)).map_err(|error| system_error(&error))?;
        Ok(())
    })?;
    Ok(read.map(|read| shortened(py, bytes, read)))
}

fn shortened<'py>(py: Python<'py>, bytes: Bound<'py, PyBytes>, length: usize) -> Bound<'py, PyBytes> {
    if length == bytes.as_bytes().len() { bytes } else { PyBytes::new(py, &bytes.as_bytes()[..length]) }
}
