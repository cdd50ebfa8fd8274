"""What clients have asked, for tests to assert on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from ociserver._core import parse_request
from ociserver.errors import ParseError

if TYPE_CHECKING:
    from ociserver.testing.faults import Fault
    from ociserver.types import Scope

__all__ = ["TOKEN", "Recorder", "Request"]

TOKEN: Final = "token"  # noqa: S105  (a kind of request)
"""The kind of a request for a token. The other kinds are those of `ociserver.Event`."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that a client has sent. `str()` has its method, target and status.

    Args:
        method: GET, HEAD, ...
        path: as sent, percent-encoded, without the query.
        query: as sent, without the `?`.
        kind: `manifest_get`, `blob_head`, `upload_start`, ... as in `ociserver.Event`; `token` for the token endpoint;
            None if it is none of the API.
        repository: None if it names none.
        reference: the tag or the digest that it names, if any.
        headers: by name in lower case. Values of repeated headers are joined with commas.
        status: of the answer; None while there is none, and if the connection was cut off before.
        fault: the fault that the request met, see `Registry.fail`.
    """

    method: str
    path: str
    query: str
    kind: str | None
    repository: str | None
    reference: str | None
    headers: Mapping[str, str] = field(repr=False)
    status: int | None = None
    fault: Fault | None = None

    @property
    def target(self) -> str:
        """The path with the query."""
        return f"{self.path}?{self.query}" if self.query else self.path

    def __str__(self) -> str:
        return f"{self.method} {self.target} {self.status or 'no answer'}"


class Entry:
    """One request in the list of a `Recorder`, until it is answered."""

    def __init__(self, entries: list[Request], request: Request) -> None:
        self._entries = entries
        self._position = len(entries)
        entries.append(request)

    @property
    def request(self) -> Request:
        """The request as it is known now."""
        return self._entries[self._position]

    def answered(self, status: int) -> None:
        """Record the status. It is called before the answer is sent, so that a client which has it can rely on it."""
        self._entries[self._position] = replace(self.request, status=status)

    def met(self, fault: Fault | None) -> None:
        """Record the fault that the request met."""
        self._entries[self._position] = replace(self.request, fault=fault)


class Recorder:
    """Records requests in the order of their arrival. The server records, and any thread reads.

    Args:
        token_paths: the paths of the token endpoint.
    """

    def __init__(self, token_paths: Collection[str]) -> None:
        self._token_paths = token_paths
        self._entries: list[Request] = []

    @property
    def requests(self) -> list[Request]:
        """A copy of the list."""
        return list(self._entries)

    def clear(self) -> None:
        """Forget all requests. Those that are not answered yet do not come back."""
        self._entries = []

    def begin(self, scope: Scope) -> Entry:
        """Record a request that has arrived."""
        path, query = scope["raw_path"], scope["query_string"]
        kind = repository = reference = None
        if path.decode("latin-1") in self._token_paths:
            kind = TOKEN
        else:
            try:
                parsed = parse_request(scope["method"], path, query)
            except ParseError:
                pass
            else:
                kind, repository, reference = parsed.kind, parsed.repository, parsed.tag or parsed.digest
        request = Request(
            scope["method"], path.decode("latin-1"), query.decode("latin-1"), kind, repository, reference,
            _headers(scope),
        )  # fmt: skip
        return Entry(self._entries, request)


def _headers(scope: Scope) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers
