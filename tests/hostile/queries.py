"""Hostile query strings."""

from __future__ import annotations

from collections.abc import Iterator

from tests.hostile.application import BLOB_DIGEST
from tests.hostile.attempt import Attempt, Fate, below, raw
from tests.hostile.paths import DIGEST

NUMBERS = {
    "word": "x",
    "float": "1.5",
    "exponent": "1e9",
    "hexadecimal": "0x10",
    "underscore": "1_000",
    "arabic digit": "%d9%a1",
    "space": "%205",
    "two signs": "--5",
    "beyond 64 bits": "9223372036854775808",
    "10,000 digits": "9" * 10_000,
    "NUL": "5%00",
}

REFUSED = {
    "bad escape": ("GET", "/v2/?x=%zz"),
    "semicolon": ("GET", "/v2/?a=1;b=2"),
    "bad escape in a name": ("GET", below("tags/list?%=1")),
    "cut escape": ("GET", below("tags/list?last=%2")),
    "mount from the parent": ("POST", below(f"blobs/uploads/?mount={DIGEST}&from=../..")),
    "mount from upper case": ("POST", below(f"blobs/uploads/?mount={DIGEST}&from=A")),
    "mount from a line feed": ("POST", below(f"blobs/uploads/?mount={DIGEST}&from=a%0a")),
    "unknown algorithm": ("POST", below("blobs/uploads/?digest-algorithm=md5")),
    "algorithm that is a path": ("POST", below("blobs/uploads/?digest-algorithm=../sha256")),
    "closing PUT without a digest": ("PUT", "{upload}"),
    "closing PUT with an empty digest": ("PUT", "{upload}?digest="),
    "tag that is a path": ("PUT", below(f"manifests/{DIGEST}?tag=../x")),
    "tag with a comma": ("PUT", below(f"manifests/{DIGEST}?tag=a,b")),
    "tag with a line feed": ("PUT", below(f"manifests/{DIGEST}?tag=a%0aX:y")),
    "101 tags": ("PUT", below(f"manifests/{DIGEST}?" + "&".join(f"tag=t{number}" for number in range(101)))),
    "5,000 tags": ("PUT", below(f"manifests/{DIGEST}?" + "&".join(f"tag=t{number}" for number in range(5000)))),
}

TAKEN = {
    "5,000 parameters": below("tags/list?" + "&".join(f"p{number}=1" for number in range(5000))),
    "the same 5,000 times": below("tags/list?" + "&".join(["n=5"] * 5000)),
    "last of 50,000 characters": below("tags/list?n=1&last=" + "z" * 50_000),
    "last that is NUL": below("tags/list?last=%00"),
    "last that is not UTF-8": below("tags/list?last=%ff%fe"),
    "artifact type of 50,000 characters": below(f"referrers/{DIGEST}?artifactType=" + "x" * 50_000),
    "artifact type with CR LF": below(f"referrers/{DIGEST}?artifactType=a%0d%0aInjected:%20b"),
    "namespace with CR LF": below("tags/list?ns=a%0d%0aInjected:%20b"),
    "only ampersands": below("tags/list?" + "&" * 10_000),
    "only equals signs": below("tags/list?" + "=" * 10_000),
    "largest n": below("tags/list?n=9223372036854775807"),
}


def attempts() -> Iterator[Attempt]:
    for name, number in NUMBERS.items():
        yield Attempt(f"query: n is a {name}; tags", (raw("GET", below(f"tags/list?n={number}")),))
        yield Attempt(f"query: n is a {name}; catalog", (raw("GET", f"/v2/_catalog?n={number}"),))
    for name, (method, target) in REFUSED.items():
        yield Attempt(f"query: {name}", (raw(method, target, body=None if method == "GET" else b"{}"),))
    for name, target in TAKEN.items():
        yield Attempt(f"query: {name}", (raw("GET", target),), Fate.TAKEN)
    yield Attempt("query: 500,000 characters", (raw("GET", below("tags/list?x=" + "y" * 500_000)),), Fate.STOPPED)
    yield Attempt("query: raw NUL", (raw("GET", below("tags/list?n=\0")),), Fate.STOPPED)
    yield Attempt("query: two digests", (raw("PUT", f"{{upload}}?digest=x&digest={BLOB_DIGEST}", body=b""),))
