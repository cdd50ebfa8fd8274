"""`ociserver copy --all`: a registry moves into a database and a bucket, also if the command is killed meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociserver import Store
from ociserver.client import Client
from ociserver.config import load
from tests.cli.process import Serve, clean_environment, serving
from tests.cli.registries.conftest import Done, address, ociserver, refused
from tests.contract.contents import collect, digest_of, push_image, read_blob, tags_of
from tests.copy.images import fill
from tests.support.nodes import Place, place

NAMES = [f"team/{number}" for number in range(8)]
LAYERS = {name: os.urandom(2 << 20) for name in NAMES}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """A registry in a folder, with an index and its referrers, and a layer of its own, in each repository."""
    folder = tmp_path_factory.mktemp("old")

    async def push() -> None:
        async with Client(f"http://{address(server)}") as client:
            for name, layer in LAYERS.items():
                await fill(client, name)
                await push_image(client, "own", layers=(layer,), repository=name)

    with serving(folder, "--data", str(folder / "data")) as server:
        asyncio.run(push())
        yield server


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with place(tmp_path) as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        found.write()
        yield found


def file_of(new: Place) -> str:
    return str(new.folder / "registry.toml")


def layers_read(server: Serve) -> int:
    """How often the layers were read so far."""
    reads = [line for line in server.printed().splitlines() if '"GET ' in line]
    return sum(digest_of(layer) in line for layer in LAYERS.values() for line in reads)


def check(new: Place) -> None:
    """Everything has arrived."""

    async def look() -> None:
        (leaf,) = load(new.folder / "registry.toml").leaves()
        store = leaf.build()
        assert isinstance(store, Store)
        async with store:
            assert await collect(store.repositories()) == NAMES
            for name, layer in LAYERS.items():
                assert await tags_of(store, name) == ["amd64", "latest", "own", "v1"]
                assert await read_blob(store, digest_of(layer), repository=name) == layer
                index = (await store.get_tag(name, "v1")).descriptor.digest
                (sbom,) = await collect(store.referrers(name, index))
                assert len(await collect(store.referrers(name, sbom.digest))) == 1

    asyncio.run(look())


def test_a_copy_that_is_killed_continues(old: Serve, new: Place) -> None:
    arguments = ["copy", "--all", address(old), file_of(new), "--jobs", "1"]
    before = layers_read(old)
    killed = subprocess.Popen(
        [sys.executable, "-m", "ociserver", *arguments],
        env=clean_environment({"DOCKER_CONFIG": "/nonexistent"}),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert killed.stdout is not None
    assert killed.stdout.readline().endswith("  4 tags\n")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdout.close()

    done = ociserver(*arguments)
    assert done.status == 0, done.stderr
    assert len(done.lines) == len(NAMES) + 1
    assert f"{len(NAMES)} repositories, {4 * len(NAMES)} tags; manifests: " in done.lines[-1]
    check(new)
    read = layers_read(old) - before
    assert read <= len(LAYERS) + 1, "at most the one that was being sent is read again"
    told = ociserver(*arguments, "--json")
    assert layers_read(old) - before == read
    assert (told.json["manifests_copied"], told.json["bytes_sent"]) == (0, 0)
    assert [(each["repository"], each["tags"], each["errors"]) for each in told.json["repositories"]] == [
        (name, 4, []) for name in NAMES
    ]


def test_without_servers(old: Serve, new: Place) -> None:
    """From the folder, which a server is using, by its configuration file."""
    source = new.folder / "old.toml"
    source.write_text(f'[registry]\nkind = "store"\ndata = "{old.output.parent / "data"}"\n')
    done = ociserver("copy", "--all", str(source), file_of(new))
    assert done.status == 0, done.stderr
    check(new)


def said(done: Done) -> str:
    assert done.status == 1
    return done.stderr


def test_what_is_refused(old: Serve, tmp_path: Path) -> None:
    here = address(old)
    assert "SRC and DST are the same registry" in refused("copy", "--all", here, here)
    assert "Remove --all-tags and --platform" in refused("copy", "--all", "--all-tags", here, "localhost:1")
    assert "is not a registry" in refused("copy", "--all", f"{here}/team", "localhost:1")
    empty = tmp_path / "empty.toml"
    empty.write_text('[registry]\nkind = "store"\ndata = "nothing"\n')
    assert "nothing contains no store" in said(ociserver("copy", "--all", str(empty), here))
    assert not (tmp_path / "nothing").exists()
    assert "Is the registry running?" in said(ociserver("copy", "--all", here, "localhost:1"))
