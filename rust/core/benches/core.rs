//! Measures the protocol without Python: `cargo bench -p ociserver-core`.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use ociserver_core::digest::{Algorithm, Digest};
use ociserver_core::hash::{Hasher, digest_of};
use ociserver_core::link::next_link;
use ociserver_core::manifest::{self, Strictness};
use ociserver_core::range::parse_range;
use ociserver_core::reference::Reference;
use ociserver_core::request::parse;

const D: &str = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

fn main() {
    divan::main();
}

#[divan::bench(args = [
    "GET /v2/",
    "GET /v2/library/alpine/blobs/{d}",
    "GET /v2/library%2Falpine/blobs/{d}",
    "GET /v2/library/alpine/manifests/latest",
    "POST /v2/library/alpine/blobs/uploads/?mount={d}&from=library/other",
    "PATCH /v2/library/alpine/blobs/uploads/MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE",
    "PUT /v2/library/alpine/manifests/{d}?tag=a&tag=b",
    "GET /v2/library/alpine/tags/list?n=100&last=x",
    "GET /v2/library/alpine/blobs/bad",
])]
fn request(bencher: Bencher<'_, '_>, line: &str) {
    let line = line.replace("{d}", D);
    let (method, url) = line.split_once(' ').unwrap_or_default();
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    bencher.bench(|| parse(black_box(method), black_box(path.as_bytes()), black_box(query.as_bytes()), b""));
}

#[divan::bench]
fn digest() -> ociserver_core::Result<Digest> {
    Digest::from_bytes(black_box(D.as_bytes()))
}

#[divan::bench]
fn range() -> ociserver_core::Result<Option<Vec<ociserver_core::range::ByteRange>>> {
    parse_range(black_box(b"bytes=500-1499"))
}

#[divan::bench]
fn link() -> String {
    next_link(black_box(b"/v2/library/alpine/tags/list"), black_box(b"n=100&last=x"), black_box("latest"))
}

#[divan::bench]
fn reference(bencher: Bencher<'_, '_>) {
    let text = format!("example.com:5000/library/alpine:latest@{D}");
    bencher.bench(|| Reference::parse(black_box(&text)).is_ok());
}

#[divan::bench(args = [64, 4096, 1 << 20], consts = [0, 2])]
fn hash<const ALGORITHM: usize>(bencher: Bencher<'_, '_>, size: usize) {
    let data = vec![0x5a; size];
    let algorithm = Algorithm::ALL[ALGORITHM];
    bencher.counter(BytesCount::new(size)).bench(|| digest_of(algorithm, black_box(&data)));
}

#[divan::bench]
fn save_and_resume(bencher: Bencher<'_, '_>) {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(&[0x5a; 1000]);
    bencher.bench(|| Hasher::resume(&black_box(&hasher).save()).is_ok());
}

/// A typical manifest, and large ones: many descriptors, one long annotation, many short annotations.
fn content(name: &str) -> String {
    let layers = |count: usize| {
        let layer = format!(r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{D}","size":3}}"#);
        vec![layer; count].join(",")
    };
    let annotations = match name {
        "one long annotation" => format!(r#""a":"{}""#, "x".repeat(3_900_000)),
        "most annotations" => (0..330_000).map(|i| format!(r#""{i}":"""#)).collect::<Vec<_>>().join(","),
        "many annotations" => {
            (0..40_000).map(|i| format!(r#""key.{i}":"{}""#, "x".repeat(80))).collect::<Vec<_>>().join(",")
        }
        _ => String::new(),
    };
    let layers = layers(if name == "10,000 layers" { 9_999 } else { 8 });
    let config = format!(r#"{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{D}","size":3}}"#);
    format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}],"annotations":{{{annotations}}}}}"#)
}

#[divan::bench(args = ["8 layers", "10,000 layers", "one long annotation", "many annotations", "most annotations"])]
fn read_image(bencher: Bencher<'_, '_>, name: &str) {
    let content = content(name);
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    bencher
        .counter(BytesCount::new(content.len()))
        .bench(|| manifest::read(black_box(content.as_bytes()), media_type, Strictness::Strict));
}

#[divan::bench(args = ["8 layers", "10,000 layers", "one long annotation", "many annotations", "most annotations"])]
fn search_other(bencher: Bencher<'_, '_>, name: &str) {
    let content = content(name);
    bencher
        .counter(BytesCount::new(content.len()))
        .bench(|| manifest::read(black_box(content.as_bytes()), "a/b", Strictness::Strict));
}
