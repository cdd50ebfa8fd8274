"""The same registry as a durable one, in the folder that the environment names."""

from __future__ import annotations

import os
from typing import Final

from ociserver import Handler, Store

FOLDER: Final = "OCISERVER_TEST_FOLDER"


def application() -> Handler:
    """Made in the server's process, where the folder is known."""
    return Handler(Store(os.environ[FOLDER]))
