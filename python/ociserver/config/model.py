"""The model of the whole file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ociserver.config.auth import Auth
from ociserver.config.kinds import Cache, Kind, Memory, Registry, Store, Unify
from ociserver.config.lines import Key
from ociserver.config.values import Bound, Count, Duration, File, Flag, Networks, Part, Port, Text
from ociserver.interface import Backend
from ociserver.meter import Meter
from ociserver.proxies import ProxyHeaders
from ociserver.settings import LogFormat, LogLevel

__all__ = ["BuildError", "Config", "Metrics", "Options", "Server", "Telemetry"]


@dataclass(frozen=True, kw_only=True)
class Server(Part):
    """The table `[server]`: where to listen, the proxies in front, the limits and the log."""

    host: Text | None = None
    port: Port | None = None
    tls_cert: File | None = None
    tls_key: File | None = None
    tls_client_ca: File | None = None
    trusted_proxies: Networks | None = None
    proxy_headers: ProxyHeaders | None = None
    workers: Count | None = None
    max_connections: Count | None = None
    graceful_timeout: Duration | None = None
    shutdown_delay: Duration | None = None
    log_level: LogLevel | None = None
    log_format: LogFormat | None = None
    access_log: Flag | None = None


@dataclass(frozen=True, kw_only=True)
class Metrics(Part):
    """The table `[metrics]`: figures for Prometheus."""

    address: Text | None = None
    """Where to answer scrapes: "127.0.0.1:9100", or a port of 127.0.0.1 alone, "9100". By default nowhere."""


@dataclass(frozen=True, kw_only=True)
class Telemetry(Part):
    """The table `[telemetry]`: traces of OpenTelemetry."""

    traces: Flag | None = None
    """Whether to export a trace of each request."""
    traces_endpoint: Text | None = None
    """URL of the collector. By default that of OTEL_EXPORTER_OTLP_ENDPOINT."""


@dataclass(frozen=True, kw_only=True)
class Options(Part):
    """The table `[options]`: how to answer, to behave as other registries do: the fields of `ociserver.Options`."""

    disable_referrers_api: Flag | None = None
    disable_referrers_filtering: Flag | None = None
    disable_single_post_upload: Flag | None = None
    max_list_page_size: Bound | None = None
    ignore_pagination: Flag | None = None
    omit_digest_from_tag_get_response: Flag | None = None
    omit_link_header_from_responses: Flag | None = None
    redirect_pulls: Flag | None = None
    redirect_except: Text | None = None
    redirect_pushes: Flag | None = None
    debug_id: Text | None = None


class BuildError(ValueError):
    """A registry whose table has the right form, but which cannot be built.

    Args:
        at: the keys of its table.
        text: what is wrong, and what to do.
    """

    def __init__(self, at: tuple[Key, ...], text: str) -> None:
        super().__init__(text)
        self.at = at


@dataclass(frozen=True, kw_only=True)
class Config(Part):
    """What `ociserver serve --config FILE` serves, and how. A flag or its environment variable overrides the file."""

    server: Server = field(default_factory=Server)
    """Where to listen, the limits and the log."""
    metrics: Metrics = field(default_factory=Metrics)
    """Figures for Prometheus. By default there are none."""
    telemetry: Telemetry = field(default_factory=Telemetry)
    """Traces of OpenTelemetry. By default there are none."""
    options: Options = field(default_factory=Options)
    """How to answer, to behave as other registries do."""
    auth: Auth | None = None
    """Who may sign in, and who may do what. By default everybody may do everything."""
    registry: Registry | None = None
    """The registry to serve. By default a store in the user's data directory, as without a file."""

    def leaves(self) -> list[Store | Memory]:
        """The registries that keep contents on this machine, in the order of the file."""
        return [] if self.registry is None else list(_leaves(self.registry))

    def unifies(self) -> bool:
        """Whether several registries are served as one."""
        return self.registry is not None and _unifies(self.registry)

    def places(self) -> list[tuple[Key, ...]]:
        """For each of `leaves`, the keys that lead to its table."""
        return [] if self.registry is None else list(_places(self.registry, ("registry",)))

    def cached(self) -> Iterator[bool]:
        """For each of `leaves`, whether a cache keeps its contents there."""
        return iter(()) if self.registry is None else _cached(self.registry, within=False)

    def backend(
        self, leaf: Callable[[Any], Backend] = lambda leaf: leaf.build(), meter: Meter | None = None
    ) -> Backend:
        """The backend that the file describes, not yet open.

        Args:
            leaf: makes the backend of each of `leaves`.
            meter: is told of what caches do.

        Raises:
            ValueError: the file describes no registry, or one that cannot be built: then a `BuildError`.
        """
        if self.registry is None:
            raise ValueError("the configuration has no [registry] table")
        stores = sum(isinstance(each, Store) for each in self.leaves())
        if self.auth is not None and self.auth.api_keys and stores != 1:
            raise BuildError(
                ("auth", "api-keys"),
                f"needs exactly one registry of the kind store, which keeps the keys, but there {_are(stores)}; remove "
                "api-keys, or change the registry",
            )
        if self.auth is not None and self.auth.token_keys is None and self.is_shared:
            raise BuildError(
                ("auth",),
                "has no token-keys: the registry is in a database, so it may have several nodes, and each must accept "
                "the tokens of the others. Make a key with `openssl rand -base64 32`, and set "
                'token-keys = [{ file = "PATH" }] on each',
            )
        return _build(self.registry, leaf, meter, ("registry",))

    @property
    def is_shared(self) -> bool:
        """Whether several nodes may serve the registry, because a store has no folder."""
        return any(isinstance(each, Store) and each.database is not None for each in self.leaves())


def _are(count: int) -> str:
    return f"are {count}" if count else "is none"


def _leaves(kind: Kind) -> Iterator[Store | Memory]:
    if isinstance(kind, (Store, Memory)):
        yield kind
    for each in kind.inner:
        yield from _leaves(each)


def _unifies(kind: Kind) -> bool:
    return isinstance(kind, Unify) or any(map(_unifies, kind.inner))


def _places(kind: Kind, at: tuple[Key, ...]) -> Iterator[tuple[Key, ...]]:
    if isinstance(kind, (Store, Memory)):
        yield at
    for each, place in zip(kind.inner, kind.places, strict=True):
        yield from _places(each, (*at, *place))


def _cached(kind: Kind, *, within: bool) -> Iterator[bool]:
    if isinstance(kind, (Store, Memory)):
        yield within
    for number, each in enumerate(kind.inner):
        # The first is where the cache keeps contents.
        yield from _cached(each, within=within or (isinstance(kind, Cache) and number == 0))


def _build(kind: Kind, leaf: Callable[[Any], Backend], meter: Meter | None, at: tuple[Key, ...]) -> Backend:
    places = zip(kind.inner, kind.places, strict=True)
    inner = [_build(each, leaf, meter, (*at, *place)) for each, place in places]
    try:
        match kind:
            case Store() | Memory():
                return leaf(kind)
            case Cache():
                return kind.build(*inner, meter=meter)
            case _:
                return kind.build(*inner)
    except ImportError as error:
        raise BuildError(
            at, f"needs packages that are not installed ({error}). Install them: pip install 'ociserver[client]'"
        ) from error
    except ValueError as error:
        raise BuildError(at, str(error)) from None
