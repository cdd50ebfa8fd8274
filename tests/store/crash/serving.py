"""The `ociserver` command, but an upload is noted as being written to with every piece, and not once a minute; and
collection takes every free page out of the database."""

from __future__ import annotations

from ociserver.cli import main
from ociserver.store import upkeep, upload

if __name__ == "__main__":
    upload.TOUCH_AFTER_S = 0  # type: ignore[misc]
    upkeep.SPARE_PAGES = 0  # type: ignore[misc]
    main()
