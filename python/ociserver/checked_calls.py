"""Awaits a call of a backend of one's own, and says in an error which method it was."""

from __future__ import annotations

import inspect
from typing import Any

from ociserver.checked_results import shown, wrong_error
from ociserver.errors import RegistryError

__all__ = ["awaited", "note", "where"]


def where(owner: object, method: str) -> str:
    """A method of an object, for a message."""
    return f"{type(owner).__qualname__}.{method}"


async def awaited(given: Any, place: str) -> Any:
    """The result of a call.

    Raises:
        TypeError: the call has returned something else than an awaitable.
    """
    try:
        return await given
    except TypeError:
        if inspect.isawaitable(given):
            raise
        raise TypeError(f"{place} returned {shown(given)}, which cannot be awaited; it must be `async def`") from None


def note(error: Exception, place: str) -> None:
    """Note on an error which method has raised it, if the backend is at fault.

    Raises:
        TypeError: the error cannot be sent to a client.
    """
    if getattr(error, "__notes__", None):
        # The method that was called first has noted it.
        return
    wrong = wrong_error(error)
    if wrong is not None:
        error.add_note(f"{place} raised {wrong}")
    elif not isinstance(error, RegistryError) and place not in str(error):
        error.add_note(f"{place} raised it; only an ociserver.OCIError becomes another answer than 500")
