"""Hostile framing: contradictory lengths, malformed chunks, request smuggling, and other protocols than HTTP."""

from __future__ import annotations

from collections.abc import Iterator

from tests.hostile.application import BLOB_DIGEST
from tests.hostile.attempt import Attempt, Fate, below, chunked, raw

# The handler would refuse these too, because the tag is invalid.
PUSH = below("manifests/-x")
SMUGGLED = b"GET /v2/smuggled/tags/list HTTP/1.1\r\nHost: x\r\n\r\n"

STOPPED = {
    "two lengths that differ": raw("PUT", PUSH, ["Content-Length: 5", "Content-Length: 6"]) + b"123456",
    "two lengths in one line": raw("PUT", PUSH, ["Content-Length: 5, 6"]) + b"123456",
    "negative length": raw("PUT", PUSH, ["Content-Length: -1"]),
    "length with a sign": raw("PUT", PUSH, ["Content-Length: +5"]) + b"12345",
    "length in hexadecimal": raw("PUT", PUSH, ["Content-Length: 0x5"]) + b"12345",
    "length with a space inside": raw("PUT", PUSH, ["Content-Length: 1 0"]) + b"0123456789",
    "length beyond 64 bits": raw("PUT", PUSH, ["Content-Length: 18446744073709551616"]),
    "empty length": raw("PUT", PUSH, ["Content-Length: "]),
    "length and chunks": raw("PUT", PUSH, ["Content-Length: 5", "Transfer-Encoding: chunked"])
    + b"0\r\n\r\n"
    + SMUGGLED,
    "chunks and length": raw("PUT", PUSH, ["Transfer-Encoding: chunked", "Content-Length: 6"])
    + b"0\r\n\r\n"
    + SMUGGLED,
    "unknown transfer coding": raw("PUT", PUSH, ["Transfer-Encoding: gzip"]) + b"5\r\nabcde\r\n0\r\n\r\n",
    "chunked is not last": raw("PUT", PUSH, ["Transfer-Encoding: chunked, identity"]) + b"0\r\n\r\n",
    "chunked twice": raw("PUT", PUSH, ["Transfer-Encoding: chunked, chunked"]) + b"0\r\n\r\n",
    "almost chunked": raw("PUT", PUSH, ["Transfer-Encoding: xchunked"]) + b"0\r\n\r\n",
    "chunked with a vertical tab": raw("PUT", PUSH, ["Transfer-Encoding:\x0bchunked"]) + b"0\r\n\r\n",
    "space before the colon of the coding": raw("PUT", PUSH, ["Transfer-Encoding : chunked"]) + b"0\r\n\r\n",
    "no Host": b"GET /v2/-/tags/list HTTP/1.1\r\nConnection: close\r\n\r\n",
    "two Hosts": b"GET /v2/-/tags/list HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
    "Host with a path": b"GET /v2/-/tags/list HTTP/1.1\r\nHost: a/../b\r\nConnection: close\r\n\r\n",
    "absolute target": b"GET http://other.example/v2/-/tags/list HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "target of another scheme": b"GET file:///etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "target without a slash": b"GET v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "CONNECT": b"CONNECT other.example:443 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "HTTP/0.9": b"GET /v2/-/tags/list\r\n\r\n",
    "HTTP/1.9": b"GET /v2/-/tags/list HTTP/1.9\r\nHost: a\r\n\r\n",
    "HTTP/3.0": b"GET /v2/-/tags/list HTTP/3.0\r\nHost: a\r\n\r\n",
    "HTTPS on a plain port": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "SSH": b"SSH-2.0-OpenSSH_9.7\r\n",
    "SMTP": b"EHLO example\r\nMAIL FROM:<a@b>\r\n",
    "binary": bytes(range(256)) * 4,
    "long method": b"A" * 100_000 + b" / HTTP/1.1\r\nHost: a\r\n\r\n",
    "method with a NUL": b"GE\0T / HTTP/1.1\r\nHost: a\r\n\r\n",
    "request line of spaces": b" " * 1000 + b"\r\n\r\n",
    "unknown expectation": raw("GET", "/v2/-/tags/list", ["Expect: 200-ok"]),
    "unknown upgrade": raw("GET", "/v2/-/tags/list", ["Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"]),
    "bare line feeds": b"GET /v2/-/tags/list HTTP/1.1\nHost: a\nConnection: close\n\n",
}

CHUNKS = {
    "size that is not a number": b"xyz\r\nabc\r\n0\r\n\r\n",
    "negative size": b"-5\r\nabcde\r\n0\r\n\r\n",
    "size with a prefix": b"0x5\r\nabcde\r\n0\r\n\r\n",
    "size beyond 64 bits": b"FFFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n",
    "empty size": b"\r\nabc\r\n0\r\n\r\n",
    "more data than the size": b"2\r\nabcde\r\n0\r\n\r\n",
    "no end of line": b"5\r\nabcde0\r\n\r\n",
}


CUT = {
    "truncated": b"5\r\nab",
    "size of 64 bits": b"FFFFFFFFFFFFFFFF\r\nabc",
    "extension without end": b"5;" + b"x" * 300_000,
}


def attempts() -> Iterator[Attempt]:
    for name, content in STOPPED.items():
        yield Attempt(f"framing: {name}", (content,), Fate.STOPPED)
    for name, body in {**CHUNKS, **CUT}.items():
        # To endpoints that read the body.
        for where, method, target in (
            ("manifest", "PUT", below("manifests/hostile")),
            ("upload", "PATCH", "{upload}"),
            ("blob", "POST", below(f"blobs/uploads/?digest={BLOB_DIGEST}")),
        ):
            yield Attempt(
                f"chunk: {name}; {where}", (chunked(method, target, body),), Fate.STOPPED, hangs_up=name in CUT
            )
    tiny = chunked("PUT", below("manifests/hostile"), b"1\r\nx\r\n" * 2000 + b"0\r\n\r\n")
    yield Attempt("chunk: 2,000 chunks of one byte", (tiny,))
    short = raw("PUT", below("manifests/hostile"), ["Content-Length: 100"]) + b"{}"
    yield Attempt("body: shorter than its length; manifest", (short,), Fate.STOPPED, hangs_up=True)
    short = raw("PATCH", "{upload}", ["Content-Length: 100"]) + b"abc"
    yield Attempt("body: shorter than its length; upload", (short,), Fate.STOPPED, hangs_up=True)
    wrong = raw("POST", below(f"blobs/uploads/?digest={BLOB_DIGEST}"), body=b"something else")
    yield Attempt("body: content that does not match the digest", (wrong,))
    wrong = raw("PUT", f"{{upload}}?digest={BLOB_DIGEST}", body=b"something else")
    yield Attempt("body: content that does not match the closing digest", (wrong,))
    announced = ["Content-Length: 9223372036854775807", "Expect: 100-continue"]
    full = raw("POST", below(f"blobs/uploads/?digest={BLOB_DIGEST}"), announced)
    yield Attempt("body: 8 EiB announced for a blob", (full,), Fate.FULL)
