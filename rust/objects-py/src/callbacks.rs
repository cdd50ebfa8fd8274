//! Results for Python, and the thread that brings them.
//!
//! Only this thread waits for the GIL. A thread of the runtime that did so would stop the transfers that it serves.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, PoisonError};

use ociserver_attach::attached;
use ociserver_objects::Result;
use ociserver_objects::runtime::{self, Handle};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::errors::{ObjectError, object_error};

type Call = Box<dyn FnOnce(Python<'_>) + Send>;

/// The most calls without releasing the GIL.
const MOST_AT_ONCE: usize = 32;

static CALLS: Mutex<Option<(u32, Sender<Call>)>> = Mutex::new(None);

/// Runs operations, and calls back with their results.
#[derive(Clone)]
pub(crate) struct Callbacks {
    calls: Sender<Call>,
    pub(crate) runtime: Handle,
    process: u32,
}

impl Callbacks {
    /// Those of this process.
    pub(crate) fn of_process() -> io::Result<Self> {
        let process = std::process::id();
        let mut made = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = match &*made {
            Some((owner, calls)) if *owner == process => calls.clone(),
            _ => start()?,
        };
        *made = Some((process, calls.clone()));
        Ok(Self { calls, runtime: runtime::handle()?, process })
    }

    /// Run `work`, and call `done(result, None)` or `done(None, error)`, with the result that `convert` makes.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        done: Py<PyAny>,
        work: impl Future<Output = Result<T>> + Send + 'static,
        convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> PyResult<()> {
        if std::process::id() != self.process {
            return Err(PyRuntimeError::new_err("the bucket was opened before a fork: open it in the new process"));
        }
        let promise = Promise { calls: self.calls.clone(), done: Some(done) };
        self.runtime.spawn(async move {
            let result = work.await;
            promise.keep(move |py| convert(py, result.map_err(object_error)?));
        });
        Ok(())
    }

    /// A function that lets the thread call `callback()`.
    pub(crate) fn notifying(&self, callback: Py<PyAny>) -> ociserver_objects::Callback {
        let calls = self.calls.clone();
        Box::new(move || {
            let _ = calls.send(Box::new(move |py| report(py, callback.call0(py), &callback)));
        })
    }
}

/// Calls `done` in any case, because somebody waits for it: also if the work has panicked.
struct Promise {
    calls: Sender<Call>,
    done: Option<Py<PyAny>>,
}

impl Promise {
    fn keep(mut self, result: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send + 'static) {
        self.send(result);
    }

    fn send(&mut self, result: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send + 'static) {
        let Some(done) = self.done.take() else { return };
        // It fails only if the thread has ended, with the interpreter.
        let _ = self.calls.send(Box::new(move |py| {
            let called = match result(py) {
                Ok(result) => done.call1(py, (result, py.None())),
                Err(error) => done.call1(py, (py.None(), error)),
            };
            report(py, called, &done);
        }));
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.send(|_| Err(ObjectError::new_err("the operation was not finished")));
    }
}

fn report(py: Python<'_>, called: PyResult<Py<PyAny>>, callback: &Py<PyAny>) {
    if let Err(error) = called {
        error.write_unraisable(py, Some(callback.bind(py)));
    }
}

fn start() -> io::Result<Sender<Call>> {
    let (sender, calls) = mpsc::channel::<Call>();
    std::thread::Builder::new().name("objects-done".into()).spawn(move || {
        while let Ok(first) = calls.recv() {
            let is_over = attached(|py| {
                first(py);
                calls.try_iter().take(MOST_AT_ONCE).for_each(|call| call(py));
            })
            .is_none();
            if is_over {
                return;
            }
        }
    })?;
    Ok(sender)
}
