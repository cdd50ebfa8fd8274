"""The compared registries, and how each starts: with its default configuration, and deletion switched on."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Final, Literal

from tests.support import postgres
from tests.support.authority import Issued
from tests.support.bucket import BUCKET, REGION, versity
from tests.support.cluster import over_bucket

_TOOLS: Final = Path(__file__).parents[2] / ".tools" / "bin"

USER: Final = "bench"
REPOSITORY: Final = "bench"
"""The prefix of all repositories."""

OURS: Final = "ociserver"
OURS_OVER_OBJECTS: Final = "ociserver+s3"

Command = Callable[[Path, Path, int], Sequence[str]]
"""Takes the binary, an empty folder and a port. Writes a configuration into the folder, and returns the command."""

SecureCommand = Callable[[Path, Path, int, Issued], Sequence[str]]
"""The same for a registry that serves HTTPS with a certificate."""

Beside = Callable[[Path], AbstractContextManager[Mapping[str, str]]]
"""Runs what a registry needs beside it, with its files in a new folder. Provides environment variables for it."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A registry.

    Args:
        name: the name on the command line and in the results.
        label: the name in tables.
        command: makes the command that starts it.
        keeps: where it stores contents.
        syncs: whether it syncs contents to the disk before it answers a push.
        switch: its option for syncing, as text.
        binary: the file name in .tools/bin. None if `--binary` must name the path.
        collect: makes the command that frees space while it serves.
        collect_reason: why collection cannot be measured beside pushes.
        login: whether it requires the credentials of `write_logins`.
        tls: the environment variables for the files of its certificate and key, or the command that starts it with
            them. None if neither is known.
        environment: further environment variables.
        beside: runs what it needs beside it, which is not part of its memory and processor time.
    """

    name: str
    label: str
    command: Command
    _: KW_ONLY
    keeps: Literal["disk", "memory", "objects"] = "disk"
    syncs: bool = False
    switch: str
    binary: str | None = None
    collect: Command | None = None
    collect_reason: str = ""
    login: bool = False
    tls: tuple[str, str] | SecureCommand | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    beside: Beside | None = None

    def path(self, binaries: Mapping[str, Path]) -> Path | None:
        """Return the path of its program. None if there is none."""
        program = self.name.partition("+")[0]
        if program == OURS:
            return Path(sys.executable)
        given = binaries.get(program)
        path = given or (_TOOLS / self.binary if self.binary else None)
        return path if path and path.exists() else None


def _ours(python: Path, folder: Path, port: int) -> Sequence[str]:
    data = str(folder / "data")
    return [str(python), "-m", "ociserver", "serve", "--data", data, "--host", "127.0.0.1", "--port", str(port)]


def _ours_over_objects(python: Path, folder: Path, port: int) -> Sequence[str]:
    config = str(folder / "beside" / "registry.toml")
    return [str(python), "-m", "ociserver", "serve", "--config", config, "--host", "127.0.0.1", "--port", str(port)]


@contextmanager
def _ours_beside(folder: Path) -> Iterator[Mapping[str, str]]:
    """PostgreSQL with its default settings, so synced, and the same object store as others have."""
    database = postgres.Cluster()
    try:
        with versity(folder) as store:
            (folder / "registry.toml").write_text(over_bucket(database.create("registry"), store))
            yield store.environment()
    finally:
        database.close()


def _ours_collect(python: Path, folder: Path, port: int) -> Sequence[str]:
    return [str(python), "-m", "ociserver", "collect", "--data", str(folder / "data")]


def _distribution(binary: Path, folder: Path, port: int) -> Sequence[str]:
    return _distribution_over(f"filesystem: {{rootdirectory: {folder}/data}}", binary, folder, port)


def _distribution_s3(binary: Path, folder: Path, port: int) -> Sequence[str]:
    # Keys and endpoint are in the environment. By default it redirects, and the load generator does not follow.
    storage = "s3: {secure: false, forcepathstyle: true}\n  redirect: {disable: true}"
    return _distribution_over(storage, binary, folder, port)


@contextmanager
def _distribution_beside(folder: Path) -> Iterator[Mapping[str, str]]:
    with versity(folder) as store:
        yield {
            "REGISTRY_STORAGE_S3_BUCKET": BUCKET,
            "REGISTRY_STORAGE_S3_REGION": REGION,
            "REGISTRY_STORAGE_S3_REGIONENDPOINT": store.endpoint,
            "REGISTRY_STORAGE_S3_ACCESSKEY": store.access_key,
            "REGISTRY_STORAGE_S3_SECRETKEY": store.secret_key,
        }


def _distribution_over(storage: str, binary: Path, folder: Path, port: int) -> Sequence[str]:
    # The configuration of its image and of Debian's package, except for storage, address and deletion.
    file = _write(
        folder / "config.yml",
        f"""\
