"""Uploads in chunks for a backend that takes a blob only in one request: they wait in temporary files.

A file has no name in its folder, so the system removes it when the process ends, also after a crash. Another process
cannot continue the upload.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Final, TypeVar

from ociserver._core import is_repository
from ociserver.cancellation import finish
from ociserver.errors import OCIError

__all__ = ["IN_MEMORY", "Spool", "SpoolLimits", "Spooled"]

Result = TypeVar("Result")

MAX_UPLOAD_BYTES: Final = 8 * 2**30
"""Bytes of one upload: more than the layers of almost all images have."""

MAX_TOTAL_BYTES: Final = 16 * 2**30
"""Bytes of all uploads: two of the largest."""

MAX_UPLOADS: Final = 256
"""Uploads at a time. Each may hold an open file, and the usual limit of a process is 1,024 files."""

IDLE_TIMEOUT_S: Final = 600.0
"""Seconds after which an upload ends that no request uses. Clients send their chunks without such pauses."""

IN_MEMORY: Final = 64 * 1024
"""Bytes of an upload that need no file: configs of images are smaller."""

RETRY_AFTER_S: Final = 30
"""Seconds after which a client should try again if there is no room."""


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """Limits on the uploads that wait for `Writer.push_blob`. A backend has them as its attribute `spool_limits`.

    Args:
        max_upload_bytes: bytes of one upload. A larger one is refused: SIZE_INVALID, 413.
        max_total_bytes: bytes of all uploads. Above it, writes are refused: TOOMANYREQUESTS, with Retry-After.
        max_uploads: uploads at a time. Above it, new ones are refused in the same way.
        idle_timeout_s: seconds after which an upload ends that no request uses.
        folder: where the temporary files are; None: the folder that `tempfile` chooses, such as `TMPDIR` or `/tmp`.
    """

    max_upload_bytes: int = MAX_UPLOAD_BYTES
    max_total_bytes: int = MAX_TOTAL_BYTES
    max_uploads: int = MAX_UPLOADS
    idle_timeout_s: float = IDLE_TIMEOUT_S
    folder: str | None = None


class Spooled:
    """The bytes of one upload, which outlive the requests that write them."""

    def __init__(self, upload_id: str, repository: str, file: IO[bytes]) -> None:
        self.id = upload_id
        self.repository = repository
        self.file = file
        self.size = 0
        self.writer: object | None = None
        """The request that writes to it, or commits it."""
        self.ended = False
        self.touched = time.monotonic()
        self._running = 0

    async def run(self, work: Callable[[], Result], *, is_short: bool) -> Result:
        """Use the file, in a thread unless this is short. A cancellation waits until the work has ended."""
        if is_short:
            return work()
        self._running += 1
        try:
            return await finish(asyncio.to_thread(work))
        finally:
            self._running -= 1
            self.close_if_ended()

    def close_if_ended(self) -> None:
        """Close the file, as soon as no thread uses it."""
        if self.ended and not self._running:
            self.file.close()


class Spool:
    """The unfinished uploads of one backend. One event loop uses it."""

    def __init__(self, limits: SpoolLimits) -> None:
        self.limits = limits
        self._process = secrets.token_hex(8)
        # In the order of their last use.
        self._uploads: OrderedDict[str, Spooled] = OrderedDict()
        self._total = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self, repository: str) -> Spooled:
        """Begin an upload. Raises NAME_INVALID, TOOMANYREQUESTS."""
        if not is_repository(repository):
            raise OCIError("NAME_INVALID")
        if len(self._uploads) >= self.limits.max_uploads:
            raise _no_room(f"{len(self._uploads)} uploads are unfinished, and there may be no more")
        file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY, prefix="ociserver-", dir=self.limits.folder)  # noqa: SIM115 - it is closed when the upload ends
        upload = Spooled(f"{self._process}-{secrets.token_hex(16)}", repository, file)
        self._uploads[upload.id] = upload
        self.touch(upload)
        return upload

    def find(self, repository: str, upload_id: str) -> Spooled:
        """The upload of an id. Raises BLOB_UPLOAD_UNKNOWN."""
        upload = self._uploads.get(upload_id)
        if upload is not None and upload.repository == repository:
            return upload
        process, dash, _ = upload_id.partition("-")
        if dash and process != self._process:
            raise OCIError(
                "BLOB_UPLOAD_UNKNOWN",
                "the upload was started in another process, or before a restart of this one; "
                "this registry can continue it only where it was started",
            )
        raise OCIError("BLOB_UPLOAD_UNKNOWN")

    def take(self, upload: Spooled, size: int) -> None:
        """Count bytes before they are written. Raises SIZE_INVALID, TOOMANYREQUESTS."""
        limits = self.limits
        if upload.size + size > limits.max_upload_bytes:
            raise OCIError(
                "SIZE_INVALID", f"an upload may have {limits.max_upload_bytes} bytes, and not more", status=413
            )
        if self._total + size > limits.max_total_bytes:
            raise _no_room(f"the unfinished uploads have {self._total} bytes, of {limits.max_total_bytes}")
        self._total += size

    def give(self, size: int) -> None:
        """Undo `take`."""
        self._total -= size

    def touch(self, upload: Spooled) -> None:
        """Record that an upload is in use."""
        upload.touched = time.monotonic()
        if upload.id in self._uploads:
            self._uploads.move_to_end(upload.id)
        if self._timer is None:
            self._wait(self.limits.idle_timeout_s)

    def end(self, upload: Spooled) -> None:
        """Remove an upload and its bytes. A second call does nothing."""
        if upload.ended:
            return
        upload.ended = True
        self._uploads.pop(upload.id, None)
        self._total -= upload.size
        upload.close_if_ended()
        if not self._uploads:
            self._stop()

    def close(self) -> None:
        """End all uploads."""
        for upload in list(self._uploads.values()):
            self.end(upload)
        self._stop()

    def _wait(self, seconds: float) -> None:
        self._stop()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        now = time.monotonic()
        for upload in list(self._uploads.values()):
            left = upload.touched + self.limits.idle_timeout_s - now
            if left > 0:
                self._wait(left)
                return
            if upload.writer is None:
                self.end(upload)
            else:
                # A request uses it, perhaps slowly. The timeout counts from the end of this request.
                self.touch(upload)


def _no_room(message: str) -> OCIError:
    return OCIError("TOOMANYREQUESTS", message, headers={"Retry-After": str(RETRY_AFTER_S)})
