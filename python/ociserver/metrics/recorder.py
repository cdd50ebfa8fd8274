"""Counts what happens in one process."""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from ociserver._core import RequestCounter, RequestRow
from ociserver.meter import CacheContent, Meter, SignInResult, UpstreamFailure
from ociserver.metrics.declared import DURATION_BUCKETS, METHODS, OTHER, ROUTES, VIAS, by_name
from ociserver.metrics.shared import (
    KEY,
    LAST_ROW,
    OFFSETS,
    PID,
    ROW_WIDTH,
    ROWS,
    rows_of,
)

if TYPE_CHECKING:
    from ociserver.event import Event

__all__ = ["Recorder", "key_of", "labels_of"]

_METHOD: Final = {method: number for number, method in enumerate(METHODS)}
_ROUTE: Final = {route: number for number, route in enumerate(ROUTES)}
_NO_KEY: Final = 1
"""Added to each key, so that no key is 0."""
_STATUSES: Final = 1000


def key_of(method: str, kind: str | None, status: int) -> int:
    """The key of a row of requests."""
    route = _ROUTE.get(kind or OTHER, _ROUTE[OTHER])
    known = status if 100 <= status < 600 else 0
    return (_METHOD.get(method, _METHOD[OTHER]) * len(ROUTES) + route) * _STATUSES + known + _NO_KEY


def labels_of(key: int) -> tuple[str, str, str]:
    """Method, route and status of a key."""
    rest, status = divmod(key - _NO_KEY, _STATUSES)
    method, route = divmod(rest, len(ROUTES))
    return METHODS[method], ROUTES[route], str(status)


class Recorder(Meter):
    """Counts into a place of the shared memory.

    Args:
        cells: the place. What a process that has ended counted there stays.
        is_worker: whether this process serves requests.
    """

    def __init__(self, cells: memoryview[float], *, is_worker: bool = True) -> None:
        self._cells = cells
        # Two threads answer requests: granian's, and the event loop's.
        self._lock = threading.Lock()
        rows = rows_of(cells)
        self._rows = {_event_fields(key): self._at(at) for key, at in rows if at != LAST_ROW}
        self._next = min(ROWS + len(rows) * ROW_WIDTH, LAST_ROW)
        self.counter = RequestCounter(self._row)
        self._active = OFFSETS["http_server_active_requests", ()]
        # The requests of the last process in this place have ended with it.
        cells[self._active] = 0.0
        cells[PID] = os.getpid()
        if is_worker:
            self._add("ociserver_worker_starts")

    # Requests

    def request_began(self) -> None:
        with self._lock:
            self._cells[self._active] += 1.0

    def request_ended(self, event: Event) -> None:
        with self._lock:
            self._cells[self._active] -= 1.0
        self.request_answered(event)

    def request_answered(self, event: Event) -> None:
        fields = event.method, event.kind, event.status
        row = self._rows.get(fields) or self._row(*fields)
        row.add(event.received, event.sent, event.duration)

    def request_failed(self, code: str) -> None:
        self._add("ociserver_errors", code if ("ociserver_errors", (code,)) in OFFSETS else OTHER)

    # The rest

    def signed_in(self, via: str, result: SignInResult) -> None:
        self._add("ociserver_sign_ins", via if via in VIAS else OTHER, result)

    def token_issued(self) -> None:
        self._add("ociserver_tokens_issued")

    def committed(self, transactions: int, seconds: float) -> None:
        self._add("ociserver_store_transactions", by=transactions)
        self._observe("ociserver_store_commit_duration_seconds", seconds)

    def cache_read(self, content: CacheContent, *, is_hit: bool) -> None:
        self._add("ociserver_cache_reads", content, "hit" if is_hit else "miss")

    def upstream_failed(self, failure: UpstreamFailure) -> None:
        self._add("ociserver_cache_upstream_errors", failure)

    def collected(self, seconds: float, freed_bytes: int, at: float) -> None:
        """A scheduled collection has succeeded.

        Args:
            seconds: that it took.
            freed_bytes: that it has freed.
            at: when it ended, in seconds since the epoch.
        """
        self._add("ociserver_collections", "success")
        self._observe("ociserver_collection_duration_seconds", seconds)
        self._add("ociserver_collection_freed_bytes", by=freed_bytes)
        self._cells[OFFSETS["ociserver_collection_last_success_timestamp_seconds", ()]] = at

    def collection_failed(self) -> None:
        """A scheduled collection has failed."""
        self._add("ociserver_collections", "failure")

    # Numbers

    def _add(self, name: str, *labels: str, by: float = 1.0) -> None:
        at = OFFSETS[name, labels]
        with self._lock:
            self._cells[at] += by

    def _observe(self, name: str, value: float) -> None:
        buckets, at = by_name(name).buckets, OFFSETS[name, ()]
        with self._lock:
            self._cells[at + bisect_left(buckets, value)] += 1.0
            self._cells[at + len(buckets) + 1] += value

    def _at(self, at: int) -> RequestRow:
        return RequestRow(self._cells[at : at + ROW_WIDTH], DURATION_BUCKETS)

    def _row(self, method: str, kind: str | None, status: int) -> RequestRow:
        """The row of a request. It is made if there is none. The last row is for all that do not fit."""
        key = key_of(method, kind, status)
        fields = _event_fields(key)
        with self._lock:
            row = self._rows.get(fields)
            if row is None:
                at = self._next
                row = self._at(at)
                if at == LAST_ROW:
                    self._cells[at + KEY] = key_of(OTHER, OTHER, 0)
                else:
                    self._cells[at + KEY] = key
                    self._rows[fields] = row
                    self._next += ROW_WIDTH
            return row


def _event_fields(key: int) -> tuple[str, str | None, int]:
    """The fields of an event with a key. Unknown methods are not remembered, since clients can send any number."""
    method, route, status = labels_of(key)
    return method, None if route == OTHER else route, int(status)