version: 0.1
log: {{fields: {{service: registry}}}}
storage:
  cache: {{blobdescriptor: inmemory}}
  {storage}
  delete: {{enabled: true}}
http:
  addr: 127.0.0.1:{port}
  headers: {{X-Content-Type-Options: [nosniff]}}
health: {{storagedriver: {{enabled: true, interval: 10s, threshold: 3}}}}
""",
    )
    return [str(binary), "serve", file]


def _zuul(binary: Path, folder: Path, port: int) -> Sequence[str]:
    return [str(binary), "-c", _zuul_configuration(folder, port), "serve"]


def _zuul_collect(binary: Path, folder: Path, port: int) -> Sequence[str]:
    return [str(binary), "-c", _zuul_configuration(folder, port), "prune"]


def _zuul_configuration(folder: Path, port: int) -> str:
    return _write(
        folder / "registry.yaml",
        f"""\
registry:
  address: 127.0.0.1
  port: {port}
  public-url: http://127.0.0.1:{port}
  secret: {USER}
  users: [{{name: {USER}, pass: {USER}, access: write}}]
  storage: {{driver: filesystem, root: {folder}/data}}
""",
    )


def _ociregistry(binary: Path, folder: Path, port: int) -> Sequence[str]:
    return [str(binary), f"127.0.0.1:{port}"]


def _crane(binary: Path, folder: Path, port: int) -> Sequence[str]:
    return [str(binary), "registry", "serve", "--address", f"127.0.0.1:{port}"]


def _zot_synced(binary: Path, folder: Path, port: int) -> Sequence[str]:
    return _zot(binary, folder, port, commit=True)


def _zot_over_tls(binary: Path, folder: Path, port: int, certificate: Issued) -> Sequence[str]:
    return _zot(binary, folder, port, tls={"cert": str(certificate.cert), "key": str(certificate.key)})


def _zot(
    binary: Path, folder: Path, port: int, *, commit: bool = False, tls: Mapping[str, str] | None = None
) -> Sequence[str]:
    storage: dict[str, object] = {"rootDirectory": str(folder / "data"), "commit": commit}
    content = {
        "distSpecVersion": "1.1.1",
        "storage": storage,
        "http": {"address": "127.0.0.1", "port": str(port), **({"tls": tls} if tls else {})},
        "log": {"level": "info"},
    }
    return [str(binary), "serve", _write(folder / "config.json", json.dumps(content))]


def _olareg(binary: Path, folder: Path, port: int) -> Sequence[str]:
    listen = ["--addr", "127.0.0.1", "--port", str(port)]
    return [str(binary), "serve", "--dir", str(folder / "data"), "--api-blob-delete", *listen]


def _olareg_over_tls(binary: Path, folder: Path, port: int, certificate: Issued) -> Sequence[str]:
    files = ["--tls-cert", str(certificate.cert), "--tls-key", str(certificate.key)]
    return [*_olareg(binary, folder, port), *files]


def _angos_synced(binary: Path, folder: Path, port: int) -> Sequence[str]:
    return _angos(binary, folder, port, sync=True)


def _angos(binary: Path, folder: Path, port: int, *, sync: bool = False) -> Sequence[str]:
    data, synced = folder / "data", json.dumps(sync)
    file = _write(
        folder / "config.toml",
        f"""\
