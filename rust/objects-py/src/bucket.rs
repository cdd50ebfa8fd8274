//! `Bucket`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ociserver_objects::settings::Settings;
use ociserver_objects::{Bucket, Operation, Reading};
use pyo3::IntoPyObjectExt as _;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyDict, PyMapping};

use crate::arrivals::Arrivals;
use crate::callbacks::Callbacks;
use crate::errors::value_error;
use crate::reading::PyReading;

#[pyclass(frozen, name = "Bucket", module = "ociserver_objects")]
pub(crate) struct PyBucket {
    pub(crate) bucket: Arc<Bucket>,
    pub(crate) callbacks: Callbacks,
    arrivals: Arc<Arrivals>,
}

#[pymethods]
impl PyBucket {
    #[new]
    #[pyo3(signature = (url, options=None, *, public_endpoint=None, retry_s=20.0, timeout_s=30.0))]
    fn new(
        py: Python<'_>,
        url: String,
        options: Option<&Bound<'_, PyMapping>>,
        public_endpoint: Option<String>,
        retry_s: f64,
        timeout_s: f64,
    ) -> PyResult<Self> {
        let settings = Settings {
            url,
            options: options.map(pairs).transpose()?.unwrap_or_default(),
            public_endpoint,
            retry: seconds("retry_s", retry_s)?,
            wait: seconds("timeout_s", timeout_s)?,
        };
        // It reads the certificates of the system.
        let bucket = py.detach(|| settings.open()).map_err(value_error)?;
        Ok(Self { bucket: Arc::new(bucket), callbacks: Callbacks::of_process()?, arrivals: Arc::new(Arrivals::new()?) })
    }

    fn put(&self, key: String, data: PyBackedBytes, done: Py<PyAny>) -> PyResult<()> {
        let bucket = Arc::clone(&self.bucket);
        let data = Bytes::from_owner(data);
        self.callbacks.run(done, async move { bucket.put(&key, data).await }, none)
    }

    fn size(&self, key: String, done: Py<PyAny>) -> PyResult<()> {
        let bucket = Arc::clone(&self.bucket);
        self.callbacks.run(done, async move { bucket.size(&key).await }, |py, size| size.into_py_any(py))
    }

    fn read(&self, key: String, start: u64, stop: u64, done: Py<PyAny>) -> PyResult<()> {
        if start >= stop {
            return Err(value_error("the range is empty"));
        }
        let (bucket, arrivals) = (Arc::clone(&self.bucket), Arc::clone(&self.arrivals));
        self.callbacks.run(done, async move { Reading::open(&bucket, &key, start..stop).await }, |py, reading| {
            reading.map(|reading| PyReading::new(reading, arrivals)).into_py_any(py)
        })
    }

    fn delete(&self, keys: Vec<String>, done: Py<PyAny>) -> PyResult<()> {
        let bucket = Arc::clone(&self.bucket);
        self.callbacks.run(done, async move { bucket.delete(&keys).await }, none)
    }

    fn create_multipart(&self, key: String, done: Py<PyAny>) -> PyResult<()> {
        let bucket = Arc::clone(&self.bucket);
        self.callbacks.run(done, async move { bucket.create_multipart(&key).await }, |py, id| id.into_py_any(py))
    }

    fn complete(&self, key: String, multipart_id: String, etags: Vec<String>, done: Py<PyAny>) -> PyResult<()> {
        let bucket = Arc::clone(&self.bucket);
        self.callbacks.run(done, async move { bucket.complete(&key, &multipart_id, etags).await }, none)
    }

    fn abort(&self, key: String, multipart_id: String, done: Py<PyAny>) -> PyResult<()> {
        let bucket = Arc::clone(&self.bucket);
        self.callbacks.run(done, async move { bucket.abort(&key, &multipart_id).await }, none)
    }

    fn sign(&self, key: String, expires_s: f64, query: &Bound<'_, PyMapping>, done: Py<PyAny>) -> PyResult<()> {
        let bucket = Arc::clone(&self.bucket);
        let (expires, query) = (seconds("expires_s", expires_s)?, pairs(query)?);
        self.callbacks.run(done, async move { bucket.sign(&key, expires, query).await }, |py, url| url.into_py_any(py))
    }

    fn list(&self, after: String, limit: usize, done: Py<PyAny>) -> PyResult<()> {
        let bucket = Arc::clone(&self.bucket);
        self.callbacks.run(done, async move { bucket.list(&after, limit).await }, |py, found| found.into_py_any(py))
    }

    fn fileno(&self) -> i32 {
        self.arrivals.fd()
    }

    fn arrived(&self) -> PyResult<Vec<Py<PyAny>>> {
        Ok(self.arrivals.take()?)
    }

    fn requests<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counts = PyDict::new(py);
        for operation in Operation::ALL {
            counts.set_item(operation.name(), self.bucket.requests(operation))?;
        }
        Ok(counts)
    }
}

/// The conversion of a result that says nothing. (A conversion can fail.)
#[allow(clippy::unnecessary_wraps)]
pub(crate) fn none(py: Python<'_>, (): ()) -> PyResult<Py<PyAny>> {
    Ok(py.None())
}

fn pairs(mapping: &Bound<'_, PyMapping>) -> PyResult<Vec<(String, String)>> {
    mapping.items()?.iter().map(|pair| pair.extract()).collect()
}

fn seconds(name: &str, value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| value_error(format!("{name} is not a positive number of seconds")))
}
