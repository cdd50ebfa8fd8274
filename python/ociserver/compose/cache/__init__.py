"""A pull-through cache in front of any registry, over any backend."""

from ociserver.compose.cache.backend import Cache

__all__ = ["Cache"]
