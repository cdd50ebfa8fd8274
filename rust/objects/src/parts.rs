//! Bytes that are hashed, cut into equal parts, and stored as the parts of a multipart upload.
//!
//! # Theory of operation
//! The thread that brings bytes hashes and copies them into the current part, while they are in its cache. A full part
//! joins a queue, and tasks store as many parts at a time as allowed. Before [`PartWriter::begin`] has said where to, the
//! first full part waits.
//!
//! The backlog is what waits for its turn. What is being sent does not count: so a caller that waits for an empty backlog
//! goes on as soon as one part has been stored, and all the others are still on their way. At such a moment the writer
//! holds `in_flight` parts. At most it holds one more, which is being filled or waits.
//!
//! If a part cannot be stored, the content has a hole, and all is lost: the writer drops everything, and takes no more.
//! The caller goes back to what was recorded last.
//!
//! Two locks: `Feed` while bytes come, and `Queue` while parts do. Storing a part never waits for hashing.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ociserver_core::hash::Hasher;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::bucket::Bucket;
use crate::error::{Error, Kind, Result};
use crate::operation::Operation;

/// The most parts that S3 takes. Google Cloud Storage takes as many, and Azure more.
pub const MOST_PARTS: usize = 10_000;

/// Bytes that are hashed and then copied at once, so that they are in the cache for both.
const STEP: usize = 64 * 1024;

/// Called once, from any thread.
pub type Callback = Box<dyn FnOnce() + Send>;

/// How content is cut.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// Bytes of each part but the last.
    pub size: usize,
    /// The most parts that are being sent.
    pub in_flight: usize,
}

/// A multipart upload.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The key of the object.
    pub key: String,
    /// The id from [`Bucket::create_multipart`].
    pub id: String,
}

/// What [`PartWriter::add`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// Bytes that wait for their turn. None if all is lost.
    pub backlog: Option<usize>,
    /// Whether the first part is full now, and waits for [`PartWriter::begin`].
    pub is_first_full: bool,
}

/// Writes content in parts. See the module.
pub struct PartWriter {
    feed: Mutex<Feed>,
    sender: Arc<Sender>,
}

struct Feed {
    hasher: Hasher,
    current: Vec<u8>,
    /// Number of full parts.
    full: usize,
}

struct Sender {
    bucket: Arc<Bucket>,
    runtime: Handle,
    parts: Parts,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    upload: Option<Arc<Upload>>,
    /// Number and bytes of parts that wait.
    waiting: VecDeque<(usize, Bytes)>,
    sending: HashMap<usize, AbortHandle>,
    /// By number; None while it is not stored.
    etags: Vec<Option<String>>,
    is_lost: bool,
    error: Option<Error>,
    watchers: Vec<(Awaited, Callback)>,
}

#[derive(Clone, Copy)]
enum Awaited {
    Backlog(usize),
    Kept,
}

impl PartWriter {
    /// Start with nothing. `runtime` runs the tasks.
    pub fn new(bucket: Arc<Bucket>, hasher: Hasher, parts: Parts, runtime: Handle) -> Self {
        let sender = Sender { bucket, runtime, parts, queue: Mutex::default() };
        Self { feed: Mutex::new(Feed { hasher, current: Vec::new(), full: 0 }), sender: Arc::new(sender) }
    }

