"""Ids of uploads: the registry's Location in a form that a client of ours cannot change to another place.

A client sends an id back, and we send requests with our credentials to the URL in it. If the id is plainly an upload
of its repository, every process accepts it. Some registries have uploads at other URLs. The id of such an upload is
signed, and only clients with the same key accept it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

from yarl import URL

from ociserver._core import is_repository
from ociserver.client.address import Address
from ociserver.client.headers import is_printable
from ociserver.errors import HTTPError, OCIError

__all__ = ["UploadIds"]

MAX_LENGTH: Final = 4096
"""Maximum length of a Location that becomes an id. distribution puts its state into the Location."""

_REST: Final = re.compile(r"(?!\.{1,2}(?:\?|$))[A-Za-z0-9._~=+@:!$'()*,;-]+(?:\?[!$-;=?-Z_a-z~@]*)?", re.ASCII)
"""One path element without escapes, which a server could read as several, and an optional query."""


class UploadIds:
    """Converts Locations to ids, and ids to Locations, for one registry."""

    def __init__(self, address: Address, key: bytes) -> None:
        self.address = address
        self._key = key

    def make(self, repository: str, location: URL) -> str:
        """The id of the upload at `location`."""
        text = str(location)
        if len(text) > MAX_LENGTH or not is_printable(text):
            raise HTTPError(502, "the registry's Location of an upload is too long, or not a URL")
        prefix = self._prefix(repository)
        rest = text.removeprefix(prefix)
        if text.startswith(prefix) and _REST.fullmatch(rest):
            return rest
        return f"<{self._sign(repository, text)}>{text}"

    def read(self, repository: str, upload_id: str) -> URL:
        """The Location of an upload.

        Raises:
            OCIError: BLOB_UPLOAD_UNKNOWN if `make` did not make this id.
        """
        if is_repository(repository) and len(upload_id) <= 2 * MAX_LENGTH:
            if _REST.fullmatch(upload_id):
                return URL(self._prefix(repository) + upload_id, encoded=True)
            signature, _, text = upload_id.removeprefix("<").partition(">")
            if upload_id.isascii() and hmac.compare_digest(signature, self._sign(repository, text)):
                return URL(text, encoded=True)
        raise OCIError("BLOB_UPLOAD_UNKNOWN")

    def _prefix(self, repository: str) -> str:
        return str(self.address.url(f"/v2/{repository}/blobs/uploads/"))

    def _sign(self, repository: str, text: str) -> str:
        return hmac.new(self._key, f"{repository}\0{text}".encode(errors="replace"), hashlib.sha256).hexdigest()
