"""How many processes `ociserver serve` starts if nobody says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ociserver._core import usable_cores
from ociserver.cli import configured
from ociserver.cli.configured import Values

if TYPE_CHECKING:
    from ociserver.config import Config

__all__ = ["CORES_EACH", "MOST", "automatic"]

CORES_EACH: Final = 4
"""Cores for each process. One keeps about as many busy: a thread of granian for the network and TLS, a thread at a time
of Python, and threads that hash and write. With fewer cores for each, processes take processor time from each other."""

MOST: Final = 4
"""Together they can fill a network of 40 Gbit/s over TLS. More of them gain no pushes, because SQLite has one writer at
a time, and each takes memory."""


def automatic(values: Values, leaves: Sequence[dict[str, Any]]) -> int:
    """The number of processes for the cores that this one may use.

    Args:
        values: the flags.
        leaves: the stores, as of `configured.leaves`.
    """
    return max(1, min(usable_cores() // CORES_EACH, MOST)) if _is_shared(values, leaves) else 1


def _is_shared(values: Values, leaves: Sequence[dict[str, Any]]) -> bool:
    """Whether several processes serve the same as one does: all contents are in folders.

    A database has a limit of connections, and each process has its own. Each process of a profile would have the limits
    of the whole registry that it imitates. For several registries as one, see docs/compose.md.
    """
    config: Config | None = values["config"]
    if values["profile"] is not None or (config is not None and config.unifies()):
        return False
    return bool(leaves) and all(configured.folder(leaf) is not None for leaf in leaves)
