"""The `ociserver` command with the limit `BENCH_INLINE_SIZE` for blobs in the database."""

from __future__ import annotations

import os
import sys
from functools import partialmethod

from ociserver.cli import main
from ociserver.store.uploads import Uploads

if __name__ == "__main__":
    size = int(os.environ["BENCH_INLINE_SIZE"])
    Uploads.__init__ = partialmethod(Uploads.__init__, inline_size=size)  # type: ignore[method-assign, assignment]
    sys.exit(main())
