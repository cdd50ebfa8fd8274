//! Processes pieces in background threads while the caller receives the next ones.
//!
//! `add` wakes a thread only if no thread works on the consumer already. The caller gets a notification only if it asks
//! for one (`when_left`).

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ociserver_core::hash::Hasher;

mod pool;

pub use pool::Pool;
pub(crate) use pool::{COMPUTING, WRITING, Work};

/// Largest piece, in bytes, that is hashed in the caller's thread if the backlog is empty. Waking a thread takes about
/// as long.
pub const SMALL: usize = 64 << 10;

/// After this many bytes of one consumer, a thread continues with other work, so that no consumer delays the others.
const TURN: usize = 1 << 20;

/// Takes pieces in order. At most one thread uses it at a time.
pub trait Consumer: Send + 'static {
    /// A snapshot of its state. The caller can read it while a thread works.
    type Snapshot: Clone + Send;

    /// The snapshot after the pieces that it has taken so far.
    fn snapshot(&self) -> Self::Snapshot;

    /// Process a piece.
    fn take(&mut self, piece: &[u8]);

    /// Whether `add` itself processes a piece of this size, if the backlog is empty.
    fn is_inline(size: usize) -> bool;

    /// The threads that process all other pieces.
    #[doc(hidden)]
    fn pool() -> &'static Pool;
}

impl Consumer for Hasher {
    /// A copy of about 200 bytes for each piece.
    type Snapshot = Self;

    fn snapshot(&self) -> Self {
        self.clone()
    }

    fn take(&mut self, piece: &[u8]) {
        self.update(piece);
    }

    fn is_inline(size: usize) -> bool {
        size <= SMALL
    }

    fn pool() -> &'static Pool {
        &COMPUTING
    }
}

/// A consumer with a backlog of pieces. It keeps each piece until it is processed, so the caller must bound the
/// backlog.
///
/// A clone is another handle to the same consumer.
pub struct Background<C: Consumer, T>(Arc<Mutex<State<C, T>>>);

impl<C: Consumer, T> Clone for Background<C, T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct State<C: Consumer, T> {
    /// None while a thread uses it.
    consumer: Option<C>,
    /// The snapshot while a thread uses the consumer. It has exactly the pieces that `backlog` no longer counts.
    snapshot: C::Snapshot,
    waiting: VecDeque<T>,
    /// Number of bytes that are not processed yet, including the piece in progress.
    backlog: usize,
    notices: Vec<(usize, Work)>,
    closed: bool,
}

impl<C: Consumer, T: AsRef<[u8]> + Send + 'static> Background<C, T> {
    /// Start with an empty backlog.
    pub fn new(consumer: C) -> Self {
        let (snapshot, waiting, notices) = (consumer.snapshot(), VecDeque::new(), Vec::new());
        let consumer = Some(consumer);
        Self(Arc::new(Mutex::new(State { consumer, snapshot, waiting, backlog: 0, notices, closed: false })))
    }

    /// Add a piece. Returns the backlog in bytes, including this piece. None after `close`.
    pub fn add(&self, piece: T) -> Option<usize> {
        let mut state = lock(&self.0);
        if state.closed {
            return None;
        }
        let size = piece.as_ref().len();
        if size == 0 {
            // Otherwise a thread would work while the backlog is zero.
            return Some(state.backlog);
        }
        if C::is_inline(size) {
            if let Some(consumer) = &mut state.consumer {
                consumer.take(piece.as_ref());
                return Some(0);
            }
        }
        state.waiting.push_back(piece);
        state.backlog += size;
        let backlog = state.backlog;
        if let Some(consumer) = state.consumer.take() {
            state.snapshot = consumer.snapshot();
            drop(state);
            begin(Arc::clone(&self.0), consumer);
        }
        Some(backlog)
    }

    /// The backlog: the number of bytes that are not processed yet.
    pub fn left(&self) -> usize {
        lock(&self.0).backlog
    }

    /// Call `notify` once, when the backlog is at most `backlog` bytes: immediately, or later in another thread.
    pub fn when_left(&self, backlog: usize, notify: impl FnOnce() + Send + 'static) {
        let mut state = lock(&self.0);
        if state.backlog > backlog {
            state.notices.push((backlog, Box::new(notify)));
            return;
        }
        drop(state);
        notify();
    }

    /// Call `look` with the consumer. None while there is a backlog.
    pub fn look<R>(&self, look: impl FnOnce(&mut C) -> R) -> Option<R> {
        lock(&self.0).consumer.as_mut().map(look)
    }

    /// The latest snapshot, whether a thread works or not.
    pub fn snapshot(&self) -> C::Snapshot {
        lock(&self.0).snapshot()
    }

    /// Accept no more pieces, and drop the backlog except the piece in progress.
    pub fn close(&self) {
        let mut state = lock(&self.0);
        state.closed = true;
        let dropped = mem::take(&mut state.waiting);
        state.backlog -= dropped.iter().map(|piece| piece.as_ref().len()).sum::<usize>();
        let reached = state.reached();
        drop(state);
        tell(reached);
    }
}

