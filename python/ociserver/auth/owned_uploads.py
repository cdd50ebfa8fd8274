"""Binds the id of an upload to its repository and to the user who began it."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from typing import Any, Final

from ociserver.errors import OCIError
from ociserver.interface import BlobWriter, Descriptor

__all__ = ["OwnedUpload", "UploadOwners"]

_MAC_BYTES: Final = 16
_MAC_LENGTH: Final = 22
"""Characters of a MAC of `_MAC_BYTES` bytes in base64url without padding."""


class UploadOwners:
    """Makes ids that only their owner can use. Nothing is stored: the id itself proves the owner.

    Args:
        keys: secret keys, the newest first. The newest makes ids, and each of them can have made one.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = list(keys)

    def make(self, owner: str, repository: str, upload_id: str) -> str:
        """The id for the client of an upload that the backend calls `upload_id`."""
        return _mac(self._keys[0], owner, repository, upload_id) + upload_id

    def read(self, owner: str, repository: str, upload_id: str) -> str:
        """The id of the backend.

        Raises:
            OCIError: BLOB_UPLOAD_UNKNOWN if another user or another repository has this upload.
        """
        mac, inner_id = upload_id[:_MAC_LENGTH], upload_id[_MAC_LENGTH:]
        for key in self._keys:
            if hmac.compare_digest(_mac(key, owner, repository, inner_id).encode(), mac.encode()):
                return inner_id
        raise OCIError("BLOB_UPLOAD_UNKNOWN")


class OwnedUpload:
    """A `BlobWriter` whose id only its owner can use. Its optional methods are those of the inner writer."""

    def __init__(self, inner: BlobWriter, owners: UploadOwners, owner: str, repository: str) -> None:
        self._inner = inner
        self._owners = owners
        self._owner = owner
        self._repository = repository

    def __getattr__(self, name: str) -> Any:
        # `open_sink` and `refresh`.
        return getattr(self._inner, name)

    @property
    def id(self) -> str:
        return self._owners.make(self._owner, self._repository, self._inner.id)

    @property
    def size(self) -> int:
        return self._inner.size

    @property
    def chunk_size(self) -> int:
        return self._inner.chunk_size

    async def write(self, data: bytes) -> None:
        await self._inner.write(data)

    async def commit(self, digest: str) -> Descriptor:
        return await self._inner.commit(digest)

    async def cancel(self) -> None:
        await self._inner.cancel()

    async def aclose(self) -> None:
        await self._inner.aclose()


def _mac(key: bytes, owner: str, repository: str, upload_id: str) -> str:
    # A NUL cannot occur in names of users and repositories.
    text = f"{owner}\0{repository}\0{upload_id}".encode(errors="surrogatepass")
    return base64.urlsafe_b64encode(hmac.digest(key, text, "sha256")[:_MAC_BYTES]).rstrip(b"=").decode()
