"""The backends that the contract suite and the cases are run over: one line for each."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ociserver import Backend, Memory, Store, Writer, compose
from ociserver.compose.wrapper import DeleterOf, ListerOf, ReaderOf, Wrapper, WriterOf
from ociserver.store.objects import ObjectStorage
from ociserver.store.postgres import PostgreSQL
from ociserver.testing.contract.capabilities import Capabilities, Settings, Subject
from tests.contract.buckets import fresh_bucket
from tests.support import postgres
from tests.support.remote import Remote

__all__ = ["BACKENDS", "CLIENT", "REGISTRIES", "WRAPPERS", "Capabilities", "Registry", "Settings", "Subject"]


@dataclass(frozen=True, slots=True)
class Registry:
    """A kind of backend. `make` gets an empty folder for itself. `wrap` puts a wrapper before it."""

    name: str
    make: Callable[[Path, Settings], Backend]
    wrap: Callable[[Backend], Backend] | None = None
    can: Capabilities = field(default_factory=Capabilities)

    def subject(self, folder: Path, settings: Settings) -> Subject:
        inner = self.make(folder, settings)
        backend = self.wrap(inner) if self.wrap else inner
        return Subject(backend, backend if self.can.writes else inner, self.can)


def _memory(folder: Path, settings: Settings) -> Backend:
    return Memory(immutable_tags=settings.immutable_tags, lax_child_references=settings.lax_child_references)


def _store(
    folder: Path, settings: Settings, database: PostgreSQL | None = None, objects: ObjectStorage | None = None
) -> Backend:
    return Store(
        None if database and objects else folder / "data",
        immutable_tags=settings.immutable_tags,
        lax_child_references=settings.lax_child_references,
        database=database,
        objects=objects,
    )


def _store_over_postgresql(folder: Path, settings: Settings) -> Backend:
    return _store(folder, settings, PostgreSQL(postgres.emptied()))


def _store_over_objects(folder: Path, settings: Settings) -> Backend:
    return _store(folder, settings, objects=fresh_bucket())


def _store_over_azure(folder: Path, settings: Settings) -> Backend:
    # Its client is imported only where Azurite is installed.
    from tests.support.azurite import azurite

    return _store(folder, settings, objects=fresh_bucket(azurite))


def _store_over_both(folder: Path, settings: Settings) -> Backend:
    return _store(folder, settings, PostgreSQL(postgres.emptied()), fresh_bucket())


def _cache_over_both(folder: Path, settings: Settings) -> Backend:
    return compose.Cache(Memory(), _store_over_both(folder, settings), downloads=folder / "downloads")


def _memories(folder: Path, settings: Settings) -> Backend:
    return compose.Unify(_memory(folder, settings), _memory(folder, settings), _memory(folder, settings))


def _store_and_memory(folder: Path, settings: Settings) -> Backend:
    return compose.Unify(_store(folder, settings), _memory(folder, settings), reads="concurrent")


def _layers(folder: Path, settings: Settings) -> Backend:
    return compose.Unify(_memory(folder, settings), Memory(), writes="first")


async def _allow(repository: str, access: compose.Access) -> None:
    await asyncio.sleep(0)


class Spooled(ReaderOf, WriterOf, DeleterOf, ListerOf, Wrapper):
    """Takes blobs in one request. Uploads in chunks are those of `Backend`."""

    push_blob_chunked = Writer.push_blob_chunked
    push_blob_chunked_resume = Writer.push_blob_chunked_resume
    locate_upload = Writer.locate_upload


BACKENDS = (
    Registry("memory", _memory),
    Registry("store", _store),
    Registry("postgresql", _store_over_postgresql),
    Registry("objects", _store_over_objects),
    Registry("postgresql and objects", _store_over_both),
    # A second object store, which takes long to install.
    *([Registry("azure", _store_over_azure)] if os.environ.get("FULL_TESTS") else []),
)
"""Registries of their own."""

WRAPPERS = (
    Registry("read-only", _memory, compose.ReadOnly, Capabilities(writes=False, deletes=False, refusal="UNSUPPORTED")),
    Registry("no-delete", _memory, compose.NoDelete, Capabilities(deletes=False, refusal="UNSUPPORTED")),
    Registry("immutable", _memory, compose.Immutable, Capabilities(deletes=False, moves_tags=False)),
    Registry(
        "select",
        _memory,
        lambda inner: compose.Select(inner, lambda repository: not repository.startswith("hidden")),
        Capabilities(mounts_from_anywhere=False),
    ),
    Registry(
        "access-checker",
        _memory,
        lambda inner: compose.AccessChecker(inner, _allow),
        Capabilities(mounts_from_anywhere=False),
    ),
    Registry(
        "sub", _memory, lambda inner: compose.Sub(inner, "team/project"), Capabilities(mounts_from_anywhere=False)
    ),
    Registry("debug", _memory, compose.Debug),
    Registry("spooled", _memory, Spooled, Capabilities(starts_repositories=False)),
    Registry("cache", _memory, lambda inner: compose.Cache(Memory(), inner)),
    Registry("cache over store", _store, lambda inner: compose.Cache(Memory(), inner)),
    Registry("cache over postgresql and objects", _cache_over_both),
    Registry("unify", _memories, None),
    Registry("unify-concurrent", _store_and_memory, None),
    Registry("unify-first", _layers, None),
)
"""Wrappers, which do what they wrap does, as far as they let it."""

CLIENT = Registry("client of store", _store, Remote, Capabilities(remote=True))
"""A registry of its own, behind our handler, a server, HTTP and the client."""

REGISTRIES = (*BACKENDS, *WRAPPERS, CLIENT)
