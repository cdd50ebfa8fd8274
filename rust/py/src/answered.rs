//! Reports answered reads to the observer of the handler, and to its counter.

use std::borrow::Cow;
use std::time::Instant;

use ociserver_core::kind::Kind;
use ociserver_core::request_id::RequestIds;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyString};
use pyo3::{PyTraverseError, PyVisit, intern};

use crate::counter::PyRequestCounter;
use crate::log::Text;
use crate::request::kind_name;

#[pyclass(frozen, name = "RequestIds", module = "ociserver._core")]
pub(crate) struct PyRequestIds(RequestIds);

#[pymethods]
impl PyRequestIds {
    #[new]
    // PyO3 passes it by value.
    #[allow(clippy::needless_pass_by_value)]
    fn new(prefix: Text<'_>) -> Self {
        Self(RequestIds::new(prefix.0.into_owned()))
    }

    fn of<'a>(&self, header: Option<&'a [u8]>) -> Cow<'a, str> {
        self.0.of(header)
    }
}

/// The observer of the handler, and the source of request IDs.
pub(crate) struct Observer {
    pub(crate) observe: Py<PyAny>,
    pub(crate) ids: Py<PyRequestIds>,
}

impl Observer {
    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        Self { observe: self.observe.clone_ref(py), ids: self.ids.clone_ref(py) }
    }
}

/// A read that was answered, and the result.
#[pyclass(frozen, name = "Answered", module = "ociserver._core")]
pub(crate) struct PyAnswered {
    pub(crate) observer: Option<Observer>,
    pub(crate) counter: Option<Py<PyRequestCounter>>,
    pub(crate) scope: Py<PyDict>,
    pub(crate) request_id: Option<Py<PyBytes>>,
    pub(crate) kind: Kind,
    pub(crate) repository: Py<PyString>,
    pub(crate) status: u16,
    pub(crate) sent: usize,
    pub(crate) began: Instant,
    /// The `Identity` of the client, if the handler asks who sends a request.
    pub(crate) identity: Option<Py<PyAny>>,
}

#[pymethods]
impl PyAnswered {
    fn report(&self, py: Python<'_>) -> PyResult<()> {
        let duration = self.began.elapsed().as_secs_f64();
        let scope = self.scope.bind(py).as_any();
        let method = scope.get_item(intern!(py, "method"))?;
        if let Some(counter) = &self.counter {
            counter.get().answered(&method, self.kind, self.status, self.sent, duration)?;
        }
        let Some(observer) = &self.observer else { return Ok(()) };
        let path = scope.get_item(intern!(py, "raw_path"))?;
        let client = match self.scope.bind(py).get_item(intern!(py, "client"))? {
            Some(client) if client.is_truthy()? => client.get_item(0)?,
            _ => intern!(py, "").clone().into_any(),
        };
        let (user, via) = self.user(py)?;
        let request_id = observer.ids.get().0.of(self.request_id.as_ref().map(|id| id.as_bytes(py)));
        let Self { repository, status, sent, .. } = self;
        let kind = kind_name(py, self.kind);
        let fields = (request_id, client, method, path, kind, repository, status, 0, sent, duration, user, via);
        observer.observe.call1(py, (event_class(py)?.call1(fields)?,)).map(drop)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Some(observer) = &self.observer {
            visit.call(&observer.observe)?;
        }
        if let Some(counter) = &self.counter {
            visit.call(counter)?;
        }
        if let Some(identity) = &self.identity {
            visit.call(identity)?;
        }
        visit.call(&self.scope)
    }
}

impl PyAnswered {
    /// The name of the user, and how they signed in.
    fn user<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        match &self.identity {
            Some(identity) => {
                let identity = identity.bind(py);
                Ok((identity.getattr(intern!(py, "name"))?, identity.getattr(intern!(py, "via"))?))
            }
            None => Ok((intern!(py, "").clone().into_any(), intern!(py, "").clone().into_any())),
        }
    }
}

fn event_class(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    CLASS.import(py, "ociserver.event", "Event")
}
