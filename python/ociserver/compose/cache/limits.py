"""The default limits of a cache. Times are in seconds."""

from __future__ import annotations

from typing import Final

TAG_LIFETIME_S: Final = 60.0
UPSTREAM_TIMEOUT_S: Final = 5.0
RETRY_AFTER_S: Final = 10.0

LIST_TIMEOUT_S: Final = 0.8
"""For a list with another answer. With the limits below, the client gets that answer within a second."""

ANSWER_TIMEOUT_S: Final = 15.0
"""For a request without another answer. A registry that fetches the content itself needs time; clients wait longer."""

FOLDER: Final = "downloads"
"""Name of the folder of lock files in the folder of a store."""

MAX_SPOOLED: Final = 8 * 1024**3
"""Bytes of the temporary files of one process: those of blobs that are fetched into a bucket, or are not kept."""

FREE_SIZE: Final = 1024**2
"""Bytes of a temporary file that needs no room, so that a config never waits for layers. Each download may hold as much
in memory anyway."""

RESERVED_PART: Final = 4
"""One in this many bytes of the room is not for the largest file, but for those beside it."""

ATTEMPTS: Final = 3
"""Attempts to fetch a manifest that is evicted before it can be read."""
