"""The kinds of registries that hold contents, and the one for a registry elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field

from ociserver import memory, store
from ociserver.config.kind import Kind, given
from ociserver.config.objects import Objects
from ociserver.config.values import Count, DatabaseUrl, Duration, File, FilledText, Flag, Size, Text, TokenHost, Url
from ociserver.interface import Backend
from ociserver.settings import EXAMPLE_IMAGE, UPLOAD_KEY_VARIABLE
from ociserver.store.external import Database, External
from ociserver.store.sqlite import Durability
from ociserver.units import parse_duration, parse_size
from ociserver.urls import HUB_HOSTS

__all__ = ["Client", "Memory", "Store"]


_OF_FOLDER: Final = ("data", "durability", "group_readable")
_OF_DATABASE: Final = ("database_password", "database_connections", "database_pooled", "cache_manifests")


def _key(name: str) -> str:
    return name.replace("_", "-")


@dataclass(frozen=True, kw_only=True)
class Store(Kind):
    """A durable registry: in a folder, with its large contents in a bucket, or in a database and a bucket."""

    __pydantic_config__: ClassVar[ConfigDict] = Kind.__pydantic_config__ | ConfigDict(
        json_schema_extra={
            "dependentRequired": {
                "database": ["objects"],
                **{_key(name): ["database"] for name in _OF_DATABASE},
            },
            "not": {"required": ["database"], "anyOf": [{"required": [_key(name)]} for name in _OF_FOLDER]},
        }
    )

    kind: Literal["store"]
    data: File | None = None
    durability: Durability | None = None
    group_readable: Flag | None = None
    database: DatabaseUrl | None = field(default=None, repr=False)
    """The PostgreSQL database with the metadata, for any number of nodes: "postgresql://registry@db.example/registry".
    Requires `objects`, and there is no folder then. By default a database in the folder."""
    database_password: FilledText | None = field(default=None, repr=False)
    """The password of the user of `database`. Take it from the environment or from a file. By default that of
    PGPASSWORD, or of the file of PGPASSFILE."""
    database_connections: Count | None = None
    """Maximum number of connections of each process to `database`. By default 10."""
    database_pooled: Flag | None = None
    """A pooler in transaction mode, such as PgBouncer, is in front of `database`."""
    cache_manifests: Duration | None = None
    """How long a node may serve a manifest by digest that another node has deleted, because it does not ask `database`
    again. By default 1 s; 0 to ask each time. Tags are always asked for."""
    objects: Objects | None = None
    """The bucket with the large contents. By default they are files in the folder."""
    immutable_tags: Flag | None = None
    lax_child_references: Flag | None = None
    collect_every: Duration | None = None
    unreferenced_after: Duration | None = None
    grace: Duration | None = None
    upload_timeout: Duration | None = None
    delete_untagged_after: Duration | None = None

    def __post_init__(self) -> None:
        if self.database is None:
            for name in _OF_DATABASE:
                if getattr(self, name) is not None:
                    raise ValueError(f"`{_key(name)}` is set without `database`: set both, or remove it")
            return
        if self.objects is None:
            raise ValueError(
                "`database` is set without `objects`: all nodes that use the database need the same contents, so set "
                '`objects` to a bucket, such as { url = "s3://bucket/prefix" }'
            )
        for name in _OF_FOLDER:
            if getattr(self, name) is not None:
                raise ValueError(
                    f"`{_key(name)}` has no effect, because with `database` and `objects` there is no folder: remove it"
                )

    @property
    def external(self) -> External | None:
        """What it has outside of its folder; None if everything is in the folder."""
        if self.objects is None:
            return None
        database = None
        if self.database is not None:
            database = Database(
                url=self.database,
                password=self.database_password,
                max_connections=self.database_connections,
                is_pooled=bool(self.database_pooled),
                cache_manifests_s=None if self.cache_manifests is None else parse_duration(self.cache_manifests),
            )
        return External(database=database, objects=self.objects.built())

    def build(self, *inner: Backend) -> Backend:
        external = self.external
        if self.data is None and (external is None or external.database is None):
            raise ValueError("the store has no `data`; set it to the folder of the store")
        names = ("durability", "group_readable", "immutable_tags", "lax_child_references")
        return store.Store(self.data, **given(self, *names), **({} if external is None else external.made()))

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
        return memory.Memory(max_bytes=limit, **given(self, "immutable_tags", "lax_child_references"))

    def to_push(self) -> Iterator[str]:
        yield EXAMPLE_IMAGE


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
