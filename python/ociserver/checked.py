"""A backend of one's own, called with checks: a misuse of the interface names the backend's method and what it must do.

What can be seen before a call is checked when a handler or a wrapper is made. The rest is checked at each call. Our own
backends are not checked.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable
from types import CoroutineType, TracebackType
from typing import Any, Final, Self

from ociserver.checked_blobs import CheckedReader, CheckedWriter
from ociserver.checked_calls import awaited, note, where
from ociserver.checked_results import CHECKS, shown
from ociserver.interface import Backend, Writer, end_spool
from ociserver.values import Descriptor

__all__ = ["METHODS", "Checked", "is_ours", "place_of"]

_log = logging.getLogger("ociserver")

_LISTS: Final = ("repositories", "tags", "referrers")
"""The methods that return an asynchronous iterator, and are not awaited."""

_PAGE: Final = {"start_after": "", "limit": None}

_CALLS: Final[dict[str, tuple[tuple[Any, ...], dict[str, Any]]]] = {
    "get_blob": (("repository", "digest", None), {}),
    "get_manifest": (("repository", "digest"), {}),
    "get_tag": (("repository", "tag"), {}),
    "resolve_blob": (("repository", "digest"), {}),
    "resolve_manifest": (("repository", "digest"), {}),
    "resolve_tag": (("repository", "tag"), {}),
    "read_nowait": (("kind", "repository", "reference"), {}),
    "locate_blob": (("repository", "digest"), {}),
    "push_blob": (("repository", "descriptor", "chunks"), {}),
    "push_blob_chunked": (("repository",), {"algorithm": "sha256"}),
    "push_blob_chunked_resume": (("repository", "upload_id"), {"offset": None, "digest": None}),
    "locate_upload": (("repository", "upload_id"), {}),
    "mount_blob": (("from_repository", "to_repository", "digest"), {}),
    "push_manifest": (("repository", "content", "media_type"), {"digest": None, "tags": ()}),
    "delete_blob": (("repository", "digest"), {}),
    "delete_manifest": (("repository", "digest"), {}),
    "delete_tag": (("repository", "tag"), {}),
    "repositories": ((), _PAGE),
    "tags": (("repository",), _PAGE),
    "referrers": (("repository", "digest", None), _PAGE),
}
"""How each method is called, for the check of its parameters."""

METHODS: Final = tuple(_CALLS)

_SPOOLS: Final = (Writer.push_blob_chunked, Writer.push_blob_chunked_resume)
"""These belong to `Checked` itself, so that they call the checked `push_blob`."""

_WRAPPERS: Final[dict[str, type[CheckedReader | CheckedWriter]]] = {
    "get_blob": CheckedReader,
    "push_blob_chunked": CheckedWriter,
    "push_blob_chunked_resume": CheckedWriter,
}


class Checked(Backend):
    """Passes calls on to `inner`, which may be any object, and checks the results. Missing methods raise UNSUPPORTED.

    Raises:
        TypeError: a method of the object cannot be what the interface says.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.reads_nowait = False
        """Whether `inner` may be asked without waiting: `ociserver.adapt` decides."""
        for name in METHODS:
            method = getattr(inner, name, None)
            if method is None or getattr(method, "__func__", None) in _SPOOLS:
                continue
            if isinstance(inner, Backend) and is_ours(method):
                setattr(self, name, method)
                continue
            place = where(inner, name)
            _check_method(method, name, place)
            setattr(self, name, _checked(method, name, place))
        if isinstance(inner, Writer):
            self.spool_limits = inner.spool_limits

    async def __aenter__(self) -> Self:
        enter = getattr(self.inner, "__aenter__", None)
        if enter is not None:
            await awaited(enter(), where(self.inner, "__aenter__"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        leave = getattr(self.inner, "__aexit__", None)
        try:
            if leave is not None:
                await awaited(leave(kind, error, traceback), where(self.inner, "__aexit__"))
        finally:
            # A class that does not call the method of `Backend` has a spool, too.
            end_spool(self.inner)
            end_spool(self)


def is_ours(method: Any) -> bool:
    """Whether a method is code of this package."""
    module: str = getattr(getattr(method, "__func__", method), "__module__", None) or ""
    return module == "ociserver" or module.startswith("ociserver.")


def place_of(backend: Backend, method: str) -> str:
    """A method of the backend that is behind all wrappers, for a message."""
    while isinstance(inner := getattr(backend, "inner", None), Backend):
        backend = inner
    return where(backend.inner if isinstance(backend, Checked) else backend, method)


def _check_method(method: Any, name: str, place: str) -> None:
    if not callable(method):
        raise TypeError(f"{place} is {shown(method)}; it must be a method")
    if inspect.isgeneratorfunction(method):
        raise TypeError(f"{place} is a generator without `async`; it must be `async def`")
    if name in _LISTS:
        if inspect.iscoroutinefunction(method):
            raise TypeError(
                f"{place} is an `async def` without `yield`; it must be an asynchronous generator (`async def` with "
                "`yield`), or return an asynchronous iterator"
            )
    elif inspect.isasyncgenfunction(method):
        raise TypeError(f"{place} has a `yield`; it must be an `async def` that returns its result")
    elif name == "read_nowait" and inspect.iscoroutinefunction(method):
        raise TypeError(f"{place} is `async`; it must be a plain `def`, because it is called without an event loop")
    positional, keywords = _CALLS[name]
    try:
        inspect.signature(method).bind(*positional, **keywords)
    except TypeError as error:
        names = [str(value) for value in positional] + [f"{key}=..." for key in keywords]
        raise TypeError(f"{place} cannot be called as {name}({', '.join(names)}): {error}") from None
    except ValueError:
        # A method of a compiled class may not tell its parameters.
        return


def _checked(method: Callable[..., Any], name: str, place: str) -> Callable[..., Any]:
    if name in _LISTS:
        return _checked_list(method, place)
    if name == "read_nowait":
        return _checked_nowait(method, place)
    check, wrapper = CHECKS[name], _WRAPPERS.get(name)

    async def call(*args: Any, **keywords: Any) -> Any:
        try:
            given = method(*args, **keywords)
            # The usual result. To go through `awaited` would cost another coroutine for each call.
            result = await (given if given.__class__ is CoroutineType else awaited(given, place))
        except Exception as error:
            note(error, place)
            raise
        wrong = check(result)
        if wrong is not None:
            raise TypeError(f"{place} returned {wrong}")
        return result if wrapper is None or is_ours(type(result)) else wrapper(result, place)

    return call


def _checked_list(method: Callable[..., Any], place: str) -> Callable[..., AsyncIterator[Any]]:
    def call(*args: Any, **keywords: Any) -> AsyncIterator[Any]:
        try:
            result = method(*args, **keywords)
        except Exception as error:
            note(error, place)
            raise
        if not isinstance(result, AsyncIterable):
            raise TypeError(
                f"{place} returned {shown(result)}; it must return an asynchronous iterator: write it as an "
                "`async def` with `yield`"
            )
        return aiter(result)

    return call


def _checked_nowait(method: Callable[..., Any], place: str) -> Callable[..., Any]:
    is_logged = False

    def call(kind: str, repository: str, reference: str) -> tuple[Descriptor, bytes | None] | None:
        nonlocal is_logged
        found = method(kind, repository, reference)
        if found is None:
            return None
        match found:
            case (Descriptor(), bytes() | None):
                return found  # type: ignore[no-any-return]
        if not is_logged:
            # The client gets its answer from the other methods, so nothing else would show it.
            is_logged = True
            _log.error("%s returned %s; it must return (Descriptor, bytes or None), or None", place, shown(found))
        return None

    return call
