//! Mutations of valid inputs, from a fixed seed: nothing panics, and every accepted input is valid.
//!
//! It takes a few seconds by default. `OCISERVER_FUZZ_SECONDS=600 cargo test --release --test fuzz` takes longer, and
//! `OCISERVER_FUZZ_SEED=7` gives other mutations. A failure prints the seed and the round.

use std::env;
use std::fmt::Write;
use std::time::{Duration, Instant};

use ociserver_core::Error;
use ociserver_core::digest::Algorithm;
use ociserver_core::hash::{Hasher, digest_of};
use ociserver_core::link::next_link;
use ociserver_core::manifest::{self, Strictness};
use ociserver_core::range::{MAX_RANGES, parse_content_range, parse_range};
use ociserver_core::reference::Reference;
use ociserver_core::request::{MAX_TAGS, parse};

/// Longest message for any input: 512 characters of a reference, each escaped, and the words around them.
const MAX_MESSAGE: usize = 512 * 10 + 200;

/// xorshift64*: small, and the same on every platform.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or_default() % bound.max(1)
    }

    fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }

    /// Change a few places: bytes, and tokens that are significant for a parser.
    fn mutate(&mut self, bytes: &mut Vec<u8>, tokens: &[&str]) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let until = (at + self.below(8)).min(bytes.len());
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 => drop(bytes.drain(at..until)),
                2 => {
                    let copy = bytes[at..until].to_vec();
                    let target = self.below(bytes.len() + 1);
                    bytes.splice(target..target, copy);
                }
                3 => bytes.truncate(at),
                _ => drop(bytes.splice(at..until, self.pick(tokens).bytes())),
            }
        }
    }
}

/// Run rounds of `work` for the configured time.
fn fuzz(name: &str, work: impl Fn(&mut Random)) {
    let number = |variable| env::var(variable).ok().and_then(|text: String| text.parse::<u64>().ok());
    let time = Duration::from_secs(number("OCISERVER_FUZZ_SECONDS").unwrap_or(1));
    let seed = number("OCISERVER_FUZZ_SEED").unwrap_or(1);
    let start = Instant::now();
    let mut round = 0_u64;
    while start.elapsed() < time {
        // Each round has its own seed, so that it can run again alone.
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (round + 1));
        random.next();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&mut random)));
        assert!(outcome.is_ok(), "{name}: seed {seed}, round {round}");
        round += 1;
    }
}

fn is_bounded_and_printable(error: &Error) {
    let message = error.to_string();
    assert!(message.len() <= MAX_MESSAGE, "{} bytes", message.len());
    assert!(!message.chars().any(char::is_control), "{message:?}");
}

const D: &str = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

#[test]
fn request_lines() {
    let paths = [
        "/v2/".to_owned(),
        "/v2/_catalog".to_owned(),
        "/v2/foo/bar/tags/list".to_owned(),
        "/v2/foo/blobs/uploads/".to_owned(),
        "/v2/foo/blobs/uploads/aHR0cHM6Ly9leGFtcGxlLmNvbS94P3k9eg".to_owned(),
        "/v2/foo/manifests/v1.0".to_owned(),
        format!("/v2/foo/manifests/{D}"),
        format!("/v2/foo/blobs/{D}"),
        format!("/v2/foo/referrers/{D}"),
    ];
    let queries = [
        String::new(),
        "n=5&last=x&ns=docker.io".to_owned(),
        format!("digest={D}&digest-algorithm=sha512"),
        format!("mount={D}&from=a/b"),
        "tag=a&tag=b&artifactType=a%2Fb".to_owned(),
    ];
    let tokens = [
        "/",
        "//",
        "%",
        "%2F",
        "%00",
        "%zz",
        "&",
        "=",
        ";",
        "+",
        "\n",
        "\0",
        "\u{e9}",
        "\u{17f}",
        "blobs",
        "uploads",
        "manifests",
        "tags/list",
        "referrers",
        "_catalog",
        "/v2",
        D,
        "sha512:",
        "tag=a&",
        "n=-1",
        "n=99999999999999999999",
    ];
    fuzz("request lines", |random| {
        let mut path = paths[random.below(paths.len())].clone().into_bytes();
        let mut query = queries[random.below(queries.len())].clone().into_bytes();
        random.mutate(&mut path, &tokens);
        random.mutate(&mut query, &tokens);
        let method = random.pick(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "BAR"]);
        let root = random.pick(&["", "/", "/v2", "/v2/foo", "%"]);
        match parse(method, &path, &query, root.as_bytes()) {
            Err(error) => is_bounded_and_printable(&error),
            Ok(request) => {
                assert_eq!(request.check(), Ok(()));
                assert!(request.tags.len() <= MAX_TAGS);
                let (method, url) = request.build();
                let (path, query) = url.split_once('?').unwrap_or((&url, ""));
                assert_eq!(parse(method, path.as_bytes(), query.as_bytes(), b""), Ok(request));
            }
        }
        let link = next_link(&path, &query, "x");
        assert!(link.bytes().all(|byte| byte.is_ascii_graphic()));
    });
}

