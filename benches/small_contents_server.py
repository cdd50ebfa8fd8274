"""The `ociserver` command with another bound for what lives in the database, which `BENCH_INLINE_SIZE` says."""

from __future__ import annotations

import os
import sys

from ociserver.cli import main
from ociserver.store import pushing, upload

if __name__ == "__main__":
    size = int(os.environ["BENCH_INLINE_SIZE"])
    # Both read it when they are called.
    upload.INLINE_SIZE = pushing.INLINE_SIZE = size  # type: ignore[misc, attr-defined]
    sys.exit(main())
