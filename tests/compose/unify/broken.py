"""Registries whose named methods fail or are slow."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from ociserver import OCIError

__all__ = ["failing", "recording", "slow"]

Kind = TypeVar("Kind")


def failing(backend: Kind, method: str, error: Exception | None = None) -> Kind:
    """The same backend or writer, with a method that raises an error, by default DENIED."""

    async def fail(*_: Any, **__: Any) -> None:
        raise error or OCIError("DENIED")

    setattr(backend, method, fail)
    return backend


def slow(backend: Kind, method: str, seconds: float = 0.05) -> Kind:
    """The same backend, with a method that starts late."""
    quick = getattr(backend, method)

    async def wait(*arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(seconds)
        return await quick(*arguments, **options)

    setattr(backend, method, wait)
    return backend


def recording(backend: Kind, method: str, calls: list[str], name: str) -> Kind:
    """The same backend. Records its name when the method is called."""
    call = getattr(backend, method)

    async def note(*arguments: Any, **options: Any) -> Any:
        calls.append(name)
        return await call(*arguments, **options)

    setattr(backend, method, note)
    return backend