#[test]
fn headers() {
    let tokens = ["bytes=", "-", ",", "0", "9", "18446744073709551616", " ", "\t", "=", "\u{e9}", "0-0,", "-5"];
    fuzz("headers", |random| {
        let mut header = random.pick(&["bytes=0-5", "bytes=1-2, 3-4, -5", "5-9", "items=1"]).as_bytes().to_vec();
        random.mutate(&mut header, &tokens);
        match parse_range(&header) {
            Err(error) => is_bounded_and_printable(&error),
            Ok(ranges) => assert!(ranges.is_none_or(|ranges| (1..=MAX_RANGES).contains(&ranges.len()))),
        }
        if let Err(error) = parse_content_range(&header) {
            is_bounded_and_printable(&error);
        }
    });
}

#[test]
fn references() {
    let tokens = ["/", ":", "@", ".", "-", "_", "[", "]", "::1", "localhost", "\n", "\u{e9}", "\u{202e}", D, "md5:00"];
    fuzz("references", |random| {
        let base = random.pick(&["foo.com:5000/a/b:tag", "[::1]/x", "a/b@sha256:00", "localhost:1/x:y@z"]);
        let mut text = base.as_bytes().to_vec();
        random.mutate(&mut text, &tokens);
        match Reference::parse_relative(&String::from_utf8_lossy(&text)) {
            Err(error) => is_bounded_and_printable(&error),
            Ok(reference) => assert!(!reference.repository.is_empty()),
        }
    });
}

#[test]
fn hash_states() {
    fuzz("hash states", |random| {
        let data: Vec<u8> = (0..=255).cycle().take(random.below(400)).collect();
        let mut hasher = Hasher::new(Algorithm::ALL[random.below(3)]);
        hasher.update(&data);
        let saved = hasher.save();
        let resumed = Hasher::resume(&saved).expect("a saved state");
        assert_eq!(resumed.digest(), digest_of(hasher.algorithm(), &data));
        let mut state = saved;
        random.mutate(&mut state, &["\0", "\u{1}", "\u{7f}"]);
        if let Ok(mut hasher) = Hasher::resume(&state) {
            hasher.update(&data);
            assert_eq!(hasher.save().first(), state.first());
            let _ = hasher.digest();
        }
    });
}

#[test]
fn manifests() {
    let tokens = [
        "{",
        "}",
        "[",
        "]",
        "\"",
        ":",
        ",",
        "\\",
        "\\u0000",
        "\\ud800",
        "null",
        "-1",
        "1e400",
        "0",
        "true",
        "\u{e9}",
        "\u{feff}",
        "\"digest\":",
        "\"size\":0",
        "\"size\":18446744073709551615",
        "\"Layers\":",
        "\"config\":",
        "\"subject\":null,",
        "\"annotations\":{\"a\":\"b\"},",
        "\"manifests\":[]",
        "\"blobSum\":",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
        D,
    ];
    let media_types = [
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json; charset=utf-8",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.artifact.manifest.v1+json",
        "text/plain",
    ];
    fuzz("manifests", |random| {
        let descriptor = format!(r#"{{"mediaType":"a/b","digest":"{D}","size":3}}"#);
        let mut content = String::from("{\"schemaVersion\":2");
        for key in ["config", "layers", "manifests", "fsLayers", "subject", "blobs", "x"] {
            let _ = match random.below(4) {
                0 => write!(content, ",\"{key}\":{descriptor}"),
                1 => write!(content, ",\"{key}\":[{descriptor},{descriptor}]"),
                2 => write!(content, ",\"{key}\":{{\"{key}\":[{{\"blobSum\":\"{D}\"}}]}}"),
                _ => Ok(()),
            };
        }
        content.push('}');
        let mut content = content.into_bytes();
        if random.below(8) > 0 {
            random.mutate(&mut content, &tokens);
        }
        // A referrers list of another registry.
        let _ = manifest::read_referrers(&content);
        for media_type in media_types {
            for strictness in [Strictness::Strict, Strictness::Lax] {
                match manifest::read(&content, media_type, strictness) {
                    Err(error) => {
                        assert!(media_type != "text/plain", "nothing is known of this type");
                        is_bounded_and_printable(&error);
                    }
                    Ok(info) => {
                        assert!(!info.media_type.contains(';'));
                        if let Some(annotations) = info.annotations.json() {
                            assert!(annotations.len() <= content.len());
                            assert!(manifest::for_each(annotations.as_bytes(), |_, _| {}).is_ok());
                        }
                        for reference in &info.references {
                            assert!(reference.field.to_string().chars().count() <= 140);
                            assert!(!reference.required || media_type != "text/plain");
                        }
                    }
                }
            }
        }
    });
}
