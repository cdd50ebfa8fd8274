"""The rights that each kind of request needs: the table from the distribution API to the actions of the rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal

from ociserver.auth.identity import CATALOG, Grants

if TYPE_CHECKING:
    from ociserver._core import Request

__all__ = ["NEEDS", "Need", "scope_of"]

Need = Literal["sign-in", "pull", "write", "delete", "catalog"]
"""`sign-in`: any user, or any token of ours. `write`: `push` or `create` in the repository, and for the tags of a
manifest the right to set each of them. `catalog`: the answer lists what the client may pull."""

NEEDS: Final[Mapping[str, Need]] = {
    "ping": "sign-in",
    "blob_get": "pull",
    "blob_head": "pull",
    "blob_delete": "delete",
    "upload_start": "write",
    "upload_blob": "write",
    # The source needs `pull`: without it the answer is that of an unknown blob, so the guard decides.
    "blob_mount": "write",
    "upload_info": "write",
    "upload_chunk": "write",
    "upload_complete": "write",
    "upload_cancel": "write",
    "manifest_get": "pull",
    "manifest_head": "pull",
    "manifest_put": "write",
    "manifest_delete": "delete",
    "tags_list": "pull",
    "referrers_list": "pull",
    "catalog_list": "catalog",
}
"""By kind of request. Every kind has an entry: tests/auth/test_rights.py compares it with the kinds of the core."""

_ACTIONS: Final[Mapping[Need, frozenset[str]]] = {
    "pull": frozenset({"pull"}),
    # Clients that push also ask which blobs the registry has.
    "write": frozenset({"pull", "push"}),
    "delete": frozenset({"delete"}),
}


def scope_of(request: Request) -> Grants:
    """The scope of a token that a client needs for a request (distribution: token scopes)."""
    need = NEEDS[request.kind]
    if need == "catalog":
        return {CATALOG: frozenset({"*"})}
    if need == "sign-in":
        return {}
    assert request.repository
    scope: dict[str, frozenset[str]] = {request.repository: _ACTIONS[need]}
    if request.from_repository is not None and request.from_repository != request.repository:
        scope[request.from_repository] = frozenset({"pull"})
    return scope
