//! Manifests.

use ociserver_core::digest::Digest;
use ociserver_core::manifest::{self, ManifestInfo, Reference, Referrer, Strictness};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::errors::protocol_error;

/// Number of bytes from which reading a manifest releases the GIL: about ten microseconds of work.
const DETACH_SIZE: usize = 16 << 10;

#[pyclass(frozen, eq, hash, name = "Reference", module = "ociserver._core")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct PyReference(Reference);

#[pymethods]
impl PyReference {
    #[getter]
    fn field(&self) -> String {
        self.0.field.to_string()
    }

    #[getter]
    fn kind(&self) -> &'static str {
        self.0.kind.name()
    }

    #[getter]
    fn digest(&self) -> &str {
        self.0.digest.as_str()
    }

    #[getter]
    fn size(&self) -> Option<u64> {
        self.0.size
    }

    #[getter]
    fn required(&self) -> bool {
        self.0.required
    }

    fn __repr__(&self) -> String {
        let Reference { field, kind, digest, required, .. } = &self.0;
        format!("<Reference {field}: {} {digest}{}>", kind.name(), if *required { ", required" } else { "" })
    }
}

#[pyclass(frozen, name = "ManifestInfo", module = "ociserver._core")]
pub(crate) struct PyManifestInfo {
    /// The manifest without its annotations.
    info: ManifestInfo,
    annotations: Option<Py<PyBytes>>,
}

impl PyManifestInfo {
    fn new(py: Python<'_>, mut info: ManifestInfo) -> Self {
        let annotations = std::mem::take(&mut info.annotations).into_json();
        Self { info, annotations: annotations.map(|json| PyBytes::new(py, json.as_bytes()).unbind()) }
    }
}

#[pymethods]
impl PyManifestInfo {
    #[getter]
    fn media_type(&self) -> &str {
        &self.info.media_type
    }

    #[getter]
    fn kind(&self) -> &'static str {
        self.info.kind.name()
    }

    #[getter]
    fn references(&self) -> Vec<PyReference> {
        self.info.references.iter().cloned().map(PyReference).collect()
    }

    #[getter]
    fn subject(&self) -> Option<&str> {
        self.info.subject.as_ref().map(Digest::as_str)
    }

    #[getter]
    fn artifact_type(&self) -> Option<&str> {
        self.info.artifact_type.as_deref()
    }

    /// Each access returns the same object, so a list of manifests copies no annotations.
    #[getter]
    fn annotations_json(&self) -> Option<&Py<PyBytes>> {
        self.annotations.as_ref()
    }

    #[getter]
    fn annotations<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let annotations = PyDict::new(py);
        let mut set = Ok(());
        if let Some(json) = &self.annotations {
            manifest::for_each(json.as_bytes(py), |key, value| {
                if set.is_ok() {
                    set = annotations.set_item(key, value);
                }
            })
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        }
        set.map(|()| annotations)
    }

    fn __repr__(&self) -> String {
        format!("<ManifestInfo {}, {} references>", self.info.kind.name(), self.info.references.len())
    }
}

#[pyfunction]
#[pyo3(signature = (content, media_type, *, lax = false))]
pub(crate) fn read_manifest(py: Python<'_>, content: &[u8], media_type: &str, lax: bool) -> PyResult<PyManifestInfo> {
    let strictness = if lax { Strictness::Lax } else { Strictness::Strict };
    let info = detached(py, content, || manifest::read(content, media_type, strictness));
    Ok(PyManifestInfo::new(py, info.map_err(|error| protocol_error(py, &error))?))
}

/// An entry of a referrers list: media type, digest, size, artifact type, and annotations as JSON.
type Entry<'py> = (String, String, u64, Option<String>, Option<Bound<'py, PyBytes>>);

#[pyfunction]
pub(crate) fn read_referrers<'py>(py: Python<'py>, index: &[u8]) -> PyResult<Vec<Entry<'py>>> {
    let found = py.detach(|| manifest::read_referrers(index));
    let found = found.map_err(|error| PyValueError::new_err(error.to_string()))?;
    let entry = |one: Referrer| {
        let annotations = one.annotations.json().map(|json| PyBytes::new(py, json.as_bytes()));
        (one.media_type, one.digest.as_str().to_owned(), one.size, one.artifact_type, annotations)
    };
    Ok(found.into_iter().map(entry).collect())
}

#[pyfunction]
pub(crate) fn read_stored_manifest(py: Python<'_>, content: &[u8], media_type: &str) -> PyManifestInfo {
    PyManifestInfo::new(py, detached(py, content, || manifest::read_stored(content, media_type)))
}

#[pyfunction]
pub(crate) fn manifest_media_type(py: Python<'_>, content: &[u8], declared: &str) -> PyResult<String> {
    detached(py, content, || manifest::media_type(content, declared)).map_err(|error| protocol_error(py, &error))
}

/// Call `work`, and release the GIL if the content is large.
fn detached<T: Send>(py: Python<'_>, content: &[u8], work: impl Send + FnOnce() -> T) -> T {
    if content.len() < DETACH_SIZE { work() } else { py.detach(work) }
}
