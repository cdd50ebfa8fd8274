"""Finds the upstream of a repository, and the repository's names there and here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ociserver._core import is_repository
from ociserver.compose.cache.upstream import Upstream
from ociserver.context import request_context
from ociserver.urls import shown

__all__ = ["Route", "Routes"]


@dataclass(frozen=True, slots=True)
class Route:
    """The upstream and the names of a repository.

    Args:
        repository: its name in the local registry.
        upstream: the registry that has it; None if no upstream matches the name.
        name: its name in upstream.
    """

    repository: str
    upstream: Upstream | None
    name: str


class Routes:
    """Upstreams by the host that they stand for, such as `docker.io`. "" is the upstream for all other names.

    A client names the host by the `ns` parameter, as containerd does with its mirrors, or as the first elements of the
    repository. Both mean the same repository here: `docker.io/library/alpine`. In a repository's name, `_` replaces the
    colon before a port, which is not allowed there.

    Raises:
        ValueError: a host cannot be the beginning of a repository's name.
    """

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self._upstreams = {host: (host.replace(":", "_"), upstream) for host, upstream in upstreams.items()}
        for host, (prefix, _) in self._upstreams.items():
            if host and not is_repository(prefix):
                raise ValueError(
                    f"{shown(host)!r} is not the host of a registry; write docker.io, registry.example:5000, or team"
                )
        # The longest matching prefix wins.
        self._prefixes = sorted((found for host, found in self._upstreams.items() if host), key=lambda p: -len(p[0]))
        self._other = upstreams.get("")

    def find(self, repository: str) -> Route:
        """The route of a repository of the current request."""
        context = request_context.get()
        if context is not None and context.namespace:
            found = self._upstreams.get(context.namespace)
            if found is not None:
                prefix, upstream = found
                context.served_from = context.namespace
                return Route(f"{prefix}/{repository}", upstream, repository)
        for prefix, upstream in self._prefixes:
            if repository.startswith(f"{prefix}/"):
                return Route(repository, upstream, repository[len(prefix) + 1 :])
        return Route(repository, self._other, repository)
