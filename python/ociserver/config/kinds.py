"""The kinds of registries that a file can describe, each a table with its `kind`.

A new kind is a dataclass here, or in `holders` if there is none behind it, and a line in `Registry`. Its `inner` names
the registries behind it, and its `build` makes its backend from theirs. Parser, schema, messages and nesting follow
from that. The command that `serve` proposes to try follows from `takes_push`, `to_push` and `to_pull`, which by default
pass on what the registries behind it say.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ociserver import compose
from ociserver.config.holders import Client, Memory, Store
from ociserver.config.kind import Kind, given, pattern_of
from ociserver.config.lines import Key
from ociserver.config.values import HOSTS_SCHEMA, Duration, File, Host, Prefix, Size, Text
from ociserver.interface import Backend
from ociserver.meter import Meter
from ociserver.settings import EXAMPLE_IMAGE
from ociserver.units import parse_duration, parse_size

__all__ = [
    "Cache",
    "Client",
    "Debug",
    "Immutable",
    "Kind",
    "Memory",
    "NoDelete",
    "ReadOnly",
    "Registry",
    "Select",
    "Store",
    "Sub",
    "Unify",
]


@dataclass(frozen=True, kw_only=True)
class Wrapper(Kind):
    """A registry in front of one other."""

    # pydantic reads a docstring only in the class of the field, not in subclasses.
    backend: Annotated[Registry, Field(description="The registry behind it.")]

    @property
    def inner(self) -> Sequence[Registry]:
        return (self.backend,)

    @property
    def places(self) -> Sequence[Sequence[Key]]:
        return (("backend",),)


@dataclass(frozen=True, kw_only=True)
class ReadOnly(Wrapper):
    """Read-only: writes and deletions are refused with UNSUPPORTED."""

    kind: Literal["read-only"]

    def build(self, *inner: Backend) -> Backend:
        return compose.ReadOnly(*inner)

    def takes_push(self, repository: str) -> bool:
        return False


@dataclass(frozen=True, kw_only=True)
class NoDelete(Wrapper):
    """Nothing can be deleted: UNSUPPORTED. Tags can be moved."""

    kind: Literal["no-delete"]

    def build(self, *inner: Backend) -> Backend:
        return compose.NoDelete(*inner)


@dataclass(frozen=True, kw_only=True)
class Immutable(Wrapper):
    """Append-only: a tag is set once, and nothing can be deleted. Otherwise DENIED."""

    kind: Literal["immutable"]

    def build(self, *inner: Backend) -> Backend:
        return compose.Immutable(*inner)


@dataclass(frozen=True, kw_only=True)
class Select(Wrapper):
    """Shows some of the repositories, and hides the others."""

    kind: Literal["select"]
    include: Annotated[list[str], Field(min_length=1)] | None = None
    """Patterns of the repositories to show, such as "public/*". `*` is any text, including slashes. By default all."""
    exclude: list[str] | None = None
    """Patterns of the repositories to hide, even if `include` names them."""

    def build(self, *inner: Backend) -> Backend:
        (backend,) = inner
        return compose.Select(backend, self._shows())

    def takes_push(self, repository: str) -> bool:
        return self._shows()(repository) and super().takes_push(repository)

    def to_push(self) -> Iterator[str]:
        yield from super().to_push()
        yield from (pattern.replace("*", EXAMPLE_IMAGE) for pattern in self.include or ())

    def to_pull(self) -> Iterator[str]:
        return filter(self._shows(), super().to_pull())

    def _shows(self) -> Callable[[str], bool]:
        include, exclude = pattern_of(self.include or ["*"]), pattern_of(self.exclude or [])
        return lambda name: bool(include.match(name)) and not exclude.match(name)


@dataclass(frozen=True, kw_only=True)
class Sub(Wrapper):
    """Shows `prefix/name` as `name`, and nothing else."""

    kind: Literal["sub"]
    prefix: Prefix
    """The beginning of a repository name, such as "team" or "team/project"."""

    def build(self, *inner: Backend) -> Backend:
        (backend,) = inner
        return compose.Sub(backend, self.prefix)

    def takes_push(self, repository: str) -> bool:
        return super().takes_push(f"{self.prefix}/{repository}")

    def to_push(self) -> Iterator[str]:
        return (name.removeprefix(f"{self.prefix}/") for name in super().to_push())

    def to_pull(self) -> Iterator[str]:
        begin = f"{self.prefix}/"
        return (name.removeprefix(begin) for name in super().to_pull() if name.startswith(begin))


@dataclass(frozen=True, kw_only=True)
class Debug(Wrapper):
    """Logs each call."""

    kind: Literal["debug"]
    name: Text | None = None
    """A name for the beginning of each line, to tell several apart."""

    def build(self, *inner: Backend) -> Backend:
        (backend,) = inner
        return compose.Debug(backend, **given(self, "name"))


@dataclass(frozen=True, kw_only=True)
class Unify(Kind):
    """Several registries as one."""

    kind: Literal["unify"]
    backends: Annotated[list[Registry], Field(min_length=2)]
    """The registries, in order. A blob, manifest or tag comes from the first registry that has it."""
    reads: Literal["sequential", "concurrent"] | None = None
    """How registries are asked: in order, or all at once, and the fastest answer counts. By default sequential."""
    writes: Literal["all", "first"] | None = None
    """Where writes go: to all registries, which mirror each other, or only to the first. By default all."""

    @property
    def inner(self) -> Sequence[Registry]:
        return self.backends

    @property
    def places(self) -> Sequence[Sequence[Key]]:
        return [("backends", number) for number in range(len(self.backends))]

    def build(self, *inner: Backend) -> Backend:
        return compose.Unify(*inner, **given(self, "reads", "writes"))

    def takes_push(self, repository: str) -> bool:
        written = self.backends[:1] if self.writes == "first" else self.backends
        return all(each.takes_push(repository) for each in written)


@dataclass(frozen=True, kw_only=True)
class Cache(Kind):
    """Keeps what is pulled from remote registries."""

    kind: Literal["cache"]
    local: Registry
    """The registry that keeps the contents. A store or memory accepts manifests before their children, by default."""
    upstream: Registry | None = None
    """The registry to cache. With `hosts` too, the one for all other names."""
    hosts: Annotated[dict[Host, Registry], Field(min_length=1, json_schema_extra=HOSTS_SCHEMA)] | None = None
    """Registries by host name, such as "docker.io". A client names the host by `ns`, or before the repository."""
    local_repositories: list[str] | None = None
    """Patterns of the repositories that accept pushes, such as "team/*". All others can only be read.

    By default those that were pushed to before they were fetched.
    """
    tag_lifetime: Duration | None = None
    """How long a tag is valid before upstream is asked again. By default 60 s."""
    max_size: Size | None = None
    """Maximum size of what is kept from upstream. By default unlimited."""
    upstream_timeout: Duration | None = None
    """How long upstream may take to resolve a tag before the answer comes from the cache. By default 5 s. A list has
    0.8 s at most."""
    retry_after: Duration | None = None
    """How long an upstream that failed is not asked about tags and lists that are cached. By default 10 s."""
    downloads: File | None = None
    """A folder on this machine, in which the cache makes a folder of its own for downloads in progress. By default the
    folder of the store, or the system's temporary folder if the store has none."""
    downloads_size: Size | None = None
    """Maximum size of the temporary files of each process: of blobs that are fetched into a bucket, or that `max-size`
    does not allow to keep. Above it, downloads wait for each other. By default 8 GiB."""

    @property
    def inner(self) -> Sequence[Registry]:
        local = self.local
        if isinstance(local, (Store, Memory)) and local.lax_child_references is None:
            local = replace(local, lax_child_references=True)
        return (local, *self._upstreams().values())

    @property
    def places(self) -> Sequence[Sequence[Key]]:
        return [("local",), *(("hosts", host) if host else ("upstream",) for host in self._upstreams())]

    def build(self, *inner: Backend, meter: Meter | None = None) -> Backend:
        local, *upstreams = inner
        if not upstreams:
            raise ValueError("the cache has neither `upstream` nor `hosts`; set at least one")
        settings: dict[str, Any] = {
            name: parse_duration(value)
            for name, value in given(self, "tag_lifetime", "upstream_timeout", "retry_after").items()
        }
        if self.max_size is not None:
            settings["max_bytes"] = parse_size(self.max_size)
        if self.downloads_size is not None:
            settings["max_downloads_bytes"] = parse_size(self.downloads_size)
        settings["downloads"] = self._downloads_folder()
        if self.local_repositories is not None:
            pattern = pattern_of(self.local_repositories)
            settings["is_local"] = lambda name: bool(pattern.match(name))
        upstreams_by_host = dict(zip(self._upstreams(), upstreams, strict=True))
        return compose.Cache(upstreams_by_host, local, meter=meter, **settings)

    def takes_push(self, repository: str) -> bool:
        patterns = self.local_repositories
        return (
            patterns is not None and bool(pattern_of(patterns).match(repository)) and self.local.takes_push(repository)
        )

    def to_push(self) -> Iterator[str]:
        # A cache is for pulls.
        return iter(())

    def to_pull(self) -> Iterator[str]:
        for host, upstream in self._upstreams().items():
            begin = f"{host.replace(':', '_')}/" if host else ""
            yield from (begin + name for name in upstream.to_pull())

    def _downloads_folder(self) -> Path | None:
        """The folder that the processes of a node share. A cache of another registry has another one."""
        store = next(_stores(self.local), None)
        if store is None:
            if self.downloads is not None:
                raise ValueError("`downloads` has no effect, because `local` is not a store: remove it")
            return None
        if self.downloads is None and store.database is None:
            return None
        identity = store.data if store.external is None else (store.data, store.external.identity)
        name = hashlib.sha256(repr(identity).encode()).hexdigest()[:16]
        return (self.downloads or Path(tempfile.gettempdir())) / f"ociserver-{os.geteuid()}-{name}"

    def _upstreams(self) -> dict[str, Registry]:
        return (self.hosts or {}) | ({} if self.upstream is None else {"": self.upstream})


def _stores(kind: Kind) -> Iterator[Store]:
    if isinstance(kind, Store):
        yield kind
    for each in kind.inner:
        yield from _stores(each)


Registry = Annotated[
    Store | Memory | ReadOnly | NoDelete | Immutable | Select | Sub | Unify | Debug | Client | Cache,
    Field(discriminator="kind"),
]
"""Any of them."""
