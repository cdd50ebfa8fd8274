"""Several registries as one."""

from ociserver.compose.unify.backend import Unify

__all__ = ["Unify"]
