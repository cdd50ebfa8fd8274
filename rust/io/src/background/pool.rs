//! Threads that take work from one line, in its order.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::{mem, process, thread};

use super::lock;

pub(crate) type Work = Box<dyn FnOnce() + Send>;

/// One thread for each processor: for what only computes.
pub(crate) static COMPUTING: Pool =
    Pool::new("ociserver-hash", || thread::available_parallelism().map_or(1, usize::from));

/// For what may wait for the disk: more than processors, so that a few slow files do not hold up the others.
pub(crate) static WRITING: Pool = Pool::new("ociserver-write", || 16);

/// Threads of this process, started when there is work for them, which then stay.
pub struct Pool {
    name: &'static str,
    most: fn() -> usize,
    line: Mutex<Option<(u32, Arc<Line>)>>,
}

struct Line {
    /// Threads that it may have: asking the system how many processors there are takes 30 microseconds.
    most: usize,
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
    const fn new(name: &'static str, most: fn() -> usize) -> Self {
        Self { name, most, line: Mutex::new(None) }
    }

    /// Have a thread work; this one if the system gives none.
    pub(crate) fn run(&self, work: Work) {
        let line = self.line();
        let mut state = lock(&line.state);
        state.work.push_back(work);
        if state.work.len() > state.idle && state.threads < line.most {
            let own = Arc::clone(&line);
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
        line.came.notify_one();
    }

    /// Whether something waits for a thread.
    pub(crate) fn is_waited_for(&self) -> bool {
        !lock(&self.line().state).work.is_empty()
    }

    /// A process that was forked has none of its parent's threads, and what it gave to them nobody would do.
    fn line(&self) -> Arc<Line> {
        let mut line = lock(&self.line);
        let own = process::id();
        if let Some((process, line)) = &*line {
            if *process == own {
                return Arc::clone(line);
            }
        }
        let fresh = Arc::new(Line { most: (self.most)(), state: Mutex::default(), came: Condvar::new() });
        // A parent's is not dropped: one of its threads may have been at it, in the middle of which it stays.
        mem::forget(line.replace((own, Arc::clone(&fresh))));
        fresh
    }
}

fn serve(line: &Line) {
    let mut state = lock(&line.state);
    loop {
        if let Some(work) = state.work.pop_front() {
            drop(state);
            work();
            state = lock(&line.state);
        } else {
            state.idle += 1;
            state = line.came.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}
