//! Ranges of bytes.

use ociserver_core::range::{self, ByteRange};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyInt;

use crate::errors::{protocol_error, value_error};

#[pyclass(frozen, eq, hash, name = "ByteRange", module = "ociserver._core")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct PyByteRange(ByteRange);

#[pymethods]
impl PyByteRange {
    #[new]
    #[pyo3(signature = (first, last))]
    fn new(first: Option<&Bound<'_, PyInt>>, last: Option<&Bound<'_, PyInt>>) -> PyResult<Self> {
        let end = |value: Option<&Bound<'_, PyInt>>| value.map(unsigned).transpose();
        ByteRange::new(end(first)?, end(last)?).map(Self).map_err(value_error)
    }

    #[getter]
    fn first(&self) -> Option<u64> {
        self.0.ends().0
    }

    #[getter]
    fn last(&self) -> Option<u64> {
        self.0.ends().1
    }

    fn resolve(&self, size: &Bound<'_, PyInt>) -> PyResult<Option<(u64, u64)>> {
        Ok(self.0.resolve(unsigned(size)?).map(|range| (range.start, range.end)))
    }

    fn __repr__(&self) -> String {
        let show = |end: Option<u64>| end.map_or("None".to_owned(), |end| end.to_string());
        let (first, last) = self.0.ends();
        format!("ByteRange({}, {})", show(first), show(last))
    }

    fn __getnewargs__(&self) -> (Option<u64>, Option<u64>) {
        self.0.ends()
    }
}

/// An int that is out of bounds raises `ValueError`, not `OverflowError`.
pub(crate) fn unsigned(value: &Bound<'_, PyInt>) -> PyResult<u64> {
    value.extract().map_err(|_| PyValueError::new_err("an integer is negative or above 2**64-1"))
}

#[pyfunction]
pub(crate) fn parse_range(py: Python<'_>, header: &[u8]) -> PyResult<Option<Vec<PyByteRange>>> {
    let ranges = range::parse_range(header).map_err(|error| protocol_error(py, &error))?;
    Ok(ranges.map(|ranges| ranges.into_iter().map(PyByteRange).collect()))
}

#[pyfunction]
pub(crate) fn parse_content_range(py: Python<'_>, header: &[u8]) -> PyResult<(u64, u64)> {
    range::parse_content_range(header).map_err(|error| protocol_error(py, &error))
}
