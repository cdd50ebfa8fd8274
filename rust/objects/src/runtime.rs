//! The threads that send and receive: one runtime for each process, made when it is first asked for.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;

use tokio::runtime::Builder;
pub use tokio::runtime::Handle;

/// The most threads. They copy and encrypt what the network takes; more of them would only compete with those that serve.
const MOST_THREADS: usize = 4;

static RUNTIME: Mutex<Option<(u32, Handle)>> = Mutex::new(None);

/// The runtime of this process. A child of a fork gets its own, because threads do not survive a fork.
///
/// # Errors
/// The system has no more threads.
pub fn handle() -> io::Result<Handle> {
    let mut made = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    if let Some((owner, handle)) = &*made {
        if *owner == process {
            return Ok(handle.clone());
        }
    }
    let threads = available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    let runtime = Builder::new_multi_thread().worker_threads(threads).thread_name("objects").enable_all().build()?;
    let handle = runtime.handle().clone();
    // It lives as long as the process: dropping it would wait for its threads.
    std::mem::forget(runtime);
    *made = Some((process, handle.clone()));
    Ok(handle)
}
