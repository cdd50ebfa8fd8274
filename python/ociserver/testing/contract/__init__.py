"""The contract of a backend, as tests. A backend of another project is tested by a class of a few lines.

    from ociserver.testing.contract import BackendContract, Capabilities


    class TestMine(BackendContract):
        can = Capabilities(referrers=False, settings=False)

        def make(self, folder, settings):
            return Mine(folder)

It needs pytest and anyio, whose plugin runs asynchronous tests. See docs/backends.md.
"""

import pkgutil

import pytest

# Before the modules are imported, so that a failed assertion shows its values.
pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))

from ociserver.testing.contract.capabilities import Capabilities, Settings, Subject  # noqa: E402
from ociserver.testing.contract.suite import BackendContract  # noqa: E402

__all__ = ["BackendContract", "Capabilities", "Settings", "Subject"]
