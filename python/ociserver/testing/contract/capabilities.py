"""What a backend under test can do, so that the suite demands it, or the refusal, or leaves it out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ociserver.interface import Backend

__all__ = ["Capabilities", "Settings", "Subject", "needs"]

Tested = TypeVar("Tested", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a registry, as in `ociserver.Memory`. A backend that has none gets only the defaults."""

    immutable_tags: bool = False
    lax_child_references: bool = False


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do. The suite demands what is True.

    Args:
        writes: pushes, uploads, mounts; otherwise they must be UNSUPPORTED.
        deletes: deletions; otherwise they must be refused with `refusal`.
        moves_tags: pushes that move a tag to another manifest; otherwise they must be refused with `refusal`.
        refusal: the code of a refused deletion, and of a refused move of a tag.
        mounts: `mount_blob`; otherwise it is not tested.
        mounts_from_anywhere: `mount_blob` without a source; otherwise UNSUPPORTED.
        lists: `repositories` and `tags`; otherwise they are not tested.
        referrers: `referrers`; otherwise it is not tested.
        validates: manifests are read: they must have the form of their media type, and name contents that exist; and a
            digest keeps its media type. Otherwise this is not tested.
        create_only: the argument `create_only` of `push_manifest`; otherwise it is not tested.
        settings: the registry can be made with any `Settings`; otherwise tests that need others are left out.
        starts_repositories: starting an upload makes the repository. Not so with uploads that wait for `push_blob`.
        remote: reached by the protocol, which says less. A failed mount is an upload that has begun; the answer to a
            HEAD has no code; no referrers and no repository are the same; and a write is acknowledged, or refused,
            when its request ends: with `aclose` or `commit`.
    """

    writes: bool = True
    deletes: bool = True
    moves_tags: bool = True
    refusal: str = "DENIED"
    mounts: bool = True
    mounts_from_anywhere: bool = True
    lists: bool = True
    referrers: bool = True
    validates: bool = True
    create_only: bool = True
    settings: bool = True
    starts_repositories: bool = True
    remote: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """A backend under test, and the registry that is filled for it: itself, unless it cannot be written to."""

    backend: Backend
    filled: Backend
    can: Capabilities


def needs(*capabilities: str) -> Callable[[Tested], Tested]:
    """Of a test, or of each test of a class: the capabilities without which it is left out."""

    def mark(tested: Tested) -> Tested:
        if isinstance(tested, type):
            for name, test in list(vars(tested).items()):
                if name.startswith("test_"):
                    mark(test)
        else:
            tested.needs = {*getattr(tested, "needs", ()), *capabilities}  # type: ignore[attr-defined]
        return tested

    return mark
