//! Manifests.

use ociserver_core::digest::Digest;
use ociserver_core::manifest::{self, ManifestInfo, Reference, Strictness};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::protocol_error;

/// Bytes from which a manifest is read without the GIL: some ten microseconds of work.
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
pub(crate) struct PyManifestInfo(ManifestInfo);

#[pymethods]
impl PyManifestInfo {
    #[getter]
    fn media_type(&self) -> &str {
        &self.0.media_type
    }

    #[getter]
    fn kind(&self) -> &'static str {
        self.0.kind.name()
    }

    #[getter]
    fn references(&self) -> Vec<PyReference> {
        self.0.references.iter().cloned().map(PyReference).collect()
    }

    #[getter]
    fn subject(&self) -> Option<&str> {
        self.0.subject.as_ref().map(Digest::as_str)
    }

    #[getter]
    fn artifact_type(&self) -> Option<&str> {
        self.0.artifact_type.as_deref()
    }

    #[getter]
    fn annotations<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let annotations = PyDict::new(py);
        for (key, value) in self.0.annotations.iter() {
            annotations.set_item(key, value)?;
        }
        Ok(annotations)
    }

    fn __repr__(&self) -> String {
        format!("<ManifestInfo {}, {} references>", self.0.kind.name(), self.0.references.len())
    }
}

#[pyfunction]
#[pyo3(signature = (content, media_type, *, lax = false))]
pub(crate) fn read_manifest(py: Python<'_>, content: &[u8], media_type: &str, lax: bool) -> PyResult<PyManifestInfo> {
    let strictness = if lax { Strictness::Lax } else { Strictness::Strict };
    let info = detached(py, content, || manifest::read(content, media_type, strictness));
    info.map(PyManifestInfo).map_err(|error| protocol_error(py, &error))
}

#[pyfunction]
pub(crate) fn read_stored_manifest(py: Python<'_>, content: &[u8], media_type: &str) -> PyManifestInfo {
    PyManifestInfo(detached(py, content, || manifest::read_stored(content, media_type)))
}

#[pyfunction]
pub(crate) fn manifest_media_type(py: Python<'_>, content: &[u8], declared: &str) -> PyResult<String> {
    detached(py, content, || manifest::media_type(content, declared)).map_err(|error| protocol_error(py, &error))
}

/// Do what takes time by the length of a manifest: without the GIL where that is worth letting go of it.
fn detached<T: Send>(py: Python<'_>, content: &[u8], work: impl Send + FnOnce() -> T) -> T {
    if content.len() < DETACH_SIZE { work() } else { py.detach(work) }
}
