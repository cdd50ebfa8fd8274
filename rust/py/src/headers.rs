//! Header fields of responses that have or describe a content.

use std::borrow::Cow;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyList, PyTuple};

/// The Content-Security-Policy: a browser may load and run nothing.
///
/// A client chooses the type of its content, and may choose `text/html`. Without this field and X-Content-Type-Options,
/// a manifest could run a script in the origin of the registry.
const POLICY: &str = "default-src 'none'; sandbox";

/// The header fields and names that are the same in every response.
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

/// The `ETag` of a content: its digest is a strong validator (RFC 9110, 8.8.3).
fn etag(digest: &str) -> Vec<u8> {
    [b"\"", digest.as_bytes(), b"\""].concat()
}

/// Whether a header value is the `ETag` of the content with this digest.
pub(crate) fn is_etag(value: &[u8], digest: &str) -> bool {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) == Some(digest.as_bytes())
}

/// The fields that describe a content, in responses to GET and HEAD.
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

/// The fields of a 304 (RFC 9110, 15.4.5).
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

/// Encode as Latin-1, as HTTP/1 requires. The media type of a client may have other characters, which become `?`.
fn latin_1(text: &str) -> Cow<'_, [u8]> {
    if text.is_ascii() {
        return text.as_bytes().into();
    }
    text.chars().map(|character| u8::try_from(u32::from(character)).unwrap_or(b'?')).collect::<Vec<u8>>().into()
}
