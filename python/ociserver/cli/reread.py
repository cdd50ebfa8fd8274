"""Reads the command line and its configuration file again, for a server that keeps its stores open."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import click

from ociserver.cli import configured
from ociserver.cli.configured import STORE_FLAGS, Values
from ociserver.cli.options import names
from ociserver.cli.workers import automatic
from ociserver.handler import Handler
from ociserver.serve.errors import CannotServeError
from ociserver.serve.stores import Store
from ociserver.store.external import External

__all__ = ["Rereader"]

_log = logging.getLogger("ociserver.serve")

_CHANGEABLE: Final = frozenset({"config", "access_log", "trusted_proxies", "proxy_headers", *names()})
"""Flags that take effect while the server runs."""

_SHOWN: Final = {"external": "database or objects"}
"""What is not the name of a key."""


class Rereader:
    """Makes handlers for the current configuration, over the open stores.

    Args:
        command: `ociserver serve`.
        arguments: its arguments.
        values: the values of its flags at the start.
        leaves: the stores at the start, each as flags.
        stores: the same stores, which stay open.
        make: makes a handler from flags and stores.
        make_store: makes a store from flags. It is called only for stores in memory.
        warns: whether to log which settings need a restart. Of several processes, only the parent logs this.
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
        warns: bool,
    ) -> None:
        self._command = command
        self._arguments = arguments
        self._values = values
        self._leaves = list(leaves)
        self._stores = list(stores)
        self._make = make
        self._make_store = make_store
        self._warns = warns

    def read(self) -> Handler:
        """A handler for the current configuration. The caller opens it.

        Raises:
            CannotServeError: the configuration is wrong, or needs a store that is not open.
        """
        try:
            with self._command.make_context("serve", list(self._arguments)) as context:
                values = context.params
                self._check_auth(values)
                leaves = configured.leaves(values)
                workers = self._values["workers"]
                if values["workers"] is None:
                    # More would only be faster, but with fewer the registry may behave differently.
                    values["workers"] = min(workers, automatic(values, leaves))
                found = self._find(leaves, configured.cached(values))
                if workers > 1 and any(leaf["memory"] for leaf in leaves):
                    raise CannotServeError(
                        "a store in memory cannot be used with several workers. Use a store in a folder, or restart "
                        "the server with one worker."
                    )
                stores = [self._make_store(leaf) if at is None else self._stores[at] for leaf, at in found]
                handler = self._make({**values, "workers": workers}, stores)
        except click.ClickException as error:
            raise CannotServeError(error.format_message()) from error
        if self._warns:
            self._warn(values, found)
        return handler

    def _check_auth(self, values: Values) -> None:
        """Refuse to open a registry with users to everybody: the file may be cut off, or another one."""
        if configured.has_users(self._values) and not configured.has_users(values):
            raise CannotServeError(
                "the table [auth] was removed. Restart the server to serve without users and rights."
            )

    def _warn(self, values: Values, found: Sequence[tuple[Values, int | None]]) -> None:
        ignored = {
            name for name in values.keys() - _CHANGEABLE - set(STORE_FLAGS) if values[name] != self._values[name]
        }
        for leaf, at in found:
            if at is not None:
                names = (*STORE_FLAGS, "external")
                ignored |= {_SHOWN.get(name, name) for name in names if leaf[name] != self._leaves[at][name]}
        if ignored:
            flags = ", ".join(sorted(name.replace("_", "-") for name in ignored))
            _log.warning("these settings take effect only after a restart: %s", flags)

    def _find(self, leaves: Sequence[Values], cached: Sequence[bool]) -> list[tuple[Values, int | None]]:
        """Each store, with the number of the open store that it is; None for a store in memory that is not open.

        Raises:
            CannotServeError: a store is in a place that is not open.
        """
        found: list[tuple[Values, int | None]] = []
        for leaf, is_cached in zip(leaves, cached, strict=True):
            # A cache keeps facts about its store in memory. So a cache and its store in memory are made again together.
            at = None if leaf["memory"] and is_cached else self._open(leaf, {at for _, at in found})
            if at is None and not leaf["memory"]:
                raise CannotServeError(
                    f"the store in {_place(leaf)} is not open, and a reload opens no stores. Restart the server."
                )
            found.append((leaf, at))
        return found

    def _open(self, leaf: Values, taken: set[int | None]) -> int | None:
        """The open store of the same place, or the next open store in memory."""
        for at, each in enumerate(self._leaves):
            same = each["memory"] == leaf["memory"] and (leaf["memory"] or _identity(each) == _identity(leaf))
            if same and at not in taken:
                return at
        return None


def _identity(leaf: Values) -> tuple[Any, ...]:
    external: External | None = leaf["external"]
    return configured.folder(leaf), None if external is None else external.identity


def _place(leaf: Values) -> str:
    return str(configured.folder(leaf) or leaf["external"].name)
