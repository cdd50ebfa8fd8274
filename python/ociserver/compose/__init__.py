"""Registries out of registries: each of these is a backend in front of another backend."""

from ociserver.compose.immutable import Immutable
from ociserver.compose.read_only import ReadOnly
from ociserver.compose.select import Select

__all__ = ["Immutable", "ReadOnly", "Select"]
