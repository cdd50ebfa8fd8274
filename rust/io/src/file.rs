//! Reads files by their descriptor.

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd as _, RawFd};
use std::os::unix::fs::FileExt as _;

use ociserver_core::hash::Hasher;

/// Number of bytes that are read and hashed in one step. They fit into the second-level cache.
const STEP: usize = 128 << 10;

/// A file for a descriptor that the caller owns. Dropping it does not close the descriptor.
///
/// # Errors
/// EBADF for a negative descriptor, which is the number of a closed file.
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

/// Add `length` bytes from `offset` to the hash.
///
/// # Errors
/// Those of the system, and `UnexpectedEof` if the file is too short.
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

/// Fill `buffer` from `offset`. Returns fewer bytes only at the end of the file.
///
/// # Errors
/// Those of the system.
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

/// Read from `offset` without waiting for the disk. Returns fewer bytes than `buffer.len()` if only a part is in the
/// page cache. None if no byte is, or if the system cannot tell.
///
/// # Errors
/// Those of the system.
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

/// None: only Linux can tell what is in the page cache.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn read_cached(_fd: RawFd, _offset: u64, _buffer: &mut [u8]) -> io::Result<Option<usize>> {
    Ok(None)
}

#[cfg(test)]
pub(crate) fn scratch(name: &str) -> File {
    let path = std::env::temp_dir().join(format!("ociserver-{}-{name}", std::process::id()));
    let file =
        File::options().read(true).write(true).create(true).truncate(true).open(&path).expect("a temporary file");
    std::fs::remove_file(path).expect("removable");
    file
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;
    use ociserver_core::digest::Algorithm;
    use ociserver_core::hash::digest_of;

    #[test]
    fn bytes_of_a_file_are_hashed_and_read() {
        let file = scratch("read");
        let data: Vec<u8> = (0..2 * STEP + 1077).map(|n| u8::try_from(n % 251).unwrap_or(0)).collect();
        file.write_all_at(&data, 0).expect("writable");
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hash_range(file.as_raw_fd(), 1, data.len() as u64 - 1, &mut hasher).expect("readable");
        assert_eq!(hasher.digest(), digest_of(Algorithm::Sha256, &data[1..]));

        let mut buffer = vec![0; data.len() + 10];
        assert_eq!(read(file.as_raw_fd(), 5, &mut buffer).expect("readable"), data.len() - 5);
        assert_eq!(buffer[..data.len() - 5], data[5..]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn bytes_that_were_just_written_are_cached() {
        let file = scratch("cached");
        let data: Vec<u8> = (0..STEP).map(|n| u8::try_from(n % 251).unwrap_or(0)).collect();
        file.write_all_at(&data, 0).expect("writable");
        let mut buffer = vec![0; STEP];
        // Some file systems cannot tell.
        if let Some(read) = read_cached(file.as_raw_fd(), 7, &mut buffer).expect("readable") {
            assert_eq!(read, STEP - 7);
            assert_eq!(buffer[..read], data[7..]);
        }
        assert!(matches!(read_cached(file.as_raw_fd(), STEP as u64, &mut buffer), Ok(Some(0) | None)));
    }

    #[test]
    fn an_invalid_descriptor_is_an_error() {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        for fd in [-1, i32::MIN, i32::MAX] {
            assert_eq!(read(fd, 0, &mut [0]).map_err(|error| error.raw_os_error()), Err(Some(9)));
            #[cfg(target_os = "linux")]
            assert_eq!(read_cached(fd, 0, &mut [0]).map_err(|error| error.raw_os_error()), Err(Some(9)));
            assert_eq!(hash_range(fd, 0, 1, &mut hasher).map_err(|error| error.raw_os_error()), Err(Some(9)));
        }
    }

    #[test]
    fn a_file_that_is_too_short_is_an_error() {
        let file = scratch("short");
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let error = hash_range(file.as_raw_fd(), 0, 1, &mut hasher).expect_err("an empty file");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
