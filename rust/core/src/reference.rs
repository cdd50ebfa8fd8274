//! References to images in any registry, with the rules of Go's `ociref`.

use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Result};
use crate::limits::{MAX_REPOSITORY_LENGTH, MAX_TAG_LENGTH};
use crate::name::{is_word, matches_repository};
use crate::text::quote;

/// Maximum number of characters of a reference that a message quotes. A user typed it, and expects to see it whole.
const MAX_REFERENCE_ECHO: usize = 512;

/// The parts of `[host/]repository[:tag][@digest]`. A missing part is "".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference<'a> {
    /// `host` or `host:port`.
    pub host: &'a str,
    /// The repository.
    pub repository: &'a str,
    /// The tag. If there is a digest too, the digest counts.
    pub tag: &'a str,
    /// The digest.
    pub digest: &'a str,
}

impl<'a> Reference<'a> {
    /// Split a reference that must name its host (Go: `ociref.Parse`).
    ///
    /// # Errors
    /// [`Error::InvalidReference`] as in [`Reference::parse_relative`], or if there is no host.
    pub fn parse(text: &'a str) -> Result<Self> {
        let reference = Self::parse_relative(text)?;
        if reference.host.is_empty() {
            return Err(Error::InvalidReference("reference does not contain host name".to_owned()));
        }
        Ok(reference)
    }

    /// Split a reference with or without a host (Go: `ociref.ParseRelative`).
    ///
    /// # Errors
    /// [`Error::InvalidReference`] if the reference or a part of it is malformed.
    pub fn parse_relative(text: &'a str) -> Result<Self> {
        let reference = split(text).ok_or_else(|| invalid(format!("invalid reference syntax ({})", quoted(text))))?;
        // Go checks the parts in this order.
        if !reference.digest.is_empty() {
            check_digest(reference.digest)?;
        }
        if !reference.tag.is_empty() {
            check_tag(reference.tag)?;
        }
        if reference.repository.len() > MAX_REPOSITORY_LENGTH {
            return Err(invalid("repository name too long".to_owned()));
        }
        Ok(reference)
    }
}

fn invalid(message: String) -> Error {
    Error::InvalidReference(message)
}

/// Quote a text for a message. It hides the part before an `@`, unless a digest follows: the text may be a URL with a
/// password.
fn quoted(text: &str) -> String {
    let (named, digest) = match text.rfind('@') {
        Some(at) if is_known_digest(&text[at + 1..]) => text.split_at(at),
        _ => (text, ""),
    };
    match named.rsplit_once('@') {
        Some((_, rest)) => quote(format!("***@{rest}{digest}").as_bytes(), MAX_REFERENCE_ECHO),
        None => quote(text.as_bytes(), MAX_REFERENCE_ECHO),
    }
}

/// Whether the text starts like a digest of a known algorithm. Other digests have the same form as `host:port`.
fn is_known_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, _)| Algorithm::from_bytes(algorithm.as_bytes()).is_ok())
}

/// Split off the host: the first element, if it is a valid host and the rest is a reference.
fn split(text: &str) -> Option<Reference<'_>> {
    if let Some((host, rest)) = text.split_once('/') {
        if is_host(host) {
            if let Some(reference) = split_rest(rest) {
                return Some(Reference { host, ..reference });
            }
        }
    }
    split_rest(text)
}

/// Split `repository[:tag][@digest]`. It does not check the tag and the digest.
fn split_rest(text: &str) -> Option<Reference<'_>> {
    let (named, digest) = match text.split_once('@') {
        // Go's pattern has `.+` here, which does not match a line break.
        Some((_, digest)) if digest.is_empty() || digest.contains('\n') => return None,
        Some((named, digest)) => (named, digest),
        None => (text, ""),
    };
    let (repository, tag) = match named.split_once(':') {
        Some((_, "")) => return None,
        Some((repository, tag)) => (repository, tag),
        None => (named, ""),
    };
    matches_repository(repository.as_bytes()).then_some(Reference { host: "", repository, tag, digest })
}

