"""Reads that are answered without waiting, and without the event loop where the server allows that.

Under `ociserver serve` the thread of the server that receives a request asks `Handler.answer_nowait` before it hands
the request to the event loop. `NowaitReader` parses the request, calls `Backend.read_nowait` and makes the answer, all
in one call. It leaves to the event loop every request that is not a plain read, and every read for which the backend
would have to wait. Its answers are those of `manifests` and `blobs` in this folder. tests/handler/test_nowait.py
compares them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ociserver._core import NowaitReader
from ociserver.adapt import read_nowait_of
from ociserver.errors import marshal_error
from ociserver.handler.errors import response_of, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from ociserver.event import Event
    from ociserver.handler.responses import Answer
    from ociserver.handler.site import Site
    from ociserver.interface import Backend
    from ociserver.meter import Meter

    Observe = Callable[[Event], None]

__all__ = ["nowait_reader"]

_log = logging.getLogger("ociserver")


def nowait_reader(site: Site, backend: Backend, observe: Callable[[Event], None] | None) -> NowaitReader | None:
    """The reader that answers reads without waiting; None if the backend has no `read_nowait`.

    Args:
        site: what all requests share.
        backend: the backend without its guard, which `admit_nowait` stands for here.
        observe: called with an `Event` after each request.
    """
    read_nowait, options, meter = read_nowait_of(backend), site.options, site.meter
    if read_nowait is None:
        return None

    def refusal(error: Exception) -> Answer | None:
        """The answer to an error of the backend. None: the event loop has to log it, or `write_error` to answer it."""
        if options.write_error or _log.isEnabledFor(logging.DEBUG):
            return None
        wire = marshal_error(error)
        if wire.status >= 500:
            return None
        if meter:
            meter.request_failed(wire.code)
        return whole(response_of(wire))

    return NowaitReader(
        read_nowait,
        refusal,
        blobs=not options.locations_for_descriptor and not options.redirect_pulls,
        tag_digest=not options.omit_digest_from_tag_get_response,
        observe=_reporting(meter, observe),
        ids=site.request_ids,
        admit=None if site.auth is None else site.auth.admit_nowait,
        **({} if meter is None or meter.counter is None else {"counter": meter.counter}),
    )


def _reporting(meter: Meter | None, observe: Observe | None) -> Observe | None:
    """Reports an answered read to both, unless the meter has a counter."""
    if meter is None or meter.counter is not None:
        return observe
    if observe is None:
        return meter.request_answered
    count = meter.request_answered

    def report(event: Event) -> None:
        count(event)
        observe(event)

    return report
