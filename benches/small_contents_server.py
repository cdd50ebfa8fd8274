"""The `ociserver` command with the limit `BENCH_INLINE_SIZE` for blobs in the database."""

from __future__ import annotations

import os
import sys

from ociserver.cli import main
from ociserver.store import pushing, upload

if __name__ == "__main__":
    size = int(os.environ["BENCH_INLINE_SIZE"])
    # Both modules read it when they are called.
    upload.INLINE_SIZE = pushing.INLINE_SIZE = size  # type: ignore[misc, attr-defined]
    sys.exit(main())
