"""The registries and bounds of the rounds. Each can be measured on a work."""

from __future__ import annotations

import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Final, Protocol

from benches.compare import processes
from benches.compare.peers import Peer
from benches.compare.works import Work
from ociserver.bench import Bench, Result, Settings, Target
from tests.support.authority import Issued
from tests.support.server import free_port

_STARTS_KEPT: Final = 0.05
"""Seconds from the first answer of a server until it is stopped."""


class Measurable(Protocol):
    """One work on one contender, such as `ociserver.bench.Prepared`."""

    @property
    def failed(self) -> str | None: ...
    def set_up(self) -> None: ...
    def make_ready(self) -> None: ...
    def measure(self) -> Result: ...
    def clean(self) -> Counter[str]: ...


class Contender(Protocol):
    """A registry, or a bound."""

    name: str

    @property
    def pid(self) -> int | None:
        """The id of its first process. None if its processes are unknown."""

    def prepare(self, work: Work, seconds: float) -> Measurable: ...


class Failed:
    """A work that cannot be measured."""

    def __init__(self, name: str, reason: str) -> None:
        self.failed: str | None = reason
        self._name = name

    def set_up(self) -> None: ...
    def make_ready(self) -> None: ...

    def measure(self) -> Result:
        return Result(self._name, "requests/s", 0, failed=self.failed)

    def clean(self) -> Counter[str]:
        return Counter()


class Registry:
    """A registry that was started here, once for all works of a group. It keeps its contents between works."""

    def __init__(
        self,
        peer: Peer,
        binary: Path,
        folder: Path,
        port: int,
        process: processes.Process,
        certificate: Issued | None = None,
    ) -> None:
        self.name = peer.name
        self._peer = peer
        self._binary = binary
        self._folder = folder
        self.port = port
        self._process = process
        self._certificate = certificate
        self._target = Target(url_of(port, tls=certificate is not None))

    @property
    def pid(self) -> int:
        return self._process.pid

    def prepare(self, work: Work, seconds: float) -> Measurable:
        if work.workload == "start":
            folder = self._folder.with_name(f"{self._folder.name}-start")
            return _Starting(self._peer, self._binary, folder, self._certificate)
        if work.collecting:
            if self._peer.collect is None:
                return Failed(work.name, self._peer.collect_reason)
            command = self._peer.collect(self._binary, self._folder, self.port)
            return _Collecting(Bench(self._target, work.settings(seconds)).prepare(work.workload), command)
        return prepare(self._target, work, seconds)


class Elsewhere:
    """A registry that already runs. Its processes are unknown."""

    pid = None

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self._target = Target(url)

    def prepare(self, work: Work, seconds: float) -> Measurable:
        if work.workload == "start" or work.collecting:
            return Failed(work.name, "it was not started here")
        return prepare(self._target, work, seconds)


def prepare(target: Target, work: Work, seconds: float) -> Measurable:
    """Prepare a workload of `ociserver bench` on a registry, if the registry supports it."""
    settings = work.settings(seconds)
    if work.probe:
        few = Settings(f"{settings.repository}/probe", settings.clients, 0.05, settings.large, 1)
        if (tried := Bench(target, few).run(work.workload)).failed:
            return Failed(work.name, tried.failed)
    return Bench(target, settings).prepare(work.workload)


class _Starting:
    """Starts a server in an empty folder and stops it again. Its time is in `p50_ms`."""

    failed: str | None = None

    def __init__(self, peer: Peer, binary: Path, folder: Path, certificate: Issued | None) -> None:
        self._peer = peer
        self._binary = binary
        self._folder = folder
        self._certificate = certificate
        self._round = 0

    def set_up(self) -> None: ...
    def make_ready(self) -> None: ...

    def measure(self) -> Result:
        self._round += 1
        result = Result("start", "requests/s", 1)
        with started(self._peer, self._binary, self._folder / str(self._round), self._certificate) as (process, _):
            result.count, result.seconds = 1, process.start_s
            result.rate, result.p50_ms, result.p99_ms = (
                1 / process.start_s,
                process.start_s * 1e3,
                process.start_s * 1e3,
            )
            time.sleep(_STARTS_KEPT)
        return result

    def clean(self) -> Counter[str]:
        return Counter()


