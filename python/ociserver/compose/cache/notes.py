"""The note in the lock file of a download, for the processes that wait for the same blob."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Note", "Stage"]

Stage = Literal["coming", "kept", "whole"]
"""The state of a download; see `Note`."""


@dataclass(frozen=True, slots=True)
class Note:
    """A download.

    Args:
        state: `coming`: the file grows. `kept`: the blob is in the local registry. `whole`: the file is complete and
            verified.
        size: of the blob, in bytes.
        media_type: of the blob, from upstream.
        repository: its name in the local registry.
        upload: the id of the upload in the local registry; empty if the blob is not kept. If this upload has no file,
            the bytes are in the spool file of the lock.
    """

    state: Stage
    size: int
    media_type: str
    repository: str
    upload: str

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, text: bytes) -> Note | None:
        """None if the text is not a note: the process was killed before it wrote one, or runs another version."""
        try:
            fields: dict[str, Any] = json.loads(text)
            return cls(**fields)
        except (ValueError, TypeError):
            return None
