"""A registry for tests, and a pytest plugin around it: `pip install 'ociserver[testing]'`. See docs/testing.md."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ociserver.testing import faults, profiles
    from ociserver.testing.accounts import Credentials
    from ociserver.testing.pushed import Pushed
    from ociserver.testing.registry import Registry
    from ociserver.testing.requests import Request

__all__ = ["Credentials", "Pushed", "Registry", "Request", "faults", "profiles"]

_MODULES: Final = {"Credentials": "accounts", "Pushed": "pushed", "Registry": "registry", "Request": "requests"}
"""Where the names are defined. They are imported when they are used, because pytest imports this package in every run
of an environment that has it."""


if not TYPE_CHECKING:  # a type checker would accept every name

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name not in _MODULES:
            return importlib.import_module(f"{__name__}.{name}")
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
