//! Counts answered requests in memory that processes share. `ociserver.metrics` makes the memory and reads it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use ociserver_core::kind::Kind;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use crate::request::kind_name;

/// Positions in a row, after its key.
const RECEIVED: usize = 1;
const SENT: usize = 2;
const SUM: usize = 3;
const BUCKETS: usize = 4;

/// The numbers of the requests of one kind with one status.
#[pyclass(frozen, name = "RequestRow", module = "ociserver._core")]
pub(crate) struct PyRequestRow {
    // Locked for each change, so that threads cannot overwrite each other's additions.
    cells: Mutex<PyBuffer<f64>>,
    bounds: Vec<f64>,
}

#[pymethods]
impl PyRequestRow {
    #[classattr]
    const RECEIVED: usize = RECEIVED;
    #[classattr]
    const SENT: usize = SENT;
    #[classattr]
    const SUM: usize = SUM;
    #[classattr]
    const BUCKETS: usize = BUCKETS;

    #[new]
    fn new(cells: &Bound<'_, PyAny>, bounds: Vec<f64>) -> PyResult<Self> {
        let cells = PyBuffer::get(cells)?;
        if cells.readonly() || !cells.is_c_contiguous() || cells.item_count() != BUCKETS + bounds.len() + 1 {
            return Err(PyValueError::new_err("a row must be writable and contiguous, and have a number per bucket"));
        }
        Ok(Self { cells: Mutex::new(cells), bounds })
    }

    #[allow(clippy::cast_precision_loss)] // Counters are exact up to 2^53.
    fn add(&self, py: Python<'_>, received: u64, sent: u64, duration: f64) -> PyResult<()> {
        let bucket = BUCKETS + self.bounds.partition_point(|bound| *bound < duration);
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let mut row = vec![0.0; BUCKETS + self.bounds.len() + 1];
        cells.copy_to_slice(py, &mut row)?;
        row[bucket] += 1.0;
        row[SUM] += duration;
        row[RECEIVED] += received as f64;
        row[SENT] += sent as f64;
        cells.copy_from_slice(py, &row)
    }
}

/// Finds the rows of the reads that `NowaitReader` has answered.
#[pyclass(frozen, name = "RequestCounter", module = "ociserver._core")]
pub(crate) struct PyRequestCounter {
    row: Py<PyAny>,
    rows: Mutex<HashMap<(Kind, u16), Py<PyRequestRow>>>,
}

#[pymethods]
impl PyRequestCounter {
    #[new]
    fn new(row: Py<PyAny>) -> Self {
        Self { row, rows: Mutex::default() }
    }

    /// For the garbage collector: `row` may be a method of the object that has this counter.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.row)
    }
}

impl PyRequestCounter {
    /// Count an answered read.
    pub(crate) fn answered(
        &self,
        method: &Bound<'_, PyAny>,
        kind: Kind,
        status: u16,
        sent: usize,
        duration: f64,
    ) -> PyResult<()> {
        let py = method.py();
        let rows = || self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let known = rows().get(&(kind, status)).map(|row| row.clone_ref(py));
        let row = if let Some(row) = known {
            row
        } else {
            // Without the lock, since Python may switch threads in this call.
            let found = self.row.bind(py).call1((method, kind_name(py, kind), status))?;
            let row = found.cast_into::<PyRequestRow>()?.unbind();
            rows().insert((kind, status), row.clone_ref(py));
            row
        };
        row.get().add(py, 0, sent as u64, duration)
    }
}
