"""Hostile or broken answers of an upstream: good answers, each spoilt in one way.

Bytes beyond ASCII and control characters are sent unchanged, in latin-1.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from typing import Final

from tests.client.scripted import Reply, Seen
from tests.support.images import MANIFEST, digest_of

__all__ = ["BLOB", "DIGEST", "FULL", "MANIFEST_DIGEST", "SPOILT", "TEXT", "UNUSABLE_TYPES", "Spoil", "document", "good"]

FULL: Final = bool(os.environ.get("FULL_TESTS"))

BLOB: Final = bytes(range(256)) * 400
DIGEST: Final = digest_of(BLOB)
TEXT: Final = json.dumps({"schemaVersion": 2, "layers": []}).encode()
MANIFEST_DIGEST: Final = digest_of(TEXT)


def good(seen: Seen) -> Reply:
    """The answers of a registry with one manifest, tagged `latest`, and one blob."""
    path, method = seen.path, seen.method
    if "/manifests/" in path and method in ("GET", "HEAD"):
        headers = {"Content-Type": MANIFEST, "Docker-Content-Digest": MANIFEST_DIGEST}
        return Reply(200, _sized(headers, TEXT), TEXT)
    if "/manifests/" in path:
        return Reply(201 if method == "PUT" else 202)
    if "/blobs/uploads/" in path:
        status = {"POST": 202, "PATCH": 202, "PUT": 201, "GET": 204, "DELETE": 204}[method]
        location = f"{path.partition('/blobs/')[0]}/blobs/uploads/1"
        return Reply(status, {"Location": location, "Range": "0-0", "Content-Length": "" if status == 204 else "0"})
    if "/blobs/" in path and method != "DELETE":
        return _part(seen.headers["range"]) if "range" in seen.headers else Reply(200, _sized({}, BLOB), BLOB)
    if path.endswith("/tags/list"):
        return Reply(200, {}, b'{"tags":["latest"]}')
    if "/referrers/" in path:
        return Reply(200, {}, b'{"manifests":[]}')
    return Reply(202)


def _part(range: str) -> Reply:
    first, last = range.removeprefix("bytes=").split("-")
    start, stop = int(first), int(last) + 1 if last else len(BLOB)
    return Reply(206, {"Content-Range": f"bytes {start}-{stop - 1}/{len(BLOB)}"}, BLOB[start:stop])


def _sized(headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    return {**headers, "Content-Length": str(len(body))}


Spoil = Callable[[Seen, Reply], Reply]


def header(name: str, value: str) -> Spoil:
    """Each answer has this value of the header field."""

    def spoil(seen: Seen, reply: Reply) -> Reply:
        kept = {other: text for other, text in dict(reply.headers).items() if other.lower() != name.lower()}
        return dataclasses.replace(reply, headers={**kept, name: value})

    return spoil


def status(number: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Spoil:
    """Each answer has this status."""
    return lambda seen, reply: Reply(number, headers or {}, body)


def error(number: int, entry: str) -> Spoil:
    """Each answer is this error."""
    return status(number, {}, b'{"errors":[%s]}' % entry.encode())


def document(body: bytes) -> Spoil:
    """Each answer that has a body gets this body."""

    def spoil(seen: Seen, reply: Reply) -> Reply:
        headers = {name: text for name, text in dict(reply.headers).items() if name != "Content-Length"}
        return dataclasses.replace(reply, headers=headers, body=body) if reply.body else reply

    return spoil


def raw(content: bytes) -> Spoil:
    """Each answer consists of these bytes, which need not be HTTP."""
    return lambda seen, reply: Reply(None, raw=content)


def tokens(body: bytes, number: int = 200, **parameters: str) -> Spoil:
    """A request without a token gets a challenge that names a token server, which sends this answer."""

    def spoil(seen: Seen, reply: Reply) -> Reply:
        if seen.path == "/token":
            return Reply(number, {}, body)
        if "authorization" in seen.headers:
            return reply
        given = {"realm": f"http://{seen.headers['host']}/token", "service": "registry", **parameters}
        challenge = ",".join(f'{name}="{value}"' for name, value in given.items())
        return Reply(401, {"WWW-Authenticate": f"Bearer {challenge}"})

    return spoil


_LONG: Final = "a" * 60_000
_DEEP: Final = b"[" * 60_000
_HUGE: Final = str(1 << 63)
_NESTED: Final = '{"a":' * 900 + "1" + "}" * 900

_ANYTHING = {
    "a control character": "a\x01b",
    "bytes beyond ASCII": "a\xffb",
    "60,000 characters": _LONG,
    "a number beyond 64 bits": _HUGE,
}
"""Values that are not valid for any header field."""

if FULL:
    _ANYTHING |= {
        "a tab": "a\tb",
        "a delete": "a\x7fb",
        "nothing but commas": "," * 500,
        "a number of 60,000 digits": "9" * 60_000,
        "a negative number": "-1",
    }

_HEADERS = [
    "Content-Type",
    "Docker-Content-Digest",
    "Location",
    "Link",
    "Content-Range",
    "Range",
    "Upload-Offset",
    "OCI-Chunk-Min-Length",
    "OCI-Tag",
    "OCI-Subject",
    "Retry-After",
    "WWW-Authenticate",
    "Transfer-Encoding",
    "Content-Length",
]

if FULL:
    # Header fields that our code does not read.
    _HEADERS += ["OCI-Filters-Applied", "Warning", "Content-Encoding", "Connection", "Set-Cookie"]

_TARGETS: Final = (
    "http://127.0.0.1:99999/x",
    "http://127.0.0.1:-1/x",
    "http://127.0.0.1:port/x",
    "http:///x",
    "http://[::1/x",
    "http://[::1%25lo]:1/x",
    "http://xn--/x",
    "http://a..b/x",
    "http://" + "a" * 300 + "/x",
    "http://u:p@127.0.0.1:1/x",
    "http://a\\@b/x",
    "mailto:a@b",
    "file:///etc/passwd",
    "data:,x",
    "//",
    "?",
    "#",
    "\x01",
    "/a b",
    "/\xff",
    "/x#fragment",
    "http://127.0.0.1:1/" + "a" * 50_000,
)
"""Texts that are not URLs, or not usable ones."""

_ENTRIES: Final = {
    "a code with a line break": '{"code":"A\\nB"}',
    "a code beyond ASCII": '{"code":"\\ud800"}',
    "a code of 5,000 characters": f'{{"code":"{"A" * 5000}"}}',
    "a message with line breaks": '{"code":"DENIED","message":"a\\r\\nSet-Cookie: b\\u0000\\ud800"}',
    "a message that is none": '{"code":"DENIED","message":{"a":1}}',
    "details that are deep": f'{{"code":"DENIED","detail":{_NESTED}}}',
    "details that are no JSON elsewhere": '{"code":"DENIED","detail":[NaN,Infinity]}',
    "details with half a character": '{"code":"DENIED","detail":"\\ud800"}',
    "details with a long number": f'{{"code":"DENIED","detail":{"9" * 4000}}}',
}

UNUSABLE_TYPES: Final = {
    "a control character": b'{"schemaVersion":2,"mediaType":"a\\u0001b","layers":[]}',
    "60,000 characters": b'{"schemaVersion":2,"mediaType":"%s","layers":[]}' % _LONG.encode(),
    "half a character": b'{"schemaVersion":2,"mediaType":"\\ud800","layers":[]}',
}
"""Manifests whose own `mediaType` is not valid in a header."""

_DOCUMENTS: Final = {
    "deep": _DEEP,
    "half a character": b'{"tags":["\\ud800"],"manifests":[],"mediaType":"\\ud800"}',
    "not UTF-8": b'{"tags":["\xff"]}',
    "a media type with a line break": b'{"mediaType":"a\\r\\nb","tags":[],"manifests":[]}',
    "a long media type": b'{"mediaType":"%s","tags":[],"manifests":[]}' % (b"a" * 300),
    "a media type that is a number": b'{"mediaType":5,"tags":[],"manifests":[]}',
    **{f"a manifest of a type of {what}": body for what, body in UNUSABLE_TYPES.items()},
    "a page for people": b"<html>sign in</html>",
    "nothing": b"null",
    "UTF-16": '{"tags":[]}'.encode("utf-16"),
}

_TOKENS: Final = {
    "deep": _DEEP,
    "empty": b"{}",
    "of a line break": b'{"token":"a\\r\\nb"}',
    "of half a character": b'{"token":"\\ud800"}',
    "a number": b'{"token":5}',
    "too long": b'{"token":"%s"}' % (b"a" * 70_000),
    "that lives for longer than a number": b'{"token":"a","expires_in":1%s}' % (b"0" * 400),
    "that lives for ever": b'{"token":"a","expires_in":Infinity}',
    "that lives for nothing that is a number": b'{"token":"a","expires_in":NaN}',
    "with a refresh token of half a character": b'{"token":"a","expires_in":1,"refresh_token":"\\ud800"}',
    "not UTF-8": b'{"token":"\xff"}',
}

_DATES: Final = {
    "a date of the year 1": "Mon, 01 Jan 0001 00:00:00 GMT",
    "a date that is none": "Mon, 99 Foo 2024 99:99:99 GMT",
    "a date with a control character": "Wed, 21 Oct 2015 07:28:00 GMT\x01",
}


def _shown(text: str) -> str:
    return f"{text[:40]!a}"


SPOILT: Final[dict[str, dict[str, Spoil]]] = {
    **{name: {what: header(name, value) for what, value in _ANYTHING.items()} for name in _HEADERS},
    "Location of an upload": {_shown(target): header("Location", target) for target in _TARGETS},
    "redirect": {
        f"{code} {_shown(target)}": status(code, {"Location": target})
        for target in _TARGETS
        for code in ((302, 307) if FULL else (307,))
    },
    "next page": {_shown(target): header("Link", f"<{target}>; rel=next") for target in _TARGETS},
    "status": {str(code): status(code) for code in (101, 204, 299, 304, 399, 401, 403, 407, 499, 599, 600, 999)},
    "size": {
        "Content-Length that is longer than the body": header("Content-Length", str(1 << 52)),
        "Content-Length and chunks": header("Transfer-Encoding", "chunked"),
        "Content-Range that ends before it begins": header("Content-Range", "bytes 5-2/10"),
        "Content-Range beyond its size": header("Content-Range", "bytes 0-99/10"),
        "Content-Range beyond 64 bits": header("Content-Range", f"bytes 0-{_HUGE}/{'9' * 19}"),
        "416 of a size beyond 64 bits": status(416, {"Content-Range": f"bytes */{'9' * 19}"}),
        "Range of an upload beyond 64 bits": header("Range", f"0-{'9' * 19}"),
        "a chunk of 2^62 bytes": header("OCI-Chunk-Min-Length", str(1 << 62)),
    },
    "Retry-After with 429": {what: status(429, {"Retry-After": value}) for what, value in (_ANYTHING | _DATES).items()},
    "error": {
        f"{number}, {what}": error(number, entry) for number in (400, 404, 418, 503) for what, entry in _ENTRIES.items()
    }
    | {"that is deep": status(400, {}, b'{"errors":' + _DEEP[:7000])},
    "document": {what: document(body) for what, body in _DOCUMENTS.items()},
    "token": {what: tokens(body) for what, body in _TOKENS.items()}
    | {
        "refused": tokens(b"", 401),
        "from a server that fails": tokens(b"", 500),
        "from a server with another status": tokens(b"", 999),
        "for a service with a control character": tokens(b"{}", service="a\x01b"),
        "for a service beyond ASCII": tokens(b"{}", service="a\xffb"),
        "for a service of 60,000 characters": tokens(b"{}", service=_LONG),
        "for a scope beyond ASCII": tokens(b"{}", scope="repository:\xff:pull"),
        "for a scope of 60,000 characters": tokens(b"{}", scope=_LONG),
    },
    "realm": {_shown(realm): tokens(b"{}", realm=realm) for realm in _TARGETS},
    "HTTP": {
        "no HTTP": raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
        "HTTP/2": raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        "a status that is no number": raw(b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n"),
        "a status of one digit": raw(b"HTTP/1.1 2 OK\r\nContent-Length: 0\r\n\r\n"),
        "a line without a colon": raw(b"HTTP/1.1 200 OK\r\nContent-Length 0\r\n\r\n"),
        "a name with a control character": raw(b"HTTP/1.1 200 OK\r\na\x01b: c\r\nContent-Length: 0\r\n\r\n"),
        "a line that goes on": raw(b"HTTP/1.1 200 OK\r\nContent-Type: a\r\n b\r\nContent-Length: 2\r\n\r\n{}"),
        "a NUL": raw(b"HTTP/1.1 200 OK\r\nContent-Type: a\0b\r\nContent-Length: 2\r\n\r\n{}"),
        "lines that end with LF": raw(b"HTTP/1.1 200 OK\nContent-Type: a\nContent-Length: 2\n\n{}"),
        "10,000 headers": raw(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 10_000 + b"Content-Length: 0\r\n\r\n"),
        "a header of a MiB": raw(b"HTTP/1.1 200 OK\r\na: " + b"b" * (1 << 20) + b"\r\n\r\n"),
        "a head without end": raw(b"HTTP/1.1 200 OK\r\na: b"),
        "a thousand times 100": raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        "chunks without a size": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"),
        "a chunk of a negative size": raw(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n"
        ),
        "a chunk beyond 64 bits": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}"),
        "two lengths": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
        "a length with a sign": raw(b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}"),
        "a length with an underscore": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\n{}"),
    },
    "method": {
        "no HEAD": lambda seen, reply: Reply(405) if seen.method == "HEAD" else reply,
        "HEAD is for later": lambda seen, reply: Reply(501) if seen.method == "HEAD" else reply,
    },
}
"""All cases, by what is wrong and how."""
