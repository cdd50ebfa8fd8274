//! Converts errors of the crates into exceptions. `ociserver.errors` defines those of the protocol.

use std::io;

use ociserver_core::Error;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

/// The exception for invalid input of a client: `ParseError` for a request line, else `OCIError`.
pub(crate) fn protocol_error(py: Python<'_>, error: &Error) -> PyErr {
    raise(py, error).unwrap_or_else(|failure| failure)
}

/// The exception for an invalid argument of the caller. (`map_err` passes the error by value.)
#[allow(clippy::needless_pass_by_value)]
pub(crate) fn value_error(error: Error) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// The exception for an error of the system. It has the error number: `OSError` chooses its subclass by it, and callers
/// recognize a full disk by it. The conversion of `PyO3` omits the number.
pub(crate) fn system_error(error: &io::Error) -> PyErr {
    match error.raw_os_error() {
        Some(number) => PyOSError::new_err((number, error.to_string())),
        None => PyOSError::new_err(error.to_string()),
    }
}

fn raise(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let (constant, message) = match error {
        Error::UnknownUrlPath => ("UNKNOWN_URL_PATH", None),
        Error::PageNotFound => ("PAGE_NOT_FOUND", None),
        Error::MethodNotAllowed(methods) => {
            let allow = PyTuple::new(py, methods.iter().map(|(method, _)| *method))?;
            return parse_error(py, "METHOD_NOT_ALLOWED", None, Some(allow));
        }
        Error::BadRequest(message) => ("BAD_REQUEST", Some(message.clone())),
        Error::BadlyFormedDigest => ("BADLY_FORMED_DIGEST", None),
        Error::UnknownAlgorithm(_) => ("BADLY_FORMED_DIGEST", Some(error.to_string())),
        Error::InvalidRepositoryName => ("INVALID_REPOSITORY_NAME", None),
        Error::RepositoryNameTooLong => ("INVALID_REPOSITORY_NAME", Some(error.to_string())),
        Error::InvalidRange(_) => return oci_error(py, "RANGE_INVALID", error),
        Error::InvalidContentRange => return oci_error(py, "UNSUPPORTED", error),
        Error::InvalidManifest(_) => return oci_error(py, "MANIFEST_INVALID", error),
        Error::InvalidTag(_) | Error::InvalidRequest(_) | Error::InvalidReference(_) | Error::InvalidHashState => {
            return Ok(PyValueError::new_err(error.to_string()));
        }
    };
    parse_error(py, constant, message, None)
}

fn parse_error(
    py: Python<'_>,
    constant: &str,
    message: Option<String>,
    allow: Option<Bound<'_, PyTuple>>,
) -> PyResult<PyErr> {
    let errors = errors(py)?;
    let keywords = PyDict::new(py);
    if let Some(message) = message {
        keywords.set_item("message", message)?;
    }
    if let Some(allow) = allow {
        keywords.set_item("allow", allow)?;
    }
    let err = errors.getattr(constant)?;
    Ok(PyErr::from_value(errors.getattr("ParseError")?.call((err,), Some(&keywords))?))
}

fn oci_error(py: Python<'_>, code: &str, error: &Error) -> PyResult<PyErr> {
    Ok(PyErr::from_value(errors(py)?.getattr("OCIError")?.call1((code, error.to_string()))?))
}

/// The module that defines the exceptions. It is imported on first use, because it may import this one.
fn errors(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    Ok(ERRORS.get_or_try_init(py, || py.import("ociserver.errors").map(Bound::unbind))?.bind(py))
}
