//! Names of repositories and tags (distribution-spec: pulling manifests).

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::limits::{MAX_REPOSITORY_LENGTH, MAX_TAG_LENGTH};
use crate::text::{MAX_ECHO, quote};

/// A repository name: elements `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, joined by `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository(Box<str>);

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Box<str>);

impl Repository {
    /// Check the bytes of a repository name.
    ///
    /// # Errors
    /// [`Error::InvalidRepositoryName`] if the grammar does not match, [`Error::RepositoryNameTooLong`]
    /// above [`MAX_REPOSITORY_LENGTH`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if !matches_repository(bytes) {
            return Err(Error::InvalidRepositoryName);
        }
        if bytes.len() > MAX_REPOSITORY_LENGTH {
            return Err(Error::RepositoryNameTooLong);
        }
        ascii(bytes).map(Self).ok_or(Error::InvalidRepositoryName)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tag {
    /// Check the bytes of a tag.
    ///
    /// # Errors
    /// [`Error::InvalidTag`], which quotes the tag.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let invalid = || Error::InvalidTag(quote(bytes, MAX_ECHO));
        if !matches_tag(bytes) {
            return Err(invalid());
        }
        ascii(bytes).map(Self).ok_or_else(invalid)
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Convert bytes that match a grammar, and so are ASCII.
fn ascii(bytes: &[u8]) -> Option<Box<str>> {
    std::str::from_utf8(bytes).ok().map(Box::from)
}

/// Whether the bytes match the grammar of repository names. The length does not matter.
pub fn matches_repository(bytes: &[u8]) -> bool {
    #[derive(PartialEq, Clone, Copy)]
    enum After {
        /// The start of an element: no separator may follow.
        Slash,
        Alphanumeric,
        Dot,
        Underscore,
        TwoUnderscores,
        Dashes,
    }
    let mut after = After::Slash;
    for byte in bytes {
        after = match (byte, after) {
            (b'a'..=b'z' | b'0'..=b'9', _) => After::Alphanumeric,
            (b'/', After::Alphanumeric) => After::Slash,
            (b'.', After::Alphanumeric) => After::Dot,
            (b'_', After::Alphanumeric) => After::Underscore,
            (b'_', After::Underscore) => After::TwoUnderscores,
            (b'-', After::Alphanumeric | After::Dashes) => After::Dashes,
            _ => return false,
        };
    }
    after == After::Alphanumeric
}

fn matches_tag(bytes: &[u8]) -> bool {
    let Some((first, rest)) = bytes.split_first() else {
        return false;
    };
    bytes.len() <= MAX_TAG_LENGTH
        && is_word(*first)
        && rest.iter().all(|&byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

/// `\w`, in ASCII.
pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

impl FromStr for Repository {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::from_bytes(text.as_bytes())
    }
}

impl FromStr for Tag {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::from_bytes(text.as_bytes())
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories() {
        for valid in [
            "a",
            "foo",
            "00123456789abcdefghijklmnopqrstuvwxyz",
            "a-b---c",
            "a.b.c9",
            "a_b",
            "a__b",
            "foo/bar/baz",
            "a/b.c/d_e/f-g",
        ] {
            assert_eq!(valid.parse::<Repository>().map(|r| r.to_string()), Ok(valid.to_owned()));
        }
        for invalid in [
            "", "/", "a/", "/a", "a//b", "a..b", "a.", ".a", "a-", "-a", "_a", "a_", "a___b", "a._b", "a_.b", "a-_b",
            "a.-b", "a/-b", "A", "aB", "café", "foo@bar", "foo:bar", "foo\n", "foo\0", " foo", "a b",
        ] {
            assert_eq!(invalid.parse::<Repository>(), Err(Error::InvalidRepositoryName), "{invalid:?}");
        }
    }

    #[test]
    fn repository_length() {
        assert!("a".repeat(255).parse::<Repository>().is_ok());
        assert_eq!("a".repeat(256).parse::<Repository>(), Err(Error::RepositoryNameTooLong));
        // A malformed name is not reported as too long.
        assert_eq!("A".repeat(256).parse::<Repository>(), Err(Error::InvalidRepositoryName));
    }

    #[test]
    fn tags() {
        let longest = "a".repeat(128);
        for valid in ["hello", "v1.2.3-alpha.0", "_", "_x", "___", "ABC_D", "foo....___---", "0", &longest] {
            assert_eq!(valid.parse::<Tag>().map(|t| t.to_string()), Ok(valid.to_owned()));
        }
        let too_long = "a".repeat(129);
        for invalid in ["", ".a", "-a", "café", "foo@bar", "v4.3+something", "a/b", "a:b", "latest\n", &too_long] {
            assert!(invalid.parse::<Tag>().is_err(), "{invalid:?}");
        }
    }

    #[test]
    fn invalid_utf8_is_invalid() {
        assert!(Repository::from_bytes(b"a\xff").is_err());
        assert_eq!(Tag::from_bytes(b"a\xff"), Err(Error::InvalidTag(r#""a\xff""#.to_owned())));
    }
}
