"""What a process that downloads a blob tells those that wait for the same one, in the file of its lock."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Note"]


@dataclass(frozen=True, slots=True)
class Note:
    """A download.

    Args:
        state: `coming`: its file grows. `kept`: it is a blob of the local registry. `whole`: it is in its file, and
            right.
        size: bytes of the blob.
        media_type: of the blob, as upstream says.
        repository: in the local registry.
        upload: the id of the upload whose file it is written to; empty for the spool beside the lock.
    """

    state: Literal["coming", "kept", "whole"]
    size: int
    media_type: str
    repository: str
    upload: str

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, text: bytes) -> Note | None:
        """None for what is no note: that of a process that was killed before it wrote one, or of another version."""
        try:
            fields: dict[str, Any] = json.loads(text)
            return cls(**fields)
        except (ValueError, TypeError):
            return None
