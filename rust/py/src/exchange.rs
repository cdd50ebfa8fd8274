//! A request as an ASGI server hands it over, and what describes a content: what every request costs.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

/// The parts of a request that every answer looks at. What few need is left to the subclass.
#[pyclass(frozen, subclass, name = "Exchange", module = "ociserver._core")]
pub(crate) struct PyExchange {
    #[pyo3(get)]
    handler: Py<PyAny>,
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
    fn new(handler: Py<PyAny>, scope: &Bound<'_, PyDict>, receive: Py<PyAny>, send: Py<PyAny>) -> PyResult<Self> {
        let scope_ref = scope.clone().unbind();
        let mut exchange = Self {
            handler,
            scope: scope_ref,
            receive,
            send,
            has_body: false,
            if_none_match: None,
            range: None,
            x_request_id: None,
        };
        // One pass, as most requests have none of what is looked for.
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

    /// A middleware's `send` that keeps the request's context makes a cycle, which the collector has to see. It
    /// always goes through something of Python, where it can be cut: so there is no `__clear__`.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.handler)?;
        visit.call(&self.scope)?;
        visit.call(&self.receive)?;
        visit.call(&self.send)
    }
}

impl PyExchange {
    /// Servers send names in lower case, as ASGI asks them to; of a repeated header the last counts.
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

/// What describes a content in answers to GET and HEAD alike. Its digest is its strong validator (RFC 9110, 8.8.3).
#[pyfunction]
pub(crate) fn content_headers<'py>(
    py: Python<'py>,
    media_type: &str,
    digest: &str,
    length: u64,
) -> PyResult<Bound<'py, PyList>> {
    static NAMES: PyOnceLock<[Py<PyBytes>; 4]> = PyOnceLock::new();
    let [type_name, length_name, digest_name, etag_name] = NAMES.get_or_init(py, || {
        let names: [&[u8]; 4] = [b"content-type", b"content-length", b"docker-content-digest", b"etag"];
        names.map(|name| PyBytes::new(py, name).unbind())
    });
    let field = |name: &Py<PyBytes>, value: &[u8]| PyTuple::new(py, [name.bind(py), &PyBytes::new(py, value)]);
    let mut etag = Vec::with_capacity(digest.len() + 2);
    etag.push(b'"');
    etag.extend_from_slice(digest.as_bytes());
    etag.push(b'"');
    PyList::new(
        py,
        [
            field(type_name, &latin_1(media_type))?,
            field(length_name, length.to_string().as_bytes())?,
            field(digest_name, digest.as_bytes())?,
            field(etag_name, &etag)?,
        ],
    )
}

/// What HTTP/1 carries; a client's media type may have other characters.
fn latin_1(text: &str) -> std::borrow::Cow<'_, [u8]> {
    if text.is_ascii() {
        return text.as_bytes().into();
    }
    text.chars().map(|character| u8::try_from(u32::from(character)).unwrap_or(b'?')).collect::<Vec<u8>>().into()
}
