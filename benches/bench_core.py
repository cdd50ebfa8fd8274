"""Benchmarks of the Rust core from Python: parser, hashing compared with hashlib, manifests. `make bench` runs it.

Related figures are in one group. The number in brackets is the ratio to the fastest of the group.
"""

from __future__ import annotations

import hashlib
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from benches.contents import MEDIA_TYPE, digest_of, manifest
from ociserver._core import Hasher, parse_request, read_manifest
from ociserver._core import digest_of as core_digest_of

DIGEST = digest_of(b"content").encode()

REQUESTS = {
    "ping": ("GET", b"/v2/", b""),
    "blob_get": ("GET", b"/v2/library/debian/blobs/" + DIGEST, b""),
    "upload_start": ("POST", b"/v2/library/debian/blobs/uploads/", b""),
    "blob_mount": ("POST", b"/v2/library/debian/blobs/uploads/", b"mount=" + DIGEST + b"&from=library/other"),
    "upload_chunk": ("PATCH", b"/v2/library/debian/blobs/uploads/MDEyMzQ1Njc4OWFiY2RlZg", b""),
    "upload_complete": ("PUT", b"/v2/library/debian/blobs/uploads/MDEyMzQ1Njc4OWFiY2RlZg", b"digest=" + DIGEST),
    "manifest_get": ("GET", b"/v2/library/debian/manifests/bookworm", b""),
    "manifest_put": ("PUT", b"/v2/library/debian/manifests/" + DIGEST, b"tag=1&tag=1.2&tag=1.2.3"),
    "tags_list": ("GET", b"/v2/library/debian/tags/list", b"n=100&last=bookworm"),
    "referrers_list": ("GET", b"/v2/library/debian/referrers/" + DIGEST, b"artifactType=application/spdx%2Bjson"),
}

SIZES = [64, 1024, 4096, 65536, 1 << 20, 16 << 20]
STREAMS = 8
"""Number of 2 MiB updates in each concurrent stream, enough to outweigh the start of a thread."""


@pytest.mark.parametrize("kind", REQUESTS)
def test_parse(benchmark: Any, kind: str) -> None:
    """Target: at most 1.5 microseconds."""
    method, path, query = REQUESTS[kind]
    benchmark.group = "parse a request"
    assert benchmark(parse_request, method, path, query).kind == kind


def _hashlib_256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _hashlib_512(data: bytes) -> str:
    return hashlib.sha512(data).hexdigest()


@pytest.mark.parametrize("whose", ["ours", "hashlib"])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("size", SIZES)
def test_hash(benchmark: Any, size: int, algorithm: str, whose: str) -> None:
    """Target: at every size at least 0.97 of hashlib's speed for sha256, 0.6 for sha512."""
    data = random.Random(size).randbytes(size)
    benchmark.group = f"{algorithm} of {size} bytes"
    theirs = _hashlib_256 if algorithm == "sha256" else _hashlib_512
    if whose == "hashlib":
        benchmark(theirs, data)
    else:
        assert benchmark(core_digest_of, data, algorithm) == f"{algorithm}:{theirs(data)}"


@pytest.mark.parametrize("streams", [1, 2])
def test_streams_in_threads(benchmark: Any, streams: int) -> None:
    """Two streams in two threads. Target: 1.8 times the rate of one stream, so at most 1.11 times its duration."""
    data = random.Random(1).randbytes(2 << 20)
    benchmark.group = "streams of 16 MiB, one in each thread"

    def stream() -> None:
        hasher = Hasher()
        for _ in range(STREAMS):
            hasher.update(data)

    with ThreadPoolExecutor(streams) as threads:

        def run() -> None:
            for done in [threads.submit(stream) for _ in range(streams)]:
                done.result()

        benchmark(run)


@pytest.mark.parametrize("layers", [1, 10, 100])
def test_read_manifest(benchmark: Any, layers: int) -> None:
    """The core reads a manifest once for each push."""
    content = manifest(1, layers=layers)
    benchmark.group = "read a manifest"
    assert len(benchmark(read_manifest, content, MEDIA_TYPE).references) == layers + 1
