"""Tries whether a bucket can be used, and says what is wrong with it, for people."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Final, Literal

from ociserver.store.objects.arrivals import Arrivals
from ociserver.store.objects.calls import MARKER, ask
from ociserver.store.objects.storage import ObjectStorage
from ociserver_objects import Bucket, Denied, ObjectError, Unavailable

__all__ = ["try_bucket"]

Kind = Literal["fault", "warning", "fact"]

RETRY_S: Final = 5.0
"""Seconds for which a request is tried again: somebody waits for the answer."""

_NO_BUCKET: Final = "NoSuchBucket"
"""The error code of a bucket that does not exist."""

_OTHER_REGION: Final = ("AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException")
"""The error codes of a bucket that is elsewhere."""

_TRIAL: Final = b"A test of `ociserver config check --connect`, which deletes it.\n"


async def try_bucket(storage: ObjectStorage, *, retry_s: float = RETRY_S) -> AsyncIterator[tuple[Kind, str]]:
    """What is wrong with a bucket, and a fact about it if it can be used.

    Args:
        storage: where it is.
        retry_s: seconds for which a request is tried again.
    """
    try:
        bucket = Bucket(storage.url, storage.options, public_endpoint=storage.public_endpoint, retry_s=retry_s)
    except ValueError as error:
        yield "fault", f"the bucket cannot be used: {error}"
        return
    step = "put an object into"
    # No key of a registry has a hyphen.
    key = f"trial-{secrets.token_hex(8)}"
    try:
        await ask(bucket.put, key, _TRIAL)
        try:
            step = "read an object of"
            reading = await ask(bucket.read, key, 0, len(_TRIAL))
            if reading is None or await Arrivals(bucket).next(reading) != _TRIAL:
                yield (
                    "fault",
                    "the bucket does not return what was put into it. Is there another program in front of it?",
                )
                return
            step = "list"
            if key not in [found for found, _ in await ask(bucket.list, key[:-1], 2)]:
                yield "fault", "the bucket does not list an object that was put into it"
                return
            step = "begin an upload in parts to"
            multipart = await ask(bucket.create_multipart, key)
            step = "abort an upload in parts to"
            await ask(bucket.abort, key, multipart)
        finally:
            with contextlib.suppress(ObjectError):
                await ask(bucket.delete, [key])
        step = "delete an object of"
        await ask(bucket.delete, [key])
        if await ask(bucket.size, key) is not None:
            yield "fault", "the bucket still has an object that was deleted"
            return
        has_registry = await ask(bucket.size, MARKER) is not None
    except ObjectError as error:
        yield "fault", _why_not(error, step, storage)
        return
    yield "fact", f"{storage.url} can be used; it {'has a registry' if has_registry else 'is new'}"


def _why_not(error: ObjectError, step: str, storage: ObjectStorage) -> str:
    has_endpoint = any(each in storage.options for each in ("endpoint", "aws_endpoint"))
    match error:
        case Denied():
            advice = (
                "Check `access-key-id`, `secret-access-key` and `region`, or the environment or role that they come "
                "from, and that they allow to put, get, list and delete objects below the prefix"
            )
        case _ if any(code in str(error) for code in _OTHER_REGION):
            advice = "Correct `region`: the bucket is in another one"
        case _ if _NO_BUCKET in str(error):
            advice = "Create the bucket, or correct `url`, `region` and `endpoint`"
        case Unavailable() if has_endpoint:
            advice = "Correct `endpoint`, and check that the storage runs and that firewalls pass connections to it"
        case Unavailable():
            advice = "Set `endpoint` if this is not the storage of the provider itself, and check the network"
        case _:
            advice = "Check `region`, `endpoint`, `options` and the credentials"
    return f"the registry cannot {step} {storage.url}: {error}. {advice}"
