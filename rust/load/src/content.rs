//! Random and distinct bytes for uploads, which are cheap to generate.
//!
//! A content repeats one period of random bytes. The first bytes of each block are the stamp of the content and the
//! number of the block, so no two blocks are equal, in one content or in different ones.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;

use ociserver_core::digest::{Algorithm, Digest};
use ociserver_core::hash::Hasher;

/// Size of a block in bytes. Storage that deduplicates does not look for smaller blocks.
pub const BLOCK: u64 = 4096;

/// Number of random bytes that a content repeats. They fit into the second-level cache.
const PERIOD: u64 = 512 << 10;

/// Part of a content: `length` bytes from `offset`. A byte depends only on the stamp and its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Which content. In one process the same stamp always gives the same bytes.
    pub stamp: u64,
    /// Where the part starts, in bytes.
    pub offset: u64,
    /// Size of the part in bytes.
    pub length: u64,
}

impl Content {
    /// The SHA-256 digest of the part.
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut pieces = Pieces::new(*self);
        while let Some(piece) = pieces.next() {
            hasher.update(piece);
        }
        hasher.digest()
    }

    /// The bytes of the part.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut pieces = Pieces::new(*self);
        while let Some(piece) = pieces.next() {
            bytes.extend_from_slice(piece);
        }
        bytes
    }
}

/// The pieces of a part, in its own buffer. It is not an `Iterator`, because a piece borrows the buffer.
pub(crate) struct Pieces {
    content: Content,
    position: u64,
    buffer: Vec<u8>,
}

impl Pieces {
    pub(crate) fn new(content: Content) -> Self {
        let mut pieces = Self { content, position: 0, buffer: Vec::new() };
        pieces.restart(content);
        pieces
    }

    /// Continue with another part, in the same buffer.
    pub(crate) fn restart(&mut self, content: Content) {
        self.content = content;
        self.position = content.offset;
        // A content of a few blocks needs only that many bytes of the period.
        let needed = content.offset.saturating_add(content.length).div_ceil(BLOCK).saturating_mul(BLOCK);
        let size = as_size(needed.min(PERIOD));
        if self.buffer.len() < size {
            self.buffer = period()[..size].to_vec();
        }
    }

    pub(crate) fn next(&mut self) -> Option<&[u8]> {
        let end = self.content.offset + self.content.length;
        if self.position >= end {
            return None;
        }
        let start = self.position / PERIOD * PERIOD;
        let stop = end.min(start + PERIOD);
        for (block, bytes) in (start / BLOCK..).zip(self.buffer[..as_size(stop - start)].chunks_mut(as_size(BLOCK))) {
            // The last block may be shorter than the stamp.
            let mut stamp = [0; 16];
            stamp[..8].copy_from_slice(&self.content.stamp.to_le_bytes());
            stamp[8..].copy_from_slice(&block.to_le_bytes());
            let length = bytes.len().min(stamp.len());
            bytes[..length].copy_from_slice(&stamp[..length]);
        }
        let piece = as_size(self.position - start)..as_size(stop - start);
        self.position = stop;
        Some(&self.buffer[piece])
    }
}

/// A number of bytes that is not larger than a period.
fn as_size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Random bytes. They differ in each process, so the blobs of an earlier run are not uploaded again.
fn period() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        // SipHash of a counter, with the random key of the hash tables of this process.
        let hash = RandomState::new();
        (0..PERIOD / 8).flat_map(|counter| hash.hash_one(counter).to_le_bytes()).collect()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use ociserver_core::hash::digest_of;

    use super::*;

    fn content(stamp: u64, offset: u64, length: u64) -> Content {
        Content { stamp, offset, length }
    }

    #[test]
    fn no_two_blocks_are_equal() {
        let mut seen = HashSet::new();
        for stamp in 0..3 {
            for block in content(stamp, 0, 3 * PERIOD).bytes().chunks(as_size(BLOCK)) {
                assert!(seen.insert(block.to_vec()));
            }
        }
        assert_eq!(seen.len() as u64, 3 * 3 * PERIOD / BLOCK);
    }

    #[test]
    fn parts_are_parts_of_the_whole() {
        let length = 2 * PERIOD + 5000;
        let whole = content(7, 0, length).bytes();
        assert_eq!(whole.len() as u64, length);
        for (offset, size) in [(0, 1), (1, 4096), (4090, 20), (PERIOD - 3, 6), (PERIOD + 17, PERIOD), (length - 1, 1)] {
            let part = content(7, offset, size).bytes();
            assert_eq!(part, whole[as_size(offset)..as_size(offset + size)], "{offset} {size}");
        }
        assert_eq!(content(7, 5, 0).bytes(), b"");
    }

    #[test]
    fn the_digest_is_that_of_the_bytes() {
        for length in [0, 10, 4096, PERIOD + 1] {
            let content = content(1, 0, length);
            assert_eq!(content.digest(), digest_of(Algorithm::Sha256, &content.bytes()));
        }
    }

    #[test]
    fn a_buffer_serves_one_part_after_another() {
        let mut pieces = Pieces::new(content(1, 0, 100));
        while pieces.next().is_some() {}
        let other = content(2, 8192, PERIOD);
        pieces.restart(other);
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.next() {
            bytes.extend_from_slice(piece);
        }
        assert_eq!(bytes, other.bytes());
    }
}
