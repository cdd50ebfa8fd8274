//! A file that grows, and its hash with it: both beside whoever brings the bytes, and beside each other.

use std::fs::File;
use std::io;
#[cfg(target_os = "linux")]
use std::num::NonZeroU64;
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::background::{Background, Consumer, Pool, WRITING};
use crate::file::borrowed;
use ociserver_core::hash::Hasher;

/// Bytes after which the disk is asked to begin with them, so that the sync at the end finds little left: 256 MiB in
/// one PUT came at 671 MB/s instead of 569. While hashing stood still for that, 1 or 2 MiB were no faster than 4;
/// beside it, the less at once the better it fits.
const WRITE_OUT: u64 = 1 << 20;

/// A hash of what is appended. It needs no file, so that it may go on when the file is closed.
pub type Hashing<T> = Background<Hasher, Piece<T>>;

/// An open file, and the pieces that are still to go into it and into its hash.
///
/// After a piece that could not be written the file ends before it, and takes no more.
pub struct Appender<T> {
    hash: Hashing<T>,
    file: Background<End, Piece<T>>,
    failed: Arc<AtomicBool>,
}

impl<T: AsRef<[u8]> + Send + Sync + 'static> Appender<T> {
    /// Go on with a file of `size` bytes, of which `hash` has all. Whoever has the descriptor closes it when all is
    /// written.
    ///
    /// With `begin` the disk is to begin with what it has, as what has to be synced later.
    pub fn new(fd: RawFd, size: u64, hash: Hashing<T>, begin: bool) -> Self {
        let failed = Arc::<AtomicBool>::default();
        let end = End { fd, size, begun: begin.then_some(size), failed: Arc::clone(&failed), failure: None };
        Self { hash, file: Background::new(end), failed }
    }

    /// Append bytes; how many are not yet in the file or not yet hashed, these among them. None after a failure, and
    /// after `close`.
    pub fn add(&self, piece: T) -> Option<usize> {
        if self.failed.load(Ordering::Relaxed) {
            return None;
        }
        let piece = Arc::new(piece);
        // First: a piece that only one of the two gets is one too many for the hash then, as its length tells.
        let hashing = self.hash.add(Piece(Arc::clone(&piece)))?;
        Some(hashing.max(self.file.add(Piece(piece))?))
    }

    /// Call `notify`, once, when no more than `backlog` bytes are left: at once, or later in another thread.
    pub fn when_left(self: &Arc<Self>, backlog: usize, notify: impl FnOnce() + Send + 'static) {
        let own = Arc::clone(self);
        self.hash.when_left(backlog, move || own.file.when_left(backlog, notify));
    }

    /// Call `notify`, once, when all is in the file: at once, or later in another thread. Then nobody uses the
    /// descriptor until more is added.
    pub fn when_written(&self, notify: impl FnOnce() + Send + 'static) {
        self.file.when_left(0, notify);
    }

    /// Bytes that are not yet in the file or not yet hashed.
    pub fn left(&self) -> usize {
        self.hash.left().max(self.file.left())
    }

    /// Take no more, and forget what waits to be written; what waits to be hashed is not forgotten by this.
    pub fn close(&self) {
        self.file.close();
    }

    /// Bytes of the file; None while something is left to write.
    pub fn size(&self) -> Option<u64> {
        self.file.look(|end| end.size)
    }

    /// What went wrong, told once; None while something is left to write.
    pub fn failure(&self) -> Option<io::Error> {
        self.file.look(|end| end.failure.take()).flatten()
    }
}

/// Where the file ends.
struct End {
    fd: RawFd,
    size: u64,
    /// Up to where the disk was asked to begin, if it is to be.
    begun: Option<u64>,
    failed: Arc<AtomicBool>,
    failure: Option<io::Error>,
}

impl End {
    fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        let file = borrowed(self.fd)?;
        if let Err(error) = file.write_all_at(piece, self.size) {
            // What was written of the piece goes; if it cannot, it is overwritten, or cut off at the end.
            let _ = file.set_len(self.size);
            return Err(error);
        }
        self.size += piece.len() as u64;
        if let Some(begun) = self.begun {
            if self.size - begun >= WRITE_OUT {
                write_out(&file, begun, self.size);
                self.begun = Some(self.size);
            }
        }
        Ok(())
    }
}

impl Consumer for End {
    type Seen = ();

    fn seen(&self) {}

    fn take(&mut self, piece: &[u8]) {
        if self.failed.load(Ordering::Relaxed) {
            // Or there would be a hole before these bytes.
            return;
        }
        if let Err(error) = self.append(piece) {
            self.failure = Some(error);
            self.failed.store(true, Ordering::Relaxed);
        }
    }

    fn at_once(_size: usize) -> bool {
        false
    }

    fn pool() -> &'static Pool {
        &WRITING
    }
}

/// Does not wait, and promises nothing.
#[cfg(target_os = "linux")]
fn write_out(file: &File, begin: u64, end: u64) {
    use rustix::fs::{Advice, fadvise};

    // Bytes that are not on the disk are not forgotten by this: their writing begins.
    let _ = fadvise(file, begin, NonZeroU64::new(end.saturating_sub(begin)), Advice::DontNeed);
}

/// Likewise; elsewhere there is nothing that asks for no more than this.
#[cfg(not(target_os = "linux"))]
fn write_out(_file: &File, _begin: u64, _end: u64) {}

/// A piece that the file and the hash share.
pub struct Piece<T>(Arc<T>);

