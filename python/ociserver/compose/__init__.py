"""Backends in front of other backends."""

from ociserver.compose.access_checker import CATALOG, Access, AccessChecker, Check
from ociserver.compose.cache import Cache
from ociserver.compose.debug import Debug
from ociserver.compose.immutable import Immutable
from ociserver.compose.no_delete import NoDelete
from ociserver.compose.read_only import ReadOnly
from ociserver.compose.select import Select
from ociserver.compose.sub import Sub
from ociserver.compose.unify import Unify

__all__ = [
    "CATALOG",
    "Access",
    "AccessChecker",
    "Cache",
    "Check",
    "Debug",
    "Immutable",
    "NoDelete",
    "ReadOnly",
    "Select",
    "Sub",
    "Unify",
]
