//! Hashing in threads of its own, while whoever has the bytes goes on with them.
//!
//! Whoever adds a piece wakes a thread only if the last one has no more to do, and is told of nothing unless it asks.

use std::collections::VecDeque;
use std::mem;
use std::sync::mpsc::{self, SendError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{process, thread};

use crate::digest::{Algorithm, Digest};
use crate::hash::Hasher;

/// Bytes of a piece that is hashed at once if nothing waits: to wake a thread costs about as much.
pub const SMALL: usize = 64 << 10;

/// Bytes after which a thread goes on with another hash that waits, so that one does not hold up the others.
const TURN: usize = 1 << 20;

type Work = Box<dyn FnOnce() + Send>;

/// A hash that is given pieces faster than it takes them. The pieces are kept until then, so bound what waits.
pub struct Background<T>(Arc<Mutex<State<T>>>);

struct State<T> {
    /// None while a thread has it.
    hasher: Option<Hasher>,
    waiting: VecDeque<T>,
    /// Bytes that are not hashed yet, of the piece at work too.
    backlog: usize,
    notice: Option<(usize, Work)>,
}

impl<T: AsRef<[u8]> + Send + 'static> Background<T> {
    /// Start a hash.
    pub fn new(algorithm: Algorithm) -> Self {
        let hasher = Some(Hasher::new(algorithm));
        Self(Arc::new(Mutex::new(State { hasher, waiting: VecDeque::new(), backlog: 0, notice: None })))
    }

    /// Add bytes; how many are not hashed yet, these among them.
    pub fn add(&self, piece: T) -> usize {
        let mut state = lock(&self.0);
        let size = piece.as_ref().len();
        if size <= SMALL {
            if let Some(hasher) = &mut state.hasher {
                hasher.update(piece.as_ref());
                return 0;
            }
        }
        state.waiting.push_back(piece);
        state.backlog += size;
        let backlog = state.backlog;
        if let Some(hasher) = state.hasher.take() {
            drop(state);
            begin(Arc::clone(&self.0), hasher);
        }
        backlog
    }

    /// Call `notify`, once, when no more than `backlog` bytes are left to hash: at once, or later in another thread.
    /// What was to be called before is forgotten.
    pub fn when_left(&self, backlog: usize, notify: impl FnOnce() + Send + 'static) {
        let mut state = lock(&self.0);
        if state.backlog > backlog {
            state.notice = Some((backlog, Box::new(notify)));
            return;
        }
        drop(state);
        notify();
    }

    /// The digest of all that was added; None while something is left to hash.
    pub fn digest(&self) -> Option<Digest> {
        lock(&self.0).hasher.as_ref().map(Hasher::digest)
    }
}

fn begin<T: AsRef<[u8]> + Send + 'static>(shared: Arc<Mutex<State<T>>>, hasher: Hasher) {
    elsewhere(move || run(shared, hasher));
}

/// Have one of the threads work; in this one if the system gives none.
pub(crate) fn elsewhere(work: impl FnOnce() + Send + 'static) {
    if let Err(SendError(work)) = threads().send(Box::new(work)) {
        work();
    }
}

fn run<T: AsRef<[u8]> + Send + 'static>(shared: Arc<Mutex<State<T>>>, mut hasher: Hasher) {
    let mut turn = 0;
    let mut next = lock(&shared).waiting.pop_front();
    while let Some(piece) = next {
        let size = piece.as_ref().len();
        hasher.update(piece.as_ref());
        turn += size;
        // Before anybody hears of it, so that what is held is what is said to be.
        drop(piece);
        let mut state = lock(&shared);
        state.backlog -= size;
        let left = state.backlog;
        let notice = state.notice.take_if(|(backlog, _)| left <= *backlog);
        if state.waiting.is_empty() {
            state.hasher = Some(hasher);
            drop(state);
            tell(notice);
            return;
        }
        if turn >= TURN {
            drop(state);
            tell(notice);
            begin(shared, hasher);
            return;
        }
        next = state.waiting.pop_front();
        drop(state);
        tell(notice);
    }
}

fn tell(notice: Option<(usize, Work)>) {
    if let Some((_, notify)) = notice {
        notify();
    }
}

