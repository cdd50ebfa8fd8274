"""A registry in memory: for tests, for caches, and as the reference for the behaviour of a backend."""

from ociserver.memory.backend import Memory

__all__ = ["Memory"]
