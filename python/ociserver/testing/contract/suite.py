"""The whole suite as one class, with its fixtures, for a test-suite of another project."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import ClassVar

import pytest

from ociserver.adapt import complete
from ociserver.backend_like import BackendLike
from ociserver.interface import Backend
from ociserver.testing.contract.capabilities import Capabilities, Settings, Subject
from ociserver.testing.contract.concurrency import Concurrency
from ociserver.testing.contract.create_only import CreateOnly
from ociserver.testing.contract.deleting import Deleting
from ociserver.testing.contract.immutable_tags import ImmutableTags
from ociserver.testing.contract.interruptions import Interruptions
from ociserver.testing.contract.listing import Listing
from ociserver.testing.contract.manifests import Manifests
from ociserver.testing.contract.media_types import MediaTypes
from ociserver.testing.contract.mounting import Mounting
from ociserver.testing.contract.pushing import Pushing
from ociserver.testing.contract.reading import Reading
from ociserver.testing.contract.referrers import Referrers
from ociserver.testing.contract.refusals import Refusals
from ociserver.testing.contract.uploads import Uploads

__all__ = ["BackendContract"]


class BackendContract(
    Reading,
    Pushing,
    Uploads,
    Interruptions,
    Manifests,
    MediaTypes,
    CreateOnly,
    ImmutableTags,
    Mounting,
    Listing,
    Referrers,
    Deleting,
    Refusals,
    Concurrency,
):
    """What every backend has to do. Subclass it, with a name that pytest collects, and write `make`.

    A backend that cannot be written to also needs `make_filled`. Tests of what `can` denies are skipped.
    """

    can: ClassVar[Capabilities] = Capabilities(settings=False)

    def make(self, folder: Path, settings: Settings) -> BackendLike:
        """A new backend without contents, which is not open.

        Args:
            folder: an empty folder for this backend alone.
            settings: how it behaves. Others than the defaults come only with `can.settings`.
        """
        raise NotImplementedError

    def make_filled(self, folder: Path, backend: Backend) -> BackendLike:
        """A writable backend over the same contents, which fills `backend`. By default this is `backend` itself."""
        return backend

    @pytest.fixture
    def anyio_backend(self) -> str:
        """The suite runs under asyncio."""
        return "asyncio"

    @pytest.fixture
    def settings(self) -> Settings:
        """The settings of the registry. A test that needs others parametrizes this fixture."""
        return Settings()

    @pytest.fixture
    def contract_folder(self) -> Iterator[Path]:
        """The folder of the backend."""
        with tempfile.TemporaryDirectory(prefix="ociserver-") as folder:
            yield Path(folder)

    @pytest.fixture(autouse=True)
    def can_do_it(self, request: pytest.FixtureRequest, settings: Settings) -> None:
        """Skip a test of what the backend cannot do."""
        needed = set(getattr(request.function, "needs", ()))
        if "backend" in request.fixturenames:
            needed |= {"writes", "deletes"}
        if {"writable", "local"} & set(request.fixturenames):
            needed.add("writes")
        if settings != Settings():
            needed.add("settings")
        missing = sorted(name for name in needed if not getattr(self.can, name))
        if "local" in request.fixturenames and self.can.remote:
            missing.append("not remote")
        if missing:
            pytest.skip(f"{type(self).__name__}.can says that the backend has not: {', '.join(missing)}")

    @pytest.fixture
    async def subject(self, can_do_it: None, contract_folder: Path, settings: Settings) -> AsyncIterator[Subject]:
        """The backend, and the one that is filled for it."""
        made = complete(self.make(contract_folder, settings))
        async with AsyncExitStack() as stack:
            backend = await stack.enter_async_context(made)
            filled = complete(self.make_filled(contract_folder, made))
            if filled is not made:
                filled = await stack.enter_async_context(filled)
            yield Subject(backend, filled, self.can)

    @pytest.fixture
    def writable(self, subject: Subject) -> Backend:
        """The backend, which can be written to."""
        return subject.backend

    @pytest.fixture
    def local(self, subject: Subject) -> Backend:
        """The backend, which has done a write when the write returns; see `Capabilities.remote`."""
        return subject.backend

    @pytest.fixture
    def backend(self, subject: Subject) -> Backend:
        """The backend, which can do everything."""
        return subject.backend
