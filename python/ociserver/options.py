"""Options of the handler: how it emulates other registries (Go: `ociserver.Options`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ociserver.interface import Descriptor
from ociserver.proxies import parse_networks
from ociserver.types import Scope

__all__ = ["LocationForUploadId", "LocationsForDescriptor", "Options", "Response", "WriteError"]


@dataclass(frozen=True, slots=True)
class Response:
    """A whole HTTP response, as `Options.write_error` makes one. Content-Length is added to it."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""


WriteError = Callable[[Scope, Exception], Response | Awaitable[Response]]
LocationForUploadId = Callable[[str], str | Awaitable[str]]
LocationsForDescriptor = Callable[[bool, Descriptor], Sequence[str] | Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a `Handler` behaves. Everything is off by default; every callable may be async.

    Args:
        write_error: makes the response for any error, instead of the spec's JSON body; called with the
            ASGI scope and the error, for parse errors and backend errors alike.
        disable_referrers_api: answer the referrers API with 404, and send no OCI-Subject, so that
            clients fall back to the referrers tag schema.
        disable_referrers_filtering: ignore `artifactType`: answer with the whole list, without
            OCI-Filters-Applied.
        disable_single_post_upload: answer a POST that carries the whole blob with 202, as the spec lets
            a registry reject it; the body is discarded.
        max_list_page_size: refuse a page size `n` above this with UNSUPPORTED (as AWS ECR does above
            1000); 0 is no limit. A request without `n` is not limited.
        ignore_pagination: ignore `n` and `last`: answer with whole lists, without Link.
        omit_digest_from_tag_get_response: send no Docker-Content-Digest in the response to a GET of a tag;
            the response to HEAD still has it.
        omit_link_header_from_responses: end lists after a page, but send no Link.
        location_for_upload_id: gives the absolute URL of an upload from its id, for the Location headers
            of an upload under way; "" for the handler's own path.
        locations_for_descriptor: gives URLs of a content, from whether it is a manifest and its
            descriptor. A GET of a blob is redirected to the first, and a push answers with it as Location.
            No URL: the handler's own path.
        redirect_pulls: redirect clients that GET a blob to the registry behind this one, with 307, if they need
            no credentials there; or to a bucket that has the blob, with a signed URL. A client that sends
            `Ociserver-Redirect: no` is not redirected.
        redirect_except: addresses and networks of clients that are never redirected, with commas between
            them: those that cannot reach the other server.
        redirect_pushes: direct clients that upload a blob there too, by the Location of the upload. Not every
            client follows: oras then refuses to push.
        debug_id: prefix of log lines and request ids; by default `ociserver1`, `ociserver2` and so on.
    """

    write_error: WriteError | None = None
    disable_referrers_api: bool = False
    disable_referrers_filtering: bool = False
    disable_single_post_upload: bool = False
    max_list_page_size: int = 0
    ignore_pagination: bool = False
    omit_digest_from_tag_get_response: bool = False
    omit_link_header_from_responses: bool = False
    location_for_upload_id: LocationForUploadId | None = None
    locations_for_descriptor: LocationsForDescriptor | None = None
    redirect_pulls: bool = False
    redirect_except: str = ""
    redirect_pushes: bool = False
    debug_id: str = ""

    def __post_init__(self) -> None:
        if self.max_list_page_size < 0:
            raise ValueError(f"max_list_page_size is {self.max_list_page_size}; it must be 0 (no limit) or more")
        try:
            parse_networks(self.redirect_except)
        except ValueError as error:
            raise ValueError(f"redirect_except {error}") from None
