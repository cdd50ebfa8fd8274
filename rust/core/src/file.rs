//! Files and their hashes in one pass: what is written is hashed while it is still in the cache.

use std::fs::File;
use std::io;
use std::mem::{self, ManuallyDrop};
#[cfg(target_os = "linux")]
use std::num::NonZeroU64;
use std::os::fd::{FromRawFd as _, RawFd};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use crate::background;
use crate::hash::Hasher;

/// Bytes that are read, or written and hashed, in one step: small enough for the second-level cache.
const STEP: usize = 128 << 10;

/// Bytes from which hashing and writing go side by side: to wake a thread takes some 20 microseconds, and writing as many
/// bytes four times as long. Starting one for each piece cost 60 to 100 more, of 640.
const SIDE_BY_SIDE: usize = 256 << 10;

/// Appends under way in this process: where there is another, the second core has its work, and a further thread only
/// costs what waking it does.
static APPENDS: AtomicUsize = AtomicUsize::new(0);

/// A descriptor that somebody else owns, as a file; dropping it does not close it.
///
/// # Errors
/// EBADF for a negative one, which is what a closed file's number is set to.
pub(crate) fn borrowed(fd: RawFd) -> io::Result<ManuallyDrop<File>> {
    const EBADF: i32 = 9;
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(EBADF));
    }
    // SAFETY: the file is never dropped, so the descriptor is not closed here, and a descriptor that is not
    // open makes the calls below fail with EBADF. The caller keeps it open and does not reuse the number.
    #[allow(unsafe_code)]
    Ok(ManuallyDrop::new(unsafe { File::from_raw_fd(fd) }))
}

/// Write `data` at `offset` and add it to the hash. Then have the disk begin with what it does not have yet of the bytes
/// from `out` on, if that is given: side by side with hashing there is time for it.
///
/// # Errors
/// The system's. The hash may then have bytes that the file lacks, and is of no more use.
pub fn append<T: AsRef<[u8]> + Send + Sync + 'static>(
    fd: RawFd,
    offset: u64,
    data: &Arc<T>,
    hasher: &mut Hasher,
    out: Option<u64>,
) -> io::Result<()> {
    let file = borrowed(fd)?;
    let alone = APPENDS.fetch_add(1, Ordering::Relaxed) == 0;
    let appended = if alone && (**data).as_ref().len() >= SIDE_BY_SIDE {
        append_beside(&file, offset, data, hasher, out)
    } else {
        append_in_steps(&file, offset, (**data).as_ref(), hasher, out)
    };
    APPENDS.fetch_sub(1, Ordering::Relaxed);
    appended
}

fn append_beside<T: AsRef<[u8]> + Send + Sync + 'static>(
    file: &File,
    offset: u64,
    data: &Arc<T>,
    hasher: &mut Hasher,
    out: Option<u64>,
) -> io::Result<()> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let piece = Arc::clone(data);
    let fresh = Hasher::new(hasher.algorithm());
    let mut taken = mem::replace(hasher, fresh);
    background::elsewhere(move || {
        taken.update((*piece).as_ref());
        // Before the caller goes on, which is to be the one that frees it.
        drop(piece);
        let _ = sender.send(taken);
    });
    let bytes = (**data).as_ref();
    let written = file.write_all_at(bytes, offset);
    if written.is_ok() {
        write_out(file, out, offset + bytes.len() as u64);
    }
    *hasher = receiver.recv().map_err(io::Error::other)?;
    written
}

fn append_in_steps(file: &File, offset: u64, data: &[u8], hasher: &mut Hasher, out: Option<u64>) -> io::Result<()> {
    let mut position = offset;
    for step in data.chunks(STEP) {
        hasher.update(step);
        file.write_all_at(step, position)?;
        position += step.len() as u64;
    }
    write_out(file, out, position);
    Ok(())
}

/// Does not wait, and promises nothing.
#[cfg(target_os = "linux")]
fn write_out(file: &File, begin: Option<u64>, end: u64) {
    use rustix::fs::{Advice, fadvise};

    if let Some(begin) = begin {
        // Bytes that are not on the disk are not forgotten by this: their writing begins.
        let _ = fadvise(file, begin, NonZeroU64::new(end.saturating_sub(begin)), Advice::DontNeed);
    }
}

/// Likewise; elsewhere there is nothing that asks for no more than this.
#[cfg(not(target_os = "linux"))]
fn write_out(_file: &File, _begin: Option<u64>, _end: u64) {}

/// Add `length` bytes from `offset` on to the hash.
///
/// # Errors
/// The system's, and `UnexpectedEof` if the file ends before.
pub fn hash_range(fd: RawFd, offset: u64, length: u64, hasher: &mut Hasher) -> io::Result<()> {
    let file = borrowed(fd)?;
    let mut buffer = vec![0; STEP];
    let mut position = offset;
    let end = offset.saturating_add(length);
    while position < end {
        let wanted = usize::try_from(end - position).map_or(STEP, |left| left.min(STEP));
        let step = &mut buffer[..wanted];
        file.read_exact_at(step, position)?;
        hasher.update(step);
        position += wanted as u64;
    }
    Ok(())
}

