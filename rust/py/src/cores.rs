//! The cores of this machine.

use std::thread::available_parallelism;

use pyo3::prelude::*;

#[pyfunction]
pub(crate) fn usable_cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}
