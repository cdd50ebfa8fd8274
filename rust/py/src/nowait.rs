//! Answers reads that a backend can answer without waiting. One call parses the request, asks the backend and makes the
//! ASGI messages.

use std::time::Instant;

use ociserver_core::digest::Digest;
use ociserver_core::kind::Kind;
use ociserver_core::request::{self, Request};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};
use pyo3::{PyTraverseError, PyVisit, intern};

use crate::answered::{Observer, PyAnswered, PyRequestIds};
use crate::counter::PyRequestCounter;
use crate::headers::{content_headers, fields, is_etag, not_modified_headers};
use crate::request::kind_name;

const OK: u16 = 200;
const NOT_MODIFIED: u16 = 304;

/// Calls `read_nowait` of a backend for plain reads, and makes the responses.
#[pyclass(frozen, name = "NowaitReader", module = "ociserver._core")]
pub(crate) struct PyNowaitReader {
    read_nowait: Py<PyAny>,
    refusal: Py<PyAny>,
    blobs: bool,
    tag_digest: bool,
    observer: Option<Observer>,
    counter: Option<Py<PyRequestCounter>>,
    admit: Option<Py<PyAny>>,
}

/// A response without the headers that all responses have. `content` is None for HEAD.
struct Whole<'py> {
    status: u16,
    headers: Bound<'py, PyList>,
    content: Option<Bound<'py, PyBytes>>,
}

/// The start and the body of a response, and the report, if there is an observer or a counter.
type Messages<'py> = (Bound<'py, PyDict>, Bound<'py, PyDict>, Option<PyAnswered>);

#[pymethods]
impl PyNowaitReader {
    #[new]
    #[pyo3(signature = (read_nowait, refusal, *, blobs, tag_digest, observe, ids, admit=None, counter=None))]
    #[allow(clippy::too_many_arguments)] // They are keywords in Python.
    fn new(
        read_nowait: Py<PyAny>,
        refusal: Py<PyAny>,
        blobs: bool,
        tag_digest: bool,
        observe: Option<Py<PyAny>>,
        ids: Py<PyRequestIds>,
        admit: Option<Py<PyAny>>,
        counter: Option<Py<PyRequestCounter>>,
    ) -> Self {
        let observer = observe.map(|observe| Observer { observe, ids });
        Self { read_nowait, refusal, blobs, tag_digest, observer, counter, admit }
    }

    fn answer<'py>(&self, scope: &Bound<'py, PyAny>) -> PyResult<Option<Messages<'py>>> {
        let py = scope.py();
        let began = Instant::now();
        let Ok(scope) = scope.cast::<PyDict>() else { return Ok(None) };
        let Some(PlainRead { request, request_id, condition, authorization }) = plain_read(scope)? else {
            return Ok(None);
        };
        let (Some(repository), Some(reference)) = (&request.repository, reference(&request)) else { return Ok(None) };
        if is_blob(&request) && !self.blobs {
            return Ok(None);
        }
        let repository = PyString::new(py, repository.as_str());
        let identity = match &self.admit {
            None => None,
            Some(admit) => {
                let identity = admit.bind(py).call1((authorization, &repository))?;
                if identity.is_none() {
                    return Ok(None);
                }
                Some(identity.unbind())
            }
        };
        let whole = match self.read_nowait.bind(py).call1((
            kind_name(py, request.kind),
            &repository,
            PyString::new(py, reference),
        )) {
            Ok(found) if found.is_none() => None,
            Ok(found) => self.found(&request, condition, &found.cast_into()?)?,
            Err(error) if error.is_instance_of::<PyException>(py) => self.refused(&request, &error, py)?,
            Err(error) => return Err(error),
        };
        let Some(Whole { status, headers, content }) = whole else { return Ok(None) };
        headers.append(&fields(py).api_version)?;
        let content = content.unwrap_or_else(|| PyBytes::new(py, b""));
        let sent = content.as_bytes().len();
        let (start, body) = (PyDict::new(py), PyDict::new(py));
        start.set_item(intern!(py, "type"), intern!(py, "http.response.start"))?;
        start.set_item(intern!(py, "status"), status)?;
        start.set_item(intern!(py, "headers"), headers)?;
        body.set_item(intern!(py, "type"), intern!(py, "http.response.body"))?;
        body.set_item(intern!(py, "body"), content)?;
        body.set_item(intern!(py, "more_body"), false)?;
        let is_reported = self.observer.is_some() || self.counter.is_some();
        let answered = is_reported.then(|| PyAnswered {
            observer: self.observer.as_ref().map(|observer| observer.clone_ref(py)),
            counter: self.counter.as_ref().map(|counter| counter.clone_ref(py)),
            scope: scope.clone().unbind(),
            request_id: request_id.map(Bound::unbind),
            kind: request.kind,
            repository: repository.unbind(),
            status,
            sent,
            began,
            identity,
        });
        Ok(Some((start, body, answered)))
    }

    /// For the garbage collector: the handler may refer to this object, and `read_nowait` to the handler.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.read_nowait)?;
        visit.call(&self.refusal)?;
        if let Some(admit) = &self.admit {
            visit.call(admit)?;
        }
        if let Some(counter) = &self.counter {
            visit.call(counter)?;
        }
        self.observer.as_ref().map_or(Ok(()), |observer| visit.call(&observer.observe))
    }
}

