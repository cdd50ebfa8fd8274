"""Pushes small images from several clients at once: three requests each, and no content twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benches.connection import Connection
from benches.contents import MEDIA_TYPE, digest_of
from benches.load import cpu_seconds
from tests.serving.site import Site

CLIENTS: Final = 8
LAYER_SIZE: Final = 4096
REPOSITORIES: Final = 16


@dataclass(frozen=True, slots=True)
class Image:
    """A unique image: a config, a layer of 4 KiB of random bytes, a manifest."""

    config: bytes
    layer: bytes
    manifest: bytes


@dataclass(frozen=True, slots=True)
class Pushed:
    """The result of pushing images."""

    images: int
    seconds: float
    cpu_seconds: float
    p50_s: float
    p99_s: float

    @property
    def rate(self) -> float:
        return self.images / self.seconds


def make(count: int) -> list[Image]:
    return [_image() for _ in range(count)]


def push(site: Site, images: Sequence[Image], clients: int = CLIENTS) -> Pushed:
    """Push images, each client on its own connection. The first error of a client is raised."""
    queue = iter(enumerate(images))
    lock, errors, times = threading.Lock(), [], []

    def work() -> None:
        try:
            with Connection(site) as connection:
                while (item := _next(queue, lock)) is not None:
                    began = time.perf_counter()
                    _push(connection, *item)
                    times.append(time.perf_counter() - began)
        except BaseException as error:
            errors.append(error)

    before, began = cpu_seconds(site.pid), time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    if errors:
        raise errors[0]
    times.sort()
    used = cpu_seconds(site.pid) - before
    return Pushed(len(images), took, used, times[len(times) // 2], times[len(times) * 99 // 100])


def syncs_per_image(site: Site, images: Sequence[Image]) -> float | None:
    """Count the calls of fsync and fdatasync per image with strace, which slows the server. None without strace."""
    strace = shutil.which("strace")
    if strace is None or site.pid is None:
        return None
    command = [strace, "-f", "-c", "-e", "trace=fsync,fdatasync", "-p", str(site.pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    time.sleep(0.5)
    push(site, images)
    tracer.terminate()
    assert tracer.stderr
    lines = [line.split() for line in tracer.stderr.read().splitlines()]
    tracer.wait()
    calls = sum(int(line[3]) for line in lines if line and line[-1] in {"fsync", "fdatasync"})
    return calls / len(images)


def sync_rate(folder: Path, seconds: float = 1.0) -> float:
    """Return how often per second the disk syncs a file after 4 KiB were appended, one after another."""
    path, block, count = folder / "synced", os.urandom(4096), 0
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            os.write(fd, block)
            os.fdatasync(fd)
            count += 1
    finally:
        os.close(fd)
        path.unlink()
    return count / seconds


def _next(queue: Iterator[tuple[int, Image]], lock: threading.Lock) -> tuple[int, Image] | None:
    with lock:
        return next(queue, None)


def _push(connection: Connection, number: int, image: Image) -> None:
    repository = f"bench/small{number % REPOSITORIES}"
    for blob in (image.config, image.layer):
        _request(connection, "POST", f"/v2/{repository}/blobs/uploads/?digest={digest_of(blob)}", blob)
    headers = {"content-type": MEDIA_TYPE}
    _request(connection, "PUT", f"/v2/{repository}/manifests/v{number}", image.manifest, headers)


def _request(
    connection: Connection, method: str, target: str, body: bytes, headers: dict[str, str] | None = None
) -> None:
    answer = connection.request(method, target, body, headers)
    assert answer.status == 201, f"{method} {target}: {answer.status} {answer.body!r}"


def _image() -> Image:
    config = json.dumps({"os": "linux", "architecture": "amd64", "created_by": os.urandom(16).hex()}).encode()
    layer = os.urandom(LAYER_SIZE)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MEDIA_TYPE,
        "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    }
    return Image(config, layer, json.dumps(manifest).encode())


def _descriptor(media_type: str, content: bytes) -> dict[str, str | int]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}
