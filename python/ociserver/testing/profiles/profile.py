"""What a profile is: data about how a registry differs from the spec, and from this one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ociserver.errors import PAGE_NOT_FOUND, HTTPError, OCIError, ParseError, marshal_error
from ociserver.options import Options, Response

if TYPE_CHECKING:
    from ociserver.types import Receive, Scope, Send

__all__ = ["Answering", "BasicOnly", "Difference", "Pages", "Profile", "RateLimit", "Refusal", "Tokens"]

Answering = Callable[["Scope", "Receive", "Send"], Awaitable[None]]
"""An ASGI application."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which a registry differs.

    Args:
        what: what it does.
        source: a URL that says so.
    """

    what: str
    source: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """The error with which a registry refuses something.

    Args:
        code: in the body.
        message: in the body; `{repository}` and `{tag}` are replaced.
        status: of the answer.
    """

    code: str
    message: str
    status: int

    def error(self, repository: str = "", tag: str = "") -> OCIError:
        """The error, for the backend to raise."""
        message = self.message.format(repository=repository, tag=tag)
        return OCIError(self.code, message, status=self.status)


@dataclass(frozen=True, slots=True)
class Tokens:
    """A registry whose clients get a token first (distribution: token authentication).

    Args:
        path: of the token endpoint, on the same host in a test.
        service: in the challenge; None: the host.
    """

    path: str = "/v2/token"
    service: str | None = None


@dataclass(frozen=True, slots=True)
class BasicOnly:
    """A registry that takes a user name and a password on every request, and has no token endpoint.

    Args:
        service: in the challenge.
    """

    service: str


@dataclass(frozen=True, slots=True)
class Pages:
    """Pages of lists of tags.

    Args:
        size: names in a page, if a client does not say how many it wants.
        limit: the most names in a page: a client that wants more gets so many.
    """

    size: int
    limit: int


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A limit of pulls, reported in headers. A GET of a manifest is a pull, and HEAD is none.

    Args:
        pulls: in each window.
        window_s: seconds of a window, as the headers have it. In a test it never ends.
        message: of the error beyond the limit.
    """

    pulls: int
    window_s: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How a registry behaves. Clients that work with it should work with the registry.

    Args:
        name: for the marker and the command line.
        title: the name of the registry.
        differences: what the profile does, each with its source.
        options: of the handler.
        refusals: what the registry refuses, by method of the backend.
        messages: of errors, by code, where they are not those of the spec.
        has_detail: whether each error has a `detail`.
        plain_not_found: whether paths that are no endpoint are answered with a line of text instead of JSON.
        mounts: whether a blob can be mounted from another repository.
        lists_tags_as_pushed: lists have the tags in the order in which they were first pushed, not sorted.
        refuses_tagged: how the deletion of a manifest by digest is refused while a tag points at it.
        needs_repository: how a push is refused if nobody has created the repository.
        pages: of lists of tags.
        rate_limit: of pulls.
        sign_in: how clients sign in, where they have to.
        user: the name of the user of a test.
    """

    name: str
    title: str
    differences: tuple[Difference, ...]
    options: Options = field(default_factory=Options)
    refusals: Mapping[str, Refusal] = field(default_factory=dict)
    messages: Mapping[str, str] = field(default_factory=dict)
    has_detail: bool = False
    plain_not_found: bool = False
    mounts: bool = True
    lists_tags_as_pushed: bool = False
    refuses_tagged: Refusal | None = None
    needs_repository: Refusal | None = None
    pages: Pages | None = None
    rate_limit: RateLimit | None = None
    sign_in: Tokens | BasicOnly = Tokens()
    user: str = "user"

    @property
    def writes_errors(self) -> bool:
        """Whether its errors differ from those of the handler."""
        return bool(self.messages) or self.has_detail or self.plain_not_found

    def write_error(self, scope: Scope, error: Exception) -> Response:
        """The answer for an error, with the messages of the registry. For `Options.write_error`."""
        if self.plain_not_found and _is_no_endpoint(error):
            # A Go server's own answer.
            return Response(404, {"Content-Type": "text/plain; charset=utf-8"}, b"404 page not found\n")
        wire = marshal_error(error)
        refused = isinstance(error, OCIError) and error.status is not None
        if not refused and wire.code in self.messages:
            wire.message = self.messages[wire.code]
        if self.has_detail and wire.detail is None:
            wire.detail = dict[str, Any]()
        return Response(wire.status, {"Content-Type": "application/json", **wire.headers}, wire.content)


def _is_no_endpoint(error: Exception) -> bool:
    """Whether a path is not an endpoint, or is one that an option has switched off."""
    if isinstance(error, ParseError):
        return error.err is PAGE_NOT_FOUND
    return isinstance(error, HTTPError) and error.status == 404
