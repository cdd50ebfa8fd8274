"""The same registry over a store, in the folder that an environment variable names."""

from __future__ import annotations

import os
from typing import Final

from ociserver import Handler, Store

FOLDER: Final = "OCISERVER_TEST_FOLDER"


def application() -> Handler:
    """Make the application in the process of the server, which has the variable."""
    return Handler(Store(os.environ[FOLDER]))
