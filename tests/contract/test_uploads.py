"""Over each of our backends: ociserver.testing.contract.uploads."""

from __future__ import annotations

import pytest

from ociserver.testing.contract.uploads import Uploads
from tests.contract.registries import REGISTRIES

STARTING = [registry for registry in REGISTRIES if registry.can.writes and registry.can.starts_repositories]


class TestUploads(Uploads):
    """Each fixture is in `conftest`."""

    test_starting_an_upload_makes_the_repository = pytest.mark.parametrize(
        "writable", STARTING, ids=lambda registry: registry.name, indirect=True
    )(Uploads.test_starting_an_upload_makes_the_repository)
