"""A registry for tests: it starts in milliseconds, and a test looks into it from outside."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from ociserver.handler import Handler
from ociserver.interface import Backend, Descriptor
from ociserver.memory import Memory
from ociserver.options import Options
from ociserver.testing import contents
from ociserver.testing.accounts import Credentials, authority, credentials_for
from ociserver.testing.application import Application
from ociserver.testing.certificates import Certificates
from ociserver.testing.contents import Content, Files
from ociserver.testing.faults import ExpiredToken, Fault, Status
from ociserver.testing.patterns import RequestPattern
from ociserver.testing.plan import Plan, PlannedFault
from ociserver.testing.pushed import Pushed
from ociserver.testing.requests import Recorder, Request

__all__ = ["Registry"]

ARTIFACT_TYPE: Final = "application/vnd.ociserver.test"
PLATFORM: Final = "linux/amd64"
FILES: Final[Files] = {"hello.txt": "hello\n"}
"""What is pushed if a test does not say what."""

TOKEN_PATH: Final = "/v2/token"  # noqa: S105  (a path)


class Registry:
    """A registry in memory on a free port of 127.0.0.1, in a thread with its own event loop.

    Use it as a context manager, or call `start` and `stop`. All methods wait until the registry has done what they ask,
    also in asynchronous tests. They take no request to the port, so `requests` has only what clients have asked.

    Args:
        auth: True: every request needs to be signed in, with a token or with the user name and password in
            `credentials`. "push": only pushes and deletions do. A pair: all, with this user name and password.
        tls: serve HTTPS, with a certificate of a new authority (`ca_file`).
        options: how the registry answers, see `ociserver.Options`.
        backend: makes the backend, which holds the contents, at the start and at each `reset`.

    Raises:
        ValueError: an argument is wrong.
        ImportError: a package is not installed. `pip install 'ociserver[testing]'` has all.
    """

    def __init__(
        self,
        *,
        auth: bool | str | tuple[str, str] = False,
        tls: bool = False,
        options: Options | None = None,
        backend: Callable[[], Backend] = Memory,
    ) -> None:
        from ociserver.testing.server import Server

        self._users = credentials_for(auth)
        self._certificates = Certificates() if tls else None
        self._options = options or Options()
        self._make_backend = backend
        self._backend: Backend = backend()
        self._token_paths = [TOKEN_PATH] if self._users else []
        self._recorder = Recorder(self._token_paths)
        self._plan = Plan()
        self._server = Server(self._certificates.server if self._certificates else None)
        self._application = Application(self._recorder, self._plan, self._handler())

    def start(self) -> None:
        """Serve. When this returns, the registry answers."""
        self._server.start(self._application)

    def stop(self) -> None:
        """Close all connections and the port. The contents are lost. May be called more than once."""
        self._server.stop()
        if self._certificates is not None:
            self._certificates.remove()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def reset(self) -> None:
        """Delete all contents, and forget all requests and faults. Address, password and certificate stay."""
        self._server.call(self._reset())

    # Where it is

    @property
    def port(self) -> int:
        """The TCP port."""
        return self._server.port

    @property
    def host(self) -> str:
        """`127.0.0.1:PORT`, as in the names of images."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, or `https://...` with TLS."""
        return f"{'https' if self._certificates else 'http'}://{self.host}"

    @property
    def credentials(self) -> Credentials | None:
        """User name and password; None if nobody has to sign in."""
        return self._users[0] if self._users else None

    @property
    def ca_file(self) -> Path:
        """The certificate of the authority (PEM), for `SSL_CERT_FILE` and the like. Only with TLS.

        Its folder has nothing else, for clients that take a folder.
        """
        return self._tls().ca_file

    def ssl_context(self) -> ssl.SSLContext:
        """A context for clients in Python, which trusts this registry and nobody else. Only with TLS."""
        return self._tls().client()

    # What was asked

    @property
    def requests(self) -> list[Request]:
        """What clients have asked since the start or the last `reset`, in the order of arrival."""
        return self._recorder.requests

    # What goes wrong

    def fail(
        self,
        fault: Fault | int,
        *,
        method: str | None = None,
        kind: str | None = None,
        repository: str | None = None,
        reference: str | None = None,
        path: str | None = None,
        times: int | None = 1,
        skip: int = 0,
        retry_after: int | None = None,
    ) -> PlannedFault:
        """Let the next requests that match meet a fault. Of several faults for a request, the first one counts.

        Args:
            fault: one of `ociserver.testing.faults`, or the status of an error.
            method: only requests with this method.
            kind: only requests of this kind, see `Request`.
            repository: only requests for repositories of this pattern: `*` is any text, `?` one character, `[...]` one
                of several.
            reference: only requests for tags or digests of this pattern.
            path: only requests whose whole path has this pattern.
            times: how many requests meet it; None: all.
            skip: how many matching requests are answered as usual before.
            retry_after: seconds, for a status.

        Raises:
            ValueError: no request can ever match, or the fault can never meet those that do. The message says why.
        """
        if isinstance(fault, int):
            fault = Status(fault, retry_after)
        elif retry_after is not None:
            raise ValueError("retry_after belongs to a status: fail(429, retry_after=1)")
        if (times is not None and times < 1) or skip < 0:
            raise ValueError(f"times={times} must be 1 or more, or None for all; skip={skip} must be 0 or more")
        if isinstance(fault, ExpiredToken) and not self._token_paths:
            raise ValueError("no token can expire in a registry without users: make it with auth=True")
        pattern = RequestPattern(method, kind, repository, reference, path)
        pattern.check(fault, self._token_paths)
        planned = PlannedFault(fault, pattern, times, skip)
        self._plan.add(planned)
        return planned

    def assert_faults_met(self) -> None:
        """Check that every fault was met as often as `fail` has said.

        Raises:
            AssertionError: one was not. The message has it, and the requests that came.
        """
        self._plan.check(self.requests)

    # Contents

    def push(
        self,
        repository: str,
        tag: str | None = None,
        files: Files | None = None,
        *,
        artifact_type: str = ARTIFACT_TYPE,
        media_type: str = contents.OCTETS,
        annotations: Mapping[str, str] | None = None,
        subject: Pushed | Descriptor | None = None,
    ) -> Pushed:
        """Put an artifact into the registry: a manifest with one blob for each file.

        Args:
            repository: where to put it.
            tag: that points at it; None: no tag.
            files: contents by name, which becomes the title of the blob; by default one file.
            artifact_type: of the manifest.
            media_type: of the files.
            annotations: of the manifest.
            subject: the manifest that the artifact refers to, as a signature does.

        Raises:
            OCIError: the registry refuses it.
        """
        described = subject.descriptor if isinstance(subject, Pushed) else subject
        manifest = contents.artifact(
            FILES if files is None else files,
            artifact_type=artifact_type,
            media_type=media_type,
            annotations=annotations,
            subject=described,
        )
        return self._put(repository, tag, manifest)

    def image(
        self,
        repository: str,
        tag: str | None = None,
        files: Files | None = None,
        *,
        layers: Sequence[Files] | None = None,
        platform: str = PLATFORM,
        platforms: Iterable[str] | None = None,
        config: Mapping[str, Any] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> Pushed:
        """Put an image into the registry, with a configuration and compressed layers.

        Args:
            repository: where to put it.
            tag: that points at it; None: no tag.
            files: contents by path, for an image of one layer; by default one file.
            layers: the files of each layer, instead of `files`.
            platform: `os/architecture[/variant]` of the image.
            platforms: push an index instead, with an image for each of these platforms (`Pushed.manifests`). All have
                the same layers.
            config: how to run the image: `Env`, `Entrypoint`, `Labels`, ...
            annotations: of the image, or of the index.

        Raises:
            ValueError: `files` and `layers` are both given, or a platform is malformed.
            OCIError: the registry refuses it.
        """
        if files is not None and layers is not None:
            raise ValueError("give either `files`, for one layer, or `layers`")
        made = [FILES if files is None else files] if layers is None else list(layers)
        if platforms is None:
            manifest = contents.image(made, platform=platform, config=config, annotations=annotations)
            return self._put(repository, tag, manifest)
        images = {name: contents.image(made, platform=name, config=config) for name in platforms}
        children = {name: self._put(repository, None, each) for name, each in images.items()}
        return self._put(repository, tag, contents.index(images, annotations), children)

    def push_blob(self, repository: str, content: Content, *, media_type: str = contents.OCTETS) -> Descriptor:
        """Put a blob into the registry. Returns its descriptor."""
        blob = contents.Blob(contents.read(content), media_type)
        return self._server.call(self._push_blob(repository, blob))

    def push_manifest(
        self, repository: str, tag: str | None, document: Mapping[str, Any] | bytes, *, media_type: str | None = None
    ) -> Pushed:
        """Put any manifest into the registry.

        Args:
            repository: where to put it.
            tag: that points at it; None: no tag.
            document: the manifest, or its bytes.
            media_type: its type; by default its `mediaType`.

        Raises:
            ValueError: it has no type.
            OCIError: the registry refuses it.
        """
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        kind = media_type or json.loads(content).get("mediaType")
        if not kind:
            raise ValueError("the manifest has no `mediaType`: give `media_type`")
        return self._put(repository, tag, contents.Manifest(content, kind))

    def repositories(self) -> list[str]:
        """The repositories that hold something."""
        return self._server.call(_listed(self._backend.repositories()))

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository; none if it does not exist."""
        if repository not in self.repositories():
            return []
        return self._server.call(_listed(self._backend.tags(repository)))

    def manifest(self, repository: str, reference: str) -> Any:
        """A manifest, decoded, by tag or digest.

        Raises:
            OCIError: there is none.
        """
        get = self._backend.get_manifest if ":" in reference else self._backend.get_tag
        return json.loads(self._server.call(get(repository, reference)).content)

    def digest(self, repository: str, tag: str) -> str:
        """The digest of the manifest that a tag points at.

        Raises:
            OCIError: there is none.
        """
        return self._server.call(self._backend.resolve_tag(repository, tag)).digest

    def blob(self, repository: str, digest: str) -> bytes:
        """The bytes of a blob.

        Raises:
            OCIError: there is none.
        """
        return self._server.call(self._read_blob(repository, digest))

    # Shared

    def _handler(self) -> Handler:
        auth = None
        if self._users is not None:
            credentials, access = self._users
            auth = authority(credentials, access, realm=f"{self.url}{TOKEN_PATH}", service=self.host)
        return Handler(self._backend, self._options, auth=auth)

    async def _reset(self) -> None:
        self._backend = self._make_backend()
        self._application.registry = self._handler()
        self._recorder.clear()
        self._plan.clear()

    def _tls(self) -> Certificates:
        if self._certificates is None:
            raise ValueError("this registry serves HTTP: make it with tls=True")
        return self._certificates

    def _put(
        self, repository: str, tag: str | None, manifest: contents.Manifest, children: dict[str, Pushed] | None = None
    ) -> Pushed:
        descriptor = self._server.call(self._push(repository, tag, manifest))
        blobs = tuple(blob.descriptor for blob in manifest.blobs)
        return Pushed(self.host, repository, tag, descriptor, manifest.content, blobs, children or {})

    async def _push(self, repository: str, tag: str | None, manifest: contents.Manifest) -> Descriptor:
        for blob in manifest.blobs:
            await self._push_blob(repository, blob)
        pushed = await self._backend.push_manifest(
            repository, manifest.content, manifest.media_type, tags=() if tag is None else (tag,)
        )
        return pushed.descriptor

    async def _push_blob(self, repository: str, blob: contents.Blob) -> Descriptor:
        async def pieces() -> AsyncIterator[bytes]:
            yield blob.content

        await self._backend.push_blob(repository, blob.descriptor, pieces())
        return blob.descriptor

    async def _read_blob(self, repository: str, digest: str) -> bytes:
        reader = await self._backend.get_blob(repository, digest)
        try:
            return b"".join([piece async for piece in reader])
        finally:
            await reader.aclose()


async def _listed(names: AsyncIterator[str]) -> list[str]:
    return [name async for name in names]
