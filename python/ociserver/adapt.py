"""Adds missing methods to a backend, and uses the optional methods of backends, writers and bodies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Final

from ociserver.backend_like import BackendLike
from ociserver.checked import METHODS, Checked, is_ours
from ociserver.interface import Backend, BlobWriter, OpenSink, ReadNowait

__all__ = ["complete", "if_any", "read_nowait_of", "refresh", "write_all"]

_READS: Final = frozenset({"get_blob", "get_manifest", "get_tag", "resolve_blob", "resolve_manifest", "resolve_tag"})


def complete(backend: BackendLike) -> Backend:
    """A backend with the methods of `backend`, which may be any object. Missing methods raise UNSUPPORTED.

    A backend of one's own is called with checks (`ociserver.checked`). Ours are returned as they are.

    Raises:
        TypeError: the object is a class, has none of the methods, or has one that cannot be called as it should.
    """
    given: object = backend
    if isinstance(given, type):
        name = given.__qualname__
        raise TypeError(f"the class {name} is not a backend: pass an object of it, such as {name}()")
    if isinstance(backend, Backend):
        if isinstance(backend, Checked) or all(is_ours(getattr(backend, name)) for name in METHODS):
            return backend
    elif not any(hasattr(backend, name) for name in METHODS):
        raise TypeError(f"{backend!r} is not a backend: it has no method of ociserver.Backend, such as get_manifest")
    checked = Checked(backend)
    if isinstance(backend, Backend) and read_nowait_of(backend) is not None:
        checked.reads_nowait = True
    return checked


def read_nowait_of(backend: Backend) -> ReadNowait | None:
    """`Backend.read_nowait`, if the backend declares `reads_nowait`.

    The declaration of a class does not count for an object whose read methods were replaced. Such an object has to
    declare it itself.
    """
    own = vars(backend)
    if not backend.reads_nowait or ("reads_nowait" not in own and not _READS.isdisjoint(own)):
        return None
    return backend.read_nowait


def if_any(create_only: Collection[str]) -> dict[str, Collection[str]]:
    """The argument `create_only` of `Writer.push_manifest`, if there are such tags.

    A backend that does not have this argument then takes all other pushes. It fails for these, and does not ignore it.
    """
    return {"create_only": create_only} if create_only else {}


async def refresh(writer: BlobWriter) -> None:
    """Ask for the current size of an upload, if the writer has a method for that. Call this before the first write."""
    ask: Callable[[], Awaitable[None]] | None = getattr(writer, "refresh", None)
    if ask is not None:
        await ask()


async def write_all(writer: BlobWriter, content: AsyncIterator[bytes]) -> None:
    """Write all of `content`, without the event loop if both arguments allow that.

    Args:
        writer: takes pieces without waiting while its method `open_sink`, if it has one, returns a `Sink`.
        content: may have a method `give(open_sink)`, like the body of a request under `ociserver serve`. If more is to
            come, this method awaits `open_sink()`, gives the sink as much as it can, and returns. At least every few
            seconds it leaves a piece to be written by the event loop.

    Raises:
        Exception: what `content` and `writer` raise.
    """
    open_sink: OpenSink | None = getattr(writer, "open_sink", None)
    give: Callable[[OpenSink], Awaitable[None]] | None = getattr(content, "give", None)
    if open_sink is None or give is None:
        async for data in content:
            await writer.write(data)
        return
    await give(open_sink)
    async for data in content:
        await writer.write(data)
        await give(open_sink)
