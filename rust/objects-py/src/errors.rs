//! The exceptions of the module.

use ociserver_objects::{Error, Kind};
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyValueError};
use pyo3::prelude::*;

create_exception!(ociserver_objects, ObjectError, PyException);
create_exception!(ociserver_objects, NotFound, ObjectError);
create_exception!(ociserver_objects, Denied, ObjectError);
create_exception!(ociserver_objects, Unavailable, ObjectError);

/// The exception for an error of an operation. (`map_err` passes the error by value.)
#[allow(clippy::needless_pass_by_value)]
pub(crate) fn object_error(error: Error) -> PyErr {
    let message = error.to_string();
    match error.kind {
        Kind::NotFound => NotFound::new_err(message),
        Kind::Denied => Denied::new_err(message),
        Kind::Unavailable => Unavailable::new_err(message),
        Kind::Other => ObjectError::new_err(message),
    }
}

/// The exception for an invalid argument of the caller.
#[allow(clippy::needless_pass_by_value)]
pub(crate) fn value_error(error: impl ToString) -> PyErr {
    PyValueError::new_err(error.to_string())
}
