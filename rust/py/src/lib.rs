//! `ociserver._core`: the other crates for Python. Most modules only convert types and errors. `headers` makes
//! header fields, `nowait` and `answered` answer plain reads, and `counter` counts requests.

mod answered;
mod cores;
mod counter;
mod errors;
mod file;
mod grammar;
mod hash;
mod headers;
mod load;
mod log;
mod manifest;
mod nowait;
mod range;
mod request;

/// The extension module; its documentation is `python/ociserver/_core.pyi`.
#[pyo3::pymodule(gil_used = false)]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::answered::{PyAnswered, PyRequestIds};
    #[pymodule_export]
    use crate::cores::usable_cores;
    #[pymodule_export]
    use crate::counter::{PyRequestCounter, PyRequestRow};
    #[pymodule_export]
    use crate::file::{PyAppender, hash_range, read_at, read_cached};
    #[pymodule_export]
    use crate::grammar::{is_digest, is_host, is_repository, is_tag, next_link, parse_reference, upload_path};
    #[pymodule_export]
    use crate::hash::{PyBackgroundHasher, PyHasher, digest_of};
    #[pymodule_export]
    use crate::headers::{content_headers, not_modified_headers};
    #[pymodule_export]
    use crate::load::{PyContent, PyOrigin, PyReport, PyStep, cores_apart, run_load};
    #[pymodule_export]
    use crate::log::{PyLineWriter, access_line};
    #[pymodule_export]
    use crate::manifest::{
        PyManifestInfo, PyReference, manifest_media_type, read_manifest, read_referrers, read_stored_manifest,
    };
    #[pymodule_export]
    use crate::nowait::PyNowaitReader;
    #[pymodule_export]
    use crate::range::{PyByteRange, parse_content_range, parse_range};
    #[pymodule_export]
    use crate::request::{PyRequest, parse_request};

    #[pymodule_export]
    const MAX_MANIFEST_DEPTH: usize = ociserver_core::manifest::MAX_DEPTH;
    #[pymodule_export]
    const MAX_RANGES: usize = ociserver_core::range::MAX_RANGES;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        ociserver_attach::stop_at_exit(module.py())?;
        // Cargo and Python (PEP 440) spell pre-releases differently.
        let version = env!("CARGO_PKG_VERSION").replace("-alpha.", "a").replace("-beta.", "b").replace("-rc.", "rc");
        module.add("__version__", version)?;
        module.add("build_profile", if cfg!(debug_assertions) { "debug" } else { "release" })?;
        let fields = crate::headers::fields(module.py());
        module.add("ACCEPT_RANGES", &fields.accept_ranges)?;
        module.add("API_VERSION", &fields.api_version)?;
        module.add("REQUEST_KINDS", crate::request::kinds(module.py())?)
    }
}
