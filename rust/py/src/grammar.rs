//! Names, references and links: functions on strings.

use ociserver_core::digest::Digest;
use ociserver_core::name::{Repository, Tag};
use ociserver_core::reference::{self, Reference};
use ociserver_core::{link, request};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::errors::value_error;

// A str with lone surrogates has no UTF-8, and so is not a valid name: return False, and raise nothing.

#[pyfunction]
pub(crate) fn is_repository(text: &Bound<'_, PyString>) -> bool {
    text.to_str().is_ok_and(|text| text.parse::<Repository>().is_ok())
}

#[pyfunction]
pub(crate) fn is_tag(text: &Bound<'_, PyString>) -> bool {
    text.to_str().is_ok_and(|text| text.parse::<Tag>().is_ok())
}

#[pyfunction]
pub(crate) fn is_digest(text: &Bound<'_, PyString>) -> bool {
    text.to_str().is_ok_and(|text| text.parse::<Digest>().is_ok())
}

#[pyfunction]
pub(crate) fn is_host(text: &Bound<'_, PyString>) -> bool {
    text.to_str().is_ok_and(reference::is_host)
}

#[pyfunction]
#[pyo3(signature = (text, *, relative))]
pub(crate) fn parse_reference(text: &str, relative: bool) -> PyResult<(&str, &str, &str, &str)> {
    let parse = if relative { Reference::parse_relative } else { Reference::parse };
    let reference = parse(text).map_err(value_error)?;
    Ok((reference.host, reference.repository, reference.tag, reference.digest))
}

#[pyfunction]
pub(crate) fn next_link(path: &[u8], query: &[u8], last: &str) -> String {
    link::next_link(path, query, last)
}

#[pyfunction]
pub(crate) fn upload_path(repository: &str, upload_id: &str) -> String {
    request::upload_path(repository, upload_id)
}
