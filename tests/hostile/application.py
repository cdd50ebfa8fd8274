"""The registry that is attacked, and its contents."""

from __future__ import annotations

import hashlib
from typing import Final

from ociserver import Handler, Memory

REPOSITORY: Final = "target/image"
BLOB: Final = b"0123456789"
BLOB_DIGEST: Final = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"

application = Handler(Memory(max_bytes=64 * 1024 * 1024))
