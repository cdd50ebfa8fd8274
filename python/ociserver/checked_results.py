"""Checks of what a backend's method has returned or raised.

Each function returns None if nothing is wrong, and otherwise what is wrong, as the end of a sentence that begins with
the name of the method.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any, Final

from ociserver.errors import CODES, HTTPError, OCIError
from ociserver.values import Descriptor, Manifest, PushedManifest, Url

__all__ = ["CHECKS", "Check", "shown", "wrong_error", "wrong_name", "wrong_referrer"]

Check = Callable[[Any], str | None]


def shown(value: object) -> str:
    """What a value is, for a message. The value itself may be a content, or a secret."""
    if value is None:
        return "None"
    if inspect.iscoroutine(value):
        # Otherwise Python warns that nobody has awaited it, which says less than the message.
        value.close()
        return "a coroutine (is an `await` missing?)"
    if isinstance(value, type):
        return f"the class {value.__qualname__}"
    name = type(value).__qualname__
    return f"an {name}" if name[0] in "aeiouAEIOU" else f"a {name}"


def _is(value: object, kind: type | tuple[type, ...]) -> bool:
    # The type checker knows what `isinstance` says of typed code. Here it must not be believed.
    return isinstance(value, kind)


def _descriptor(value: object) -> str | None:
    if not isinstance(value, Descriptor):
        return f"{shown(value)}; it must return an ociserver.Descriptor"
    return _fields(value)


def _sized(value: object) -> str | None:
    wrong = _descriptor(value)
    if wrong is None and isinstance(value, Descriptor) and value.size < 0:
        # Each answer with a resolved content has its length.
        return f"a Descriptor whose size is {value.size}; it must be the number of bytes"
    return wrong


def _fields(value: Descriptor, of: str = "a Descriptor") -> str | None:
    if value.media_type.__class__ is str and value.digest.__class__ is str and value.size.__class__ is int:
        # The usual values, quickly.
        return None
    if not _is(value.media_type, str):
        return f"{of} whose media_type is {shown(value.media_type)}; it must be a str"
    if not _is(value.digest, str):
        return f"{of} whose digest is {shown(value.digest)}; it must be a str"
    if not _is(value.size, int):
        return f"{of} whose size is {shown(value.size)}; it must be an int, in bytes"
    return None


def _manifest(value: object) -> str | None:
    if value.__class__ is Manifest and value.content.__class__ is bytes and value.descriptor.__class__ is Descriptor:
        return _fields(value.descriptor, "a Manifest with a Descriptor")
    if not isinstance(value, Manifest):
        return f"{shown(value)}; it must return an ociserver.Manifest"
    if not _is(value.content, bytes):
        return f"a Manifest whose content is {shown(value.content)}; it must be bytes"
    if not _is(value.descriptor, Descriptor):
        return f"a Manifest whose descriptor is {shown(value.descriptor)}; it must be an ociserver.Descriptor"
    return _fields(value.descriptor, "a Manifest with a Descriptor")


def _pushed(value: object) -> str | None:
    if not isinstance(value, PushedManifest):
        return f"{shown(value)}; it must return an ociserver.PushedManifest"
    if not _is(value.descriptor, Descriptor):
        return f"a PushedManifest whose descriptor is {shown(value.descriptor)}; it must be an ociserver.Descriptor"
    if not _is(value.tags, (tuple, list)) or not all(_is(tag, str) for tag in value.tags):
        return f"a PushedManifest whose tags are {shown(value.tags)}; they must be a tuple of str"
    if value.subject is not None and not _is(value.subject, str):
        return f"a PushedManifest whose subject is {shown(value.subject)}; it must be a digest (str) or None"
    return _fields(value.descriptor, "a PushedManifest with a Descriptor")


def _url(value: object) -> str | None:
    if value is None or (isinstance(value, Url) and isinstance(value.url, str)):
        return None
    return f"{shown(value)}; it must return an ociserver.Url or None"


def _reader(value: Any) -> str | None:
    # `async for` looks for its method in the class.
    places = (("__aiter__", type(value)), ("aclose", value), ("descriptor", value), ("range", value))
    for name, place in places:
        if not hasattr(place, name):
            return f"{shown(value)}, which has no {name}; it must return an ociserver.BlobReader"
    if not _is(value.descriptor, Descriptor):
        return f"a reader whose descriptor is {shown(value.descriptor)}; it must be an ociserver.Descriptor"
    span = value.range
    if not isinstance(span, tuple) or len(span) != 2 or not all(_is(end, int) for end in span):
        return f"a reader whose range is {shown(span)}; it must be a tuple of two int: (start, stop)"
    return _fields(value.descriptor, "a reader with a Descriptor")


def _writer(value: Any) -> str | None:
    for name in ("id", "size", "chunk_size", "write", "commit", "cancel", "aclose"):
        if not hasattr(value, name):
            return f"{shown(value)}, which has no {name}; it must return an ociserver.BlobWriter"
    for name, kind in (("id", str), ("size", int), ("chunk_size", int)):
        if not isinstance(getattr(value, name), kind):
            return f"a writer whose {name} is {shown(getattr(value, name))}; it must be {kind.__name__}"
    return None


def _anything(value: object) -> str | None:
    if inspect.iscoroutine(value):
        return shown(value)
    return None


CHECKS: Final[dict[str, Check]] = {
    "get_blob": _reader,
    "get_manifest": _manifest,
    "get_tag": _manifest,
    "resolve_blob": _sized,
    "resolve_manifest": _sized,
    "resolve_tag": _sized,
    "locate_blob": _url,
    "push_blob": _descriptor,
    "push_blob_chunked": _writer,
    "push_blob_chunked_resume": _writer,
    "locate_upload": _url,
    "mount_blob": _descriptor,
    "push_manifest": _pushed,
    "delete_blob": _anything,
    "delete_manifest": _anything,
    "delete_tag": _anything,
    "commit": _descriptor,
}
"""By the name of a method that is awaited. `commit` is a method of a `BlobWriter`."""


def wrong_name(value: object) -> str | None:
    """Of an item of `repositories` or `tags`."""
    return None if isinstance(value, str) else f"{shown(value)}; it must give str"


def wrong_referrer(value: object) -> str | None:
    """Of an item of `referrers`."""
    if not isinstance(value, Descriptor):
        return f"{shown(value)}; it must give ociserver.Descriptor"
    wrong = _fields(value)
    if wrong is None and value.artifact_type is not None and not _is(value.artifact_type, str):
        wrong = f"a Descriptor whose artifact_type is {shown(value.artifact_type)}; it must be a str or None"
    return wrong


def wrong_error(error: Exception) -> str | None:
    """Of an error that a method has raised. None for errors that are not ours: they are faults of the backend."""
    if not isinstance(error, (OCIError, HTTPError)):
        return None
    if not all(_is(text, str) for item in error.headers.items() for text in item):
        return f"{type(error).__name__} with headers that are not str"
    if not isinstance(error, OCIError):
        return None
    if error.code not in CODES and error.status is None:
        return (
            f"OCIError({error.code!r}), whose code is not in ociserver.errors.CODES; "
            "a code of your own needs a status: OCIError(code, message, status=...)"
        )
    try:
        json.dumps(error.detail)
    except (TypeError, ValueError) as cause:
        return f"OCIError({error.code!r}) with a detail that JSON cannot express: {cause}"
    return None
