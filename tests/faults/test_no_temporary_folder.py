"""A container with a read-only root: there is no folder for temporary files."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from ociserver import Store
from tests.faults.registry import IMAGE, digest_of
from tests.support.tools import ROOT, cannot_run

DATA = "/mnt"
"""Where the process has its folder. The folders of the test may be below one that is read-only for the process."""

WITHOUT_TEMPORARY_FOLDERS = f"""
set -e
mount --bind "$1" {DATA}
shift
for folder in /usr/tmp /tmp /var/tmp; do [ ! -d $folder ] || mount -t tmpfs -o ro none $folder; done
cd /var/tmp
exec "$@"
"""
"""Mounts read-only folders over all that SQLite tries, the current one too."""

IMAGES, LAYERS = 50, 100


async def push_images() -> None:
    """Push images of many layers. SQLite keeps each page that a failed statement would restore."""
    async with Store(DATA, lax_child_references=True) as store:
        for number in range(IMAGES):
            digests = [digest_of(b"%d of %d" % (layer, number)) for layer in range(LAYERS)]
            layers = [{"mediaType": "application/x", "digest": digest, "size": 1} for digest in digests]
            content = {"schemaVersion": 2, "mediaType": IMAGE, "config": layers[0], "layers": layers}
            await store.push_manifest("image", json.dumps(content).encode(), IMAGE, tags=[f"v{number}"])
        assert len([tag async for tag in store.tags("image")]) == IMAGES


def test_images_of_many_layers(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "--mount", "true"], check=False).returncode:  # noqa: S607
        cannot_run("only root may mount folders")
    command = [sys.executable, "-m", "tests.faults.test_no_temporary_folder"]
    subprocess.run(
        ["unshare", "--mount", "sh", "-c", WITHOUT_TEMPORARY_FOLDERS, "sh", str(tmp_path), *command],  # noqa: S607
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (tmp_path / "registry.db").exists()


if __name__ == "__main__":
    asyncio.run(push_images())
