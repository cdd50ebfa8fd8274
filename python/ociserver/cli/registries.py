"""Remote registries, for the commands that use them: flags, clients, and messages for errors."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import click

from ociserver.cli.errors import CommandError, missing_packages
from ociserver.cli.parameters import HOST, option
from ociserver.cli.references import port_of
from ociserver.cli.table import printable
from ociserver.errors import OCIError, RegistryError
from ociserver.interface import Backend
from ociserver.reference import Reference

if TYPE_CHECKING:
    from ociserver.client import Client
    from ociserver.copy import Platform

__all__ = [
    "Registries",
    "connection_options",
    "is_here",
    "json_option",
    "missing",
    "platform_option",
    "telling",
    "token_host_option",
    "with_registries",
    "words",
]

Result = TypeVar("Result")

_HOW: Final = "How to go about it"

PROBE_S: Final = 5.0
"""Seconds in which a server must begin TLS. After that, it counts as one without TLS."""


def token_host_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--token-host`."""
    return option(
        "--token-host",
        "token_hosts",
        section=_HOW,
        type=HOST,
        multiple=True,
        metavar="HOST",
        help="Send the password to a token server of this host, too; also HOST:PORT. The host of the registry, and the "
        "token servers of public registries, need no flag.",
    )(command)


def connection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--insecure` and `--token-host`."""
    return option(
        "--insecure",
        section=_HOW,
        is_flag=True,
        help="Use plain HTTP with a registry that does not speak TLS. One on this machine does not need this flag.",
    )(token_host_option(command))


def json_option(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--json`, for programs."""
    return option("--json", "as_json", section=_HOW, is_flag=True, help=f"Print {what} as JSON.")


def platform_option(section: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--platform OS/ARCH[/VARIANT]`."""
    return option(
        "--platform",
        section=section,
        type=_platform,
        metavar="PLATFORM",
        help="Of an index, only the image of this platform, such as linux/amd64 or linux/arm/v7.",
    )


def _platform(text: str) -> Platform:
    from ociserver.copy import Platform

    try:
        return Platform.parse(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


class Registries:
    """Clients of registries. Opens one for each registry when it is needed.

    Args:
        insecure: use plain HTTP with registries that do not speak TLS.
        token_hosts: other hosts whose token servers may get passwords.
    """

    def __init__(self, *, insecure: bool, token_hosts: Sequence[str] = ()) -> None:
        self._insecure = insecure
        self._token_hosts = token_hosts
        self._clients: dict[str, Client] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def at(self, host: str) -> Backend:
        """The registry at a host."""
        from ociserver.client import Client, docker_credentials

        if host not in self._clients:
            scheme = "https"
            if (self._insecure or is_here(host)) and not await _speaks_tls(host):
                scheme = "http"
            client = Client(f"{scheme}://{host}", credentials=docker_credentials, token_hosts=self._token_hosts)
            self._clients[host] = await self._stack.enter_async_context(client)
        return self._clients[host]


def with_registries(
    work: Callable[[Registries], Coroutine[Any, Any, Result]], *, insecure: bool, token_hosts: Sequence[str]
) -> Result:
    """Run a coroutine with registries, and close the connections to them.

    Raises:
        CommandError: a package is missing, or the credentials cannot be read.
    """
    try:
        # aiohttp is installed with the extra `client`.
        from ociserver.client import CredentialsError
    except ImportError as error:
        raise missing_packages(error) from None

    async def run() -> Result:
        async with Registries(insecure=insecure, token_hosts=token_hosts) as registries:
            return await work(registries)

    try:
        return asyncio.run(run())
    except CredentialsError as error:
        raise CommandError(f"the credentials of `docker login`: {error}") from None


@contextmanager
def telling(reference: Reference | str) -> Iterator[None]:
    """Turn errors of a registry into errors of the command that say what to do."""
    try:
        yield
    except RegistryError as error:
        raise CommandError(words(reference, error)) from error


def words(reference: Reference | str, error: RegistryError) -> str:
    """The message for an error, with what to do.

    Args:
        reference: what was requested, or the host of the registry.
        error: the registry's error.
    """
    from ociserver.client import InvalidAnswerError, UnreachableError, UntrustedError

    host = reference if isinstance(reference, str) else reference.host
    if isinstance(error, UntrustedError):
        return (
            f"{reference}: {error.message}. If the certificate is from an authority of your own, set SSL_CERT_FILE to "
            "the file with the authority's certificate."
        )
    if isinstance(error, InvalidAnswerError):
        return f"{reference}: {error.message}. Is it a registry?"
    if isinstance(error, UnreachableError):
        # The status of this error is not the registry's, which did not answer.
        advice = "" if is_here(host) else " If it speaks plain HTTP, pass --insecure."
        return f"{reference}: {error.message}. Is the registry running?{advice}"
    said, advice = _said(reference, error), _advice(reference, host, error)
    return f"{said}. {advice}" if advice else said


def missing(reference: Reference, error: RegistryError) -> str | None:
    """A message that says which content is missing; None for other errors."""
    match error.code if isinstance(error, OCIError) else "":
        case "MANIFEST_UNKNOWN":
            where = replace(reference, tag="", digest="")
            what = f"manifest {reference.digest}" if reference.digest else f"tag {reference.tag or 'latest'}"
            return f"{where} has no {what}"
        case "NAME_UNKNOWN" if reference.host:
            return f"{reference.host} has no repository {reference.repository}"
        case "NAME_UNKNOWN":
            return f"there is no repository {reference.repository}"
    return None


def _said(reference: Reference | str, error: RegistryError) -> str:
    found = missing(reference, error) if isinstance(reference, Reference) else None
    return found or printable(f"{reference}: {error}")


def _advice(reference: Reference | str, host: str, error: RegistryError) -> str:
    match error.code if isinstance(error, OCIError) else "":
        case "UNAUTHORIZED":
            return f"Try `docker login {host}`."
        case "DENIED":
            return f"Check that the user of `docker login {host}` has permission to do this."
        case "NAME_UNKNOWN" | "UNSUPPORTED" if isinstance(reference, str):
            return "Not every registry has a list of repositories; Docker Hub has none."
        case "NAME_UNKNOWN":
            return f"See `ociserver ls {host}`."
        case "MANIFEST_UNKNOWN" if isinstance(reference, Reference):
            return f"See `ociserver tags {host}/{reference.repository}`."
    return ""


def is_here(host: str) -> bool:
    """Whether a registry runs on this machine."""
    name, _ = port_of(host)
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


async def _speaks_tls(host: str) -> bool:
    """Whether a server answers a TLS handshake. Its certificate is verified later, with the first request."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(PROBE_S):
            _, writer = await asyncio.open_connection(*port_of(host), ssl=context)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True
