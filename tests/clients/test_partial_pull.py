"""A pull of the missing parts of a layer: one request with as many ranges as podman sends (zstd:chunked)."""

from __future__ import annotations

import random
from email import message_from_bytes

from tests.contract.contents import digest_of
from tests.support.http import send
from tests.support.server import Server

REPOSITORY = "partial/image"
RANGES = 1024
CHUNK = 8 * 1024
LAYER = random.Random(8).randbytes(2 * RANGES * CHUNK)


def test_every_second_chunk_of_a_layer(server: Server) -> None:
    path = f"/v2/{REPOSITORY}/blobs/{digest_of(LAYER)}"
    assert send(server, "POST", f"/v2/{REPOSITORY}/blobs/uploads/?digest={digest_of(LAYER)}", LAYER).status == 201
    spans = [(start, start + CHUNK) for start in range(0, len(LAYER), 2 * CHUNK)]
    header = "bytes=" + ",".join(f"{start}-{stop - 1}" for start, stop in spans)
    answer = send(server, "GET", path, headers={"Range": header})
    assert answer.status == 206
    head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
    parts = [part for part in message_from_bytes(head + answer.body).walk() if not part.is_multipart()]
    found = [(part["Content-Range"], part.get_payload(decode=True)) for part in parts]
    assert found == [(f"bytes {start}-{stop - 1}/{len(LAYER)}", LAYER[start:stop]) for start, stop in spans]
