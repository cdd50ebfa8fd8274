"""The kinds of registries that a file can describe, each a table with its `kind`.

A new kind is a dataclass here and a line in `Registry`. Its `inner` names the registries behind it, and its `build`
makes its backend from theirs. Parser, schema, messages and nesting follow from that. The command that `serve` proposes
to try follows from `takes_push`, `to_push` and `to_pull`, which by default pass on what the registries behind it say.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field

from ociserver import compose, memory, store
from ociserver.config.lines import Key
from ociserver.config.values import HOSTS_SCHEMA, Duration, File, Flag, Host, Part, Prefix, Size, Text, TokenHost, Url
from ociserver.interface import Backend
from ociserver.meter import Meter
from ociserver.settings import EXAMPLE_IMAGE, UPLOAD_KEY_VARIABLE
from ociserver.store.sqlite import Durability
from ociserver.units import parse_duration, parse_size
from ociserver.urls import HUB_HOSTS

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
class Kind(Part):
    """What all kinds have in common."""

    @property
    def inner(self) -> Sequence[Registry]:
        """The registries behind it, in order."""
        return ()

    @property
    def places(self) -> Sequence[Sequence[Key]]:
        """For each of `inner`, the keys from this table to its table."""
        return ()

    def build(self, *inner: Backend) -> Backend:
        """Its backend, not yet open.

        Args:
            inner: the backends of the registries behind it.

        Raises:
            ValueError: no backend can be built; the message says what to do.
        """
        raise NotImplementedError

    def takes_push(self, repository: str) -> bool:
        """Whether it accepts a push to a repository, as far as the file says."""
        return all(each.takes_push(repository) for each in self.inner)

    def to_push(self) -> Iterator[str]:
        """Repositories to try a push to. Not all of them need to accept it."""
        for each in self.inner:
            yield from each.to_push()

    def to_pull(self) -> Iterator[str]:
        """Repositories that are known to contain an image."""
        for each in self.inner:
            yield from each.to_pull()


@dataclass(frozen=True, kw_only=True)
class Store(Kind):
    """A durable registry in a folder."""

    kind: Literal["store"]
    data: File | None = None
    durability: Durability | None = None
    group_readable: Flag | None = None
    immutable_tags: Flag | None = None
    lax_child_references: Flag | None = None
    collect_every: Duration | None = None
    unreferenced_after: Duration | None = None
    grace: Duration | None = None
    upload_timeout: Duration | None = None
    delete_untagged_after: Duration | None = None

    def build(self, *inner: Backend) -> Backend:
        if self.data is None:
            raise ValueError("the store has no `data`; set it to the folder of the store")
        names = ("durability", "group_readable", "immutable_tags", "lax_child_references")
        return store.Store(self.data, **_given(self, *names))

    def to_push(self) -> Iterator[str]:
        yield EXAMPLE_IMAGE


@dataclass(frozen=True, kw_only=True)
class Memory(Kind):
    """A registry in memory, which is lost when the server stops."""

    kind: Literal["memory"]
    memory_limit: Size | None = None
    immutable_tags: Flag | None = None
    lax_child_references: Flag | None = None

    def build(self, *inner: Backend) -> Backend:
        limit = None if self.memory_limit is None else parse_size(self.memory_limit)
        return memory.Memory(max_bytes=limit, **_given(self, "immutable_tags", "lax_child_references"))

    def to_push(self) -> Iterator[str]:
        yield EXAMPLE_IMAGE


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
        include, exclude = _pattern(self.include or ["*"]), _pattern(self.exclude or [])
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
        return compose.Debug(backend, **_given(self, "name"))


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
        return compose.Unify(*inner, **_given(self, "reads", "writes"))

    def takes_push(self, repository: str) -> bool:
        written = self.backends[:1] if self.writes == "first" else self.backends
        return all(each.takes_push(repository) for each in written)


@dataclass(frozen=True, kw_only=True)
class Client(Kind):
    """A remote registry. Without `username`, its credentials are those of `docker login`."""

    __pydantic_config__: ClassVar[ConfigDict] = Kind.__pydantic_config__ | ConfigDict(
        json_schema_extra={"dependentRequired": {"username": ["password"], "password": ["username"]}}
    )

    kind: Literal["client"]
    url: Url
    """Its URL, with the scheme: "https://registry.example"."""
    username: Text | None = field(default=None, repr=False)
    """The user name for the registry. Requires `password`."""
    password: Text | None = field(default=None, repr=False)
    """The password of `username`. Take it from the environment or from a file, if possible."""
    token_hosts: Annotated[list[TokenHost], Field(min_length=1)] | None = None
    """Other hosts whose token servers may get the credentials, such as "auth.example". The host of the registry, and
    the token servers of public registries, are known."""

    def __post_init__(self) -> None:
        if (self.username is None) != (self.password is None):
            given, missing = ("username", "password") if self.password is None else ("password", "username")
            raise ValueError(
                f"`{given}` is set without `{missing}`: set both, or neither to use the credentials of `docker login`"
            )
        if self.username == "":
            raise ValueError("`username` is empty: set it, or remove `username` and `password`")

    def build(self, *inner: Backend) -> Backend:
        from ociserver import client  # an extra

        find: Any = client.docker_credentials
        if self.username is not None:
            find = client.Credentials(self.username, self.password or "")
        key = os.environ.get(UPLOAD_KEY_VARIABLE)
        upload_key = bytes.fromhex(key) if key else None
        return client.Client(
            self.url, credentials=find, upload_key=upload_key, token_hosts=tuple(self.token_hosts or ())
        )

    def takes_push(self, repository: str) -> bool:
        # Only the remote registry knows.
        return False

    def to_pull(self) -> Iterator[str]:
        if urlsplit(self.url).hostname in HUB_HOSTS:
            yield f"library/{EXAMPLE_IMAGE}"


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
            for name, value in _given(self, "tag_lifetime", "upstream_timeout", "retry_after").items()
        }
        if self.max_size is not None:
            settings["max_bytes"] = parse_size(self.max_size)
        if self.local_repositories is not None:
            pattern = _pattern(self.local_repositories)
            settings["is_local"] = lambda name: bool(pattern.match(name))
        upstreams_by_host = dict(zip(self._upstreams(), upstreams, strict=True))
        return compose.Cache(upstreams_by_host, local, meter=meter, **settings)

    def takes_push(self, repository: str) -> bool:
        patterns = self.local_repositories
        return patterns is not None and bool(_pattern(patterns).match(repository)) and self.local.takes_push(repository)

    def to_push(self) -> Iterator[str]:
        # A cache is for pulls.
        return iter(())

    def to_pull(self) -> Iterator[str]:
        for host, upstream in self._upstreams().items():
            begin = f"{host.replace(':', '_')}/" if host else ""
            yield from (begin + name for name in upstream.to_pull())

    def _upstreams(self) -> dict[str, Registry]:
        return (self.hosts or {}) | ({} if self.upstream is None else {"": self.upstream})


Registry = Annotated[
    Store | Memory | ReadOnly | NoDelete | Immutable | Select | Sub | Unify | Debug | Client | Cache,
    Field(discriminator="kind"),
]
"""Any of them."""


def _given(kind: Kind, *names: str) -> dict[str, Any]:
    """The fields that the file sets. The backend has defaults for the others."""
    return {name: value for name in names if (value := getattr(kind, name)) is not None}


def _pattern(patterns: list[str]) -> re.Pattern[str]:
    # Without a pattern nothing matches: `(?!)` never does.
    return re.compile("|".join(map(fnmatch.translate, patterns)) or "(?!)")
