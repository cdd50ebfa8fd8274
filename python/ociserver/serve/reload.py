"""SIGHUP: the configuration file is read again, and what it says takes effect for new requests.

Stores stay as they are, and open; what stands in front of them, and how requests are answered, is made anew.
Whatever is wrong with the file is logged, and then everything stays as it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

import click

from ociserver.cli import configured
from ociserver.cli.configured import STORE_FLAGS, Values
from ociserver.cli.errors import CannotServeError
from ociserver.cli.options import names
from ociserver.handler import Handler
from ociserver.serve.replaceable import Replaceable, UnderWay
from ociserver.serve.stores import Store

__all__ = ["Reload"]

_log = logging.getLogger("ociserver.serve")

_READ: Final = "the configuration was read again"

_CHANGEABLE: Final = frozenset({"config", "access_log", *names()})
"""Flags that take effect while the server runs."""


class Reload:
    """Reads the command line and its file again.

    Args:
        command: `ociserver serve`.
        arguments: of it.
        values: what they said at the start.
        leaves: the stores at the start, as flags describe them.
        stores: the same, which stay open.
        make: a handler of flags and stores.
        make_store: a store of flags, asked for stores in memory only.
        told: whether to say what has happened; else somebody else does.
    """

    def __init__(
        self,
        command: click.Command,
        arguments: Sequence[str],
        values: Values,
        leaves: Sequence[Values],
        stores: Sequence[Store],
        make: Callable[[Values, Sequence[Store]], Handler],
        make_store: Callable[[Values], Store],
        *,
        told: bool,
    ) -> None:
        self._command = command
        self._arguments = arguments
        self._values = values
        self._leaves = list(leaves)
        self._stores = list(stores)
        self._make = make
        self._make_store = make_store
        self._told = told

    def read(self) -> Handler | None:
        """What is to be served now; None if the file is wrong. Says either."""
        try:
            with self._command.make_context("serve", list(self._arguments)) as context:
                values = context.params
                leaves = configured.leaves(values)
                found = self._find(leaves, configured.cached(values))
                if self._values["workers"] > 1 and any(leaf["memory"] for leaf in leaves):
                    raise CannotServeError("a store in memory does not go with several workers.")
                stores = [self._make_store(leaf) if at is None else self._stores[at] for leaf, at in found]
                handler = self._make(values, stores)
        except click.ClickException as error:
            _log.error("the configuration stays as it was: %s", error.format_message())
            return None
        ignored = {
            name for name in values.keys() - _CHANGEABLE - set(STORE_FLAGS) if values[name] != self._values[name]
        }
        for leaf, at in found:
            if at is not None:
                ignored |= {name for name in STORE_FLAGS if leaf[name] != self._leaves[at][name]}
        if self._told and ignored:
            flags = ", ".join(sorted(name.replace("_", "-") for name in ignored))
            _log.warning("takes effect at a restart only: %s", flags)
        return handler

    def check(self) -> bool:
        """Whether the file can be used. Says it, for workers that then do so."""
        if self.read() is None:
            return False
        _log.info(_READ)
        return True

    async def replace(self, served: Replaceable, under_way: UnderWay) -> None:
        """Serve it. That it does not open is said, and changes nothing."""
        # In a thread: requests go on meanwhile.
        handler = await asyncio.to_thread(self.read)
        if handler is None:
            return
        try:
            await served.replace(handler, under_way)
        except Exception:
            _log.exception("the configuration stays as it was: what it describes did not open")
            return
        if self._told:
            _log.info(_READ)

    def _find(self, leaves: Sequence[Values], cached: Sequence[bool]) -> list[tuple[Values, int | None]]:
        """Each store with the number of the one that is open already; None for one in memory that is not.

        Raises:
            CannotServeError: it is in a folder that is not open.
        """
        found: list[tuple[Values, int | None]] = []
        for leaf, is_cached in zip(leaves, cached, strict=True):
            # What a cache keeps in memory it knows in memory: both are made anew.
            at = None if leaf["memory"] and is_cached else self._open(leaf, {at for _, at in found})
            if at is None and not leaf["memory"]:
                raise CannotServeError(
                    f"{leaf['data']} is not open: which folders there are is said at the start. Restart the server."
                )
            found.append((leaf, at))
        return found

    def _open(self, leaf: Values, taken: set[int | None]) -> int | None:
        """The open store of a folder, or the next one in memory."""
        for at, each in enumerate(self._leaves):
            same = each["memory"] == leaf["memory"] and (leaf["memory"] or each["data"] == leaf["data"])
            if same and at not in taken:
                return at
        return None
