"""The kinds of registries that hold contents, and the one for a registry elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field

from ociserver import memory, store
from ociserver.config.kind import Kind, given
from ociserver.config.values import Duration, File, Flag, Size, Text, TokenHost, Url
from ociserver.interface import Backend
from ociserver.settings import EXAMPLE_IMAGE, UPLOAD_KEY_VARIABLE
from ociserver.store.sqlite import Durability
from ociserver.units import parse_size
from ociserver.urls import HUB_HOSTS

__all__ = ["Client", "Memory", "Store"]


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
        return store.Store(self.data, **given(self, *names))

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