impl<T> Background<Hasher, T> {
    /// Number of bytes that were added, hashed or not.
    pub fn length(&self) -> u64 {
        let state = lock(&self.0);
        state.snapshot().length() + state.backlog as u64
    }
}

impl<C: Consumer, T> State<C, T> {
    fn snapshot(&self) -> C::Snapshot {
        self.consumer.as_ref().map_or_else(|| self.snapshot.clone(), C::snapshot)
    }

    /// Remove and return the notifications whose backlog is reached.
    fn reached(&mut self) -> Vec<Work> {
        let left = self.backlog;
        let (reached, waiting) = mem::take(&mut self.notices).into_iter().partition(|(backlog, _)| left <= *backlog);
        self.notices = waiting;
        reached.into_iter().map(|(_, notify)| notify).collect()
    }
}

fn begin<C: Consumer, T: AsRef<[u8]> + Send + 'static>(shared: Arc<Mutex<State<C, T>>>, consumer: C) {
    C::pool().run(Box::new(move || run(shared, consumer)));
}

fn run<C: Consumer, T: AsRef<[u8]> + Send + 'static>(shared: Arc<Mutex<State<C, T>>>, mut consumer: C) {
    let (mut turn, mut taken) = (0, 0);
    loop {
        let mut state = lock(&shared);
        state.backlog -= taken;
        state.snapshot = consumer.snapshot();
        let reached = state.reached();
        let Some(piece) = state.waiting.pop_front() else {
            state.consumer = Some(consumer);
            drop(state);
            return tell(reached);
        };
        if turn >= TURN && C::pool().is_waited_for() {
            state.waiting.push_front(piece);
            drop(state);
            tell(reached);
            return begin(shared, consumer);
        }
        drop(state);
        tell(reached);
        consumer.take(piece.as_ref());
        taken = piece.as_ref().len();
        turn += taken;
        // The piece is dropped here, before the backlog shrinks, so that the memory in use never exceeds the backlog.
    }
}

fn tell(reached: Vec<Work>) {
    for notify in reached {
        notify();
    }
}

