"""Tests of what is deployed."""

from __future__ import annotations

import os
from typing import Final

collect_ignore: Final = [] if os.environ.get("FULL_TESTS") else ["test_chart_rendered.py"]
