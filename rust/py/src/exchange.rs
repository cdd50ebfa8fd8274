//! A request as the ASGI server passes it to the handler. Every request takes this path, so it is short.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use pyo3::{PyTraverseError, PyVisit};

/// The parts of a request that every response depends on. The subclass in Python has the rest.
#[pyclass(frozen, subclass, name = "Exchange", module = "ociserver._core")]
pub(crate) struct PyExchange {
    #[pyo3(get)]
    site: Py<PyAny>,
    #[pyo3(get)]
    scope: Py<PyDict>,
    #[pyo3(get)]
    receive: Py<PyAny>,
    #[pyo3(get)]
    send: Py<PyAny>,
    #[pyo3(get)]
    has_body: bool,
    if_none_match: Option<Py<PyBytes>>,
    range: Option<Py<PyBytes>>,
    x_request_id: Option<Py<PyBytes>>,
}

#[pymethods]
impl PyExchange {
    #[new]
    fn new(site: Py<PyAny>, scope: &Bound<'_, PyDict>, receive: Py<PyAny>, send: Py<PyAny>) -> PyResult<Self> {
        let scope_ref = scope.clone().unbind();
        let mut exchange = Self {
            site,
            scope: scope_ref,
            receive,
            send,
            has_body: false,
            if_none_match: None,
            range: None,
            x_request_id: None,
        };
        // One pass, because most requests have none of these headers.
        let headers = scope.as_any().get_item(intern!(scope.py(), "headers"))?;
        if let Ok(headers) = headers.cast::<PyList>() {
            for header in headers {
                exchange.read(&header)?;
            }
        } else {
            for header in headers.try_iter()? {
                exchange.read(&header?)?;
            }
        }
        Ok(exchange)
    }

    #[getter]
    fn if_none_match<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, PyBytes>> {
        self.if_none_match.as_ref().map(|value| value.bind(py))
    }

    #[getter]
    fn range<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, PyBytes>> {
        self.range.as_ref().map(|value| value.bind(py))
    }

    #[getter]
    fn x_request_id<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, PyBytes>> {
        self.x_request_id.as_ref().map(|value| value.bind(py))
    }

    /// A `send` of a middleware that keeps the context of the request makes a reference cycle, which the garbage
    /// collector must see. There is no `__clear__`: the cycle always contains a Python object, where the collector can
    /// break it.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.site)?;
        visit.call(&self.scope)?;
        visit.call(&self.receive)?;
        visit.call(&self.send)
    }
}

impl PyExchange {
    /// Read one header. ASGI requires names in lower case. If a header is repeated, the last one counts.
    fn read(&mut self, header: &Bound<'_, PyAny>) -> PyResult<()> {
        let name = header.get_item(0)?;
        match name.cast::<PyBytes>()?.as_bytes() {
            b"content-length" | b"transfer-encoding" => self.has_body = true,
            b"if-none-match" => self.if_none_match = Some(header.get_item(1)?.cast_into()?.unbind()),
            b"range" => self.range = Some(header.get_item(1)?.cast_into()?.unbind()),
            b"x-request-id" => self.x_request_id = Some(header.get_item(1)?.cast_into()?.unbind()),
            _ => {}
        }
        Ok(())
    }
}
