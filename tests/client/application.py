"""A registry in memory, for granian."""

from __future__ import annotations

from ociserver import Handler, Memory

application = Handler(Memory())
