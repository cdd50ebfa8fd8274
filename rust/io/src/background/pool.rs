//! Threads that take work from one queue, in order.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::{mem, process, thread};

use super::lock;

pub(crate) type Work = Box<dyn FnOnce() + Send>;

/// For work that only computes: one thread per processor.
pub(crate) static COMPUTING: Pool =
    Pool::new("ociserver-hash", || thread::available_parallelism().map_or(1, usize::from));

/// For work that may wait for the disk: more threads than processors, so that a few slow files do not delay the others.
pub(crate) static WRITING: Pool = Pool::new("ociserver-write", || 16);

/// Threads of this process. They start when there is work, and stay.
pub struct Pool {
    name: &'static str,
    max_threads: fn() -> usize,
    queue: Mutex<Option<(u32, Arc<Queue>)>>,
}

struct Queue {
    /// Maximum number of threads. It is kept, because asking the system for the number of processors takes 30 µs.
    max_threads: usize,
    state: Mutex<State>,
    came: Condvar,
}

#[derive(Default)]
struct State {
    work: VecDeque<Work>,
    idle: usize,
    threads: usize,
}

impl Pool {
    const fn new(name: &'static str, max_threads: fn() -> usize) -> Self {
        Self { name, max_threads, queue: Mutex::new(None) }
    }

    /// Run work in a thread of the pool, or in this thread if the system cannot start one.
    pub(crate) fn run(&self, work: Work) {
        let queue = self.queue();
        let mut state = lock(&queue.state);
        state.work.push_back(work);
        if state.work.len() > state.idle && state.threads < queue.max_threads {
            let own = Arc::clone(&queue);
            if thread::Builder::new().name(self.name.into()).spawn(move || serve(&own)).is_ok() {
                state.threads += 1;
                return;
            }
            if state.threads == 0 {
                let work = state.work.pop_back();
                drop(state);
                if let Some(work) = work {
                    work();
                }
                return;
            }
        }
        drop(state);
        queue.came.notify_one();
    }

    /// Whether work waits for a thread.
    pub(crate) fn is_waited_for(&self) -> bool {
        !lock(&self.queue().state).work.is_empty()
    }

    /// The queue of this process. A forked process needs a new one: it has no thread of its parent, so work in the old
    /// queue would never run.
    fn queue(&self) -> Arc<Queue> {
        let mut queue = lock(&self.queue);
        let own = process::id();
        if let Some((process, found)) = &*queue {
            if *process == own {
                return Arc::clone(found);
            }
        }
        let fresh =
            Arc::new(Queue { max_threads: (self.max_threads)(), state: Mutex::default(), came: Condvar::new() });
        // Do not drop the queue of the parent: a thread of the parent may have held its lock during the fork.
        mem::forget(queue.replace((own, Arc::clone(&fresh))));
        fresh
    }
}

fn serve(queue: &Queue) {
    let mut state = lock(&queue.state);
    loop {
        if let Some(work) = state.work.pop_front() {
            drop(state);
            work();
            state = lock(&queue.state);
        } else {
            state.idle += 1;
            state = queue.came.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}
