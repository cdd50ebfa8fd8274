"""The whole file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ociserver.cli.log_format import FormatName
from ociserver.cli.logs import Level
from ociserver.config.kinds import Kind, Memory, Registry, Store
from ociserver.config.values import Bound, Count, Duration, File, Flag, Part, Port, Text
from ociserver.interface import Backend

__all__ = ["Answers", "Config", "Server"]


@dataclass(frozen=True, kw_only=True)
class Server(Part):
    """Where to listen, limits, and the log: the flags of `ociserver serve`."""

    host: Text | None = None
    port: Port | None = None
    tls_cert: File | None = None
    tls_key: File | None = None
    workers: Count | None = None
    max_connections: Count | None = None
    graceful_timeout: Duration | None = None
    log_level: Level | None = None
    log_format: FormatName | None = None
    access_log: Flag | None = None


@dataclass(frozen=True, kw_only=True)
class Answers(Part):
    """How to answer, to behave as other registries do: the flags of `ociserver.Options`."""

    disable_referrers_api: Flag | None = None
    disable_referrers_filtering: Flag | None = None
    disable_single_post_upload: Flag | None = None
    max_list_page_size: Bound | None = None
    ignore_pagination: Flag | None = None
    omit_digest_from_tag_get_response: Flag | None = None
    omit_link_header_from_responses: Flag | None = None
    redirect_pulls: Flag | None = None
    redirect_pushes: Flag | None = None
    debug_id: Text | None = None


@dataclass(frozen=True, kw_only=True)
class Config(Part):
    """What `ociserver serve --config FILE` serves, and how. A flag or its environment variable wins over the file."""

    server: Server = field(default_factory=Server)
    """Where to listen, limits, and the log."""
    options: Answers = field(default_factory=Answers)
    """How to answer, to behave as other registries do."""
    registry: Registry | None = None
    """What is served. By default a store in the user's data directory, as without a file."""

    def leaves(self) -> list[Store | Memory]:
        """The registries that keep something on this machine, in the order of the file."""
        return [] if self.registry is None else list(_leaves(self.registry))

    def backend(self, leaf: Callable[[Any], Backend] = lambda leaf: leaf.build()) -> Backend:
        """What the file describes, not yet open.

        Args:
            leaf: makes the backend of each of `leaves`.

        Raises:
            ValueError: it has no registry, or a store without `data`.
        """
        if self.registry is None:
            raise ValueError("the configuration has no [registry]")
        return _build(self.registry, leaf)


def _leaves(kind: Kind) -> Iterator[Store | Memory]:
    if isinstance(kind, (Store, Memory)):
        yield kind
    for each in kind.inner:
        yield from _leaves(each)


def _build(kind: Kind, leaf: Callable[[Any], Backend]) -> Backend:
    if isinstance(kind, (Store, Memory)):
        return leaf(kind)
    return kind.build(*(_build(each, leaf) for each in kind.inner))
