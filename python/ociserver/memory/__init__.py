"""A registry in memory: for tests, for caches, and as the reference of what a backend does."""

from ociserver.memory.backend import Memory

__all__ = ["Memory"]
