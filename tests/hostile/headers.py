"""Hostile headers: ranges, offsets, conditions, types."""

from __future__ import annotations

from collections.abc import Iterator

from tests.hostile.application import BLOB_DIGEST
from tests.hostile.attempt import Attempt, Fate, below, raw

RANGES = {
    "first after last": "bytes=5-0",
    "beyond the end": "bytes=10-20",
    "empty suffix": "bytes=-0",
    "dash": "bytes=-",
    "letters": "bytes=a-b",
    "three numbers": "bytes=1-2-3",
    "sign": "bytes=+1-2",
    "two signs": "bytes=--1",
    "underscore": "bytes=1_0-",
    "beyond 64 bits": f"bytes={10**30}-",
    "100,000 digits": f"bytes={'9' * 100_000}-",
    "commas": "bytes=" + "," * 10_000 + "x",
    "no range inside the blob": "bytes=20-30,40-50",
    "Latin-1 digits": "bytes=\xb2-\xb3",
}

CONTENT_RANGES = {
    "first after last": "5-3",
    "unit": "bytes 0-0/1",
    "letters": "a-b",
    "no end": "0-",
    "no start": "-0",
    "sign": "+0-0",
    "underscore": "0_0-0",
    "beyond 64 bits": f"{2**64}-{2**64}",
    "all of 64 bits": f"0-{2**64 - 1}",
    "ends at the last 64-bit number": f"{2**63 - 1}-{2**63 - 1}",
    "100,000 digits": f"{'9' * 100_000}-{'9' * 100_000}",
    "another length": "0-99",
    "ahead": "5-5",
    "Latin-1 digits": "\xb2-\xb2",
    "empty": "",
}

CONTENT_TYPES = {
    "256 characters": "application/" + "x" * 244,
    "100,000 characters": "application/" + "x" * 100_000,
    "Latin-1": "application/\xfc",
    "tab inside": "application/x\ty",
}

STOPPED = {
    "line feed in a value": b"Content-Type: text/plain\nInjected: yes",
    "carriage return in a value": b"Content-Type: text/plain\rInjected: yes",
    "NUL in a value": b"Content-Type: text/\0plain",
    "folded": b"Content-Type: text/plain;\r\n charset=x",
    "no colon": b"Content-Type text/plain",
    "space before the colon": b"Content-Type : text/plain",
    "space in the name": b"Content Type: text/plain",
    "empty name": b": value",
    "NUL in the name": b"Content\0Type: x",
    "escape in a value": b"X-Request-Id: \x1b[31mred",
    "leading space": b" Content-Type: text/plain",
    "Latin-1 in the name": b"C\xf6ntent: x",
}

TAKEN = {
    "condition of 100,000 entries": "If-None-Match: " + ",".join(['"x"'] * 25_000),
    "condition of commas": "If-None-Match: " + "," * 100_000,
    "condition that never closes": 'If-None-Match: "' + "x" * 100_000,
    "date far away": "If-Modified-Since: Fri, 31 Dec 9999999 23:59:59 GMT",
    "unknown unit": "Range: parsecs=0-1",
    "request id of 10,000 characters": "X-Request-Id: " + "x" * 10_000,
    "forwarded host": "X-Forwarded-Host: attacker.example",
    "method override": "X-HTTP-Method-Override: DELETE",
    "path override": "X-Original-URL: /v2/other/tags/list",
    "credentials that are not base64": "Authorization: Basic !!!",
    "range of a hundred years": "Range: bytes=0-99999999999999999999",
    "1,024 equal ranges": "Range: bytes=" + ",".join(["0-0"] * 1024),
    "10,000 ranges": "Range: bytes=" + ",".join(["0-0"] * 10_000),
    "10,000 overlapping ranges": "Range: bytes=" + ",".join(f"{number}-" for number in range(10_000)),
}


def attempts() -> Iterator[Attempt]:
    blob = below(f"blobs/{BLOB_DIGEST}")
    for name, value in RANGES.items():
        yield Attempt(f"Range: {name}", (raw("GET", blob, [f"Range: {value}"]),))
    for number, (name, value) in enumerate(CONTENT_RANGES.items()):
        method = ("PATCH", "PUT")[number % 2]
        target = "{upload}" if method == "PATCH" else f"{{upload}}?digest={BLOB_DIGEST}"
        yield Attempt(f"Content-Range: {name}; {method}", (raw(method, target, [f"Content-Range: {value}"], b"x"),))
    for name, value in CONTENT_TYPES.items():
        headers = [f"Content-Type: {value}"]
        fate = Fate.STOPPED if "tab" in name else Fate.REFUSED
        yield Attempt(f"Content-Type: {name}", (raw("PUT", below("manifests/x"), headers, b"{}"),), fate)
    for name, line in STOPPED.items():
        yield Attempt(f"header: {name}", (raw("PUT", below("manifests/-x"), [line], b"{}"),), Fate.STOPPED)
    for name, header in TAKEN.items():
        yield Attempt(f"header: {name}", (raw("GET", blob, [header]),), Fate.TAKEN)
    many = [f"X-Header-{number}: value" for number in range(20_000)]
    yield Attempt("header: 20,000 headers", (raw("GET", blob, many),), Fate.STOPPED)
    yield Attempt(
        "header: one header of 2,000,000 bytes", (raw("GET", blob, ["X-Large: " + "x" * 2_000_000]),), Fate.STOPPED
    )
