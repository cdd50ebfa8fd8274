"""Adds up the numbers of all processes, for prometheus_client."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from ociserver._core import RequestRow, __version__, build_profile
from ociserver.metrics.declared import COUNTED, DURATION_BUCKETS
from ociserver.metrics.declared import Metric as Declared
from ociserver.metrics.processes import Processes
from ociserver.metrics.recorder import labels_of
from ociserver.metrics.shared import OFFSETS, PID, ROW_WIDTH, Shared, rows_of
from ociserver.metrics.stored import Stored

__all__ = ["Totals"]

Families = Iterator[Metric]

_FAMILIES: Final = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}
_REQUEST_LABELS: Final = ("http_request_method", "http_route", "http_response_status_code")


class Totals(Collector):
    """The metrics of a server at the time of a scrape.

    Args:
        shared: the numbers.
        stored: what the stores hold.
        processes: of the server.
    """

    def __init__(self, shared: Shared, stored: Stored, processes: Processes) -> None:
        self._shared = shared
        self._stored = stored
        self._processes = processes

    def collect(self) -> Families:
        places = [self._shared.place(number) for number in range(self._shared.places)]
        yield from _requests(places)
        for metric in COUNTED:
            yield _counted(metric, places)
        yield from self._stored.collect()
        yield from self._processes.collect([int(place[PID]) for place in places])
        yield InfoMetricFamily(
            "ociserver_build",
            "The version of the server.",
            {"version": __version__, "profile": build_profile, "python": sys.version.split()[0]},
        )

    def describe(self) -> Iterable[Metric]:
        # For a registry that checks for duplicate names: without a query of the stores.
        return [InfoMetricFamily("ociserver_build", "The version of the server.")]


def _requests(places: Sequence[memoryview[float]]) -> Families:
    rows: dict[int, list[float]] = {}
    for place in places:
        for key, at in rows_of(place):
            row = [*place[at : at + ROW_WIDTH]]
            known = rows.get(key)
            rows[key] = row if known is None else [a + b for a, b in zip(known, row, strict=True)]
    durations = HistogramMetricFamily(
        "http_server_request_duration_seconds",
        "Seconds from the head of a request to the end of its answer. The status is 0 if there was no answer.",
        labels=_REQUEST_LABELS,
    )
    received = CounterMetricFamily(
        "ociserver_http_received_bytes", "Bytes of the bodies of requests.", labels=["http_route"]
    )
    sent = CounterMetricFamily("ociserver_http_sent_bytes", "Bytes of the bodies of answers.", labels=["http_route"])
    bytes_of: dict[str, tuple[float, float]] = {}
    for key, row in sorted(rows.items()):
        method, route, status = labels_of(key)
        buckets = _cumulative(DURATION_BUCKETS, row[RequestRow.BUCKETS :])
        durations.add_metric([method, route, status], buckets, row[RequestRow.SUM])
        before = bytes_of.get(route, (0.0, 0.0))
        bytes_of[route] = before[0] + row[RequestRow.RECEIVED], before[1] + row[RequestRow.SENT]
    for route, (came, went) in bytes_of.items():
        received.add_metric([route], came)
        sent.add_metric([route], went)
    yield from (durations, received, sent)


def _counted(metric: Declared, places: Sequence[memoryview[float]]) -> Metric:
    names = list(metric.labels)
    if metric.type == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=names)
        for labels in metric.series():
            numbers: list[float] = [_sum(places, OFFSETS[metric.name, labels] + at) for at in range(metric.width)]
            histogram.add_metric(list(labels), _cumulative(metric.buckets, numbers[:-1]), numbers[-1])
        return histogram
    family: CounterMetricFamily | GaugeMetricFamily = _FAMILIES[metric.type](metric.name, metric.help, labels=names)
    for labels in metric.series():
        family.add_metric(list(labels), _sum(places, OFFSETS[metric.name, labels]))
    return family


def _sum(places: Sequence[memoryview[float]], at: int) -> float:
    return sum(place[at] for place in places)


def _cumulative(bounds: Sequence[float], counts: Iterable[float]) -> list[tuple[str, float]]:
    names = [*map(floatToGoString, bounds), "+Inf"]
    return list(zip(names, accumulate(counts), strict=True))
