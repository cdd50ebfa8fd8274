"""`ociserver backup` of a folder that is served: its output, its exit status, and a server on the backup."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from ociserver.client import Client
from tests.cli.process import Serve, clean_environment, serving
from tests.contract.contents import IMAGE, digest_of, image, push_blob, push_image, push_manifest, read_blob

LAYER = os.urandom(100_000)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def server(tmp_path: Path, data: Path) -> Iterator[Serve]:
    with serving(tmp_path, "--data", str(data), "--collect-every", "0", "--workers", "2") as server:
        yield server


def url_of(server: Serve) -> str:
    return f"http://127.0.0.1:{server.port}"


async def push(url: str, *tags: str) -> None:
    async with Client(url) as client:
        await push_image(client, *tags, layers=[LAYER, *(tag.encode() for tag in tags)])


class Busy:
    """Pushes images and deletes them, in a thread, until the block ends."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()))
        self._is_over = False
        self.turns = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join()

    async def _work(self) -> None:
        async with Client(self._url) as client:
            while not self._is_over:
                layer = os.urandom(50_000)
                for blob in (b"{}", layer):
                    await push_blob(client, blob, "busy")
                content = image(b"{}", layer)
                await push_manifest(client, content, IMAGE, f"v{self.turns}", repository="busy")
                await client.delete_manifest("busy", digest_of(content))
                await client.delete_blob("busy", digest_of(layer))
                self.turns += 1


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ociserver", *arguments]
    return subprocess.run(command, env=clean_environment(None), capture_output=True, text=True, check=False)


def run_backup(data: Path, to: Path, *options: str) -> tuple[int, str, str]:
    done = run("backup", str(to), "--data", str(data), *options)
    return done.returncode, done.stdout, done.stderr


def report_of(data: Path, to: Path) -> dict[str, Any]:
    status, output, errors = run_backup(data, to, "--json")
    assert status == 0, errors
    report: dict[str, Any] = json.loads(output)
    return report


def test_of_a_served_folder_and_served(server: Serve, data: Path, tmp_path: Path) -> None:
    to = tmp_path / "backup"
    asyncio.run(push(url_of(server), "one"))
    with Busy(url_of(server)) as busy:
        assert report_of(data, to)["files_copied"] >= 1
        collected = run("collect", "--data", str(data), "--grace", "0s", "--unreferenced-after", "1h")
        assert collected.returncode == 0, collected.stderr
        asyncio.run(push(url_of(server), "two"))
        report_of(data, to)
        checked = run("check", "--data", str(to), "--content")
        assert checked.returncode == 0, checked.stdout
    assert busy.turns
    (tmp_path / "restored").mkdir()
    with serving(tmp_path / "restored", "--data", str(to)) as restored:
        asyncio.run(pull(url_of(restored), "one", "two"))
    status, _, errors = run_backup(data, to)
    assert status == 1
    assert f"{to} has been served" in errors


async def pull(url: str, *tags: str) -> None:
    async with Client(url) as client:
        for tag in tags:
            manifest = await client.get_tag("group/project", tag)
            layers = [entry["digest"] for entry in json.loads(manifest.content)["layers"]]
            assert [await read_blob(client, digest) for digest in layers] == [LAYER, tag.encode()]


def test_what_it_says(server: Serve, data: Path, tmp_path: Path) -> None:
    to = tmp_path / "backup"
    asyncio.run(push(url_of(server), "one"))
    status, output, _ = run_backup(data, to)
    assert status == 0
    assert "1 file copied (97.7 KiB); database " in output
    assert f"{to} is complete" in output
    assert "0 files copied (0 B), 1 were there already; database" in run_backup(data, to)[1]
    (lost,) = (data / "blobs").glob("??/*")
    lost.unlink()
    # What the backup has, it keeps.
    assert report_of(data, to)["missing"] == []
    status, output, _ = run_backup(data, tmp_path / "other")
    assert status == 3
    assert f"missing in the store: {digest_of(LAYER)}" in output


def test_the_folder_is_wrong(tmp_path: Path) -> None:
    status, _, errors = run_backup(tmp_path / "none", tmp_path / "backup")
    assert status == 1
    assert "contains no store" in errors
    assert run("backup").returncode == 2
