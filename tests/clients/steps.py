"""How the requests of a client are written down, with what it needs in return."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

__all__ = ["BEGIN", "LOCATION", "OCI_TYPE", "OCTETS", "PING", "PULL", "PUSH", "TOKEN", "Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """A request, and what its answer must have so that the client goes on as it does.

    Args:
        request: method and target. `{name}` is a variable; see `takes`.
        status: of the answer.
        auth: the Authorization header: `Basic USER`, with the right password; `Basic USER:PASSWORD`; or `Bearer NAME`,
            with a token that an earlier step took. "": none.
        body: the name of a content, or a form.
        headers: further headers.
        challenge: parameters of the only challenge, besides `realm` and `service`, which the next steps use. None:
            there is no challenge to get a token.
        takes: what the next steps use: "location", or names of tokens, each with its name in the JSON of the answer.
        answer: headers that the client reads.
    """

    request: str
    status: int
    auth: str = ""
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    challenge: dict[str, str] | None = None
    takes: dict[str, str] = field(default_factory=dict)
    answer: dict[str, str] = field(default_factory=dict)


OCI_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
OCTETS: Final = (("Content-Type", "application/octet-stream"),)

PULL: Final = {"scope": "repository:{repository}:pull"}
PUSH: Final = {"scope": "repository:{repository}:pull,push"}
"""Challenges."""

TOKEN: Final = {"token": "token"}
LOCATION: Final = {"location": ""}
"""What is taken."""

PING: Final = Step("GET /v2/", 401, challenge={})
BEGIN: Final = Step("POST /v2/{repository}/blobs/uploads/", 202, "Bearer token", takes=LOCATION)
