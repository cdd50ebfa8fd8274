"""The note in the lock file of a download, for the processes that wait for the same blob."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Note", "Stage"]

Stage = Literal["coming", "kept", "whole"]
"""How far a download is; see `Note`."""


@dataclass(frozen=True, slots=True)
class Note:
    """A download.

    Args:
        state: `coming`: the file grows. `kept`: it is a blob of the local registry. `whole`: the file is complete and
            verified.
        size: bytes of the blob.
        media_type: of the blob, as upstream says.
        repository: in the local registry.
        upload: the id of the upload whose file it is written to; empty for the spool beside the lock.
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
