"""The registry to measure: its address and its authentication."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from yarl import URL

from ociserver._core import LoadOrigin, LoadReport, LoadStep, __version__, run_load
from ociserver.client.auth import CredentialsError, Negotiated, docker_credentials
from ociserver.client.requests import Request, RetryPolicy, UnreachableError
from ociserver.client.transport import Transport
from ociserver.errors import HTTPError, RegistryError
from ociserver.urls import parse_registry_url

__all__ = ["BenchError", "Target"]

_PORTS: Final = {"http": 80, "https": 443}

_THREADS: Final = max((os.cpu_count() or 1) // 2, 1)
"""Half of the cores, because the registry often runs on the same machine. On two cores, two threads made nginx a fifth
slower."""


class BenchError(Exception):
    """The registry cannot be measured. The message says why, and what to do."""


class Target:
    """A registry by its URL. The credentials are those of `docker login`.

    Args:
        url: of the registry.
        token_hosts: other hosts whose token servers may get the credentials.
    """

    def __init__(self, url: str, token_hosts: Sequence[str] = ()) -> None:
        try:
            parts = parse_registry_url(url, "http://localhost:5000")
        except ValueError as error:
            raise BenchError(str(error)) from None
        port = parts.port or _PORTS[parts.scheme]
        self.url = url
        self._token_hosts = token_hosts
        self.host = parts.netloc
        self.address = (parts.hostname or "", port)
        self.prefix = parts.path.rstrip("/").removesuffix("/v2")
        try:
            self._origin = LoadOrigin(parts.hostname or "", port, parts.netloc, https=parts.scheme == "https")
        except OSError as error:
            raise BenchError(f"{parts.hostname} port {port} cannot be reached: {error}") from None
        self._root = URL(f"{parts.scheme}://{parts.netloc}{self.prefix}/v2/", encoded=True)

    def header(self, scopes: Iterable[str]) -> str | None:
        """The Authorization header that allows all of the scopes; None if the registry needs none.

        Raises:
            BenchError: the registry cannot be reached, or refuses the credentials.
        """
        try:
            return asyncio.run(self._header(" ".join(scopes)))
        except CredentialsError as error:
            raise BenchError(str(error)) from None
        except UnreachableError as error:
            raise BenchError(f"{error.message}; is the URL right, and is the registry running?") from None
        except HTTPError as error:
            raise BenchError(f"{self.url}: {error}; is the URL right?") from None
        except RegistryError as error:
            raise BenchError(f"{self.url}: {error}; try `docker login {self.host}`") from None

    async def _header(self, scope: str) -> str | None:
        authorization = Negotiated(docker_credentials, self.host, token_hosts=self._token_hosts)
        transport = Transport(self._root.origin(), authorization, RetryPolicy(attempts=1))
        await transport.open()
        try:
            answer = await transport.send(Request("GET", self._root, scope))
            await answer.aclose()
            if answer.status in (401, 403):
                raise BenchError(
                    f"{self.url} answers {answer.status}: it requires other credentials; try `docker login {self.host}`"
                )
            if answer.status != 200:
                raise BenchError(f"{self.url} answers {answer.status} to GET /v2/: there is no registry at this URL")
            return await authorization.header(scope, transport._fetch_token)
        finally:
            await transport.close()

    def run(
        self,
        operations: Sequence[Sequence[LoadStep]],
        authorization: str | None,
        *,
        clients: int,
        seconds: float | None = None,
        repeat: bool = False,
        hash: bool = False,
        progress: Callable[[int, int], None] = lambda begun, finished: None,
    ) -> LoadReport:
        """Execute the operations; see `run_load`."""
        headers = [("User-Agent", f"ociserver-bench/{__version__}")]
        if authorization:
            headers.append(("Authorization", authorization))
        return run_load(
            self._origin,
            operations,
            clients=clients,
            threads=min(clients, _THREADS),
            seconds=seconds,
            repeat=repeat,
            hash=hash,
            headers=headers,
            progress=progress,
        )
