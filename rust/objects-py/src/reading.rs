//! `Reading`.

use std::sync::Arc;

use ociserver_objects::{Piece, Reading};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::callbacks::Callbacks;

#[pyclass(frozen, name = "Reading", module = "ociserver_objects")]
pub(crate) struct PyReading {
    reading: Arc<Reading>,
    callbacks: Callbacks,
}

impl PyReading {
    pub(crate) fn new(reading: Reading, callbacks: Callbacks) -> Self {
        Self { reading: Arc::new(reading), callbacks }
    }
}

#[pymethods]
impl PyReading {
    #[getter]
    fn size(&self) -> u64 {
        self.reading.size()
    }

    fn next(&self, done: Py<PyAny>) -> PyResult<()> {
        let reading = Arc::clone(&self.reading);
        self.callbacks.run(done, async move { reading.next().await }, joined)
    }

    fn close(&self) {
        self.reading.close();
    }
}

/// The bytes of a piece, copied once.
#[allow(clippy::needless_pass_by_value)]
fn joined(py: Python<'_>, piece: Piece) -> PyResult<Py<PyAny>> {
    let length = piece.iter().map(bytes::Bytes::len).sum();
    let bytes = PyBytes::new_with(py, length, |mut target| {
        for part in &piece {
            let (here, rest) = target.split_at_mut(part.len());
            here.copy_from_slice(part);
            target = rest;
        }
        Ok(())
    })?;
    Ok(bytes.into_any().unbind())
}