/// Check a digest, with the three errors of go-digest.
fn check_digest(digest: &str) -> Result<()> {
    let why = match digest.split_once(':') {
        Some((algorithm, hex)) if !algorithm.is_empty() && !hex.is_empty() => {
            match Algorithm::from_bytes(algorithm.as_bytes()) {
                Ok(known) if hex.len() != 2 * known.size() => "invalid checksum digest length",
                Ok(_) if Digest::from_bytes(digest.as_bytes()).is_ok() => return Ok(()),
                Err(_) if is_other_digest(algorithm, hex) => "unsupported digest algorithm",
                _ => "invalid checksum digest format",
            }
        }
        _ => "invalid checksum digest format",
    };
    Err(invalid(format!("invalid digest {}: {why}", quoted(digest))))
}

/// Whether it matches the grammar of the image-spec: `[a-z0-9]+([.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+`.
fn is_other_digest(algorithm: &str, encoded: &str) -> bool {
    let component = |part: &str| !part.is_empty() && part.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9'));
    algorithm.split(['.', '+', '_', '-']).all(component)
        && encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'=' | b'_' | b'-'))
}

fn check_tag(tag: &str) -> Result<()> {
    if tag.len() > MAX_TAG_LENGTH {
        return Err(invalid("tag too long".to_owned()));
    }
    if !tag.bytes().next().is_some_and(is_word) {
        return Err(invalid("tag does not start with a letter, a digit or _".to_owned()));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    match tag.chars().find(|&c| !allowed(c)) {
        Some(c) => Err(invalid(format!("tag contains invalid character {c:?}"))),
        None => Ok(()),
    }
}

/// Whether the text is a valid host of a reference (Go: `ociref.IsValidHost`).
///
/// That is `name.with.dots[:port]`, `[ipv6][:port]` without a zone, or `name:port`. A bare `name` is not a host,
/// because it could be the first element of a repository.
pub fn is_host(text: &str) -> bool {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else {
            return false;
        };
        return !address.is_empty()
            && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':')
            && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    name.split('.').all(is_domain_component) && port.map_or(name.contains('.'), is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?`.
fn is_domain_component(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (&str, &str, &str, &str) {
        let reference = Reference::parse_relative(text).expect(text);
        (reference.host, reference.repository, reference.tag, reference.digest)
    }

    fn why(text: &str) -> String {
        Reference::parse_relative(text).expect_err(text).to_string()
    }

    #[test]
    fn splits() {
        let sha256 = format!("sha256:{}", "f".repeat(64));
        let sha512 = format!("sha512:{}", "f".repeat(128));
        for (text, want) in [
            ("test_com", ("", "test_com", "", "")),
            ("test.com:tag", ("", "test.com", "tag", "")),
            ("test.com:5000", ("", "test.com", "5000", "")),
            ("test.com/repo:tag", ("test.com", "repo", "tag", "")),
            ("test:5000/repo", ("test:5000", "repo", "", "")),
            ("test:5000/repo:tag", ("test:5000", "repo", "tag", "")),
            ("localhost/x", ("", "localhost/x", "", "")),
            ("a/b", ("", "a/b", "", "")),
            ("foo.com", ("", "foo.com", "", "")),
            ("lowercase:Uppercase", ("", "lowercase", "Uppercase", "")),
            ("sub-dom1.foo.com/bar/baz/quux:some-long-tag", ("sub-dom1.foo.com", "bar/baz/quux", "some-long-tag", "")),
            ("xn--n3h.com/myimage:xn--n3h.com", ("xn--n3h.com", "myimage", "xn--n3h.com", "")),
            ("foo_bar.com:8080", ("", "foo_bar.com", "8080", "")),
            ("foo/foo_bar.com:8080", ("", "foo/foo_bar.com", "8080", "")),
            ("192.168.1.1", ("", "192.168.1.1", "", "")),
            ("192.168.1.1:5000/repo:5050", ("192.168.1.1:5000", "repo", "5050", "")),
            ("[2001:db8::1]/repo", ("[2001:db8::1]", "repo", "", "")),
            ("[::1]:5000/repo", ("[::1]:5000", "repo", "", "")),
            // It is a host only if a valid reference follows; otherwise it is the first element.
            ("foo.com/a__b", ("foo.com", "a__b", "", "")),
        ] {
            assert_eq!(parts(text), want, "{text}");
        }
        for (prefix, digest) in [("test:5000/repo", &sha256), ("test:5000/repo:tag", &sha512)] {
            let text = format!("{prefix}@{digest}");
            assert_eq!(parts(&text).3, digest);
        }
    }

    #[test]
    fn lengths() {
        let longest = "a/".repeat(127) + "a";
        assert_eq!(parts(&format!("{longest}:tag")).1, longest);
        assert_eq!(why(&("a/".repeat(128) + "a:tag")), "repository name too long");
        assert_eq!(parts(&format!("a:{}", "t".repeat(128))).2.len(), 128);
        assert_eq!(why(&format!("a:{}", "t".repeat(129))), "tag too long");
    }

    #[test]
    fn syntax_errors_quote_the_reference() {
        for text in [
            "",
            ":justtag",
            "repo:",
            "@sha256:ffff",
            "Uppercase:tag",
            "aa/asdf$$^/aa",
            "[2001:db8::1]",
            "[2001:db8::1]:5000",
            "[fe80::1%eth0]:5000/repo",
            "café",
            "foo.com/Bar",
        ] {
            assert_eq!(why(text), format!("invalid reference syntax (\"{text}\")"));
        }
        assert_eq!(why("repo@"), r#"invalid reference syntax ("***@")"#);
        assert_eq!(why("a\n"), r#"invalid reference syntax ("a\n")"#);
        assert_eq!(why("a@b\nc"), r#"invalid reference syntax ("***@b\nc")"#);
    }

    #[test]
    fn a_password_is_not_repeated() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for text in [
            "https://user:secret@host/a",
            "user:secret@host:5000/a",
            "user:sec@ret@host/a",
            "user:secret@host/a@sha256:0",
            "user:secret@host/A/..@x",
        ] {
            assert!(!why(text).contains("sec"), "{text}: {}", why(text));
        }
        for text in [format!("https://user:secret@host/a@{digest}"), format!("https://user:secret@{digest}")] {
            assert!(!why(&text).contains("sec"), "{text}: {}", why(&text));
        }
        assert_eq!(why("user:secret@host/a"), r#"invalid digest "host/a": invalid checksum digest format"#);
        assert_eq!(why("Http//user:secret@host/a"), r#"invalid reference syntax ("***@host/a")"#);
        assert_eq!(why(&format!("A@{digest}")), format!(r#"invalid reference syntax ("A@{digest}")"#));
    }

    #[test]
    fn errors_of_parts() {
        let hex = "f".repeat(64);
        for (text, want) in [
            (
                "repo@sha256:ffff".to_owned(),
                r#"invalid digest "sha256:ffff": invalid checksum digest length"#.to_owned(),
            ),
            (
                format!("repo@invalidDigest:{hex}"),
                format!("invalid digest \"invalidDigest:{hex}\": invalid checksum digest format"),
            ),
            (
                format!("repo@sha256:{}", hex.to_uppercase()),
                format!("invalid digest \"sha256:{}\": invalid checksum digest format", hex.to_uppercase()),
            ),
            ("repo@md5:ff".to_owned(), r#"invalid digest "md5:ff": unsupported digest algorithm"#.to_owned()),
            ("repo@sha256:".to_owned(), r#"invalid digest "sha256:": invalid checksum digest format"#.to_owned()),
            ("repo@:ff".to_owned(), r#"invalid digest ":ff": invalid checksum digest format"#.to_owned()),
            ("repo@sha256".to_owned(), r#"invalid digest "sha256": invalid checksum digest format"#.to_owned()),
            ("test:5000/Uppercase/lowercase:tag".to_owned(), "tag contains invalid character '/'".to_owned()),
            ("a:-x".to_owned(), "tag does not start with a letter, a digit or _".to_owned()),
        ] {
            assert_eq!(why(&text), want);
        }
    }

    #[test]
    fn absolute_references_need_a_host() {
        let error = Reference::parse("a/b").expect_err("no host").to_string();
        assert_eq!(error, "reference does not contain host name");
        assert!(Reference::parse("a.b/c").is_ok());
    }

    #[test]
    fn hosts() {
        for host in ["foo.com", "foo.com:5000", "localhost:1234", "[::1]", "[::1]:3456", "1.2.3.4", "a-b.C"] {
            assert!(is_host(host), "{host}");
        }
        for text in [
            "",
            "foo",
            "localhost",
            "foo..com",
            ".com",
            "foo.",
            "-a.b",
            "a-.b",
            "foo.com:",
            "foo:x",
            "a:1:2",
            "[]",
            "[::1",
            "[::1]x",
            "[::1%eth0]",
            "foo.com/",
            "é.com",
            "a_b.com",
            "foo.com\n",
        ] {
            assert!(!is_host(text), "{text}");
        }
    }
}
