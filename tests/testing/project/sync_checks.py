"""A sample project without asyncio."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ociserver.testing import Registry
    from ociserver.testing.plugin import RegistryFactory


def test_a_pull(oci_registry: Registry) -> None:
    image = oci_registry.image("team/app", "v1", {"etc/motd": "welcome\n"})
    with urllib.request.urlopen(f"{oci_registry.url}/v2/team/app/manifests/v1") as answer:  # noqa: S310
        assert json.load(answer) == image.json
    assert [str(each) for each in oci_registry.requests] == ["GET /v2/team/app/manifests/v1 200"]


@pytest.mark.parametrize("number", range(4))
def test_the_registry_is_empty(oci_registry: Registry, number: int) -> None:
    assert oci_registry.repositories() == []
    assert oci_registry.requests == []
    oci_registry.push(f"app-{number}", "v1")


def test_two_registries(oci_registry: Registry, oci_registry_factory: RegistryFactory) -> None:
    other = oci_registry_factory(auth=True)
    assert other.host != oci_registry.host
    with pytest.raises(urllib.error.HTTPError) as failed:
        urllib.request.urlopen(f"{other.url}/v2/")  # noqa: S310
    with failed.value as answer:
        assert answer.status == 401


@pytest.mark.oci_registry(tls=True)
class TestTls:
    def test_a_marker_of_a_class(self, oci_registry: Registry) -> None:
        context = oci_registry.ssl_context()
        with urllib.request.urlopen(f"{oci_registry.url}/v2/", context=context) as answer:  # noqa: S310
            assert answer.status == 200

    @pytest.mark.oci_registry(tls=False)
    def test_the_marker_of_the_test_has_priority(self, oci_registry: Registry) -> None:
        assert oci_registry.url.startswith("http:")
