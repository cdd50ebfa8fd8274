"""The kinds of registries that a file can name, each a table with its `kind`.

A new kind is a dataclass here and a line in `Registry`: `inner` says what it stands in front of, `build` makes its
backend from theirs. Parser, schema, messages and nesting follow from that. What `serve` proposes to try follows from
`takes_push`, `to_push` and `to_pull`, which pass on what the registries behind it say.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field

from ociserver import compose, memory, store
from ociserver.cli.messages import IMAGE
from ociserver.cli.units import parse_duration, parse_size
from ociserver.cli.workers import UPLOAD_KEY
from ociserver.config.lines import Key
from ociserver.config.values import HOSTS_SCHEMA, Duration, File, Flag, Host, Part, Prefix, Size, Text, Url
from ociserver.interface import Backend
from ociserver.store.sqlite import Durability

__all__ = [
    "Cache",
    "Client",
    "Debug",
    "Immutable",
    "Kind",
    "Memory",
    "ReadOnly",
    "Registry",
    "Select",
    "Store",
    "Sub",
    "Unify",
]


_HUB: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


@dataclass(frozen=True, kw_only=True)
class Kind(Part):
    """What all kinds have."""

    @property
    def inner(self) -> Sequence[Registry]:
        """What it stands in front of, in order."""
        return ()

    @property
    def places(self) -> Sequence[Sequence[Key]]:
        """The keys of each of these."""
        return ()

    def build(self, *inner: Backend) -> Backend:
        """Its backend, not yet open. Raises ValueError if there is none of this description."""
        raise NotImplementedError

    def takes_push(self, repository: str) -> bool:
        """Whether it takes a push to a repository, as far as the file says."""
        return all(each.takes_push(repository) for each in self.inner)

    def to_push(self) -> Iterator[str]:
        """Repositories to try a push to; not all of them need to take it."""
        for each in self.inner:
            yield from each.to_push()

    def to_pull(self) -> Iterator[str]:
        """Repositories that are known to hold an image."""
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
            raise ValueError("the store has no `data`, the folder to keep everything in")
        names = ("durability", "group_readable", "immutable_tags", "lax_child_references")
        return store.Store(self.data, **_given(self, *names))

    def to_push(self) -> Iterator[str]:
        yield IMAGE


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
        yield IMAGE


@dataclass(frozen=True, kw_only=True)
class Wrapper(Kind):
    """What stands in front of one other."""

    # pydantic reads a docstring only where the field stands, not where it is inherited.
    backend: Annotated[Registry, Field(description="What it stands in front of.")]

    @property
    def inner(self) -> Sequence[Registry]:
        return (self.backend,)

    @property
    def places(self) -> Sequence[Sequence[Key]]:
        return (("backend",),)


@dataclass(frozen=True, kw_only=True)
class ReadOnly(Wrapper):
    """Can only be read: writes and deletions are UNSUPPORTED."""

    kind: Literal["read-only"]

    def build(self, *inner: Backend) -> Backend:
        return compose.ReadOnly(*inner)

    def takes_push(self, repository: str) -> bool:
        return False


@dataclass(frozen=True, kw_only=True)
class Immutable(Wrapper):
    """Only grows: a tag is set once, and nothing can be deleted. DENIED."""

    kind: Literal["immutable"]

    def build(self, *inner: Backend) -> Backend:
        return compose.Immutable(*inner)


@dataclass(frozen=True, kw_only=True)
class Select(Wrapper):
    """Shows some repositories; the others are not there."""

    kind: Literal["select"]
    include: Annotated[list[str], Field(min_length=1)] | None = None
    """Patterns of the repositories to show, such as "public/*": `*` is any text, slashes too. By default all."""
    exclude: list[str] | None = None
    """Patterns of the repositories to hide, even if they are included."""

    def build(self, *inner: Backend) -> Backend:
        (backend,) = inner
        return compose.Select(backend, self._shows())

    def takes_push(self, repository: str) -> bool:
        return self._shows()(repository) and super().takes_push(repository)

    def to_push(self) -> Iterator[str]:
        yield from super().to_push()
        yield from (pattern.replace("*", IMAGE) for pattern in self.include or ())

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
    """Elements of a repository's name, such as "team" or "team/project"."""

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
    """Stands in front of each line, to tell several apart."""

    def build(self, *inner: Backend) -> Backend:
        (backend,) = inner
        return compose.Debug(backend, **_given(self, "name"))


