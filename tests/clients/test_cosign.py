"""cosign's packages: signatures as bundles that refer to the image, and under a tag that contains its digest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.http import send
from tests.support.images import Layout
from tests.support.server import Server
from tests.support.servers import SEVERAL_PROCESSES

pytestmark = pytest.mark.parametrize("server", SEVERAL_PROCESSES, ids=lambda setup: setup.name, indirect=True)


@pytest.mark.parametrize("form", ["bundle", "tag"])
def test_sign_and_verify(server: Server, cosign: Client, crane: Client, tmp_path: Path, form: str) -> None:
    repository = f"cosign/{form}"
    signed, other = (f"{server.address}/{repository}:{tag}" for tag in ("signed", "other"))
    digest = _push(crane, tmp_path / "signed", b"signed", signed)
    _push(crane, tmp_path / "other", b"other", other)
    cosign.run("sign", form, signed, tmp_path / "key")
    cosign.run("verify", form, signed, tmp_path / "key")

    # This shows which kind was verified. Nothing else would fail if it were the wrong one.
    referrers = json.loads(send(server, "GET", f"/v2/{repository}/referrers/{digest}").body)["manifests"]
    tags = json.loads(send(server, "GET", f"/v2/{repository}/tags/list").body)["tags"]
    if form == "bundle":
        assert [entry["artifactType"] for entry in referrers] == ["application/vnd.dev.sigstore.bundle.v0.3+json"]
        assert tags == ["other", "signed"]
    else:
        assert referrers == []
        assert tags == ["other", f"{digest.replace(':', '-')}.sig", "signed"]

    assert "no " in cosign.refused("verify", form, other, tmp_path / "key")
    cosign.run("sign", form, other, tmp_path / "other-key")
    cosign.refused("verify", form, signed, tmp_path / "other-key")
    cosign.run("verify", form, signed, tmp_path / "key")


def _push(crane: Client, folder: Path, content: bytes, reference: str) -> str:
    layout = Layout(folder)
    layout.tag(layout.image(content), "v1")
    return crane.run("push", folder, reference).strip().partition("@")[2]