impl<T> From<T> for Piece<T> {
    fn from(piece: T) -> Self {
        Self(Arc::new(piece))
    }
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Piece<T> {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::file::scratch;
    use ociserver_core::digest::Algorithm;
    use ociserver_core::hash::digest_of;

    fn settle(appender: &Arc<Appender<Vec<u8>>>) {
        let (sender, receiver) = mpsc::channel();
        appender.when_left(0, move || sender.send(()).expect("the other end is there"));
        receiver.recv_timeout(Duration::from_secs(60)).expect("the other end is there");
    }

    fn begin(file: &File, size: u64, hasher: Hasher) -> (Arc<Appender<Vec<u8>>>, Hashing<Vec<u8>>) {
        let hash = Background::new(hasher);
        (Arc::new(Appender::new(file.as_raw_fd(), size, hash.clone(), true)), hash)
    }

    fn written(appender: &Appender<Vec<u8>>) {
        let (sender, receiver) = mpsc::channel();
        appender.when_written(move || sender.send(()).expect("the other end is there"));
        receiver.recv_timeout(Duration::from_secs(60)).expect("the other end is there");
    }

    #[test]
    fn what_is_appended_is_what_is_hashed() {
        let file = scratch("append");
        file.write_all_at(b"before", 0).expect("room");
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(b"before");
        let (appender, hash) = begin(&file, 6, hasher);
        let mut all = b"before".to_vec();
        for (number, size) in [1, 200_000, 70_000, 2 << 20, 0, 5].into_iter().enumerate() {
            let piece = vec![u8::try_from(number).expect("few"); size];
            all.extend(&piece);
            assert!(appender.add(piece).is_some());
        }
        settle(&appender);
        assert_eq!(appender.size(), Some(all.len() as u64));
        assert!(appender.failure().is_none());
        assert_eq!(hash.seen().digest(), digest_of(Algorithm::Sha256, &all));
        let mut there = vec![0; all.len() + 1];
        assert_eq!(file.read_at(&mut there, 0).expect("readable"), all.len());
        assert_eq!(there[..all.len()], all);
    }

    #[test]
    fn many_at_once_are_all_finished() {
        let files: Vec<_> = (0..40).map(|number| scratch(&format!("many-{number}"))).collect();
        let appenders: Vec<_> = files.iter().map(|file| begin(file, 0, Hasher::new(Algorithm::Sha512))).collect();
        for number in 0..5 {
            for (appender, _) in &appenders {
                appender.add(vec![number; 300_000]);
            }
        }
        let wanted = digest_of(Algorithm::Sha512, &(0..5).flat_map(|number| vec![number; 300_000]).collect::<Vec<_>>());
        for (file, (appender, hash)) in files.iter().zip(&appenders) {
            settle(appender);
            assert_eq!(hash.seen().digest(), wanted);
            assert_eq!(file.metadata().expect("open").len(), 1_500_000);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn after_a_failure_nothing_more_is_taken() {
        const ENOSPC: i32 = 28;
        let full = File::options().write(true).open("/dev/full").expect("a device of Linux");
        let (appender, hash) = begin(&full, 7, Hasher::new(Algorithm::Sha256));
        appender.add(vec![1; 100_000]);
        settle(&appender);
        assert_eq!(hash.length(), 100_000, "one piece too many for the file");
        assert_eq!(appender.add(vec![1; 100_000]), None);
        settle(&appender);
        assert_eq!((appender.size(), hash.length()), (Some(7), 100_000));
        assert_eq!(appender.failure().and_then(|error| error.raw_os_error()), Some(ENOSPC));
        assert!(appender.failure().is_none(), "it is told once");
        assert_eq!(appender.add(vec![1; 100_000]), None, "and not forgotten");
    }

    #[test]
    fn what_is_forgotten_is_not_waited_for() {
        let file = scratch("close");
        let (appender, hash) = begin(&file, 0, Hasher::new(Algorithm::Sha256));
        for _ in 0..64 {
            appender.add(vec![1; 1 << 20]);
        }
        appender.close();
        hash.close();
        assert_eq!(appender.add(vec![1]), None);
        settle(&appender);
        let size = appender.size().expect("nothing is left");
        assert_eq!(size % (1 << 20), 0);
        assert_eq!(file.metadata().expect("open").len(), size);
        assert_eq!((hash.left(), hash.length() % (1 << 20)), (0, 0), "what was forgotten is not counted");
    }

    #[test]
    fn a_hash_goes_on_with_the_next_file() {
        let file = scratch("next");
        let (first, hash) = begin(&file, 0, Hasher::new(Algorithm::Sha256));
        let all: Vec<_> = (0..=255).cycle().take(6 << 20).collect();
        for piece in all[..4 << 20].chunks(1 << 20) {
            first.add(piece.to_vec());
        }
        written(&first);
        assert_eq!(first.size(), Some(4 << 20), "whatever is hashed");
        first.close();
        drop(first);
        assert_eq!(hash.length(), 4 << 20, "what waits to be hashed still does");
        let other = file.try_clone().expect("open");
        let second = Arc::new(Appender::new(other.as_raw_fd(), 4 << 20, hash.clone(), true));
        drop(file);
        second.add(all[4 << 20..].to_vec());
        settle(&second);
        assert_eq!(hash.seen().digest(), digest_of(Algorithm::Sha256, &all));
        assert_eq!(other.metadata().expect("open").len(), 6 << 20);
    }

    #[test]
    fn numbers_that_are_no_files_are_errors() {
        const EBADF: i32 = 9;
        for fd in [-1, i32::MIN, i32::MAX] {
            let hash = Background::new(Hasher::new(Algorithm::Sha256));
            let appender = Arc::new(Appender::new(fd, 0, hash, true));
            appender.add(vec![1]);
            settle(&appender);
            assert_eq!(appender.failure().and_then(|error| error.raw_os_error()), Some(EBADF));
        }
    }
}
