"""`ociserver copy` to each kind of registry and back, with the credentials of `docker login`."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from ociserver import Handler, Memory
from tests.cli.registries.conftest import ociserver_here, serve_backend
from tests.contract.contents import collect, digest_of, read_blob, tags_of
from tests.copy.images import fill
from tests.registries.kinds import KINDS, Kind

pytestmark = pytest.mark.anyio

SEEN = ("distribution 3", "distribution 3, htpasswd", "distribution 2.8, tokens")
SOME = [kind for kind in KINDS if kind.name not in SEEN]
"""Each program and each way to sign in, once."""

LARGE = bytes(range(256)) * 4096


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize("kind", SOME, ids=lambda kind: kind.name)
async def test_there_and_back(kind: Kind, tmp_path: Path) -> None:
    """An index, its images and their referrers, at registries with and without the referrers API."""
    first, last = Memory(), Memory()
    images = await fill(first, "group/app", LARGE)
    with kind.start(tmp_path) as running:
        there = running.url.removeprefix("http://")
        if running.credentials is not None:
            shown = f"{running.credentials.username}:{running.credentials.password}"
            entry = {"auth": base64.b64encode(shown.encode()).decode()}
            (tmp_path / "config.json").write_text(json.dumps({"auths": {there: entry}}))
        async with serve_backend(Handler(first)) as here, serve_backend(Handler(last)) as back:
            for source, target in ((here, there), (there, back)):
                arguments = ("copy", "--all-tags", "--referrers", f"{source}/group/app", f"{target}/group/app")
                done = await ociserver_here(*arguments, home=tmp_path)
                assert done.status == 0, done.stderr
            # Within one registry: the blobs are mounted, or sent if it cannot mount.
            within = await ociserver_here("copy", f"{there}/group/app:v1", f"{there}/other/app", home=tmp_path)
            assert within.status == 0, within.stderr
            shown_manifest = await ociserver_here("manifest", f"{there}/other/app:v1", home=tmp_path)
            assert shown_manifest.stdout == images.index
    assert {"amd64", "latest", "v1"} <= set(await tags_of(last, "group/app"))
    assert (await last.get_tag("group/app", "v1")).content == images.index
    assert await read_blob(last, digest_of(LARGE), repository="group/app") == LARGE
    for subject, referrer in ((images.index, images.sbom), (images.sbom, images.signature)):
        listed = await collect(last.referrers("group/app", digest_of(subject)))
        assert digest_of(referrer) in [entry.digest for entry in listed]