class _Collecting:
    """A work while collection runs. Collection starts again as soon as it has ended."""

    def __init__(self, inner: Measurable, command: Sequence[str]) -> None:
        self._inner = inner
        self._command = command
        self._failed: str | None = None

    @property
    def failed(self) -> str | None:
        return self._failed or self._inner.failed

    def set_up(self) -> None:
        self._inner.set_up()

    def make_ready(self) -> None:
        self._inner.make_ready()

    def measure(self) -> Result:
        stop, collections = threading.Event(), 0

        def collect() -> None:
            nonlocal collections
            while not stop.is_set():
                process = Popen(self._command, stdout=PIPE, stderr=PIPE, text=True)
                output = "".join(process.communicate())
                if process.returncode:
                    self._failed = f"collection failed: {output[-300:]}"
                    return
                collections += 1

        thread = threading.Thread(target=collect)
        thread.start()
        try:
            result = self._inner.measure()
        finally:
            stop.set()
            thread.join()
        if self._failed:
            result.failed = self._failed
        return result

    def clean(self) -> Counter[str]:
        return self._inner.clean()


def url_of(port: int, *, tls: bool) -> str:
    """The URL of a server on this machine, with the name that is in the certificate."""
    return f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"


@contextmanager
def started(
    peer: Peer, binary: Path, folder: Path, certificate: Issued | None = None
) -> Iterator[tuple[processes.Process, int]]:
    """Run a registry in its own folder until the block ends. Provide the process and its port.

    Raises:
        RuntimeError: it does not start, or has no way to get the certificate.
    """
    if certificate and not peer.tls:
        raise RuntimeError("how it gets a certificate is not known here")
    (folder / "data").mkdir(parents=True)
    port = free_port()
    # The settings of the caller must not change what is measured.
    environment = {name: "" for name in os.environ if name.startswith(("OCISERVER_", "REGISTRY_"))}
    with ExitStack() as stack:
        if peer.beside:
            environment |= stack.enter_context(peer.beside(folder / "beside"))
        if certificate and callable(peer.tls):
            command = peer.tls(binary, folder, port, certificate)
        else:
            command = peer.command(binary, folder, port)
        if certificate and isinstance(peer.tls, tuple):
            environment |= dict(zip(peer.tls, (str(certificate.cert), str(certificate.key)), strict=True))
        environment |= peer.environment
        process = processes.running(command, port, folder / "log", environment, tls=certificate is not None)
        yield stack.enter_context(process), port


@contextmanager
def registries(
    peers: Sequence[Peer], binaries: Mapping[str, Path], folder: Path, certificate: Issued | None = None
) -> Iterator[tuple[list[Registry], dict[str, str]]]:
    """Start registries. Provide those that run, and the reasons why the others do not."""
    with ExitStack() as stack:
        running, missing = [], {}
        for peer in peers:
            binary = peer.path(binaries)
            if binary is None:
                how = "tests/tools/peers/build" if peer.binary else f"--binary {peer.name.partition('+')[0]}=PATH"
                missing[peer.name] = f"no binary: {how}"
                continue
            try:
                process, port = stack.enter_context(started(peer, binary, folder / peer.name, certificate))
            except (RuntimeError, OSError) as error:
                missing[peer.name] = str(error)
                continue
            running.append(Registry(peer, binary, folder / peer.name, port, process, certificate))
        yield running, missing


def shorten(reason: str) -> str:
    """Shorten an error to one line, without an HTML page and without digests."""
    reason = re.sub(r"sha256:[0-9a-f]{64}", "sha256:...", reason)
    return re.sub(r"\s+", " ", re.sub(r"\s*<(!DOCTYPE|html|\?xml).*", "", reason, flags=re.DOTALL))[:120]
