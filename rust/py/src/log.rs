//! The writer of the log. Its thread runs without the GIL; the functions here only copy.

use std::borrow::Cow;
use std::os::fd::RawFd;
use std::time::{Duration, UNIX_EPOCH};

use ociserver_io::log::{self, Event, Format, LineWriter};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;

use crate::errors::system_error;

#[pyclass(frozen, name = "LineWriter", module = "ociserver._core")]
pub(crate) struct PyLineWriter(LineWriter);

#[pymethods]
impl PyLineWriter {
    #[classattr]
    const MAX_LINES: usize = log::MAX_LINES;
    #[classattr]
    const RESERVE: usize = log::RESERVE;
    #[classattr]
    const WRITE_SIZE: usize = log::WRITE_SIZE;

    #[new]
    fn new(descriptor: RawFd, log_format: LogFormat) -> PyResult<Self> {
        LineWriter::new(descriptor, log_format.0).map(Self).map_err(|error| system_error(&error))
    }

    #[pyo3(signature = (line, *, important = false))]
    // PyO3 passes it by value.
    #[allow(clippy::needless_pass_by_value)]
    fn put(&self, line: Text<'_>, important: bool) {
        self.0.put(&line.0, important);
    }

    #[allow(clippy::needless_pass_by_value)]
    fn __call__(&self, event: Fields<'_>) {
        self.0.access(&borrowed(&event));
    }

    fn close(&self, py: Python<'_>, timeout_s: f64) {
        let timeout = Duration::try_from_secs_f64(timeout_s).unwrap_or_default();
        py.detach(|| self.0.close(timeout));
    }
}

#[pyfunction]
#[allow(clippy::needless_pass_by_value)]
pub(crate) fn access_line(log_format: LogFormat, at: f64, event: Fields<'_>) -> String {
    let mut line = String::new();
    log_format.0.access(UNIX_EPOCH + Duration::try_from_secs_f64(at).unwrap_or_default(), &borrowed(&event), &mut line);
    line
}

#[derive(Clone, Copy)]
pub(crate) struct LogFormat(Format);

impl<'py> FromPyObject<'_, 'py> for LogFormat {
    type Error = PyErr;

    fn extract(name: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match name.extract()? {
            "text" => Ok(Self(Format::Text)),
            "json" => Ok(Self(Format::Json)),
            name => Err(PyValueError::new_err(format!("unknown log format {name:?}: use text or json"))),
        }
    }
}

/// The fields of `ociserver.event.Event`, in order.
type Fields<'a> = (
    Text<'a>,
    Text<'a>,
    Text<'a>,
    &'a [u8],
    Option<Text<'a>>,
    Option<Text<'a>>,
    u16,
    u64,
    u64,
    f64,
    Text<'a>,
    Text<'a>,
);

fn borrowed<'a>(fields: &'a Fields<'_>) -> Event<'a> {
    let (request_id, client, method, path, kind, repository, status, received, sent, duration, user, via) = fields;
    Event {
        request_id: &request_id.0,
        client: &client.0,
        method: &method.0,
        path,
        kind: kind.as_ref().map(|text| &*text.0),
        repository: repository.as_ref().map(|text| &*text.0),
        status: *status,
        received: *received,
        sent: *sent,
        duration: *duration,
        user: &user.0,
        via: &via.0,
    }
}

/// Text of a Python str. Lone surrogates, as in a file name that is not UTF-8, are escaped with backslashes.
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'a, 'py> FromPyObject<'a, 'py> for Text<'a> {
    type Error = PyErr;

    fn extract(text: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(text) = text.extract() {
            return Ok(Self(Cow::Borrowed(text)));
        }
        let py = text.py();
        let escaped =
            text.call_method1(intern!(py, "encode"), (intern!(py, "utf-8"), intern!(py, "backslashreplace")))?;
        Ok(Self(Cow::Owned(String::from_utf8_lossy(escaped.extract()?).into_owned())))
    }
}
