"""What the row of an upload says about its objects."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, fields

__all__ = ["ObjectState"]


@dataclass(frozen=True, slots=True)
class ObjectState:
    """Where the recorded bytes of an upload are.

    Args:
        hash: the saved hash of all bytes (`Hasher.save`).
        part_size: bytes of each full part. All parts of a multipart upload have one size: R2 takes no others.
        tail_size: the number of bytes behind the last full part. Without a full part it may be `part_size`.
        tail: the object with these bytes, for a request that continues. Without a multipart upload it has all bytes.
            None if there are no such bytes, or if the upload can only be committed.
        key: the object that the multipart upload makes; None if there is no multipart upload.
        multipart: the id of the multipart upload.
        etags: of its full parts, in order.
        tail_etag: of the last part, which has the same bytes as `tail`.
    """

    hash: bytes
    part_size: int
    tail_size: int
    tail: str | None = None
    key: str | None = None
    multipart: str | None = None
    etags: tuple[str, ...] = ()
    tail_etag: str | None = None

    @property
    def objects(self) -> list[str]:
        """The keys of all objects that these bytes need."""
        return [key for key in (self.key, self.tail) if key is not None]

    @property
    def all_etags(self) -> list[str]:
        """Those of all parts."""
        return [*self.etags, *([] if self.tail_etag is None else [self.tail_etag])]

    def dump(self) -> bytes:
        """For the row."""
        state = {
            "hash": base64.b64encode(self.hash).decode(),
            "part_size": self.part_size,
            "tail": self.tail,
            "tail_size": self.tail_size,
            "key": self.key,
            "multipart": self.multipart,
            "etags": self.etags,
            "tail_etag": self.tail_etag,
        }
        return json.dumps(state, separators=(",", ":")).encode()

    @classmethod
    def load(cls, state: bytes) -> ObjectState:
        """What `dump` returned.

        Raises:
            ValueError: it is something else, for example the state of a file.
        """
        try:
            recorded = json.loads(state)
            # A newer version may have recorded more.
            known = {field.name: recorded[field.name] for field in fields(cls) if field.name in recorded}
            known["hash"] = base64.b64decode(known["hash"])
            known["etags"] = tuple(known["etags"])
            return cls(**known)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError("the state of the upload is not that of objects") from error
