//! `Reading`.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ociserver_objects::{Piece, Reading};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arrivals::{Arrivals, Waiter};
use crate::errors::object_error;

#[pyclass(frozen, name = "Reading", module = "ociserver_objects")]
pub(crate) struct PyReading {
    reading: Reading,
    arrivals: Arc<Arrivals>,
}

impl PyReading {
    pub(crate) fn new(reading: Reading, arrivals: Arc<Arrivals>) -> Self {
        Self { reading, arrivals }
    }
}

#[pymethods]
impl PyReading {
    #[getter]
    fn size(&self) -> u64 {
        self.reading.size()
    }

    fn take<'py>(&self, py: Python<'py>, waiter: Py<PyAny>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let waker = Waker::from(Arc::new(Waiter::new(waiter, Arc::clone(&self.arrivals))));
        match self.reading.poll_next(&mut Context::from_waker(&waker)) {
            Poll::Ready(piece) => joined(py, &piece.map_err(object_error)?).map(Some),
            Poll::Pending => Ok(None),
        }
    }

    fn close(&self) {
        self.reading.close();
    }
}

/// The bytes of a piece, copied once. `PyBytes::new_with` would clear the memory first.
fn joined<'py>(py: Python<'py>, piece: &Piece) -> PyResult<Bound<'py, PyBytes>> {
    let length: usize = piece.iter().map(bytes::Bytes::len).sum();
    let size = ffi::Py_ssize_t::try_from(length)?;
    // SAFETY: with a null source, the call returns a new bytes object of that size, or null and an exception. No other
    // code has the object, so we may write to it until we return it. The loop below only writes, and it writes all of it.
    #[allow(unsafe_code)]
    let (bytes, mut target) = unsafe {
        let object = ffi::PyBytes_FromStringAndSize(std::ptr::null(), size);
        let bytes = Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked::<PyBytes>();
        (bytes, std::slice::from_raw_parts_mut(ffi::PyBytes_AsString(object).cast::<u8>(), length))
    };
    for part in piece {
        let (here, rest) = target.split_at_mut(part.len());
        here.copy_from_slice(part);
        target = rest;
    }
    Ok(bytes)
}
