"""Which requests a fault is for."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from ociserver._core import is_digest, is_repository, is_tag
from ociserver.auth.patterns import Pattern
from ociserver.testing.globs import overlap
from ociserver.testing.requests import TOKEN

if TYPE_CHECKING:
    from collections.abc import Collection

    from ociserver.testing.faults import Fault
    from ociserver.testing.requests import Request

__all__ = ["KINDS", "RequestPattern"]

KINDS: Final = {
    # kind: methods, path
    "ping": ((), "/v2/"),
    "blob_get": (("GET",), "/v2/{repository}/blobs/{reference}"),
    "blob_head": (("HEAD",), "/v2/{repository}/blobs/{reference}"),
    "blob_delete": (("DELETE",), "/v2/{repository}/blobs/{reference}"),
    "upload_start": (("POST",), "/v2/{repository}/blobs/uploads/"),
    "upload_blob": (("POST",), "/v2/{repository}/blobs/uploads/"),
    "blob_mount": (("POST",), "/v2/{repository}/blobs/uploads/"),
    "upload_info": (("GET",), "/v2/{repository}/blobs/uploads/*"),
    "upload_chunk": (("PATCH",), "/v2/{repository}/blobs/uploads/*"),
    "upload_complete": (("PUT",), "/v2/{repository}/blobs/uploads/*"),
    "upload_cancel": (("DELETE",), "/v2/{repository}/blobs/uploads/*"),
    "manifest_get": (("GET",), "/v2/{repository}/manifests/{reference}"),
    "manifest_head": (("HEAD",), "/v2/{repository}/manifests/{reference}"),
    "manifest_put": (("PUT",), "/v2/{repository}/manifests/{reference}"),
    "manifest_delete": (("DELETE",), "/v2/{repository}/manifests/{reference}"),
    "tags_list": (("GET",), "/v2/{repository}/tags/list"),
    "referrers_list": (("GET",), "/v2/{repository}/referrers/{reference}"),
    "catalog_list": (("GET",), "/v2/_catalog"),
    TOKEN: (("GET", "POST"), ""),
}
"""The kinds of requests, with their methods (none: any) and paths. The path of the token endpoint differs."""

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_SPECIAL: Final = re.compile(r"[*?\[]")
_NEVER_IN_NAMES: Final = re.compile(r"[^a-z0-9._/\-*?\[\]!]")


@dataclass(frozen=True)
class RequestPattern:
    """Which requests a fault is for. What is None does not matter.

    Args:
        method: GET, HEAD, ...
        kind: as in `Request`.
        repository: a pattern: `*` is any text, `?` one character, `[...]` one of several.
        reference: a pattern of tags and digests.
        path: a pattern of whole paths.
    """

    method: str | None = None
    kind: str | None = None
    repository: str | None = None
    reference: str | None = None
    path: str | None = None

    def __str__(self) -> str:
        parts = [f"{name}={value!r}" for name, value in vars(self).items() if isinstance(value, str)]
        return f"requests with {', '.join(parts)}" if parts else "any request"

    @cached_property
    def _globs(self) -> dict[str, Pattern]:
        names = {"repository": self.repository, "reference": self.reference, "path": self.path}
        return {name: Pattern(text) for name, text in names.items() if text is not None}

    def matches(self, request: Request) -> bool:
        """Whether a request has what the pattern asks for."""
        if self.method not in (None, request.method) or self.kind not in (None, request.kind):
            return False
        return all(
            (value := getattr(request, name)) is not None and glob.matches(value) for name, glob in self._globs.items()
        )

    def check(self, fault: Fault, token_paths: Collection[str]) -> None:
        """Check that a request can match, and that the fault can meet it.

        Raises:
            ValueError: none ever can. The message says why.
        """
        _ = self._globs
        self._check_words()
        self._check_names()
        kinds = {name for name in KINDS if self.kind in (None, name)}
        if fault.kinds is not None:
            kinds = self._only(kinds, kinds & fault.kinds, f"{fault} only meets {_listed(fault.kinds)}")
        if fault.needs_body:
            with_body = {name for name in kinds if KINDS[name][0] != ("HEAD",)}
            kinds = self._only(kinds, with_body, f"{fault} only meets answers with a body, which HEAD has not")
        if self.method is not None:
            fitting = {name for name in kinds if not KINDS[name][0] or self.method in KINDS[name][0]}
            if fault.needs_body and self.method == "HEAD":
                fitting = set()
            # Methods that no kind has are answered with 405, and may still be asked for.
            if self.kind is not None or fault.kinds is not None or fault.needs_body:
                methods = _listed({method for name in kinds for method in KINDS[name][0]})
                kinds = self._only(kinds, fitting, f"the method is never {self.method}, but {methods}")
        self._check_paths(kinds, token_paths)

    def _check_words(self) -> None:
        if self.kind is not None and self.kind not in KINDS:
            close = difflib.get_close_matches(self.kind, KINDS, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"the kinds are {_listed(KINDS)}"
            raise ValueError(f"there is no kind {self.kind!r}: {hint}")
        if self.method is not None and self.method not in METHODS:
            raise ValueError(f"there is no method {self.method!r}: the methods are {_listed(METHODS)}, in capitals")

    def _check_names(self) -> None:
        if self.repository is not None:
            literal = not _SPECIAL.search(self.repository)
            if _NEVER_IN_NAMES.search(self.repository) or (literal and not is_repository(self.repository)):
                raise ValueError(f"no repository can have the name {self.repository!r}")
        if self.reference is not None and not (
            _SPECIAL.search(self.reference) or is_tag(self.reference) or is_digest(self.reference)
        ):
            raise ValueError(f"{self.reference!r} can be neither a tag nor a digest")
        if self.path is not None and self.path[0] not in "/*?[":
            raise ValueError(f"the path {self.path!r} must begin with / or *")

    def _check_paths(self, kinds: Collection[str], token_paths: Collection[str]) -> None:
        if self.kind == TOKEN and not token_paths:
            raise ValueError("this registry has no token endpoint: make it with auth=True")
        names = [name for name in ("repository", "reference") if getattr(self, name) is not None]
        shapes = {KINDS[name][1] for name in kinds if name != TOKEN}
        fitting = {shape for shape in shapes if all(f"{{{name}}}" in shape for name in names)}
        if names and not fitting:
            raise ValueError(f"{self} can never come: requests of this kind name no {' and no '.join(names)}")
        if self.path is None or (self.kind is None and not names and len(kinds) == len(KINDS)):
            return
        paths = [shape.format(repository=self.repository or "*", reference=self.reference or "*") for shape in fitting]
        if TOKEN in kinds and not names:
            paths += token_paths
        if not any(overlap(self.path, path) for path in paths):
            raise ValueError(f"{self} can never come: the path would be {_listed(paths, 'or')}")

    def _only(self, before: set[str], after: set[str], why: str) -> set[str]:
        if before and not after:
            raise ValueError(f"{self} can never meet the fault: {why}")
        return after


def _listed(words: Collection[str], last: str = "and") -> str:
    *first, end = sorted(words) or [""]
    return f"{', '.join(first)} {last} {end}" if first else end
