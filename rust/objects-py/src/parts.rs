//! `PartWriter`.

use std::sync::Arc;

use ociserver_core::digest::Algorithm;
use ociserver_core::hash::Hasher;
use ociserver_objects::{Added, PartWriter, Parts, Upload};
use pyo3::IntoPyObjectExt as _;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::bucket::{PyBucket, none};
use crate::callbacks::Callbacks;
use crate::errors::{object_error, value_error};

/// Bytes from which the GIL is released while they are hashed, as in `ociserver._core`.
const DETACH_SIZE: usize = 4 << 10;

#[pyclass(frozen, name = "PartWriter", module = "ociserver_objects")]
pub(crate) struct PyPartWriter {
    writer: Arc<PartWriter>,
    callbacks: Callbacks,
    on_full: Py<PyAny>,
}

#[pymethods]
impl PyPartWriter {
    #[new]
    #[pyo3(signature = (bucket, algorithm, *, part_size, in_flight, on_full))]
    fn new(
        bucket: &Bound<'_, PyBucket>,
        algorithm: &str,
        part_size: usize,
        in_flight: usize,
        on_full: Py<PyAny>,
    ) -> PyResult<Self> {
        let algorithm: Algorithm = algorithm.parse().map_err(value_error)?;
        let (bucket, parts) = (bucket.get(), parts(part_size, in_flight)?);
        let runtime = bucket.callbacks.runtime.clone();
        let writer = PartWriter::new(Arc::clone(&bucket.bucket), Hasher::new(algorithm), parts, runtime);
        Ok(Self { writer: Arc::new(writer), callbacks: bucket.callbacks.clone(), on_full })
    }

    #[staticmethod]
    #[pyo3(signature = (bucket, state, *, key, multipart_id, etags, tail, part_size, in_flight, on_full))]
    #[allow(clippy::too_many_arguments)]
    fn resume(
        bucket: &Bound<'_, PyBucket>,
        state: &[u8],
        key: Option<String>,
        multipart_id: Option<String>,
        etags: Vec<String>,
        tail: &[u8],
        part_size: usize,
        in_flight: usize,
        on_full: Py<PyAny>,
    ) -> PyResult<Self> {
        let hasher = Hasher::resume(state).map_err(value_error)?;
        let upload = match (key, multipart_id) {
            (Some(key), Some(id)) => Some(Upload { key, id }),
            (None, None) => None,
            _ => return Err(value_error("key and multipart_id belong together")),
        };
        let (bucket, parts) = (bucket.get(), parts(part_size, in_flight)?);
        let runtime = bucket.callbacks.runtime.clone();
        let stored = (upload, etags, tail);
        let writer =
            PartWriter::resume(Arc::clone(&bucket.bucket), hasher, parts, runtime, stored).map_err(value_error)?;
        Ok(Self { writer: Arc::new(writer), callbacks: bucket.callbacks.clone(), on_full })
    }

    fn begin(&self, py: Python<'_>, key: String, multipart_id: String) {
        py.detach(|| self.writer.begin(Upload { key, id: multipart_id }));
    }

    fn add(&self, py: Python<'_>, data: &[u8]) -> Option<usize> {
        let Added { backlog, is_first_full } =
            if data.len() < DETACH_SIZE { self.writer.add(data) } else { py.detach(|| self.writer.add(data)) };
        if is_first_full {
            if let Err(error) = self.on_full.call0(py) {
                error.write_unraisable(py, Some(self.on_full.bind(py)));
            }
        }
        backlog
    }

    // Python reads it from the object, like that of any other sink.
    #[allow(clippy::unused_self)]
    #[getter]
    fn high_water_mark(&self) -> usize {
        0
    }

    fn when_left(&self, backlog: usize, callback: Py<PyAny>) {
        self.writer.when_left(backlog, self.callbacks.notifying(callback));
    }

    fn when_kept(&self, callback: Py<PyAny>) {
        self.writer.when_kept(self.callbacks.notifying(callback));
    }

    fn check(&self) -> PyResult<()> {
        self.writer.take_error().map_or(Ok(()), |error| Err(object_error(error)))
    }

    fn flush_tail(&self, py: Python<'_>, done: Py<PyAny>) -> PyResult<()> {
        let work = py.detach(|| self.writer.flush_tail());
        self.callbacks.run(done, work, |py, etag| etag.into_py_any(py))
    }

    fn put_tail(&self, py: Python<'_>, key: String, done: Py<PyAny>) -> PyResult<()> {
        let work = py.detach(|| self.writer.put_tail(key));
        self.callbacks.run(done, work, none)
    }

    fn tail<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.writer.with_tail(|tail| PyBytes::new(py, tail))
    }

    #[getter]
    fn length(&self) -> u64 {
        self.writer.with_hasher(Hasher::length)
    }

    #[getter]
    fn etags(&self) -> Vec<String> {
        self.writer.etags()
    }

    fn save<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.writer.with_hasher(Hasher::save))
    }

    fn digest(&self) -> String {
        self.writer.with_hasher(Hasher::digest).to_string()
    }

    fn close(&self) {
        self.writer.close();
    }
}

fn parts(size: usize, in_flight: usize) -> PyResult<Parts> {
    if size == 0 || in_flight == 0 {
        return Err(value_error("part_size and in_flight must be positive"));
    }
    Ok(Parts { size, in_flight })
}