/// Read up to `buffer.len()` bytes from `offset` on; fewer only at the end of the file.
///
/// # Errors
/// The system's.
pub fn read(fd: RawFd, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let file = borrowed(fd)?;
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Read from `offset` on what the system holds in memory, without waiting for the disk: fewer bytes than
/// `buffer.len()` where only a part is there. None where nothing is, and where the system cannot tell.
///
/// # Errors
/// The system's.
#[cfg(target_os = "linux")]
pub fn read_cached(fd: RawFd, offset: u64, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    use rustix::io::{Errno, ReadWriteFlags, preadv2};

    let file = borrowed(fd)?;
    match preadv2(&*file, &mut [io::IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT) {
        Ok(read) => Ok(Some(read)),
        Err(Errno::AGAIN | Errno::INTR | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Likewise; only Linux can tell.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn read_cached(_fd: RawFd, _offset: u64, _buffer: &mut [u8]) -> io::Result<Option<usize>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;
    use crate::digest::Algorithm;
    use crate::hash::digest_of;

    fn scratch(name: &str) -> File {
        let path = std::env::temp_dir().join(format!("ociserver-{}-{name}", std::process::id()));
        let file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path).expect("a temporary file");
        std::fs::remove_file(path).expect("its name can go");
        file
    }

    #[test]
    fn what_is_appended_is_what_is_hashed_and_read_back() {
        let file = scratch("append");
        let data: Vec<u8> = (0..SIDE_BY_SIDE + 1077).map(|n| u8::try_from(n % 251).unwrap_or(0)).collect();
        let mut hasher = Hasher::new(Algorithm::Sha256);
        append(file.as_raw_fd(), 0, &Arc::new(data[..1000].to_vec()), &mut hasher, None).expect("room");
        let rest = Arc::new(data[1000..].to_vec());
        append(file.as_raw_fd(), 1000, &rest, &mut hasher, Some(0)).expect("room");
        assert_eq!(Arc::strong_count(&rest), 1, "whoever hashes it has let go of it");
        let expected = digest_of(Algorithm::Sha256, &data);
        assert_eq!(hasher.digest(), expected);

        let mut again = Hasher::new(Algorithm::Sha256);
        hash_range(file.as_raw_fd(), 0, data.len() as u64, &mut again).expect("readable");
        assert_eq!(again.digest(), expected);

        let mut buffer = vec![0; data.len() + 10];
        assert_eq!(read(file.as_raw_fd(), 5, &mut buffer).expect("readable"), data.len() - 5);
        assert_eq!(buffer[..data.len() - 5], data[5..]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_was_just_written_is_in_memory() {
        let file = scratch("cached");
        let data: Vec<u8> = (0..STEP).map(|n| u8::try_from(n % 251).unwrap_or(0)).collect();
        append(file.as_raw_fd(), 0, &Arc::new(data.clone()), &mut Hasher::new(Algorithm::Sha256), None).expect("room");
        let mut buffer = vec![0; STEP];
        // None is what a file system says that cannot tell.
        if let Some(read) = read_cached(file.as_raw_fd(), 7, &mut buffer).expect("readable") {
            assert_eq!(read, STEP - 7);
            assert_eq!(buffer[..read], data[7..]);
        }
        assert!(matches!(read_cached(file.as_raw_fd(), STEP as u64, &mut buffer), Ok(Some(0) | None)));
    }

    #[test]
    fn numbers_that_are_no_files_are_errors() {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        for fd in [-1, i32::MIN, i32::MAX] {
            assert_eq!(
                append(fd, 0, &Arc::new(*b"x"), &mut hasher, None).map_err(|error| error.raw_os_error()),
                Err(Some(9))
            );
            assert_eq!(read(fd, 0, &mut [0]).map_err(|error| error.raw_os_error()), Err(Some(9)));
            #[cfg(target_os = "linux")]
            assert_eq!(read_cached(fd, 0, &mut [0]).map_err(|error| error.raw_os_error()), Err(Some(9)));
            assert_eq!(hash_range(fd, 0, 1, &mut hasher).map_err(|error| error.raw_os_error()), Err(Some(9)));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_however_much_is_written() {
        const ENOSPC: i32 = 28;
        let full = File::options().write(true).open("/dev/full").expect("a device of Linux");
        for size in [1, STEP + 1, SIDE_BY_SIDE, 3 * SIDE_BY_SIDE] {
            let mut hasher = Hasher::new(Algorithm::Sha256);
            let error = append(full.as_raw_fd(), 0, &Arc::new(vec![1; size]), &mut hasher, None).expect_err("no room");
            assert_eq!(error.raw_os_error(), Some(ENOSPC), "{size}");
        }
    }

    #[test]
    fn a_file_that_is_too_short_is_an_error_and_not_a_shorter_hash() {
        let file = scratch("short");
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let error = hash_range(file.as_raw_fd(), 0, 1, &mut hasher).expect_err("an empty file");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
