//! Calls of Python from threads that Python did not start.
//!
//! Before version 3.14, Python ends a thread that asks for the GIL while the interpreter shuts down (`pthread_exit`).
//! That unwinds through the frames of Rust, and aborts the process. So no thread may be in a call when the shutdown
//! begins.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::PyCFunction;

/// How long the exit of the interpreter waits for calls that are running.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How often it looks. It takes no lock, because a thread may have held it when this process was forked.
const PAUSE: Duration = Duration::from_millis(1);

static RUNNING: AtomicUsize = AtomicUsize::new(0);
static IS_OVER: AtomicBool = AtomicBool::new(false);

/// Run `call` with the GIL. None if the interpreter exits: then no caller waits any more.
pub fn attached<R>(call: impl FnOnce(Python<'_>) -> R) -> Option<R> {
    let _running = Running::new();
    if IS_OVER.load(Ordering::SeqCst) {
        return None;
    }
    Python::try_attach(call)
}

/// Let the interpreter wait, at its exit, for the calls that are running, and run no more. The module that calls
/// `attached` does this when it is imported.
///
/// # Errors
///
/// If Python's `atexit` cannot be used.
pub fn stop_at_exit(py: Python<'_>) -> PyResult<()> {
    let stop = PyCFunction::new_closure(py, None, None, |arguments, _| arguments.py().detach(stop))?;
    py.import("atexit")?.call_method1("register", (stop,))?;
    Ok(())
}

fn stop() {
    IS_OVER.store(true, Ordering::SeqCst);
    let end = Instant::now() + LONGEST_WAIT;
    while RUNNING.load(Ordering::SeqCst) > 0 && Instant::now() < end {
        thread::sleep(PAUSE);
    }
}

struct Running;

impl Running {
    fn new() -> Self {
        RUNNING.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::SeqCst);
    }
}