[server]
bind_address = "127.0.0.1"
port = {port}
[blob_store.fs]
root_dir = "{data}"
sync_to_disk = {synced}
[metadata_store.fs]
root_dir = "{data}"
sync_to_disk = {synced}
[global.access_policy]
default = "allow"
[repository."{REPOSITORY}".access_policy]
default = "allow"
""",
    )
    return [str(binary), "-c", file, "server"]


def _write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


_READ_ONLY: Final = "`garbage-collect` requires a stopped or read-only registry"
_NEVER: Final = "no collection: contents stay in memory until the process stops"
_BY_ITSELF: Final = "it schedules collection itself, and no command starts it"
_ALWAYS: Final = "none: always"
_NOTHING: Final = "none: nothing to sync"
_GATEWAY: Final = "none: versitygw never syncs"
_OURS_TLS: Final = ("OCISERVER_TLS_CERT", "OCISERVER_TLS_KEY")
_DISTRIBUTION_TLS: Final = ("REGISTRY_HTTP_TLS_CERTIFICATE", "REGISTRY_HTTP_TLS_KEY")
_NO_TRACES: Final = {"OTEL_TRACES_EXPORTER": "none"}
"""Otherwise distribution waits for a trace collector that does not exist."""

PEERS: Final = {
    peer.name: peer
    for peer in (
        Peer(
            OURS,
            "ociserver",
            _ours,
            syncs=True,
            switch="on by default",
            collect=_ours_collect,
            tls=_OURS_TLS,
        ),
        *(
            Peer(
                f"{OURS}+{workers}",
                f"ociserver, {workers} workers",
                _ours,
                syncs=True,
                switch="on by default",
                collect=_ours_collect,
                tls=_OURS_TLS,
                environment={"OCISERVER_WORKERS": str(workers)},
            )
            for workers in (2, 4)
        ),
        Peer(
            OURS_OVER_OBJECTS,
            "ociserver over PostgreSQL and versitygw",
            _ours_over_objects,
            keeps="objects",
            switch=_GATEWAY,
            collect_reason="`collect` of such a store is not measured",
            beside=_ours_beside,
        ),
        Peer(
            "distribution3",
            "distribution 3.1.2",
            _distribution,
            syncs=True,
            switch=_ALWAYS,
            binary="distribution3",
            collect_reason=_READ_ONLY,
            tls=_DISTRIBUTION_TLS,
            environment=_NO_TRACES,
        ),
        Peer(
            "distribution3+s3",
            "distribution 3.1.2 over versitygw",
            _distribution_s3,
            keeps="objects",
            switch=_GATEWAY,
            binary="distribution3-s3",
            collect_reason=_READ_ONLY,
            environment=_NO_TRACES,
            beside=_distribution_beside,
        ),
        Peer(
            "distribution2",
            "distribution 2.8.2",
            _distribution,
            syncs=True,
            switch=_ALWAYS,
            binary="distribution2",
            collect_reason=_READ_ONLY,
            tls=_DISTRIBUTION_TLS,
        ),
        Peer(
            "zuul",
            "zuul-registry 1.3.0",
            _zuul,
            syncs=True,
            switch=_ALWAYS,
            binary="zuul-registry",
            collect=_zuul_collect,
            login=True,
        ),
        Peer(
            "ociregistry",
            "Go's ociserver, in memory",
            _ociregistry,
            keeps="memory",
            switch=_NOTHING,
            binary="ociregistry",
            collect_reason=_NEVER,
        ),
        Peer(
            "crane",
            "crane registry, in memory",
            _crane,
            keeps="memory",
            switch=_NOTHING,
            binary="crane",
            collect_reason=_NEVER,
        ),
        Peer("zot", "zot", _zot, switch="`commit`, off", collect_reason=_BY_ITSELF, tls=_zot_over_tls),
        Peer("zot+fsync", "zot, commit", _zot_synced, syncs=True, switch="`commit`, on", collect_reason=_BY_ITSELF),
        Peer("olareg", "olareg", _olareg, switch="none", collect_reason=_BY_ITSELF, tls=_olareg_over_tls),
        Peer("angos", "angos", _angos, switch="`sync_to_disk`, off", collect_reason=_BY_ITSELF),
        Peer(
            "angos+fsync",
            "angos, sync_to_disk",
            _angos_synced,
            syncs=True,
            switch="`sync_to_disk`, on",
            collect_reason=_BY_ITSELF,
        ),
    )
}
"""The registries in the order of the tables."""


def write_logins(folder: Path, ports: Sequence[int], known: Path) -> None:
    """Make `folder` a DOCKER_CONFIG with the credentials of servers on these ports, and those in `known`."""
    content = json.loads(known.read_text()) if known.exists() else {}
    login = {"auth": base64.b64encode(f"{USER}:{USER}".encode()).decode()}
    content["auths"] = {**content.get("auths", {}), **{f"127.0.0.1:{port}": login for port in ports}}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(content))
