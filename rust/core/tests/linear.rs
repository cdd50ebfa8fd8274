//! Time grows linearly with the length of the input, for inputs that would show quadratic time.
//!
//! An input that is 64 times as long may take at most 512 times as long: far more than noise, far less than the 4,096
//! times of quadratic time. The best of many runs counts, as many as a busy machine needs.

use std::time::{Duration, Instant};

use ociserver_core::manifest::{self, Strictness};
use ociserver_core::name::{Repository, Tag};
use ociserver_core::range::{parse_content_range, parse_range};
use ociserver_core::reference::Reference;
use ociserver_core::request::parse;

const SMALL: usize = 4 << 10;
const FACTOR: usize = 64;
const TOLERANCE: u32 = 512;
const TIMEOUT: Duration = Duration::from_secs(10);

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// `make` returns an input of about the given size, and `work` reads it.
fn is_linear(name: &str, make: impl Fn(usize) -> Vec<u8>, work: impl Fn(&[u8])) {
    let (short, long) = (make(SMALL), make(SMALL * FACTOR));
    let (mut least, mut most) = (Duration::MAX, Duration::MAX);
    let start = Instant::now();
    while start.elapsed() < TIMEOUT {
        least = least.min(time(|| work(&short)));
        most = most.min(time(|| work(&long)));
        // Below 20 microseconds, this would measure the clock.
        if most < least.max(Duration::from_micros(20)) * TOLERANCE {
            return;
        }
    }
    panic!("{name}: {least:?} for {} bytes, {most:?} for {}", short.len(), long.len());
}

fn repeat(pattern: &str) -> impl Fn(usize) -> Vec<u8> {
    let pattern = pattern.to_owned();
    move |size| pattern.repeat(size / pattern.len()).into_bytes()
}

#[test]
fn paths() {
    for pattern in ["a", "a/", "/", "a-", "-", "%61", "%2F", "blobs/uploads/", "\u{e9}"] {
        is_linear(pattern, repeat(pattern), |middle| {
            for end in ["", "/tags/list", "/blobs/uploads/", "/manifests/x", "/blobs/uploads/eHh4"] {
                let _ = parse("GET", &[b"/v2/", middle, end.as_bytes()].concat(), b"", b"/root");
            }
            let _ = parse("GET", &[b"/v2/foo/blobs/uploads/", middle].concat(), b"", b"");
            let _ = parse("GET", &[b"/v2/foo/manifests/", middle].concat(), b"", b"");
            let _ = parse("GET", middle, b"", middle);
        });
    }
}

#[test]
fn queries() {
    for pattern in ["&", "=", "a&", "n=1&", "tag=a&", "tag=a&x=1&", "%6e=1&", "+", "last=%61&", "%"] {
        is_linear(pattern, repeat(pattern), |query| {
            let _ = parse("GET", b"/v2/foo/tags/list", query, b"");
            let _ = parse("PUT", b"/v2/foo/manifests/x", query, b"");
            let _ = parse("POST", b"/v2/foo/blobs/uploads/", query, b"");
        });
    }
}

#[test]
fn headers_and_names() {
    for pattern in ["0-0,", ",", "-", "9", " ", "a", "a.", "a:", "@", "[", "a/", "_"] {
        is_linear(pattern, repeat(pattern), |text| {
            let _ = parse_range(&[b"bytes=", text].concat());
            let _ = parse_content_range(text);
            let _ = (Repository::from_bytes(text), Tag::from_bytes(text));
            let _ = std::str::from_utf8(text).map(Reference::parse);
        });
    }
}

#[test]
fn manifests() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let descriptor = format!(r#"{{"mediaType":"a","digest":"{digest}","size":1}}"#);
    for (open, item, close) in [
        ("", "[", ""),
        ("", "[]", ""),
        ("", "\"", ""),
        ("", "\\", ""),
        ("[\"", "\\\\", "\"]"),
        ("[\"", "\\u0061", "\"]"),
        ("[\"", "\u{e9}", "\"]"),
        ("[", "0,", "0]"),
        ("[", "1e999,", "0]"),
        ("[[[[[[[[[[", "[],", "0]]]]]]]]]]"),
        ("{", "\"a\":0,", "\"b\":0}"),
        ("{\"manifests\":[", &format!("{descriptor},"), "null]}"),
        ("{\"x\":{\"y\":[", &format!("{descriptor},"), "null]}}"),
        ("{\"annotations\":{", "\"a\":\"\",", "\"b\":\"\"}}"),
    ] {
        let make = |size: usize| format!("{open}{}{close}", item.repeat(size / item.len())).into_bytes();
        is_linear(item, make, |content| {
            for media_type in [
                "application/vnd.oci.image.manifest.v1+json",
                "application/vnd.oci.image.index.v1+json",
                "application/vnd.docker.distribution.manifest.v2+json",
            ] {
                let _ = manifest::read(content, media_type, Strictness::Strict);
            }
            let _ = manifest::read_referrers(content);
        });
    }
    let annotations = |size: usize| {
        let entries: Vec<_> = (0..size / 16).map(|index| format!("\"{index:08}\":\"x\"")).collect();
        format!("{{\"manifests\":[],\"annotations\":{{{}}}}}", entries.join(",")).into_bytes()
    };
    is_linear("annotations", annotations, |content| {
        assert!(manifest::read(content, "application/vnd.oci.image.index.v1+json", Strictness::Strict).is_ok());
    });
}
