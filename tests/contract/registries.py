"""The backends that the contract suite and the cases are run over: one line for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ociserver import Backend, Memory, Store, compose
from tests.support.remote import Remote


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a registry, as in `Memory`."""

    immutable_tags: bool = False
    lax_child_references: bool = False


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do by its nature. Where it cannot, `test_refusals` demands the refusal.

    Args:
        writes: pushes, uploads, mounts; else UNSUPPORTED.
        deletes: deletions, and tags that move; else `refusal`.
        refusal: the code of a refused deletion.
        mounts_from_anywhere: `mount_blob` without a source; else UNSUPPORTED.
        remote: reached by the protocol, which says less. A failed mount is an upload that has begun; the answer
            to a HEAD has no code; no referrers and no repository are the same; and a write is acknowledged, or
            refused, when its request ends: with `aclose` or `commit`.
    """

    writes: bool = True
    deletes: bool = True
    refusal: str = "DENIED"
    mounts_from_anywhere: bool = True
    remote: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """A backend under test, and the registry that is filled for it: itself, unless it cannot be written to."""

    backend: Backend
    filled: Backend
    can: Capabilities


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


def _store(folder: Path, settings: Settings) -> Backend:
    return Store(
        folder / "data",
        immutable_tags=settings.immutable_tags,
        lax_child_references=settings.lax_child_references,
    )


def _memories(folder: Path, settings: Settings) -> Backend:
    return compose.Unify(_memory(folder, settings), _memory(folder, settings), _memory(folder, settings))


def _store_and_memory(folder: Path, settings: Settings) -> Backend:
    return compose.Unify(_store(folder, settings), _memory(folder, settings), reads="concurrent")


def _layers(folder: Path, settings: Settings) -> Backend:
    return compose.Unify(_memory(folder, settings), Memory(), writes="first")


async def _allow(repository: str, access: compose.Access) -> None:
    await asyncio.sleep(0)


BACKENDS = (Registry("memory", _memory), Registry("store", _store))
"""Registries of their own."""

WRAPPERS = (
    Registry("read-only", _memory, compose.ReadOnly, Capabilities(writes=False, deletes=False, refusal="UNSUPPORTED")),
    Registry("immutable", _memory, compose.Immutable, Capabilities(deletes=False)),
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
    Registry("cache", _memory, lambda inner: compose.Cache(Memory(), inner)),
    Registry("cache over store", _store, lambda inner: compose.Cache(Memory(), inner)),
    Registry("unify", _memories, None),
    Registry("unify-concurrent", _store_and_memory, None),
    Registry("unify-first", _layers, None),
)
"""Wrappers, which do what they wrap does, as far as they let it."""

REMOTE = Capabilities(remote=True)

CLIENTS = (
    Registry("client of memory", _memory, Remote, REMOTE),
    Registry("client of store", _store, Remote, REMOTE),
)
"""Registries of their own, behind our handler, a server, HTTP and the client."""

REGISTRIES = BACKENDS + WRAPPERS + CLIENTS
