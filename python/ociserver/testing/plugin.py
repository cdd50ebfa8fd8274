"""The pytest plugin of `ociserver[testing]`. See docs/testing.md.

pytest imports this module in every run of an environment that has ociserver, also if no test uses a registry. So it
imports nothing that takes time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from ociserver.testing import Registry

__all__ = ["RegistryFactory", "oci_registry", "oci_registry_factory", "pytest_configure"]

_MARKER = "oci_registry"


class RegistryFactory(Protocol):
    """Starts one more registry, with the arguments of `ociserver.testing.Registry`. It is stopped after the test."""

    def __call__(self, **options: Any) -> Registry: ...


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, for `--strict-markers`."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(**options): how the fixture {_MARKER} behaves: auth, tls, profile, options, ... "
        "(the arguments of ociserver.testing.Registry)",
    )


@pytest.fixture
def oci_registry_factory() -> Iterator[RegistryFactory]:
    """Start registries: `oci_registry_factory(auth=True)`. They are stopped after the test."""
    with contextlib.ExitStack() as running:

        def start(**options: Any) -> Registry:
            from ociserver.testing import Registry

            return running.enter_context(Registry(**options))

        yield start


@pytest.fixture
def oci_registry(request: pytest.FixtureRequest, oci_registry_factory: RegistryFactory) -> Registry:
    """An empty registry on a free port of 127.0.0.1, an `ociserver.testing.Registry`.

    `@pytest.mark.oci_registry(auth=True, tls=True)` says how it behaves. Of several markers, those closer to the test
    override those of its class and module, option by option.
    """
    options: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers(_MARKER))):
        if marker.args:
            pytest.fail(f"the marker {_MARKER} of {request.node.nodeid} takes only named options", pytrace=False)
        options |= marker.kwargs
    try:
        return oci_registry_factory(**options)
    except (TypeError, ValueError) as error:
        pytest.fail(f"the marker {_MARKER} of {request.node.nodeid}: {error}", pytrace=False)