impl PyNowaitReader {
    /// The response with the content, or a 304. None if the If-None-Match header needs a full parser.
    fn found<'py>(
        &self,
        request: &Request,
        condition: Option<Bound<'py, PyBytes>>,
        found: &Bound<'py, PyTuple>,
    ) -> PyResult<Option<Whole<'py>>> {
        let py = found.py();
        let descriptor = found.get_item(0)?;
        let digest = descriptor.getattr(intern!(py, "digest"))?.cast_into::<PyString>()?;
        let digest = digest.to_str()?;
        let names_digest = self.tag_digest || request.kind != Kind::ManifestGet || request.tag.is_none();
        match condition {
            None => {}
            // The client has exactly this content.
            Some(condition) if is_etag(condition.as_bytes(), digest) => {
                let headers = not_modified_headers(py, digest, names_digest)?;
                return Ok(Some(Whole { status: NOT_MODIFIED, headers, content: None }));
            }
            Some(_) => return Ok(None),
        }
        let media_type = descriptor.getattr(intern!(py, "media_type"))?.cast_into::<PyString>()?;
        let size = descriptor.getattr(intern!(py, "size"))?.extract()?;
        let headers = content_headers(py, media_type.to_str()?, digest, size, names_digest)?;
        if is_blob(request) {
            headers.append(&fields(py).accept_ranges)?;
        }
        let content = if is_get(request) { Some(found.get_item(1)?.cast_into()?) } else { None };
        Ok(Some(Whole { status: OK, headers, content }))
    }

    /// The response to an exception of the backend. None if the event loop must handle it, for example to log it.
    fn refused<'py>(&self, request: &Request, error: &PyErr, py: Python<'py>) -> PyResult<Option<Whole<'py>>> {
        let response = self.refusal.bind(py).call1((error.value(py),))?;
        if response.is_none() {
            return Ok(None);
        }
        let (status, headers, content) = response.extract()?;
        Ok(Some(Whole { status, headers, content: is_get(request).then_some(content) }))
    }
}

fn is_blob(request: &Request) -> bool {
    matches!(request.kind, Kind::BlobGet | Kind::BlobHead)
}

fn is_get(request: &Request) -> bool {
    matches!(request.kind, Kind::ManifestGet | Kind::BlobGet)
}

/// A read of a manifest or a blob, with its headers X-Request-Id, If-None-Match and Authorization.
struct PlainRead<'py> {
    request: Request,
    request_id: Option<Bound<'py, PyBytes>>,
    condition: Option<Bound<'py, PyBytes>>,
    authorization: Option<Bound<'py, PyBytes>>,
}

/// Parse a request. None if it is not a GET or HEAD, or has a body, a range, a query, a root path, or repeated
/// credentials.
fn plain_read<'py>(scope: &Bound<'py, PyDict>) -> PyResult<Option<PlainRead<'py>>> {
    let py = scope.py();
    let (Some(method), Some(path), Some(query), Some(headers)) = (
        scope.get_item(intern!(py, "method"))?,
        scope.get_item(intern!(py, "raw_path"))?,
        scope.get_item(intern!(py, "query_string"))?,
        scope.get_item(intern!(py, "headers"))?,
    ) else {
        return Ok(None);
    };
    let root = scope.get_item(intern!(py, "root_path"))?;
    let (Ok(method), Ok(path), Ok(headers)) =
        (method.cast::<PyString>(), path.cast::<PyBytes>(), headers.cast::<PyList>())
    else {
        return Ok(None);
    };
    let method = method.to_str().unwrap_or_default();
    // Checked first, so that a push is not parsed twice.
    if !matches!(method, "GET" | "HEAD") {
        return Ok(None);
    }
    if query.is_truthy()? || root.is_some_and(|root| root.is_truthy().unwrap_or(true)) {
        return Ok(None);
    }
    let (mut request_id, mut condition, mut authorization) = (None, None, None);
    for header in headers {
        match header.get_item(0)?.cast::<PyBytes>()?.as_bytes() {
            b"content-length" | b"transfer-encoding" | b"range" => return Ok(None),
            b"x-request-id" => request_id = Some(header.get_item(1)?.cast_into()?),
            b"if-none-match" => condition = Some(header.get_item(1)?.cast_into()?),
            b"authorization" if authorization.replace(header.get_item(1)?.cast_into()?).is_some() => return Ok(None),
            _ => {}
        }
    }
    // The event loop handles an invalid request.
    let request = request::parse(method, path.as_bytes(), b"", b"").ok();
    Ok(request.map(|request| PlainRead { request, request_id, condition, authorization }))
}

/// The tag or the digest that is read. None for other requests.
fn reference(request: &Request) -> Option<&str> {
    match request.kind {
        Kind::ManifestGet | Kind::ManifestHead | Kind::BlobGet | Kind::BlobHead => match &request.tag {
            Some(tag) => Some(tag.as_str()),
            None => request.digest.as_ref().map(Digest::as_str),
        },
        _ => None,
    }
}
