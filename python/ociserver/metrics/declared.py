"""The metrics that are counted while the server runs: names, labels and buckets.

Every label has a fixed set of values, so nothing that a client sends can make a new time series. `docs/metrics.md` has
the table of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from ociserver._core import REQUEST_KINDS
from ociserver.errors import CODES
from ociserver.meter import CacheContent, SignInResult, UpstreamFailure

__all__ = ["COUNTED", "DURATION_BUCKETS", "METHODS", "OTHER", "ROUTES", "VIAS", "Metric", "by_name"]

Type = Literal["counter", "gauge", "histogram"]

DURATION_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds. OpenTelemetry's semantic conventions advise them for `http.server.request.duration`."""

COMMIT_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds. A sync takes less than a millisecond on a fast disk, and seconds on one that is overloaded."""

COLLECTION_BUCKETS: Final = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""Seconds. A collection is a process of its own, which takes about half a second to start."""

OTHER: Final = "_OTHER"
"""The value of a label for everything that has no value of its own, as in OpenTelemetry's conventions."""

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", OTHER)
ROUTES: Final = (*REQUEST_KINDS, OTHER)
"""The kinds of requests. The last one is for requests that are none of the distribution API, and for tokens."""
VIAS: Final = ("htpasswd", "oidc", "api-key", "token", OTHER)
ERROR_CODES: Final = (*CODES, "UNKNOWN", OTHER)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Args:
        name: without the ending of a sample, such as `_total` or `_bucket`.
        type: of Prometheus.
        help: for people.
        labels: the values of each label.
        buckets: upper bounds of a histogram, without +Inf.
    """

    name: str
    type: Type
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """Numbers of each of its series: a histogram has one for each bucket, one for +Inf, and the sum."""
        return len(self.buckets) + 2 if self.type == "histogram" else 1

    def series(self) -> Iterator[tuple[str, ...]]:
        """The values of the labels of each of its series."""
        return itertools.product(*self.labels.values())


COUNTED: Final = (
    Metric("http_server_active_requests", "gauge", "Requests that the event loops are serving."),
    Metric(
        "ociserver_errors",
        "counter",
        "Requests that were answered with an error, by its code.",
        {"code": ERROR_CODES},
    ),
    Metric(
        "ociserver_sign_ins",
        "counter",
        "Credentials that were checked. An accepted token is not counted, since clients send it with each request.",
        {"via": VIAS, "result": get_args(SignInResult)},
    ),
    Metric("ociserver_tokens_issued", "counter", "Tokens that the token endpoint has issued."),
    Metric("ociserver_store_transactions", "counter", "Transactions that were committed to the stores."),
    Metric(
        "ociserver_store_commit_duration_seconds",
        "histogram",
        "Seconds of a commit with its sync. A commit has one or more transactions.",
        buckets=COMMIT_BUCKETS,
    ),
    Metric(
        "ociserver_cache_reads",
        "counter",
        "Reads of caches. For a hit, nothing was needed of upstream.",
        {"content": get_args(CacheContent), "result": ("hit", "miss")},
    ),
    Metric(
        "ociserver_cache_upstream_errors",
        "counter",
        "Requests to upstream registries that failed.",
        {"reason": get_args(UpstreamFailure)},
    ),
    Metric(
        "ociserver_collections",
        "counter",
        "Scheduled collections that have ended.",
        {"result": ("success", "failure")},
    ),
    Metric(
        "ociserver_collection_duration_seconds",
        "histogram",
        "Seconds of a scheduled collection.",
        buckets=COLLECTION_BUCKETS,
    ),
    Metric("ociserver_collection_freed_bytes", "counter", "Bytes that scheduled collections have freed."),
    Metric(
        "ociserver_collection_last_success_timestamp_seconds",
        "gauge",
        "When a scheduled collection last succeeded, in seconds since 1970. 0: not since the server started.",
    ),
    Metric("ociserver_worker_starts", "counter", "Processes that have begun to serve, replacements included."),
)
"""In the order of the page. Each process has a number for each series, see `ociserver.metrics.shared`."""


def by_name(name: str) -> Metric:
    """The metric with a name."""
    return next(metric for metric in COUNTED if metric.name == name)