    /// Continue: full parts are stored with `etags`, and `tail` comes behind them, of the size of a part at most.
    ///
    /// # Errors
    /// A message if the lengths do not fit: `hasher` has hashed another number of bytes.
    pub fn resume(
        bucket: Arc<Bucket>,
        hasher: Hasher,
        parts: Parts,
        runtime: Handle,
        (upload, etags, tail): (Option<Upload>, Vec<String>, &[u8]),
    ) -> std::result::Result<Self, &'static str> {
        if tail.len() > parts.size {
            return Err("the tail is longer than a part");
        }
        if !etags.is_empty() && upload.is_none() {
            return Err("there are parts, but no multipart upload");
        }
        if hasher.length() != (etags.len() * parts.size + tail.len()) as u64 {
            return Err("the parts and the tail do not have the length that was hashed");
        }
        let writer = Self::new(bucket, hasher, parts, runtime);
        {
            let mut feed = writer.feed();
            feed.full = etags.len();
            if !tail.is_empty() {
                feed.current.reserve_exact(parts.size);
                feed.current.extend_from_slice(tail);
            }
            let mut queue = writer.sender.queue();
            queue.upload = upload.map(Arc::new);
            queue.etags = etags.into_iter().map(Some).collect();
        }
        Ok(writer)
    }

    /// Say where the parts go.
    pub fn begin(&self, upload: Upload) {
        let mut queue = self.sender.queue();
        if !queue.is_lost {
            queue.upload = Some(Arc::new(upload));
        }
        self.sender.advance(queue);
    }

    /// Hash and take bytes.
    pub fn add(&self, mut data: &[u8]) -> Added {
        let size = self.sender.parts.size;
        let mut feed = self.feed();
        let mut is_first_full = self.cut(&mut feed);
        while !data.is_empty() {
            if feed.current.capacity() == 0 {
                // The system gives the memory page by page, as it is used. So a short content takes little.
                feed.current.reserve_exact(size);
            }
            let (step, rest) = data.split_at(data.len().min(STEP).min(size - feed.current.len()));
            data = rest;
            feed.hasher.update(step);
            feed.current.extend_from_slice(step);
            is_first_full |= self.cut(&mut feed);
        }
        let queue = self.sender.queue();
        Added { backlog: (!queue.is_lost).then(|| self.sender.backlog(&queue)), is_first_full }
    }

    /// Send the current part if it is full. Returns what [`Sender::push`] does.
    fn cut(&self, feed: &mut Feed) -> bool {
        if feed.current.len() < self.sender.parts.size {
            return false;
        }
        let (number, part) = (feed.full, std::mem::take(&mut feed.current).into());
        feed.full += 1;
        self.sender.push(number, part)
    }

    /// Call back when no more than `backlog` bytes wait: now, or later in another thread.
    pub fn when_left(&self, backlog: usize, callback: Callback) {
        self.sender.watch(Awaited::Backlog(backlog), callback);
    }

    /// Call back when each full part is stored, or all is lost: now, or later in another thread.
    pub fn when_kept(&self, callback: Callback) {
        self.sender.watch(Awaited::Kept, callback);
    }

    /// The error that made all be lost, once.
    pub fn take_error(&self) -> Option<Error> {
        self.sender.queue().error.take()
    }

    /// What to do to store the current part as the last one, and return its `ETag`. A later part of this number
    /// replaces it.
    ///
    /// # Errors
    /// There is no multipart upload, or see [`Kind`].
    pub fn flush_tail(&self) -> impl Future<Output = Result<String>> + Send + use<> {
        let (number, tail) = {
            let feed = self.feed();
            (feed.full, Bytes::copy_from_slice(&feed.current))
        };
        let (bucket, upload) = (Arc::clone(&self.sender.bucket), self.sender.queue().upload.clone());
        async move {
            let Some(upload) = upload else {
                return Err(Error::new(Kind::Other, Operation::PutPart, "no multipart upload was begun"));
            };
            bucket.put_part(&upload.key, &upload.id, number, tail).await
        }
    }

    /// What to do to store the current part as an object.
    ///
    /// # Errors
    /// See [`Kind`].
    pub fn put_tail(&self, key: String) -> impl Future<Output = Result<()>> + Send + use<> {
        let tail = Bytes::copy_from_slice(&self.feed().current);
        let bucket = Arc::clone(&self.sender.bucket);
        async move { bucket.put(&key, tail).await }
    }

    /// Look at the bytes of the current part.
    pub fn with_tail<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        look(&self.feed().current)
    }

    /// Look at the hash of all bytes so far.
    pub fn with_hasher<T>(&self, look: impl FnOnce(&Hasher) -> T) -> T {
        look(&self.feed().hasher)
    }

    /// The `ETag`s of the full parts that are stored, up to the first that is not.
    pub fn etags(&self) -> Vec<String> {
        self.sender.queue().etags.iter().map_while(Clone::clone).collect()
    }

    /// Drop what waits, and stop what is being sent.
    pub fn close(&self) {
        self.sender.lose(self.sender.queue(), None);
    }

    fn feed(&self) -> MutexGuard<'_, Feed> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PartWriter {
    fn drop(&mut self) {
        self.close();
    }
}

impl Sender {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn backlog(&self, queue: &Queue) -> usize {
        queue.waiting.len() * self.parts.size
    }

    /// Returns whether it is the first one, and waits for `begin`.
    fn push(self: &Arc<Self>, number: usize, part: Bytes) -> bool {
        let mut queue = self.queue();
        if queue.is_lost {
            return false;
        }
        // The tail needs a number, too.
        if number + 1 >= MOST_PARTS {
            let cause = format!("the content has more than {MOST_PARTS} parts of {} bytes", self.parts.size);
            self.lose(queue, Some(Error::new(Kind::Other, Operation::PutPart, cause)));
            return false;
        }
        queue.waiting.push_back((number, part));
        let is_first = queue.upload.is_none() && number == 0;
        self.advance(queue);
        is_first
    }

    /// Send what may be sent, and call back who has waited for this state.
    fn advance(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        while queue.sending.len() < self.parts.in_flight {
            let Some(upload) = queue.upload.clone() else { break };
            let Some((number, part)) = queue.waiting.pop_front() else { break };
            let sender = Arc::clone(self);
            // The task reports under the lock, so it cannot end before it is entered here.
            let task = self.runtime.spawn(async move {
                let result = sender.bucket.put_part(&upload.key, &upload.id, number, part).await;
                sender.sent(number, result);
            });
            queue.sending.insert(number, task.abort_handle());
        }
        self.call_back(queue);
    }

    fn sent(self: &Arc<Self>, number: usize, result: Result<String>) {
        let mut queue = self.queue();
        if queue.sending.remove(&number).is_none() {
            return; // all is lost meanwhile
        }
        match result {
            Ok(etag) => {
                let length = queue.etags.len().max(number + 1);
                queue.etags.resize(length, None);
                queue.etags[number] = Some(etag);
                self.advance(queue);
            }
            Err(error) => self.lose(queue, Some(error)),
        }
    }

    fn lose(&self, mut queue: MutexGuard<'_, Queue>, error: Option<Error>) {
        queue.is_lost = true;
        queue.error = queue.error.take().or(error);
        queue.waiting.clear();
        queue.sending.drain().for_each(|(_, task)| task.abort());
        self.call_back(queue);
    }

    fn watch(&self, awaited: Awaited, callback: Callback) {
        let mut queue = self.queue();
        queue.watchers.push((awaited, callback));
        self.call_back(queue);
    }

    fn call_back(&self, mut queue: MutexGuard<'_, Queue>) {
        let is_kept = queue.waiting.is_empty() && queue.sending.is_empty();
        let backlog = self.backlog(&queue);
        let is_ready = |awaited: Awaited| match awaited {
            Awaited::Backlog(most) => backlog <= most,
            Awaited::Kept => is_kept,
        };
        let (ready, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut queue.watchers).into_iter().partition(|(awaited, _)| is_ready(*awaited));
        queue.watchers = waiting;
        drop(queue);
        for (_, callback) in ready {
            callback();
        }
    }
}
