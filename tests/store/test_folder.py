"""A store takes an empty folder or its own, and leaves what another program keeps as it is."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from ociserver import Store
from ociserver.store import StoreError
from tests.contract.contents import push_blob, push_image, tags_of
from tests.support.images import Layout

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def distribution(path: Path) -> None:
    for name in ("blobs", "repositories"):
        (path / "docker" / "registry" / "v2" / name).mkdir(parents=True)


def below_distribution(path: Path) -> None:
    for name in ("blobs", "repositories"):
        (path / name).mkdir(parents=True)


def distribution_without_blobs(path: Path) -> None:
    (path / "docker" / "registry" / "v2" / "repositories").mkdir(parents=True)


def image_layout(path: Path) -> None:
    layout = Layout(path)
    layout.tag(layout.image(b"layer"), "latest")


def zot(path: Path) -> None:
    image_layout(path / "group" / "project")
    (path / "group" / "project" / ".uploads").mkdir()
    (path / "cache.db").write_bytes(b"bolt")


def olareg(path: Path) -> None:
    image_layout(path / "project")


def database(path: Path) -> None:
    path.mkdir()
    connection = sqlite3.connect(path / "registry.db")
    connection.execute("CREATE TABLE words (word TEXT)")
    connection.close()


def documents(path: Path) -> None:
    path.mkdir()
    for name in ("a\nb", "c", "d", "e", "f"):
        (path / name).write_text("text")


def parent_of_a_store(path: Path) -> None:
    (path / "registry").mkdir(parents=True)
    (path / "registry" / "registry.db").write_bytes(b"")


def blobs_by_digest(path: Path) -> None:
    (path / "blobs" / "sha256").mkdir(parents=True)


OTHERS: dict[Callable[[Path], None], tuple[str, str]] = {
    distribution: ("the data of distribution", "`ociserver copy --all-tags"),
    below_distribution: ("the data of distribution", "`skopeo sync`"),
    distribution_without_blobs: ("the data of distribution", "`skopeo sync`"),
    image_layout: ("it is an OCI image layout", "`skopeo copy oci:DIR:TAG"),
    zot: ("OCI image layouts, such as group/project, as zot keeps", "`ociserver copy --all-tags"),
    olareg: ("OCI image layouts, such as project, as zot and olareg keep", "`ociserver copy --all-tags"),
    database: ("registry.db is a database of another program", "Give the store another folder"),
    documents: ("it holds a\N{REPLACEMENT CHARACTER}b, c, d and 2 more", "Give the store an empty folder"),
    parent_of_a_store: ("its subfolder registry is one", "an empty folder, or "),
    blobs_by_digest: ("it holds blobs", "Give the store an empty folder"),
}


def contents(path: Path) -> dict[str, bytes | None]:
    """All names below a folder, and the contents of files."""
    return {
        str(each.relative_to(path)): each.read_bytes() if each.is_file() else None for each in sorted(path.rglob("*"))
    }


@pytest.mark.parametrize("make", OTHERS, ids=lambda make: make.__name__)
async def test_a_folder_of_another_program(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "data"
    make(path)
    before, modified = contents(path), path.stat().st_mtime_ns
    with pytest.raises(StoreError) as caught:
        async with Store(path):
            pass
    assert (contents(path), path.stat().st_mtime_ns) == (before, modified)
    said = str(caught.value)
    assert said.startswith(str(path))
    assert "\n" not in said
    for words in (*OTHERS[make], "Nothing was changed"):
        assert words in said


@pytest.mark.parametrize("below", ["", "below"])
async def test_a_link_that_leads_nowhere(below: str, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "gone")
    with pytest.raises(StoreError) as caught:
        await Store(link / below).__aenter__()
    assert f"{link} is a symbolic link to {tmp_path / 'gone'}, which does not exist" in str(caught.value)
    (tmp_path / "gone").mkdir()
    async with Store(link / below) as store:
        await push_blob(store, b"text")


async def test_what_a_new_volume_holds_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / ".snapshot").mkdir()
    (tmp_path / ".keep").write_text("")
    async with Store(tmp_path) as store:
        await push_image(store, "latest")


async def test_our_own_folder_whatever_lies_beside(tmp_path: Path) -> None:
    """Like a folder of distribution that an earlier version has served."""
    async with Store(tmp_path) as store:
        await push_image(store, "latest")
    distribution(tmp_path)
    (tmp_path / "notes").write_text("text")
    async with Store(tmp_path) as store:
        assert await tags_of(store) == ["latest"]


@pytest.mark.parametrize(
    "names",
    [
        ("server.lock",),
        ("server.lock", "registry.lock", "registry.reserve", "blobs/"),
        ("blobs/", "blobs/00/", "blobs/ff/", "blobs/.hidden"),
        ("registry.lock", "registry.db", "registry.db-wal", "registry.db-shm"),
        ("registry.lock", "registry.db-journal"),
    ],
    ids=lambda names: names[-1],
)
async def test_one_whose_making_was_cut_off(names: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        if name.endswith("/"):
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).write_bytes(b"")
    async with Store(tmp_path) as store:
        await push_image(store, "latest")
