//! Writing lines: in batches, from a thread of its own.
//!
//! The queue is bounded: when whoever reads the log is slower than the requests, lines are dropped and counted, and the
//! log says how many; memory does not grow.

use std::io::{self, ErrorKind, Write as _};
use std::iter;
use std::mem;
use std::os::fd::RawFd;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use super::{Event, Format};
use crate::file::borrowed;

/// Most lines that wait: some 3 MB, and what the highest rates measured bring in a third of a second.
pub const MAX_LINES: usize = 16_384;

/// Further places for lines that are important, such as errors, when the queue is full of others.
pub const RESERVE: usize = 1_024;

/// Lines are joined up to this many bytes for one write. It is `PIPE_BUF`, the size up to which a write to a pipe is
/// never torn apart: the lines of several processes that share a log stay whole.
pub const WRITE_SIZE: usize = 4096;

/// The writer wakes at the first line and then waits this long for others to come: at most 20 times a second under
/// load, and never when nothing happens.
const PAUSE: Duration = Duration::from_millis(50);

/// Between two tries to write to a descriptor that does not block and is full.
const RETRY: Duration = Duration::from_millis(10);

/// Room for lines that is kept for the next ones: what a quick server's lines of one pause take.
const KEPT: usize = 1 << 20;

/// Writes lines to a file descriptor. Dropping it has what waits written, and waits for nothing.
#[derive(Debug)]
pub struct LineWriter {
    format: Format,
    shared: Arc<Shared>,
    /// Disconnected when the thread has ended.
    ended: Mutex<Receiver<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    lines: Lines,
    /// Lines that are not written yet: those above and those that the thread has taken.
    waiting: usize,
    /// Lines that found no room.
    refused: u64,
    /// The thread sleeps until it is woken, which takes a system call.
    asleep: bool,
    closing: bool,
}

/// Lines one after another, each with its newline; one may have further newlines within.
#[derive(Debug, Default)]
struct Lines {
    text: String,
    ends: Vec<usize>,
}

impl LineWriter {
    /// Start the thread, which does not keep the process alive.
    ///
    /// The descriptor has to stay open for as long as the thread runs; it is not closed.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn new(descriptor: RawFd, format: Format) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let (running, ended) = mpsc::channel();
        let thread = Thread { shared: Arc::clone(&shared), descriptor, format, failed: 0, told: 0, broken: false };
        thread::Builder::new().name("ociserver-log".into()).spawn(move || thread.run(running))?;
        Ok(Self { format, shared, ended: Mutex::new(ended) })
    }

    /// Queue a line. Never blocks.
    pub fn put(&self, line: &str, important: bool) {
        self.add(important, |text| text.push_str(line));
    }

    /// Queue the line of a request that has just finished. Never blocks.
    pub fn access(&self, event: &Event<'_>) {
        let now = SystemTime::now();
        self.add(false, |text| self.format.access(now, event, text));
    }

    fn add(&self, important: bool, push: impl FnOnce(&mut String)) {
        let mut queue = self.shared.lock();
        if queue.waiting >= MAX_LINES + if important { RESERVE } else { 0 } {
            queue.refused += 1;
            return;
        }
        queue.waiting += 1;
        queue.lines.push(push);
        if mem::take(&mut queue.asleep) {
            drop(queue);
            self.shared.wake.notify_one();
        }
    }

    /// Write what waits, for so long at most, and end. What is put after this is lost.
    pub fn close(&self, timeout: Duration) {
        self.shared.close();
        // It is never sent to: an error says that the thread has ended, or that the time is over.
        let _ = self.ended.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(timeout);
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().closing = true;
        self.wake.notify_one();
    }

    /// Wait for lines, and then a little for others, and swap what has come with `lines`, which are empty. False if no
    /// more are to come.
    fn take(&self, lines: &mut Lines) -> bool {
        let mut queue = self.lock();
        queue.asleep = queue.lines.ends.is_empty();
        let idle = self.wake.wait_while(queue, |queue| queue.asleep && !queue.closing);
        let queue = idle.unwrap_or_else(PoisonError::into_inner);
        let pause = self.wake.wait_timeout_while(queue, PAUSE, |queue| !queue.closing);
        let (mut queue, _) = pause.unwrap_or_else(PoisonError::into_inner);
        queue.asleep = false;
        mem::swap(&mut queue.lines, lines);
        !queue.closing
    }
}

impl Lines {
    fn push(&mut self, push: impl FnOnce(&mut String)) {
        push(&mut self.text);
        self.text.push('\n');
        self.ends.push(self.text.len());
    }

    /// Parts of whole lines, each as long as one write may be, or of one line that is longer; with the number of lines.
    fn parts(&self) -> impl Iterator<Item = (&[u8], usize)> {
        let (mut start, mut rest) = (0, &self.ends[..]);
        iter::from_fn(move || {
            let fitting = rest.iter().take_while(|&&end| end - start <= WRITE_SIZE).count();
            let (part, after) = rest.split_at_checked(fitting.max(1))?;
            let end = part[part.len() - 1];
            let text = &self.text.as_bytes()[start..end];
            (start, rest) = (end, after);
            Some((text, part.len()))
        })
    }

    fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(KEPT);
        self.ends.clear();
    }
}

/// What the thread has to itself.
struct Thread {
    shared: Arc<Shared>,
    descriptor: RawFd,
    format: Format,
    /// Lines that could not be written.
    failed: u64,
    /// Lines that the log has said were dropped.
    told: u64,
    /// Whoever read the log has gone, and cannot come back.
    broken: bool,
}

impl Thread {
    fn run(mut self, _running: Sender<()>) {
        let mut lines = Lines::default();
        let mut more = true;
        while more {
            more = self.shared.take(&mut lines);
            for (part, count) in lines.parts() {
                if !self.write(part) {
                    self.failed += count as u64;
                }
                self.shared.lock().waiting -= count;
            }
            lines.clear();
            self.tell_dropped();
        }
    }

    fn tell_dropped(&mut self) {
        let lost = self.failed + self.shared.lock().refused;
        if lost > self.told {
            let mut line = String::new();
            self.format.dropped(SystemTime::now(), lost - self.told, &mut line);
            line.push('\n');
            if self.write(line.as_bytes()) {
                self.told = lost;
            }
        }
    }

    /// Whether it was written. An error is no more than that: a registry that serves is worth more than its log.
    fn write(&mut self, mut data: &[u8]) -> bool {
        let Ok(file) = borrowed(self.descriptor) else { return false };
        while !data.is_empty() && !self.broken {
            match (&*file).write(data) {
                Ok(written) => data = &data[written..],
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => thread::sleep(RETRY),
                    ErrorKind::BrokenPipe => self.broken = true,
                    // The disk is full, say. It may have room again for the next lines.
                    _ => return false,
                },
            }
        }
        !self.broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_lines_and_fit_into_a_write() {
        let mut lines = Lines::default();
        assert_eq!(lines.parts().count(), 0);
        let sizes = [1, WRITE_SIZE - 3, 0, 0, WRITE_SIZE, 5, WRITE_SIZE - 1, 2 * WRITE_SIZE, 7];
        for size in sizes {
            lines.push(|text| text.extend(iter::repeat_n('x', size)));
        }
        let parts: Vec<_> = lines.parts().collect();
        assert_eq!(parts.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [2, 2, 1, 1, 1, 1, 1]);
        assert_eq!(parts.iter().flat_map(|(text, _)| *text).copied().collect::<Vec<_>>(), lines.text.as_bytes());
    }
}