/// The threads of this process, which are there for as long as it is. One that was forked has none of its parent's, and
/// what it gave to them nobody would do.
fn threads() -> Sender<Work> {
    static THREADS: Mutex<Option<(u32, Sender<Work>)>> = Mutex::new(None);
    let mut threads = lock(&THREADS);
    let own = process::id();
    if let Some((process, sender)) = &*threads {
        if *process == own {
            return sender.clone();
        }
    }
    let sender = start();
    // A parent's is not dropped: one of its threads may have been looking for work, in the middle of which it stays.
    mem::forget(threads.replace((own, sender.clone())));
    sender
}

/// One thread for each processor.
fn start() -> Sender<Work> {
    let (sender, receiver) = mpsc::channel::<Work>();
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
        let receiver = Arc::clone(&receiver);
        // Where the system gives fewer, those that it gave do all; without any, `elsewhere` does without.
        mem::drop(thread::Builder::new().name("ociserver-hash".into()).spawn(move || {
            loop {
                let work = lock(&receiver).recv();
                match work {
                    Ok(work) => work(),
                    Err(_) => return,
                }
            }
        }));
    }
    sender
}

fn lock<S>(mutex: &Mutex<S>) -> MutexGuard<'_, S> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::hash::digest_of;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn wait<T: AsRef<[u8]> + Send + 'static>(hash: &Background<T>, left: usize) {
        let (sender, receiver) = mpsc::channel();
        hash.when_left(left, move || sender.send(()).expect("the other end is there"));
        receiver.recv_timeout(PATIENCE).expect("the other end is there");
    }

    #[test]
    fn the_digest_is_that_of_all_pieces_in_their_order() {
        // Around the size that is hashed at once, so that it changes between here and the threads.
        for sizes in [vec![], vec![0], vec![1, SMALL, SMALL + 1, 7, 3 * SMALL, SMALL, 5], vec![SMALL + 1; 100]] {
            let hash = Background::new(Algorithm::Sha256);
            let mut all = Vec::new();
            for (number, size) in sizes.into_iter().enumerate() {
                let piece = vec![u8::try_from(number).expect("few"); size];
                all.extend(&piece);
                hash.add(piece);
            }
            wait(&hash, 0);
            assert_eq!(hash.digest(), Some(digest_of(Algorithm::Sha256, &all)));
        }
    }

    #[test]
    fn many_at_once_are_all_finished() {
        let piece = Arc::<[u8]>::from(vec![1; TURN + 1]);
        let hashes: Vec<_> = (0..8).map(|_| Background::new(Algorithm::Sha512)).collect();
        for _ in 0..2 {
            for hash in &hashes {
                hash.add(Arc::clone(&piece));
            }
        }
        let wanted = digest_of(Algorithm::Sha512, &piece.repeat(2));
        for hash in &hashes {
            wait(hash, 0);
            assert_eq!(hash.digest().as_ref(), Some(&wanted));
        }
    }

    #[test]
    fn what_is_left_is_known_and_waited_for() {
        // Held up by a piece whose bytes are not there before they are released.
        struct Slow(Mutex<Option<mpsc::Receiver<()>>>, Vec<u8>);
        impl AsRef<[u8]> for Slow {
            fn as_ref(&self) -> &[u8] {
                if thread::current().name() == Some("ociserver-hash") {
                    if let Some(released) = lock(&self.0).take() {
                        released.recv_timeout(PATIENCE).expect("the other end is there");
                    }
                }
                &self.1
            }
        }
        let (release, released) = mpsc::channel();
        let hash = Background::new(Algorithm::Sha256);
        let size = SMALL + 1;
        assert_eq!(hash.add(Slow(Mutex::new(Some(released)), vec![0; size])), size);
        assert_eq!(hash.add(Slow(Mutex::new(None), vec![0; 1])), size + 1);
        assert_eq!(hash.digest(), None);
        let (sender, receiver) = mpsc::channel();
        hash.when_left(1, move || sender.send(()).expect("the other end is there"));
        assert!(receiver.try_recv().is_err());
        release.send(()).expect("the other end is there");
        receiver.recv_timeout(PATIENCE).expect("the other end is there");
        wait(&hash, 0);
        assert_eq!(hash.digest(), Some(digest_of(Algorithm::Sha256, &vec![0; size + 1])));
        assert_eq!(hash.add(Slow(Mutex::new(None), vec![0; SMALL])), 0);
    }
}
