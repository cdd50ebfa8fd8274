//! `ociserver_objects`: the crate `ociserver-objects` for Python. The modules only convert types, errors and callbacks.

mod arrivals;
mod bucket;
mod callbacks;
mod errors;
mod parts;
mod reading;

/// The extension module; its documentation is `ociserver_objects.pyi`.
#[pyo3::pymodule(gil_used = false)]
mod ociserver_objects {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::bucket::PyBucket;
    #[pymodule_export]
    use crate::errors::{Denied, NotFound, ObjectError, Unavailable};
    #[pymodule_export]
    use crate::parts::PyPartWriter;
    #[pymodule_export]
    use crate::reading::PyReading;

    #[pymodule_export]
    const MAX_PARTS: usize = ::ociserver_objects::MOST_PARTS;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        ociserver_attach::stop_at_exit(module.py())?;
        // Cargo and Python (PEP 440) spell pre-releases differently.
        let version = env!("CARGO_PKG_VERSION").replace("-alpha.", "a").replace("-beta.", "b").replace("-rc.", "rc");
        module.add("__version__", version)?;
        module.add("build_profile", if cfg!(debug_assertions) { "debug" } else { "release" })
    }
}
