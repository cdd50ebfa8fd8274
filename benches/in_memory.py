"""The registry in memory that is measured: `application`, full when it is imported."""

from __future__ import annotations

import asyncio

from benches.registry import fill
from ociserver import Handler, Memory

# Lax: the layers that the manifests name are not there, and nothing here asks for them.
_registry = Memory(lax_child_references=True)
asyncio.run(fill(_registry))

application = Handler(_registry)
