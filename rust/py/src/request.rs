//! Requests.

use std::fmt::Write;
use std::str::FromStr;

use ociserver_core::digest::{Algorithm, Digest};
use ociserver_core::kind::Kind;
use ociserver_core::name::{Repository, Tag};
use ociserver_core::request::{self, Request};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyInt, PyString, PyTuple};

use crate::errors::{protocol_error, value_error};
use crate::range::unsigned;

#[pyclass(frozen, eq, hash, name = "Request", module = "ociserver._core")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct PyRequest(Request);

#[pymethods]
impl PyRequest {
    // One argument per field, so that `repr` can return the constructor call. PyO3 passes sequences by value.
    #[allow(clippy::too_many_arguments, clippy::needless_pass_by_value)]
    #[new]
    #[pyo3(signature = (
        kind, *, repository = None, digest = None, tag = None, tags = Vec::new(), from_repository = None,
        upload_id = None, digest_algorithm = None, n = None, last = None, artifact_type = None, namespace = None,
    ), text_signature = "(kind, *, repository=None, digest=None, tag=None, tags=(), from_repository=None, \
        upload_id=None, digest_algorithm=None, n=None, last=None, artifact_type=None, namespace=None)")]
    fn new(
        kind: &str,
        repository: Option<&str>,
        digest: Option<&str>,
        tag: Option<&str>,
        tags: Vec<String>,
        from_repository: Option<&str>,
        upload_id: Option<&str>,
        digest_algorithm: Option<&str>,
        n: Option<&Bound<'_, PyInt>>,
        last: Option<&str>,
        artifact_type: Option<&str>,
        namespace: Option<&str>,
    ) -> PyResult<Self> {
        let kind = Kind::ALL.into_iter().find(|known| known.name() == kind);
        let kind = kind.ok_or_else(|| PyValueError::new_err("kind is not one of REQUEST_KINDS"))?;
        let request = Request {
            kind,
            repository: parsed(repository)?,
            digest: parsed(digest)?,
            tag: parsed(tag)?,
            tags: tags.iter().map(|tag| tag.parse()).collect::<Result<_, _>>().map_err(value_error)?,
            from_repository: parsed(from_repository)?,
            upload_id: upload_id.map(Box::from),
            digest_algorithm: parsed(digest_algorithm)?,
            n: n.map(unsigned).transpose()?,
            last: last.map(Box::from),
            artifact_type: artifact_type.map(Box::from),
            namespace: namespace.map(Box::from),
        };
        request.check().map_err(value_error)?;
        Ok(Self(request))
    }

    #[getter]
    fn kind(&self, py: Python<'_>) -> &'static Py<PyString> {
        kind_name(py, self.0.kind)
    }

    #[getter]
    fn repository(&self) -> Option<&str> {
        self.0.repository.as_ref().map(Repository::as_str)
    }

    #[getter]
    fn digest(&self) -> Option<&str> {
        self.0.digest.as_ref().map(Digest::as_str)
    }

    #[getter]
    fn tag(&self) -> Option<&str> {
        self.0.tag.as_ref().map(Tag::as_str)
    }

    #[getter]
    fn tags<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.0.tags.iter().map(Tag::as_str))
    }

    #[getter(from_repository)]
    fn source(&self) -> Option<&str> {
        self.0.from_repository.as_ref().map(Repository::as_str)
    }

    #[getter]
    fn upload_id(&self) -> Option<&str> {
        self.0.upload_id.as_deref()
    }

    #[getter]
    fn digest_algorithm(&self) -> Option<&'static str> {
        self.0.digest_algorithm.map(Algorithm::name)
    }

    #[getter]
    fn n(&self) -> Option<u64> {
        self.0.n
    }

    #[getter]
    fn last(&self) -> Option<&str> {
        self.0.last.as_deref()
    }

    #[getter]
    fn artifact_type(&self) -> Option<&str> {
        self.0.artifact_type.as_deref()
    }

    #[getter]
    fn namespace(&self) -> Option<&str> {
        self.0.namespace.as_deref()
    }

    fn build(&self) -> (&'static str, String) {
        self.0.build()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let mut text = format!("Request('{}'", self.0.kind.name());
        for (name, value) in self.fields(py)? {
            let _ = write!(text, ", {name}={}", value.repr()?);
        }
        text.push(')');
        Ok(text)
    }

    /// For pickle and copy. The constructor takes keyword arguments, so this needs `__newobj_ex__`.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let py = slf.py();
        let keywords = PyDict::new(py);
        for (name, value) in slf.get().fields(py)? {
            keywords.set_item(name, value)?;
        }
        let arguments = (slf.get_type(), (slf.get().0.kind.name(),), keywords).into_pyobject(py)?;
        Ok((py.import("copyreg")?.getattr("__newobj_ex__")?, arguments))
    }
}

impl PyRequest {
    /// The keyword arguments that make this request, in the order of the constructor.
    fn fields<'py>(&self, py: Python<'py>) -> PyResult<Vec<(&'static str, Bound<'py, PyAny>)>> {
        let text = |value: Option<&str>| value.map(|value| PyString::new(py, value).into_any());
        let tags = if self.0.tags.is_empty() { None } else { Some(self.tags(py)?.into_any()) };
        let n = self.0.n.map(|n| n.into_pyobject(py)).transpose()?.map(Bound::into_any);
        let fields = [
            ("repository", text(self.repository())),
            ("digest", text(self.digest())),
            ("tag", text(self.tag())),
            ("tags", tags),
            ("from_repository", text(self.source())),
            ("upload_id", text(self.upload_id())),
            ("digest_algorithm", text(self.digest_algorithm())),
            ("n", n),
            ("last", text(self.last())),
            ("artifact_type", text(self.artifact_type())),
            ("namespace", text(self.namespace())),
        ];
        Ok(fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
    }
}

fn parsed<T: FromStr<Err = ociserver_core::Error>>(text: Option<&str>) -> PyResult<Option<T>> {
    text.map(str::parse).transpose().map_err(value_error)
}

/// The names of the kinds, interned once. So `kind` creates no string, and a dict finds the name by identity.
fn names(py: Python<'_>) -> &'static [Py<PyString>; Kind::ALL.len()] {
    static NAMES: PyOnceLock<[Py<PyString>; Kind::ALL.len()]> = PyOnceLock::new();
    NAMES.get_or_init(py, || Kind::ALL.map(|kind| PyString::intern(py, kind.name()).unbind()))
}

/// The name of a kind, interned.
pub(crate) fn kind_name(py: Python<'_>, kind: Kind) -> &'static Py<PyString> {
    &names(py)[kind as usize]
}

/// `REQUEST_KINDS`.
pub(crate) fn kinds(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
    PyTuple::new(py, names(py))
}

#[pyfunction]
#[pyo3(signature = (method, path, query, root_path = b"".as_slice()), text_signature = "(method, path, query, root_path=b'')")]
pub(crate) fn parse_request(
    py: Python<'_>,
    method: &Bound<'_, PyString>,
    path: &[u8],
    query: &[u8],
    root_path: &[u8],
) -> PyResult<PyRequest> {
    // No endpoint has a method with lone surrogates.
    let method = method.to_str().unwrap_or_default();
    request::parse(method, path, query, root_path).map(PyRequest).map_err(|error| protocol_error(py, &error))
}
