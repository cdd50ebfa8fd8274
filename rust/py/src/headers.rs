//! Header fields of the answers that have a content, or describe one.

use std::borrow::Cow;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyList, PyTuple};

/// What a browser may do with a content that it shows as a page: nothing.
///
/// A client chooses the type that its content is served with, `text/html` too. Without these two fields a manifest
/// could run a script in the origin of the registry.
const POLICY: &str = "default-src 'none'; sandbox";

/// The fields, and the names of fields, that are the same in every answer.
pub(crate) struct Fields {
    pub(crate) accept_ranges: Py<PyTuple>,
    pub(crate) api_version: Py<PyTuple>,
    no_sniffing: Py<PyTuple>,
    policy: Py<PyTuple>,
    content_type: Py<PyBytes>,
    content_length: Py<PyBytes>,
    digest: Py<PyBytes>,
    etag: Py<PyBytes>,
}

pub(crate) fn fields(py: Python<'_>) -> &'static Fields {
    static FIELDS: PyOnceLock<Fields> = PyOnceLock::new();
    FIELDS.get_or_init(py, || make_fields(py).expect("constants"))
}

fn make_fields(py: Python<'_>) -> PyResult<Fields> {
    let bytes = |text: &str| PyBytes::new(py, text.as_bytes());
    let whole = |name: &str, value: &str| PyTuple::new(py, [bytes(name), bytes(value)]).map(Bound::unbind);
    Ok(Fields {
        accept_ranges: whole("accept-ranges", "bytes")?,
        api_version: whole("docker-distribution-api-version", "registry/2.0")?,
        no_sniffing: whole("x-content-type-options", "nosniff")?,
        policy: whole("content-security-policy", POLICY)?,
        content_type: bytes("content-type").unbind(),
        content_length: bytes("content-length").unbind(),
        digest: bytes("docker-content-digest").unbind(),
        etag: bytes("etag").unbind(),
    })
}

fn field<'py>(name: &Py<PyBytes>, value: &[u8], py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
    PyTuple::new(py, [name.bind(py), &PyBytes::new(py, value)])
}

/// The content's digest is its strong validator (RFC 9110, 8.8.3).
fn etag(digest: &str) -> Vec<u8> {
    [b"\"", digest.as_bytes(), b"\""].concat()
}

/// Is this the `ETag` of the content of this digest?
pub(crate) fn is_etag(value: &[u8], digest: &str) -> bool {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) == Some(digest.as_bytes())
}

/// What describes a content in answers to GET and HEAD alike.
#[pyfunction]
#[pyo3(signature = (media_type, digest, length, *, names_digest = true))]
pub(crate) fn content_headers<'py>(
    py: Python<'py>,
    media_type: &str,
    digest: &str,
    length: u64,
    names_digest: bool,
) -> PyResult<Bound<'py, PyList>> {
    let fields = fields(py);
    let headers = PyList::new(
        py,
        [
            &field(&fields.content_type, &latin_1(media_type), py)?,
            &field(&fields.content_length, length.to_string().as_bytes(), py)?,
            &field(&fields.etag, &etag(digest), py)?,
            fields.no_sniffing.bind(py),
            fields.policy.bind(py),
        ],
    )?;
    if names_digest {
        headers.append(field(&fields.digest, digest.as_bytes(), py)?)?;
    }
    Ok(headers)
}

/// What is left of that in the answer that the client has the content already (RFC 9110, 15.4.5).
#[pyfunction]
#[pyo3(signature = (digest, *, names_digest = true))]
pub(crate) fn not_modified_headers<'py>(
    py: Python<'py>,
    digest: &str,
    names_digest: bool,
) -> PyResult<Bound<'py, PyList>> {
    let fields = fields(py);
    let headers = PyList::new(py, [field(&fields.etag, &etag(digest), py)?])?;
    if names_digest {
        headers.append(field(&fields.digest, digest.as_bytes(), py)?)?;
    }
    Ok(headers)
}

/// What HTTP/1 carries; a client's media type may have other characters.
fn latin_1(text: &str) -> Cow<'_, [u8]> {
    if text.is_ascii() {
        return text.as_bytes().into();
    }
    text.chars().map(|character| u8::try_from(u32::from(character)).unwrap_or(b'?')).collect::<Vec<u8>>().into()
}
