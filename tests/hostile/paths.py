"""Hostile paths: names, digests, references and upload ids."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterator

from tests.hostile.application import BLOB_DIGEST
from tests.hostile.attempt import Attempt, Fate, below, raw

HEX = "0" * 64
DIGEST = f"sha256:{HEX}"

REPOSITORIES = {
    "parent": "..",
    "escaped parent": "%2e%2e",
    "escaped parent, upper case": "%2E%2E",
    "parents": "../../../etc",
    "escaped slashes": "..%2f..%2fetc%2fpasswd",
    "parent inside": "a/../b",
    "dot": ".",
    "double escape": "%252e%252e%252f",
    "overlong UTF-8 dots": "%c0%ae%c0%ae",
    "fullwidth dots": "%EF%BC%8E%EF%BC%8E",
    "two dots inside": "a..b",
    "three underscores": "a___b",
    "leading dash": "-a",
    "trailing dot": "a.",
    "upper case": "Target",
    "empty element": "a//b",
    "leading slash": "/a",
    "NUL": "%00",
    "NUL inside": "a%00b",
    "line feed at the end": "a%0a",
    "CR LF and a header": "a%0d%0aInjected:%20header",
    "not UTF-8": "%ff%fe",
    "half a surrogate": "%ed%a0%80",
    "umlaut": "gr%c3%bc%c3%9fe",
    "arabic digit": "%d9%a1",
    "zero-width space": "a%e2%80%8bb",
    "right-to-left override": "%e2%80%aegnp",
    "space": "a%20b",
    "backslash": "a%5cb",
    "semicolon": "a;b",
    "question mark": "a%3fb",
    "fragment": "a%23b",
    "tilde": "~root",
    "shell": "$(id)",
    "lookup": "$%7bjndi:ldap://x%7d",
    "markup": "%3cscript%3e",
    "SQL": "a'%20or%201=1--",
    "bad escape": "a%zz",
    "truncated escape": "a%2",
    "256 characters": "a" * 256,
    "10,000 characters": "a" * 10_000,
    "5,000 elements": "/".join(["a"] * 5000),
    "10,000 dots": "." * 10_000,
    "10,000 separators": "a" + "-_" * 5000 + "a",
}

DIGESTS = {
    "no algorithm": HEX,
    "no hex": "sha256:",
    "colon alone": ":",
    "short": "sha256:" + "0" * 63,
    "long": "sha256:" + "0" * 65,
    "upper case": "sha256:" + "A" * 64,
    "not hexadecimal": "sha256:" + "g" * 64,
    "unknown algorithm": "md5:" + "0" * 32,
    "length of another algorithm": "sha512:" + "0" * 64,
    "algorithm in upper case": "SHA256:" + HEX,
    "two colons": "sha256::" + HEX,
    "parents": "sha256:..%2f..%2f..%2fetc%2fpasswd",
    "NUL": f"sha256:{'0' * 63}%00",
    "line feed": f"{DIGEST}%0a",
    "arabic digits": "sha256:" + "%d9%a1" * 64,
    "50,000 digits": "sha256:" + "0" * 50_000,
}

TAGS = {
    "leading dash": "-x",
    "leading dot": ".x",
    "parent": "..",
    "129 characters": "a" * 129,
    "50,000 characters": "a" * 50_000,
    "escaped slash": "a%2fb",
    "NUL": "a%00",
    "line feed": "a%0a",
    "at sign": "a@b",
    "plus": "a+b",
    "colon": "a:b",
    "umlaut": "%c3%bc",
    "not UTF-8": "%ff",
    "empty": "",
}


def _encoded(upload_id: bytes) -> str:
    return urlsafe_b64encode(upload_id).rstrip(b"=").decode()


UPLOAD_IDS = {
    "not base64": "!!!!",
    "padded": "YQ==",
    "escaped padding": "YWI%3d",
    "other alphabet": "a%2bb%2fcd",
    "impossible length": "a",
    "parents": "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "encoded parents": _encoded(b"../../../etc/passwd"),
    "encoded absolute path": _encoded(b"/etc/passwd"),
    "encoded NUL": _encoded(b"a\0b"),
    "encoded bytes that are not UTF-8": _encoded(b"\xff\xfe\xfd"),
    "encoded line feed": _encoded(b"a\nb"),
    "encoded SQL": _encoded(b"' or 1=1 --"),
    "unknown": _encoded(b"0" * 64),
    "50,000 characters": "YWFh" * 12_500,
    "trailing slash": _encoded(b"0" * 64) + "/",
}

ROOTS = {
    "nothing": "/v2x",
    "two slashes": "//v2/",
    "no such endpoint": "/v2/nothing",
    "dots before": "/../v2/",
    "escaped v2": "/%76%32/x",
    "another version": "/v1/_ping",
    "three slashes": "/v2///",
    "catalog with a slash": "/v2/_catalog/",
    "endpoint without a repository": f"/v2/blobs/{BLOB_DIGEST}",
    "endpoint in upper case": below("TAGS/list"),
    "tags of something else": below("tags/all"),
    "parameters of a path": below("tags/list;x=y"),
    "escaped endpoint": below("%6danifests%2f.."),
    "null byte at the end": "/v2/%00",
    "no path": "/?/v2/",
}

UPLOAD_METHODS = ("GET", "PATCH", "PUT", "DELETE")


def attempts() -> Iterator[Attempt]:
    for name, repository in REPOSITORIES.items():
        yield Attempt(f"repository: {name}; tags", (raw("GET", f"/v2/{repository}/tags/list"),))
        yield Attempt(f"repository: {name}; push", (raw("POST", f"/v2/{repository}/blobs/uploads/", body=b""),))
    for name, digest in DIGESTS.items():
        yield Attempt(f"digest: {name}; blob", (raw("GET", below(f"blobs/{digest}")),))
        yield Attempt(f"digest: {name}; referrers", (raw("GET", below(f"referrers/{digest}")),))
        yield Attempt(f"digest: {name}; closing PUT", (raw("PUT", f"{{upload}}?digest={digest}", body=b""),))
        yield Attempt(
            f"digest: {name}; mount", (raw("POST", below(f"blobs/uploads/?mount={digest}&from=a"), body=b""),)
        )
    for name, tag in TAGS.items():
        yield Attempt(f"tag: {name}; pull", (raw("GET", below(f"manifests/{tag}")),))
        yield Attempt(f"tag: {name}; push", (raw("PUT", below(f"manifests/{tag}"), body=b"{}"),))
    for number, (name, upload_id) in enumerate(UPLOAD_IDS.items()):
        method = UPLOAD_METHODS[number % len(UPLOAD_METHODS)]
        target = below(f"blobs/uploads/{upload_id}?digest={BLOB_DIGEST}")
        yield Attempt(f"upload id: {name}; {method}", (raw(method, target, body=b"x"),))
    for name, path in ROOTS.items():
        yield Attempt(f"path: {name}", (raw("GET", path),))
    yield Attempt("path: raw space", (raw("GET", below("tags/list x")),), Fate.STOPPED)
    yield Attempt("path: raw NUL", (raw("GET", below("tags/list\0")),), Fate.STOPPED)
    yield Attempt("path: raw Latin-1", (raw("GET", below("manifests/\xfc")),), Fate.STOPPED)
    yield Attempt("path: raw control characters", (raw("GET", below("manifests/\x01\x1b[31m")),), Fate.STOPPED)
    yield Attempt("path: 400,000 characters", (raw("GET", "/v2/" + "a/" * 200_000),), Fate.STOPPED)