pub(crate) fn lock<S>(mutex: &Mutex<S>) -> MutexGuard<'_, S> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use ociserver_core::digest::{Algorithm, Digest};
    use ociserver_core::hash::digest_of;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn wait<T: AsRef<[u8]> + Send + 'static>(hash: &Background<Hasher, T>, left: usize) {
        let (sender, receiver) = mpsc::channel();
        hash.when_left(left, move || sender.send(()).expect("the test waits"));
        receiver.recv_timeout(PATIENCE).expect("the test waits");
    }

    fn digest<T: AsRef<[u8]> + Send + 'static>(hash: &Background<Hasher, T>) -> Option<Digest> {
        hash.look(|hasher| hasher.digest())
    }

    #[test]
    fn the_digest_is_that_of_all_pieces_in_order() {
        // Sizes around `SMALL`, so that both this thread and the others hash.
        for sizes in [vec![], vec![0], vec![1, SMALL, SMALL + 1, 7, 3 * SMALL, SMALL, 5], vec![SMALL + 1; 100]] {
            let hash = Background::new(Hasher::new(Algorithm::Sha256));
            let mut all = Vec::new();
            for (number, size) in sizes.into_iter().enumerate() {
                let piece = vec![u8::try_from(number).expect("few"); size];
                all.extend(&piece);
                hash.add(piece);
            }
            wait(&hash, 0);
            assert_eq!(digest(&hash), Some(digest_of(Algorithm::Sha256, &all)));
        }
    }

    #[test]
    fn many_hashes_all_finish() {
        let piece = Arc::<[u8]>::from(vec![1; TURN + 1]);
        let hashes: Vec<_> = (0..8).map(|_| Background::new(Hasher::new(Algorithm::Sha512))).collect();
        for _ in 0..2 {
            for hash in &hashes {
                hash.add(Arc::clone(&piece));
            }
        }
        let wanted = digest_of(Algorithm::Sha512, &piece.repeat(2));
        for hash in &hashes {
            wait(hash, 0);
            assert_eq!(digest(hash).as_ref(), Some(&wanted));
        }
    }

    /// A piece that blocks the hashing thread until the test releases it.
    struct Slow(Mutex<Option<mpsc::Receiver<()>>>, Vec<u8>);

    impl AsRef<[u8]> for Slow {
        fn as_ref(&self) -> &[u8] {
            if thread::current().name() == Some("ociserver-hash") {
                if let Some(released) = lock(&self.0).take() {
                    released.recv_timeout(PATIENCE).expect("the test waits");
                }
            }
            &self.1
        }
    }

    #[test]
    fn a_snapshot_has_the_hashed_pieces_only() {
        let hash = Background::new(Hasher::new(Algorithm::Sha256));
        let large = SMALL as u64 + 1;
        let add = |byte| {
            let (release, released) = mpsc::channel::<()>();
            hash.add(Slow(Mutex::new(Some(released)), vec![byte; SMALL + 1]));
            release
        };
        let seen = || (hash.snapshot().length(), hash.length());
        hash.add(Slow(Mutex::new(None), vec![1; 5]));
        assert_eq!(seen(), (5, 5), "hashed immediately");
        let (first, second) = (add(2), add(3));
        assert_eq!(seen(), (5, 2 * large + 5), "the thread has the hash, without the first piece");
        first.send(()).expect("the test waits");
        wait(&hash, SMALL + 1);
        assert_eq!(seen(), (large + 5, 2 * large + 5));
        let begun = [vec![1; 5], vec![2; SMALL + 1]].concat();
        assert_eq!(hash.snapshot().digest(), digest_of(Algorithm::Sha256, &begun));
        hash.close();
        assert_eq!(seen(), (large + 5, 2 * large + 5), "the piece in progress is not dropped");
        second.send(()).expect("the test waits");
        wait(&hash, 0);
        assert_eq!(seen(), (2 * large + 5, 2 * large + 5));
    }

    #[test]
    fn the_backlog_is_counted_and_waited_for() {
        let (release, released) = mpsc::channel();
        let hash = Background::new(Hasher::new(Algorithm::Sha256));
        let size = SMALL + 1;
        assert_eq!(hash.add(Slow(Mutex::new(Some(released)), vec![0; size])), Some(size));
        assert_eq!(hash.add(Slow(Mutex::new(None), vec![0; 1])), Some(size + 1));
        assert_eq!(hash.left(), size + 1);
        assert_eq!(digest(&hash), None);
        let (sender, receiver) = mpsc::channel();
        hash.when_left(1, move || sender.send(()).expect("the test waits"));
        assert!(receiver.try_recv().is_err());
        release.send(()).expect("the test waits");
        receiver.recv_timeout(PATIENCE).expect("the test waits");
        wait(&hash, 0);
        assert_eq!(digest(&hash), Some(digest_of(Algorithm::Sha256, &vec![0; size + 1])));
        assert_eq!(hash.add(Slow(Mutex::new(None), vec![0; SMALL])), Some(0));
    }
}
