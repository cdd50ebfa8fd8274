"""What the parts of a registry report, for metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ociserver._core import RequestCounter
    from ociserver.event import Event

__all__ = ["CacheContent", "Figures", "Meter", "SignInResult", "UpstreamFailure"]

SignInResult = Literal["accepted", "refused", "throttled"]
CacheContent = Literal["blob", "manifest", "list"]
UpstreamFailure = Literal["unreachable", "slow", "server_error", "throttled", "refused", "wrong_content"]


@dataclass(frozen=True, slots=True)
class Figures:
    """What a registry holds.

    Args:
        blobs: each counted once, in however many repositories it is.
        blob_bytes: their sizes in total.
        manifests: those of all repositories.
        uploads: that have begun and not ended.
    """

    blobs: int
    blob_bytes: int
    manifests: int
    uploads: int


class Meter:
    """Is told what happens. The methods here do nothing, so a subclass overrides those that it needs.

    `ociserver.metrics.Metrics.meter` counts for Prometheus. Every method may be called in any thread, must be quick,
    and must not raise.
    """

    counter: RequestCounter | None = None
    """Counts the reads that are answered without the event loop, in place of `request_answered`."""

    def request_began(self) -> None:
        """The event loop has begun to serve a request."""

    def request_ended(self, event: Event) -> None:
        """A request for which `request_began` was called has ended."""

    def request_answered(self, event: Event) -> None:
        """A request was answered without the event loop. `request_began` was not called for it.

        With a `counter` it is not called.
        """

    def request_failed(self, code: str) -> None:
        """A request was answered with an error.

        Args:
            code: of the error, such as `BLOB_UNKNOWN`.
        """

    def signed_in(self, via: str, result: SignInResult) -> None:
        """A client has sent credentials, and they were checked.

        Args:
            via: the kind of credentials: `htpasswd`, `oidc`, `api-key` or `token`. Accepted tokens are not reported,
                since a client sends its token with each request.
            result: `throttled` if they were not checked, because too many failed before.
        """

    def token_issued(self) -> None:
        """The token endpoint has issued a token."""

    def committed(self, transactions: int, seconds: float) -> None:
        """A store has committed a group of transactions.

        Args:
            transactions: in the group.
            seconds: that the group took, with its wait for the lock and its sync.
        """

    def cache_read(self, content: CacheContent, *, is_hit: bool) -> None:
        """A cache was asked for a content of upstream.

        Args:
            content: what was asked for.
            is_hit: whether the cache answered without a request to upstream.
        """

    def upstream_failed(self, failure: UpstreamFailure) -> None:
        """A request of a cache to an upstream has failed."""
