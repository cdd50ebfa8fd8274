//! Digests: `algorithm:hex` (image-spec: descriptor, digests).

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::text::{MAX_ECHO, quote};

/// A hash function for digests. The spec registers sha256 and sha512.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// 32 bytes. Almost all clients use it.
    Sha256,
    /// 48 bytes. The spec does not register it, but Go accepts it.
    Sha384,
    /// 64 bytes.
    Sha512,
}

impl Algorithm {
    /// All of them, shortest first.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// The name, which is the part of a digest before the colon.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// Size of a hash in bytes.
    pub const fn size(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Find an algorithm by its name.
    ///
    /// # Errors
    /// [`Error::UnknownAlgorithm`]. Its message lists the known algorithms.
    pub fn from_bytes(name: &[u8]) -> Result<Self> {
        match name {
            b"sha256" => Ok(Self::Sha256),
            b"sha384" => Ok(Self::Sha384),
            b"sha512" => Ok(Self::Sha512),
            _ => Err(Error::UnknownAlgorithm(quote(name, MAX_ECHO))),
        }
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::from_bytes(name.as_bytes())
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A digest of a known [`Algorithm`], in lower-case hex of the right length.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    text: Box<str>,
}

impl Digest {
    /// Check the bytes of a digest.
    ///
    /// # Errors
    /// [`Error::BadlyFormedDigest`] for an unknown algorithm, upper-case hex or a wrong length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let algorithm = match bytes {
            [b's', b'h', b'a', b'2', b'5', b'6', b':', ..] => Algorithm::Sha256,
            [b's', b'h', b'a', b'3', b'8', b'4', b':', ..] => Algorithm::Sha384,
            [b's', b'h', b'a', b'5', b'1', b'2', b':', ..] => Algorithm::Sha512,
            _ => return Err(Error::BadlyFormedDigest),
        };
        // All three names are six letters long.
        let hex = &bytes["sha256:".len()..];
        // The loop does not stop early, so that the compiler can check many digits at once.
        let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if hex.len() != 2 * algorithm.size() || !hex.iter().fold(true, |so_far, byte| so_far & is_hex(byte)) {
            return Err(Error::BadlyFormedDigest);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Error::BadlyFormedDigest)?;
        Ok(Self { algorithm, text: text.into() })
    }

    /// The digest of a finished hash. `hash` has [`Algorithm::size`] bytes.
    pub(crate) fn from_hash(algorithm: Algorithm, hash: &[u8]) -> Self {
        const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
        let mut text = String::with_capacity(algorithm.name().len() + 1 + 2 * hash.len());
        text.push_str(algorithm.name());
        text.push(':');
        for byte in hash {
            text.push(HEX[usize::from(byte >> 4)]);
            text.push(HEX[usize::from(byte & 15)]);
        }
        Self { algorithm, text: text.into() }
    }

    /// The algorithm, which is the part before the colon.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is the digest of empty content.
    pub fn is_of_empty_content(&self) -> bool {
        let hex = match self.algorithm {
            Algorithm::Sha256 => "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            Algorithm::Sha384 => {
                "38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b"
            }
            Algorithm::Sha512 => concat!(
                "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce",
                "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
            ),
        };
        self.text.ends_with(hex)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::from_bytes(text.as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash;

    #[test]
    fn accepts_the_three_algorithms() {
        for algorithm in Algorithm::ALL {
            let text = format!("{algorithm}:{}", "0f".repeat(algorithm.size()));
            let digest: Digest = text.parse().expect("valid");
            assert_eq!((digest.algorithm(), digest.as_str()), (algorithm, &text[..]));
            assert_eq!(Algorithm::from_str(algorithm.name()), Ok(algorithm));
        }
    }

    #[test]
    fn refuses_everything_else() {
        let hex = "a".repeat(64);
        for invalid in [
            String::new(),
            "sha256".to_owned(),
            "sha256:".to_owned(),
            hex.clone(),
            format!(":{hex}"),
            format!("sha256:{}", &hex[1..]),
            format!("sha256:{hex}a"),
            format!("sha256:{}", hex.to_uppercase()),
            format!("SHA256:{hex}"),
            format!("sha512:{hex}"),
            format!("sha256:{hex}\n"),
            format!("sha256: {}", &hex[1..]),
            format!("sha256:{}g", &hex[1..]),
            format!("sha256:{}é", &hex[2..]),
            "md5:d41d8cd98f00b204e9800998ecf8427e".to_owned(),
            "sha256:baddigeststring".to_owned(),
        ] {
            assert_eq!(invalid.parse::<Digest>(), Err(Error::BadlyFormedDigest), "{invalid:?}");
        }
    }

    #[test]
    fn names_the_algorithms() {
        let error = Algorithm::from_str("md5").expect_err("unknown").to_string();
        assert_eq!(error, "unknown digest algorithm \"md5\": it is not one of sha256, sha384, sha512");
    }

    #[test]
    fn knows_the_digest_of_empty_content() {
        for algorithm in Algorithm::ALL {
            assert!(hash::digest_of(algorithm, b"").is_of_empty_content());
            assert!(!hash::digest_of(algorithm, b"x").is_of_empty_content());
        }
    }
}
