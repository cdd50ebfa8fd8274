"""A registry for tests: it starts in milliseconds, and a test looks into it from outside."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ociserver.handler import Handler
from ociserver.interface import Backend
from ociserver.memory import Memory
from ociserver.options import Options
from ociserver.testing.accounts import USER, Credentials, authority, credentials_for
from ociserver.testing.application import Application
from ociserver.testing.certificates import Certificates
from ociserver.testing.faults import ExpiredToken, Fault, Status
from ociserver.testing.holding import Holding
from ociserver.testing.patterns import RequestPattern
from ociserver.testing.plan import Plan, PlannedFault
from ociserver.testing.profiles import BasicOnly, Profile, profile_named
from ociserver.testing.profiles.application import Profiled
from ociserver.testing.requests import Recorder, Request

__all__ = ["Registry"]

TOKEN_PATH: Final = "/v2/token"  # noqa: S105  (a path)


class Registry(Holding):
    """A registry in memory on a free port of 127.0.0.1, in a thread with its own event loop.

    Use it as a context manager, or call `start` and `stop`. All methods wait until the registry has done what they ask,
    also in asynchronous tests. They take no request to the port, so `requests` has only what clients have asked.

    Args:
        profile: the registry to behave like, or its name: "ecr", "ghcr", ...; see `ociserver.testing.profiles`.
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
        profile: Profile | str | None = None,
        auth: bool | str | tuple[str, str] = False,
        tls: bool = False,
        options: Options | None = None,
        backend: Callable[[], Backend] = Memory,
    ) -> None:
        from ociserver.testing.server import Server

        self._profile = profile_named(profile) if isinstance(profile, str) else profile
        self._users = credentials_for(auth, self._profile.user if self._profile else USER)
        self._certificates = Certificates() if tls else None
        self._options = options or Options()
        self._make_backend = backend
        self._backend: Backend = backend()
        self._token_path, self._service = _token_endpoint(self._profile)
        self._token_paths = [self._token_path] if self._users and self._token_path else []
        self._recorder = Recorder(self._token_paths)
        self._plan = Plan()
        self._server = Server(self._certificates.server if self._certificates else None)
        try:
            self._application = Application(self._recorder, self._plan, self._answering())
        except BaseException:
            self.stop()
            raise

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

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
            raise ValueError(
                "no token can expire in this registry, as it has no token endpoint: make it with auth=True"
            )
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

    # Shared

    def _answering(self) -> Handler | Profiled:
        """What answers. It decides how the test itself pushes, too: `_writer`."""
        auth = None
        if self._users is not None:
            credentials, access = self._users
            realm = f"{self.url}{self._token_path or TOKEN_PATH}"
            auth = authority(credentials, access, realm=realm, service=self._service or self.host)
        if self._profile is None:
            self._writer: Backend = self._backend
            return Handler(self._backend, self._options, auth=auth)
        profiled = Profiled(self._profile, self._backend, realm=f"{self.url}/", options=self._options, auth=auth)
        self._writer = profiled.emulated
        return profiled

    async def _reset(self) -> None:
        self._backend = self._make_backend()
        self._application.registry = self._answering()
        self._recorder.clear()
        self._plan.clear()

    def _tls(self) -> Certificates:
        if self._certificates is None:
            raise ValueError("this registry serves HTTP: make it with tls=True")
        return self._certificates


def _token_endpoint(profile: Profile | None) -> tuple[str, str | None]:
    """The path of the token endpoint, "" if there is none, and the name of the service, None for the host."""
    if profile is None:
        return TOKEN_PATH, None
    if isinstance(profile.sign_in, BasicOnly):
        return "", None
    return profile.sign_in.path, profile.sign_in.service
