"""Hostile manifests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ociserver._core import MAX_MANIFEST_DEPTH
from tests.hostile.application import BLOB_DIGEST
from tests.hostile.attempt import Attempt, Fate, below, chunked, raw
from tests.hostile.paths import DIGEST

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"

GOOD = {"mediaType": "application/x", "digest": BLOB_DIGEST, "size": 10}


def _image(**fields: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "config": GOOD, "layers": [GOOD], **fields}).encode()


def _layer(**fields: Any) -> bytes:
    return _image(layers=[{**GOOD, **fields}])


IMAGES = {
    "empty": b"",
    "truncated": b'{"schemaVersion": 2, "config": {',
    "not UTF-8": b'{"layers": "\xff\xfe"}',
    "UTF-16": _image().decode().encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + b"{",
    "NUL bytes": b"\0" * 1000,
    "comment": b'{"layers": [] // none\n}',
    "trailing comma": b'{"layers": [],}',
    "NaN": b'{"config": NaN}',
    "two values": b"{} {}",
    "single quotes": b"{'layers': []}",
    "array": b"[]",
    "null": b"null",
    "number": b"5",
    "text": b'"text"',
    "100,000 open brackets": b"[" * 100_000,
    "100,000 open braces": b'{"a":' * 100_000,
    "100,000 nested arrays": b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "one level too deep": b'{"x":' + b"[" * MAX_MANIFEST_DEPTH + b"]" * MAX_MANIFEST_DEPTH + b"}",
    "nested in an annotation": _image(annotations={"a": {"b": {"c": "d"}}}),
    "annotation that is a number": _image(annotations={"a": 5}),
    "annotations that are an array": _image(annotations=["a"]),
    "layers that are an object": _image(layers={}),
    "layers that are a number": _image(layers=5),
    "layer that is null": _image(layers=[None]),
    "layer that is text": _image(layers=["sha256:x"]),
    "config that is an array": _image(config=[]),
    "config that is a number": _image(config=5),
    "config without a digest": _image(config={"mediaType": "x", "size": 5}),
    "subject that is text": _image(subject="x"),
    "subject that is a path": _image(subject={**GOOD, "digest": "sha256:../../etc/passwd"}),
    "artifact type that is a number": _image(artifactType=5),
    "digest that is a path": _layer(digest="../../etc/passwd"),
    "digest that is null": _layer(digest=None),
    "digest with a NUL": _layer(digest=DIGEST[:-1] + "\0"),
    "digest of 1,000,000 characters": _layer(digest="sha256:" + "0" * 1_000_000),
    "digest in upper case": _layer(digest=BLOB_DIGEST.upper()),
    "media type that is missing": _image(layers=[{"digest": BLOB_DIGEST, "size": 10}]),
    "media type that is a number": _layer(mediaType=5),
    "size of -1": _layer(size=-1),
    "size of 0": _layer(size=0),
    "size of 1.5": _layer(size=1.5),
    "size of text": _layer(size="10"),
    "size beyond 64 bits": _layer(size=2**64),
    "size of 5,000 digits": _layer().replace(b": 10}", b": " + b"9" * 5000 + b"}"),
    "size of 1e400": _layer().replace(b": 10}", b": 1e400}"),
    "blobs that are missing": _layer(digest=DIGEST),
    "20,000 layers that are missing": _image(layers=[{**GOOD, "digest": DIGEST}] * 20_000),
    "half a surrogate": b'{"config": "\\ud800", "layers": []}',
    "annotation twice": _image().replace(b"{", b'{"annotations": {"a": "1", "a": "2"}, ', 1),
    "config twice": b'{"config":{"mediaType":"x","digest":"%s","size":10},"config":5,"layers":[]}'
    % BLOB_DIGEST.encode(),
}

INDEXES = {
    "manifests that are text": b'{"manifests": "all"}',
    "manifest that is missing": json.dumps({"manifests": [{**GOOD, "digest": DIGEST}]}).encode(),
    "manifest that is a blob": json.dumps({"manifests": [{**GOOD, "mediaType": IMAGE}]}).encode(),
    "manifest that is itself a list": b'{"manifests": [[]]}',
    "20,000 manifests that are missing": json.dumps({"manifests": [{**GOOD, "digest": DIGEST}] * 20_000}).encode(),
    "manifests of two types": _image(manifests=[]),
    "manifests that are missing": b"{}",
}

TAKEN = {
    "20,000 layers": _image(layers=[GOOD] * 20_000),
    "1 MiB of annotations": _image(annotations={f"key {number}": "x" * 1000 for number in range(1000)}),
    "100,000 unknown fields": _image(**{f"field{number}": number for number in range(100_000)}),
    "number of 100,000 digits in an unknown field": _image().replace(b"}", b', "x": ' + b"9" * 100_000 + b"}", 1),
    "text with every escape": _image(annotations={'\0\x1f\x7f\u2028\\"': '\0\x1f\x7f\u2028\\"'}),
}


def attempts() -> Iterator[Attempt]:
    push = below("manifests/hostile")
    for name, content in IMAGES.items():
        yield Attempt(f"image: {name}", (raw("PUT", push, [f"Content-Type: {IMAGE}"], content),))
    for name, content in INDEXES.items():
        yield Attempt(f"index: {name}", (raw("PUT", push, [f"Content-Type: {INDEX}"], content),))
    for name, content in TAKEN.items():
        yield Attempt(f"image: {name}", (raw("PUT", push, [f"Content-Type: {IMAGE}"], content),), Fate.TAKEN)
    yield Attempt("manifest: wrong digest", (raw("PUT", below(f"manifests/{DIGEST}"), body=b"{}"),))
    yield Attempt("manifest: 5 MiB", (raw("PUT", push, body=b" " * (5 * 1024 * 1024)),))
    piece = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    yield Attempt("manifest: 6 MiB in chunks", (chunked("PUT", push, piece * 6 + b"0\r\n\r\n"),))
    # With Expect, the body is not sent. Otherwise the server would try to read it after its answer.
    huge = raw("PUT", push, ["Content-Length: 9223372036854775807", "Expect: 100-continue"])
    yield Attempt("manifest: 8 EiB announced", (huge,))
    opaque = [f"Content-Type: {IMAGE}x"]
    yield Attempt("unknown type: 100,000 open brackets", (raw("PUT", push, opaque, b"[" * 100_000),), Fate.TAKEN)
    yield Attempt("unknown type: binary", (raw("PUT", push, opaque, bytes(range(256)) * 100),), Fate.TAKEN)
