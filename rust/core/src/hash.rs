//! Streaming SHA-2. The state of a hash can be saved, and resumed in another process.

use sha2::digest::Output;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Result};

/// First byte of a saved state. Increase it when the layout changes, so that `resume` refuses the old layout.
const FORMAT: u8 = 1;

/// Version, algorithm, length.
const HEADER_SIZE: usize = 1 + 1 + 8;

/// Maximum length in a saved state. It is far above any real content, and the number of bits still fits into 64 bits.
const MAX_LENGTH: u64 = 1 << 60;

#[derive(Clone)]
enum State {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

/// A hash in progress.
#[derive(Clone)]
pub struct Hasher {
    state: State,
    length: u64,
}

impl Hasher {
    /// Start a hash.
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha384 => State::Sha384(Sha384::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
        };
        Self { state, length: 0 }
    }

    /// The algorithm of the hash.
    pub fn algorithm(&self) -> Algorithm {
        match self.state {
            State::Sha256(_) => Algorithm::Sha256,
            State::Sha384(_) => Algorithm::Sha384,
            State::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// Number of bytes hashed so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Add bytes.
    pub fn update(&mut self, data: &[u8]) {
        match &mut self.state {
            State::Sha256(hash) => hash.update(data),
            State::Sha384(hash) => hash.update(data),
            State::Sha512(hash) => hash.update(data),
        }
        self.length += data.len() as u64;
    }

    /// The digest of the bytes so far. More bytes may follow.
    pub fn digest(&self) -> Digest {
        let algorithm = self.algorithm();
        match self.state.clone() {
            State::Sha256(hash) => Digest::from_hash(algorithm, &hash.finalize()),
            State::Sha384(hash) => Digest::from_hash(algorithm, &hash.finalize()),
            State::Sha512(hash) => Digest::from_hash(algorithm, &hash.finalize()),
        }
    }

    /// Save the state, for [`Hasher::resume`].
    ///
    /// Layout: version, algorithm, length (8 bytes, little-endian), chaining value, and the bytes of the last,
    /// incomplete block. Values that follow from the length are not stored, so that no two parts can disagree.
    pub fn save(&self) -> Vec<u8> {
        let mut saved = vec![FORMAT, self.algorithm() as u8];
        saved.extend(self.length.to_le_bytes());
        match &self.state {
            State::Sha256(hash) => Layout::SHA256.pack(&hash.serialize(), self.length, &mut saved),
            State::Sha384(hash) => Layout::SHA512.pack(&hash.serialize(), self.length, &mut saved),
            State::Sha512(hash) => Layout::SHA512.pack(&hash.serialize(), self.length, &mut saved),
        }
        saved
    }

    /// Continue from a saved state.
    ///
    /// # Errors
    /// [`Error::InvalidHashState`] if it has another version, an unknown algorithm or a wrong length.
    pub fn resume(saved: &[u8]) -> Result<Self> {
        let (header, body) = saved.split_at_checked(HEADER_SIZE).ok_or(Error::InvalidHashState)?;
        let [FORMAT, algorithm, length @ ..] = header else {
            return Err(Error::InvalidHashState);
        };
        let length = u64::from_le_bytes(length.try_into().map_err(|_| Error::InvalidHashState)?);
        let algorithm = Algorithm::ALL.into_iter().find(|known| *known as u8 == *algorithm);
        let state = match algorithm.ok_or(Error::InvalidHashState)? {
            Algorithm::Sha256 => State::Sha256(Layout::SHA256.unpack(body, length)?),
            Algorithm::Sha384 => State::Sha384(Layout::SHA512.unpack(body, length)?),
            Algorithm::Sha512 => State::Sha512(Layout::SHA512.unpack(body, length)?),
        };
        Ok(Self { state, length })
    }
}

/// The layout of the serialized state in `sha2`: chaining value, number of blocks, number of bytes in the buffer,
/// buffer.
struct Layout {
    chaining: usize,
    count: usize,
    block: usize,
}

impl Layout {
    const SHA256: Self = Self { chaining: 32, count: 8, block: 64 };
    const SHA512: Self = Self { chaining: 64, count: 16, block: 128 };

    fn pack(&self, serialized: &[u8], length: u64, saved: &mut Vec<u8>) {
        let buffer = self.chaining + self.count + 1;
        saved.extend(&serialized[..self.chaining]);
        saved.extend(&serialized[buffer..buffer + self.buffered(length)]);
    }

    fn unpack<H: SerializableState>(&self, body: &[u8], length: u64) -> Result<H> {
        let buffered = self.buffered(length);
        if length > MAX_LENGTH || body.len() != self.chaining + buffered {
            return Err(Error::InvalidHashState);
        }
        let (chaining, rest) = body.split_at(self.chaining);
        let blocks = u128::from(length / self.block as u64).to_le_bytes();
        let mut serialized = SerializedState::<H>::default();
        let (target, tail) = serialized.split_at_mut(self.chaining);
        target.copy_from_slice(chaining);
        let (count, tail) = tail.split_at_mut(self.count);
        count.copy_from_slice(&blocks[..self.count]);
        // A block has at most 128 bytes, so the remainder fits into a byte.
        tail[0] = u8::try_from(buffered).map_err(|_| Error::InvalidHashState)?;
        tail[1..=buffered].copy_from_slice(rest);
        H::deserialize(&serialized).map_err(|_| Error::InvalidHashState)
    }

    fn buffered(&self, length: u64) -> usize {
        usize::try_from(length % self.block as u64).unwrap_or_default()
    }
}

/// The digest of a whole content.
pub fn digest_of(algorithm: Algorithm, data: &[u8]) -> Digest {
    fn one_shot<H: sha2::Digest>(data: &[u8]) -> Output<H> {
        H::digest(data)
    }
    match algorithm {
        Algorithm::Sha256 => Digest::from_hash(algorithm, &one_shot::<Sha256>(data)),
        Algorithm::Sha384 => Digest::from_hash(algorithm, &one_shot::<Sha384>(data)),
        Algorithm::Sha512 => Digest::from_hash(algorithm, &one_shot::<Sha512>(data)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-2, appendix: the digests of "abc".
    #[test]
    fn known_digests() {
        for (algorithm, want) in [
            (Algorithm::Sha256, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                Algorithm::Sha384,
                "sha384:cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed\
                 8086072ba1e7cc2358baeca134c825a7",
            ),
            (
                Algorithm::Sha512,
                "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                 2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
        ] {
            assert_eq!(digest_of(algorithm, b"abc").as_str(), want);
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"a");
            hasher.update(b"bc");
            assert_eq!(hasher.digest().as_str(), want);
            assert_eq!(hasher.digest().as_str(), want, "`digest` must not end the hash");
            assert_eq!((hasher.algorithm(), hasher.length()), (algorithm, 3));
        }
    }

    #[test]
    fn resumes_at_every_offset_of_three_blocks() {
        let data: Vec<u8> = (0..=255).cycle().take(3 * 128).collect();
        for algorithm in Algorithm::ALL {
            let want = digest_of(algorithm, &data);
            for split in 0..=data.len() {
                let mut first = Hasher::new(algorithm);
                first.update(&data[..split]);
                let mut second = Hasher::resume(&first.save()).expect("a saved state");
                assert_eq!((second.algorithm(), second.length()), (algorithm, split as u64));
                second.update(&data[split..]);
                assert_eq!(second.digest(), want, "{algorithm} at {split}");
            }
        }
    }

    #[test]
    fn counts_bits_of_the_longest_content() {
        let state = |length: u64| [&[FORMAT, 0][..], &length.to_le_bytes(), &[0; 32]].concat();
        let mut longest = Hasher::resume(&state(MAX_LENGTH)).expect("allowed");
        longest.update(b"and a little more");
        assert!(!longest.digest().is_of_empty_content());
        assert_eq!(Hasher::resume(&state(MAX_LENGTH + 64)).err(), Some(Error::InvalidHashState));
    }

    #[test]
    fn refuses_other_bytes() {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(b"hello");
        let saved = hasher.save();
        assert_eq!(saved.len(), HEADER_SIZE + 32 + 5);
        let with = |index: usize, byte: u8| {
            let mut changed = saved.clone();
            changed[index] = byte;
            changed
        };
        for (what, state) in [
            ("empty", Vec::new()),
            ("header only", saved[..HEADER_SIZE].to_vec()),
            ("cut", saved[..saved.len() - 1].to_vec()),
            ("longer", [&saved[..], b"x"].concat()),
            ("version", with(0, 2)),
            ("algorithm", with(1, 3)),
            ("another algorithm", with(1, Algorithm::Sha512 as u8)),
            ("length", with(2, 6)),
            ("absurd length", with(9, 0xff)),
        ] {
            assert_eq!(Hasher::resume(&state).err(), Some(Error::InvalidHashState), "{what}");
        }
    }
}