@dataclass(frozen=True, kw_only=True)
class Unify(Kind):
    """Several registries as one."""

    kind: Literal["unify"]
    backends: Annotated[list[Registry], Field(min_length=2)]
    """The registries, in order: a content is that of the first that gives it."""
    reads: Literal["sequential", "concurrent"] | None = None
    """How contents are asked for: in order, or all at once and the quickest wins. By default sequential."""
    writes: Literal["all", "first"] | None = None
    """Where writes go: to all, which mirror each other, or to the first, which lies over the others. By default all."""

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
    """A registry elsewhere. Without `username` its credentials are those of `docker login`."""

    __pydantic_config__: ClassVar[ConfigDict] = Kind.__pydantic_config__ | ConfigDict(
        json_schema_extra={"dependentRequired": {"username": ["password"], "password": ["username"]}}
    )

    kind: Literal["client"]
    url: Url
    """Where it is, with the scheme: "https://registry.example"."""
    username: Text | None = field(default=None, repr=False)
    """The user that this server is there; with `password`."""
    password: Text | None = field(default=None, repr=False)
    """The password of `username`: better from the environment or from a file."""

    def __post_init__(self) -> None:
        if (self.username is None) != (self.password is None):
            given, missing = ("username", "password") if self.password is None else ("password", "username")
            raise ValueError(
                f"there is a `{given}` without a `{missing}`: give both, or neither to use the credentials of "
                "`docker login`"
            )
        if self.username == "":
            raise ValueError("the `username` is empty: give one, or no `password` either")

    def build(self, *inner: Backend) -> Backend:
        from ociserver import client  # an extra

        find: Any = client.docker_credentials
        if self.username is not None:
            find = client.Credentials(self.username, self.password or "")
        key = os.environ.get(UPLOAD_KEY)
        return client.Client(self.url, credentials=find, upload_key=bytes.fromhex(key) if key else None)

    def takes_push(self, repository: str) -> bool:
        # Only the registry knows.
        return False

    def to_pull(self) -> Iterator[str]:
        if urlsplit(self.url).hostname in _HUB:
            yield f"library/{IMAGE}"


@dataclass(frozen=True, kw_only=True)
class Cache(Kind):
    """Keeps what is pulled of registries elsewhere."""

    kind: Literal["cache"]
    local: Registry
    """What keeps the contents. A store or memory accepts manifests before their children, unless it says otherwise."""
    upstream: Registry | None = None
    """The registry to cache; beside `hosts` the one of all other names."""
    hosts: Annotated[dict[Host, Registry], Field(min_length=1, json_schema_extra=HOSTS_SCHEMA)] | None = None
    """Registries by the host that they stand for, such as "docker.io", named by `ns` or before the repository."""
    local_repositories: list[str] | None = None
    """Patterns of the repositories that are pushed to here, such as "team/*"; all others can only be read.

    By default those that are pushed to before they are fetched.
    """
    tag_lifetime: Duration | None = None
    """How long a tag is believed before upstream is asked again; by default 60 s."""
    max_size: Size | None = None
    """Bound of what is kept of upstream; by default none."""
    upstream_timeout: Duration | None = None
    """How long upstream may take to say what a tag is now before the answer is what is known here; by default 5 s. A
    list has 0.8 s at most."""
    retry_after: Duration | None = None
    """How long an upstream that failed is not asked about tags and lists that are known; by default 10 s."""

    @property
    def inner(self) -> Sequence[Registry]:
        local = self.local
        if isinstance(local, (Store, Memory)) and local.lax_child_references is None:
            local = replace(local, lax_child_references=True)
        return (local, *self._upstreams().values())

    @property
    def places(self) -> Sequence[Sequence[Key]]:
        return [("local",), *(("hosts", host) if host else ("upstream",) for host in self._upstreams())]

    def build(self, *inner: Backend) -> Backend:
        local, *upstreams = inner
        if not upstreams:
            raise ValueError("the cache has neither `upstream` nor `hosts`")
        settings: dict[str, Any] = {
            name: parse_duration(value)
            for name, value in _given(self, "tag_lifetime", "upstream_timeout", "retry_after").items()
        }
        if self.max_size is not None:
            settings["max_bytes"] = parse_size(self.max_size)
        if self.local_repositories is not None:
            pattern = _pattern(self.local_repositories)
            settings["is_local"] = lambda name: bool(pattern.match(name))
        return compose.Cache(dict(zip(self._upstreams(), upstreams, strict=True)), local, **settings)

    def takes_push(self, repository: str) -> bool:
        patterns = self.local_repositories
        return patterns is not None and bool(_pattern(patterns).match(repository)) and self.local.takes_push(repository)

    def to_push(self) -> Iterator[str]:
        # It is there to pull through.
        return iter(())

    def to_pull(self) -> Iterator[str]:
        for host, upstream in self._upstreams().items():
            begin = f"{host.replace(':', '_')}/" if host else ""
            yield from (begin + name for name in upstream.to_pull())

    def _upstreams(self) -> dict[str, Registry]:
        return (self.hosts or {}) | ({} if self.upstream is None else {"": self.upstream})


Registry = Annotated[
    Store | Memory | ReadOnly | Immutable | Select | Sub | Unify | Debug | Client | Cache,
    Field(discriminator="kind"),
]
"""Any of them."""


def _given(kind: Kind, *names: str) -> dict[str, Any]:
    """Those of the fields that the file has: the rest is left to the backend."""
    return {name: value for name in names if (value := getattr(kind, name)) is not None}


def _pattern(patterns: list[str]) -> re.Pattern[str]:
    # Without a pattern nothing matches: `(?!)` never does.
    return re.compile("|".join(map(fnmatch.translate, patterns)) or "(?!)")
