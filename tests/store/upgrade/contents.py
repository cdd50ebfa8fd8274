"""What was pushed to older versions, whose folders are `b727552.tar.gz` (images, and the same bytes under other types)
and `5bccebe.tar.gz` (without the other types, which that version refuses).

To write such a folder again: `git checkout b727552`, `ociserver serve --data FOLDER --lax-child-references`, and with
this file beside it `python contents.py http://localhost:5000`, or for the other one `python contents.py
http://localhost:5000 accepted`; then stop the server and pack FOLDER as `data`.
"""

from __future__ import annotations

import hashlib
import json
import sys
import urllib.request
from typing import Any, Final

IMAGE: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_IMAGE: Final = "application/vnd.docker.distribution.manifest.v2+json"

TEAM: Final = "team/app"
"""Images that were pushed again under other types."""
OTHER: Final = "team/other"
"""What was never retyped."""
EMPTY: Final = "team/empty"
"""A repository in which nothing but an upload was begun."""
EMPTIED: Final = "team/emptied"
"""A repository whose only blob was deleted."""

Json = dict[str, Any]


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def described(media_type: str, content: bytes) -> Json:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def encode(**fields: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, **fields}).encode()


# In a file and in the database; nobody else's.
BLOBS: Final = {name: name.encode() * size for name, size in [("large", 8000), ("small", 10), ("signature", 3)]}
CONFIG: Final = b'{"architecture":"amd64","os":"linux"}'
UNREFERENCED: Final = b"unreferenced" * 5000
EMPTIED_BLOB: Final = b"emptied"
PARTS: Final[Json] = {
    "config": described("application/vnd.oci.image.config.v1+json", CONFIG),
    "layers": [described("application/vnd.oci.image.layer.v1.tar", BLOBS[name]) for name in ("large", "small")],
}

NAMED: Final = encode(mediaType=IMAGE, **PARTS)
NAMELESS: Final = encode(**PARTS, annotations={"named": "no"})
DOCKER: Final = encode(mediaType=DOCKER_IMAGE, **PARTS)
LIST: Final = encode(mediaType=INDEX, manifests=[described(IMAGE, NAMED), described(DOCKER_IMAGE, DOCKER)])
SIGNATURE: Final = encode(
    mediaType=IMAGE,
    config=PARTS["config"],
    layers=[described("application/vnd.example.signature", BLOBS["signature"])],
    subject=described(IMAGE, NAMED),
    annotations={"signed": "yes, \u00e9"},
)
MISSING_LAYER: Final = encode(
    mediaType=DOCKER_IMAGE, config=PARTS["config"], layers=[described("application/x", b"never pushed")]
)

PUSHES: Final = [
    # (repository, tag, media type, content), in order
    (TEAM, "named", IMAGE, NAMED),
    (TEAM, "nameless", IMAGE, NAMELESS),
    (TEAM, "docker", DOCKER_IMAGE, DOCKER),
    (TEAM, "list", INDEX, LIST),
    (TEAM, digest_of(SIGNATURE), IMAGE, SIGNATURE),
    (OTHER, "named", f"{IMAGE}; charset=utf-8", NAMED),
    (OTHER, "docker", DOCKER_IMAGE, DOCKER),
    (OTHER, "opaque", "application/x-opaque", b"\0"),
    (OTHER, "incomplete", DOCKER_IMAGE, MISSING_LAYER),
    # The attack.
    (TEAM, "named-as-json", "application/json", NAMED),
    (TEAM, "nameless-as-index", INDEX, NAMELESS),
    (TEAM, "docker-as-list", "application/vnd.docker.distribution.manifest.list.v2+json", DOCKER),
    (TEAM, "list-as-octets", "application/octet-stream", LIST),
    (TEAM, "signature-as-form", "application/x-www-form-urlencoded", SIGNATURE),
]
ACCEPTED: Final = [push for push in PUSHES if "-as-" not in push[1]]
"""Those that newer versions accept."""

TAGS: Final = {
    repository: sorted(tag for where, tag, _, _ in PUSHES if where == repository and ":" not in tag)
    for repository in (TEAM, OTHER)
}


def write(server: str, pushes: list[tuple[str, str, str, bytes]]) -> None:
    """Push all of it, with these manifests."""

    def send(method: str, path: str, body: bytes = b"", **headers: str) -> str:
        request = urllib.request.Request(server + path, body, headers, method=method)  # noqa: S310 - http
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - likewise
            return str(answer.headers["Location"])

    def push_blob(repository: str, content: bytes) -> None:
        send("POST", f"/v2/{repository}/blobs/uploads/?digest={digest_of(content)}", content)

    for repository in (TEAM, OTHER):
        for content in (*BLOBS.values(), CONFIG):
            push_blob(repository, content)
    push_blob(TEAM, UNREFERENCED)
    for repository, reference, media_type, content in pushes:
        send("PUT", f"/v2/{repository}/manifests/{reference}", content, **{"Content-Type": media_type})
    upload = send("POST", f"/v2/{EMPTY}/blobs/uploads/")
    send("PATCH", upload, UNREFERENCED[:30_000])
    push_blob(EMPTIED, EMPTIED_BLOB)
    send("DELETE", f"/v2/{EMPTIED}/blobs/{digest_of(EMPTIED_BLOB)}")


if __name__ == "__main__":
    write(sys.argv[1], ACCEPTED if sys.argv[2:] == ["accepted"] else PUSHES)
