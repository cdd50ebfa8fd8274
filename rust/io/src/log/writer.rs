//! Writes lines in batches, from a thread of its own.
//!
//! The queue is bounded. If the reader of the log is slower than the requests, the writer drops lines and logs how
//! many.

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

/// Maximum number of queued lines: about 3 MB, and a third of a second at the highest rate measured.
pub const MAX_LINES: usize = 16_384;

/// Places in the queue, beyond [`MAX_LINES`], for important lines such as errors.
pub const RESERVE: usize = 1_024;

/// Maximum size in bytes of a write of several lines. It is `PIPE_BUF`: a write to a pipe up to this size is atomic, so
/// the lines of several processes that share a pipe stay whole.
pub const WRITE_SIZE: usize = 4096;

/// After the first line, the writer waits this long for more lines. So it wakes at most 20 times per second under load,
/// and never when idle.
const PAUSE: Duration = Duration::from_millis(50);

/// Pause between two attempts to write to a non-blocking descriptor that is full.
const RETRY: Duration = Duration::from_millis(10);

/// Capacity in bytes that the buffer keeps for the next batch: the lines of one pause at a high rate.
const KEPT: usize = 1 << 20;

/// Writes lines to a file descriptor. After a drop the thread writes the queued lines and ends; the drop does not wait.
#[derive(Debug)]
pub struct LineWriter {
    format: Format,
    shared: Arc<Shared>,
    /// Disconnects when the thread has ended.
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
    /// Number of lines that are not written yet: those in `lines`, and those that the thread has taken.
    waiting: usize,
    /// Number of lines that were dropped because the queue was full.
    refused: u64,
    /// Whether the thread sleeps. Only then must `add` wake it, which takes a system call.
    asleep: bool,
    closing: bool,
}

/// Lines, each with its newline. An entry may contain further newlines.
#[derive(Debug, Default)]
struct Lines {
    text: String,
    ends: Vec<usize>,
}

impl LineWriter {
    /// Start the thread. It does not keep the process alive.
    ///
    /// The descriptor must stay open while the thread runs. The writer does not close it.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn new(descriptor: RawFd, format: Format) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let (running, ended) = mpsc::channel();
        let thread = Thread { shared: Arc::clone(&shared), descriptor, format, failed: 0, reported: 0, broken: false };
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

    /// Write the queued lines and end, within `timeout`. Lines that are queued later are lost.
    pub fn close(&self, timeout: Duration) {
        self.shared.close();
        // Nothing is ever sent, so the result is an error: the thread has ended, or the timeout is over.
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

    /// Wait for a line, and then for [`PAUSE`], and swap the queued lines with `lines`, which is empty. Returns false
    /// if no more lines will come.
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

    /// Split into parts of whole lines, with the number of lines in each. A part is not larger than [`WRITE_SIZE`],
    /// except for one longer line.
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

/// The state that only the thread uses.
struct Thread {
    shared: Arc<Shared>,
    descriptor: RawFd,
    format: Format,
    /// Number of lines whose write failed.
    failed: u64,
    /// Number of dropped lines that the log has reported.
    reported: u64,
    /// Whether the reader has closed the pipe.
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
            self.report_dropped();
        }
    }

    fn report_dropped(&mut self) {
        let lost = self.failed + self.shared.lock().refused;
        if lost > self.reported {
            let mut line = String::new();
            self.format.dropped(SystemTime::now(), lost - self.reported, &mut line);
            line.push('\n');
            if self.write(line.as_bytes()) {
                self.reported = lost;
            }
        }
    }

    /// Returns whether the data was written. An error has no other effect: the server must continue without its log.
    fn write(&mut self, mut data: &[u8]) -> bool {
        let Ok(file) = borrowed(self.descriptor) else { return false };
        while !data.is_empty() && !self.broken {
            match (&*file).write(data) {
                Ok(written) => data = &data[written..],
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => thread::sleep(RETRY),
                    ErrorKind::BrokenPipe => self.broken = true,
                    // For example, the disk is full. It may have space again for the next lines.
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
    fn parts_are_whole_lines_that_fit_into_one_write() {
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
