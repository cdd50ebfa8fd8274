"""Ids of uploads: where the registry says that they go on, in a form that no client of ours can bend.

An id comes back from whoever it was given to, and requests with our credentials are sent to what it names. One that
is plainly an upload of its repository is taken as it is, by any process. Some registries keep uploads elsewhere: such
a place is signed, and is only known to clients with the same key.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

from yarl import URL

from ociserver._core import is_repository
from ociserver.errors import HTTPError, OCIError

__all__ = ["UploadIds"]

MAX_LENGTH: Final = 4096
"""Characters of a Location that becomes an id: distribution puts its state into it."""

_REST: Final = re.compile(r"(?!\.{1,2}(?:\?|$))[A-Za-z0-9._~=+@:!$'()*,;-]+(?:\?[!$-;=?-Z_a-z~@]*)?", re.ASCII)
"""One element of a path, with no escapes that a server could read as more, and perhaps a query."""


class UploadIds:
    """Makes ids of Locations and Locations of ids, for one registry."""

    def __init__(self, root: URL, key: bytes) -> None:
        self._root = str(root)
        self._key = key

    def make(self, repository: str, location: URL) -> str:
        """The id of the upload that goes on at `location`."""
        text = str(location)
        if len(text) > MAX_LENGTH or not text.isascii() or not text.isprintable():
            raise HTTPError(502, "the registry's Location of an upload is too long, or no URL")
        prefix = self._prefix(repository)
        rest = text.removeprefix(prefix)
        if text.startswith(prefix) and _REST.fullmatch(rest):
            return rest
        return f"<{self._sign(repository, text)}>{text}"

    def read(self, repository: str, upload_id: str) -> URL:
        """Where an upload goes on.

        Raises:
            OCIError: BLOB_UPLOAD_UNKNOWN, for whatever `make` has not made.
        """
        if is_repository(repository) and len(upload_id) <= 2 * MAX_LENGTH:
            if _REST.fullmatch(upload_id):
                return URL(self._prefix(repository) + upload_id, encoded=True)
            signature, _, text = upload_id.removeprefix("<").partition(">")
            if upload_id.isascii() and hmac.compare_digest(signature, self._sign(repository, text)):
                return URL(text, encoded=True)
        raise OCIError("BLOB_UPLOAD_UNKNOWN")

    def blob(self, repository: str, digest: str) -> URL:
        """Where a blob is."""
        return URL(f"{self._root}/v2/{repository}/blobs/{digest}", encoded=True)

    def _prefix(self, repository: str) -> str:
        return f"{self._root}/v2/{repository}/blobs/uploads/"

    def _sign(self, repository: str, text: str) -> str:
        return hmac.new(self._key, f"{repository}\0{text}".encode(errors="replace"), hashlib.sha256).hexdigest()
