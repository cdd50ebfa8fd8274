//! The load generator. It runs without the GIL; only progress reports take it.

use std::collections::HashMap;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use ociserver_load::content::Content;
use ociserver_load::cores;
use ociserver_load::{Body, Load, Origin, Report, Step, Target};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::system_error;

/// Interval of progress reports and of checks for Ctrl-C.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

#[pyclass(frozen, name = "LoadContent", module = "ociserver._core")]
pub(crate) struct PyContent(Content);

#[pymethods]
impl PyContent {
    #[new]
    fn new(stamp: u64, length: u64) -> Self {
        Self(Content { stamp, offset: 0, length })
    }

    #[getter]
    fn length(&self) -> u64 {
        self.0.length
    }

    fn part(&self, offset: u64, length: u64) -> Self {
        let offset = offset.min(self.0.length);
        let length = length.min(self.0.length - offset);
        Self(Content { stamp: self.0.stamp, offset: self.0.offset + offset, length })
    }

    fn digest(&self, py: Python<'_>) -> String {
        py.detach(|| self.0.digest()).to_string()
    }

    fn read<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| self.0.bytes()))
    }
}

#[derive(FromPyObject)]
enum PyBody<'py> {
    Bytes(Bound<'py, PyBytes>),
    Content(PyRef<'py, PyContent>),
}

#[pyclass(frozen, name = "LoadStep", module = "ociserver._core")]
pub(crate) struct PyStep(Arc<Step>);

#[pymethods]
impl PyStep {
    #[new]
    #[pyo3(signature = (method, path, *, query = "", headers = Vec::new(), body = None, expect = vec![200], digest = None))]
    fn new(
        method: String,
        path: Option<String>,
        query: &str,
        headers: Vec<(String, String)>,
        body: Option<PyBody<'_>>,
        expect: Vec<u16>,
        digest: Option<String>,
    ) -> Self {
        let target = match path {
            Some(path) if query.is_empty() => Target::Path(path),
            Some(path) => Target::Path(format!("{path}?{query}")),
            None => Target::Location(query.to_owned()),
        };
        let body = match body {
            None => Body::None,
            Some(PyBody::Bytes(bytes)) => Body::Bytes(bytes.as_bytes().to_vec()),
            Some(PyBody::Content(content)) => Body::Content(content.0),
        };
        Self(Arc::new(Step { method, target, headers, body, expect, digest }))
    }
}

#[pyclass(frozen, name = "LoadReport", module = "ociserver._core")]
pub(crate) struct PyReport(Report);

#[pymethods]
impl PyReport {
    #[getter]
    fn count(&self) -> u64 {
        self.0.count
    }

    #[getter]
    fn begun(&self) -> u64 {
        self.0.begun
    }

    #[getter]
    fn seconds(&self) -> f64 {
        self.0.seconds
    }

    #[getter]
    fn sent(&self) -> u64 {
        self.0.sent
    }

    #[getter]
    fn received(&self) -> u64 {
        self.0.received
    }

    #[getter]
    fn p50_s(&self) -> f64 {
        self.0.p50
    }

    #[getter]
    fn p99_s(&self) -> f64 {
        self.0.p99
    }

    #[getter]
    fn p999_s(&self) -> f64 {
        self.0.p999
    }

    #[getter]
    fn errors(&self) -> HashMap<String, u64> {
        self.0.errors.iter().cloned().collect()
    }

    #[getter]
    fn first_error(&self) -> Option<&str> {
        self.0.first_error.as_deref()
    }
}

#[pyclass(frozen, name = "LoadOrigin", module = "ociserver._core")]
pub(crate) struct PyOrigin(Arc<Origin>);

#[pymethods]
impl PyOrigin {
    #[new]
    #[pyo3(signature = (host, port, authority, *, https))]
    fn new(py: Python<'_>, host: &str, port: u16, authority: &str, https: bool) -> PyResult<Self> {
        let origin = py.detach(|| Origin::new(host, port, authority, https)).map_err(|error| system_error(&error))?;
        Ok(Self(Arc::new(origin)))
    }
}

/// `progress` gets the numbers of operations that were started and that have ended. It may raise, and so may Ctrl-C.
#[pyfunction]
#[pyo3(signature = (origin, operations, *, clients, threads, seconds, repeat, hash, headers, progress))]
// PyO3 passes new lists.
#[allow(clippy::too_many_arguments, clippy::needless_pass_by_value)]
pub(crate) fn run_load(
    py: Python<'_>,
    origin: &PyOrigin,
    operations: Vec<Vec<PyRef<'_, PyStep>>>,
    clients: usize,
    threads: usize,
    seconds: Option<f64>,
    repeat: bool,
    hash: bool,
    headers: Vec<(String, String)>,
    progress: &Bound<'_, PyAny>,
) -> PyResult<PyReport> {
    let operations = operations.iter().map(|steps| steps.iter().map(|step| step.0.clone()).collect()).collect();
    let load = Arc::new(Load::new(origin.0.clone(), &headers, operations, repeat, hash));
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let (ended, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let running = {
        let load = load.clone();
        thread::spawn(move || {
            // The loop below waits until this is dropped, when the thread ends or panics.
            let _ended = ended;
            load.run(clients, threads, duration)
        })
    };
    let mut interrupted = None;
    loop {
        let woken = py.detach(|| wait.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(CHECK_INTERVAL));
        if interrupted.is_none() {
            let now = load.progress();
            interrupted = py.check_signals().and_then(|()| progress.call1((now.begun, now.finished))).err();
            if interrupted.is_some() {
                load.stop();
            }
        }
        if woken == Err(RecvTimeoutError::Disconnected) {
            break;
        }
    }
    let report = running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    if let Some(error) = interrupted {
        // Report the final number of started operations, so that the caller can delete what they pushed.
        let now = load.progress();
        let _ = progress.call1((now.begun, now.finished));
        return Err(error);
    }
    Ok(PyReport(report))
}

/// In nanoseconds.
#[pyfunction]
pub(crate) fn cores_apart(py: Python<'_>) -> Option<u64> {
    py.detach(cores::apart).and_then(|time| u64::try_from(time.as_nanos()).ok())
}
