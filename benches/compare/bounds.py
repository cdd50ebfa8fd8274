"""Bounds that no registry can beat, measured in the same rounds: servers that only answer, a processor, a disk."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Final

from benches import nginx
from benches.baseline import ANSWER_PATH
from benches.compare.contenders import Failed, Measurable, url_of
from benches.compare.peers import REPOSITORY
from benches.compare.works import MIB, Work
from benches.connection import Answer, Connection
from benches.contents import digest_of
from benches.images import sync_rate
from benches.servers import serve
from ociserver._core import LoadContent, LoadStep
from ociserver.bench import WORKLOADS, Prepared, Result, Target
from ociserver.bench.pushes import Pushes
from ociserver.bench.workload import Operation, Workload
from tests.serving.site import Site
from tests.support.authority import Issued

LABELS: Final = {
    "constant": "granian, constant answer",
    "drop": "granian, receive and drop",
    "nginx": "nginx, static file",
    "sha256": "SHA-256, one core",
    "fsync": "fsync of 4 KiB",
}


class _Plain(Target):
    """A server that is not a registry and needs no credentials."""

    def header(self, scopes: Iterable[str]) -> str | None:
        return None


class Constant:
    """granian with an application that sends the bytes and headers of our answer to every request."""

    name = "constant"

    def __init__(self, site: Site, ours: Site | None) -> None:
        self._site = site
        self._ours = ours

    @property
    def pid(self) -> int | None:
        return self._site.pid

    def prepare(self, work: Work, seconds: float) -> Measurable:
        if self._ours is None:
            return Failed(work.name, "it answers what ours does, which does not run")
        method = "HEAD" if "head" in work.workload else "GET"
        answer = _answer(self._ours, method, is_blob=work.workload.startswith("blob"))
        headers = [(name, value) for name, value in answer.headers if name not in {"date", "server"}]
        content = {"status": answer.status, "headers": headers, "body": answer.body.decode("latin-1")}
        with Connection(self._site) as connection:
            connection.request("PUT", ANSWER_PATH, json.dumps(content).encode())
        return _requests(work, self._site.url, seconds)


def _answer(ours: Site, method: str, *, is_blob: bool) -> Answer:
    """Return our answer to a request for a manifest, or for a blob of 4 KiB, of the measured size."""
    with Connection(ours) as connection:
        image = Pushes("").image()
        blobs = (image.config, image.layer.read())
        for blob in blobs:
            path = f"/v2/{REPOSITORY}/copied/blobs/uploads/?digest={digest_of(blob)}"
            assert connection.request("POST", path, blob).status == 201
        path = f"/v2/{REPOSITORY}/copied/manifests/image-0"
        put = connection.request("PUT", path, image.manifest, {"content-type": json.loads(image.manifest)["mediaType"]})
        assert put.status == 201, put
        path = f"/v2/{REPOSITORY}/copied/blobs/{image.layer_digest}" if is_blob else path
        answer = connection.request(method, path)
        assert answer.status == 200, answer
        return answer


class Nginx:
    """nginx with one worker and one file for all paths."""

    name = "nginx"

    def __init__(self, site: Site, root: Path, *, tls: bool) -> None:
        self._site = site
        self._url = url_of(site.port, tls=tls)
        self._root = root

    @property
    def pid(self) -> int | None:
        return self._site.pid

    def prepare(self, work: Work, seconds: float) -> Measurable:
        if work.workload.startswith("manifest"):
            content = Pushes("").image().manifest
        else:
            content = os.urandom(4096 if "4k" in work.workload else work.large)
        (self._root / nginx.EVERY).write_bytes(content)
        return _requests(work, self._url, seconds)


def _requests(work: Work, url: str, seconds: float) -> Measurable:
    """The requests of a workload, without its preparation."""
    settings = work.settings(seconds)
    workload = WORKLOADS[work.workload](settings, Pushes(""))
    return Prepared(work.name, _Plain(url), settings, replace(workload, setup=(), check=()))


class Drop:
    """granian with an application that receives the body of one PUT and drops it."""

    name = "drop"

    def __init__(self, site: Site) -> None:
        self._site = site

    @property
    def pid(self) -> int | None:
        return self._site.pid

    def prepare(self, work: Work, seconds: float) -> Measurable:
        settings = work.settings(seconds)
        contents = (LoadContent(number, work.large) for number in count())
        workload = Workload(
            unit="bytes/s",
            clients=settings.clients if work.workload.endswith("parallel") else 1,
            operations=(Operation([LoadStep("PUT", "/", body=content, expect=[201])], ()) for content in contents),
            costly=True,
            repositories=(),
        )
        return Prepared(work.name, _Plain(self._site.url), settings, workload)


class Here:
    """Work of this process itself."""

    pid = None

    def __init__(self, name: str, measure: Callable[[float], Result]) -> None:
        self.name = name
        self._measure = measure

    def prepare(self, work: Work, seconds: float) -> Measurable:
        return _Here(lambda: self._measure(seconds))


class _Here:
    failed: str | None = None

    def __init__(self, measure: Callable[[], Result]) -> None:
        self._measure = measure

    def set_up(self) -> None: ...
    def make_ready(self) -> None: ...

    def measure(self) -> Result:
        return self._measure()

    def clean(self) -> Counter[str]:
        return Counter()


def _sha256(seconds: float) -> Result:
    content, hasher, done = os.urandom(16 * MIB), hashlib.sha256(), 0
    began, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        hasher.update(content)
        done += len(content)
    took = time.perf_counter() - began
    used = time.process_time() - cpu
    return Result("sha256", "bytes/s", 1, rate=done / took, count=1, seconds=took, bytes=done, client_cpu_seconds=used)


@contextmanager
def bounds(
    names: Sequence[str], ours: Site | None, folder: Path, certificate: Issued | None = None
) -> Iterator[list[Constant | Nginx | Drop | Here]]:
    """Start the named bounds, until the block ends. Of those with a network only nginx serves HTTPS."""
    with ExitStack() as stack:
        found: list[Constant | Nginx | Drop | Here] = []
        if "constant" in names and not certificate:
            found.append(Constant(stack.enter_context(serve("benches.baseline:constant")), ours))
        if "drop" in names and not certificate:
            found.append(Drop(stack.enter_context(serve("benches.baseline:drop"))))
        if "nginx" in names:
            root = folder / "root"
            root.mkdir()
            serving = nginx.serve_files(root, folder, one_file=True, certificate=certificate)
            found.append(Nginx(stack.enter_context(serving), root, tls=certificate is not None))
        if "sha256" in names:
            found.append(Here("sha256", _sha256))
        if "fsync" in names:

            def fsync(seconds: float) -> Result:
                rate = sync_rate(folder, seconds)
                return Result("fsync", "requests/s", 1, rate=rate, count=round(rate * seconds), seconds=seconds)

            found.append(Here("fsync", fsync))
        yield found
