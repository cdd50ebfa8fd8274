//! Bytes for uploads that are random, distinct, and cost next to nothing to make.
//!
//! One piece of random bytes is repeated, and the first bytes of each block are stamped with the number of the
//! content and of the block: no two blocks are the same, in one content or in two.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;

use ociserver_core::digest::{Algorithm, Digest};
use ociserver_core::hash::Hasher;

/// Bytes of a block: as small as any store looks for repeated contents.
pub const BLOCK: u64 = 4096;

/// Random bytes that are repeated: they fit the second-level cache, where they are sent from.
const PERIOD: u64 = 512 << 10;

/// Part of a content: `length` bytes from `offset`. What it holds follows from `stamp` and the position alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Which content; the same one has the same bytes for as long as the process lives.
    pub stamp: u64,
    /// Where the part begins.
    pub offset: u64,
    /// Bytes of the part.
    pub length: u64,
}

impl Content {
    /// SHA-256 of the part.
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut pieces = Pieces::new(*self);
        while let Some(piece) = pieces.next() {
            hasher.update(piece);
        }
        hasher.digest()
    }

    /// The part as bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut pieces = Pieces::new(*self);
        while let Some(piece) = pieces.next() {
            bytes.extend_from_slice(piece);
        }
        bytes
    }
}

/// A part, piece by piece, in a buffer of its own. (No `Iterator`: a piece is lent until the next.)
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

    /// Go on with another part, in the same buffer.
    pub(crate) fn restart(&mut self, content: Content) {
        self.content = content;
        self.position = content.offset;
        // A content of a few blocks needs no more of the period than that.
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
            // The last block may be cut short; every other one is stamped whole.
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

/// A number of bytes within a period.
fn as_size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Random bytes, others in each process: what an earlier run left in a registry is none of them.
fn period() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        // SipHash of a counter, with the random key that every process's hash tables have.
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
    fn no_block_comes_twice() {
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
