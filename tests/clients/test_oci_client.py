"""The Rust crate oci-client: uploads in chunks of 4 MiB, parts of blobs, mounts, referrers."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.client import Client
from tests.support.http import send
from tests.support.images import MANIFEST, digest_of, random_bytes
from tests.support.server import Server
from tests.support.tap import tapped

MIB = 1 << 20


def test_push_and_pull(server: Server, oci_client: Client, tmp_path: Path) -> None:
    contents = [random_bytes(9 * MIB, seed=50), b"small"]
    files = [_file(tmp_path, content) for content in contents]
    with tapped(server) as tap:
        oci_client.run("push", f"{tap.address}/oci-client/image:v1", *files)
        chunks = [exchange for exchange in tap.exchanges() if exchange.method == "PATCH"]
    # If it rejects the answer to a chunk, it sends the blob in one request instead.
    assert sorted(int(chunk.headers["content-length"]) for chunk in chunks) == [2, 5, MIB, 4 * MIB, 4 * MIB]
    assert {chunk.status for chunk in chunks} == {202}
    (tmp_path / "out").mkdir()
    oci_client.run("pull", f"{server.address}/oci-client/image:v1", tmp_path / "out")
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == {
        digest_of(content): content for content in contents
    }


def test_a_stream_and_a_part_of_it(server: Server, oci_client: Client, tmp_path: Path) -> None:
    """Before its end, neither the length nor the digest of a stream is known."""
    content = random_bytes(5 * MIB, seed=51)
    repository = f"{server.address}/oci-client/stream"
    digest = oci_client.run("stream", repository, _file(tmp_path, content)).strip()
    assert digest == digest_of(content)
    text = b"a part of a text that is streamed"
    digest = oci_client.run("stream", repository, _file(tmp_path, text)).strip()
    assert oci_client.run("part", repository, digest, "2", "4") == "part"


def test_mount(server: Server, oci_client: Client, tmp_path: Path) -> None:
    digest = oci_client.run("stream", f"{server.address}/oci-client/from", _file(tmp_path, b"mounted")).strip()
    oci_client.run("mount", f"{server.address}/oci-client/to", f"{server.address}/oci-client/from", digest)
    assert send(server, "GET", f"/v2/oci-client/to/blobs/{digest}").body == b"mounted"


def test_referrers(server: Server, oci_client: Client, tmp_path: Path) -> None:
    oci_client.run("push", f"{server.address}/oci-client/referred:v1", _file(tmp_path, b"referred"))
    subject = send(server, "GET", "/v2/oci-client/referred/manifests/v1")
    pushed = json.loads(subject.body)
    descriptor = {"mediaType": MANIFEST, "digest": digest_of(subject.body), "size": len(subject.body)}
    referrer = json.dumps({**pushed, "artifactType": "example/sbom", "subject": descriptor}).encode()
    path = f"/v2/oci-client/referred/manifests/{digest_of(referrer)}"
    assert send(server, "PUT", path, referrer, {"Content-Type": MANIFEST}).status == 201
    found = oci_client.run("referrers", f"{server.address}/oci-client/referred@{descriptor['digest']}")
    assert found.split() == [digest_of(referrer)]


def _file(folder: Path, content: bytes) -> Path:
    file = folder / digest_of(content)
    file.write_bytes(content)
    return file
