"""`ociserver serve --profile`, for tests in other languages."""

from __future__ import annotations

import json
from pathlib import Path

from ociserver.settings import PROFILES as NAMES
from ociserver.testing.profiles import PROFILES
from tests.cli.process import run_to_end, serving


def test_the_command_line_has_all_profiles() -> None:
    assert tuple(sorted(PROFILES)) == NAMES


def test_a_profile_and_its_address(tmp_path: Path) -> None:
    with serving(tmp_path, "--profile", "quay", "--print-address", "--no-access-log") as server:
        assert server.printed() == f"http://localhost:{server.port}\n"
        status, body = server.get("/v2/absent/manifests/v1")
        assert (status, json.loads(body)["errors"][0]["detail"]) == (404, {})
        status, body = server.get("/v2/absent/blobs/sha256:" + "0" * 64, "DELETE")
        assert (status, json.loads(body)["errors"][0]["code"]) == (405, "UNSUPPORTED")
        assert server.get("/readyz")[0] == 200


def test_ecr_creates_repositories_as_nobody_else_could(tmp_path: Path) -> None:
    with serving(tmp_path, "--profile", "ecr") as server:
        assert server.get("/v2/app/blobs/uploads/", "POST")[0] == 202
        assert server.get("/v2/app/tags/list?n=1001")[0] == 400


def test_refusals(tmp_path: Path) -> None:
    (tmp_path / "registry.toml").write_text("")
    refused = run_to_end("--profile", "ecr", "--config", str(tmp_path / "registry.toml"))
    assert refused.returncode == 2
    assert "--profile ecr cannot be used with --config" in refused.stderr
    unknown = run_to_end("--memory", "--profile", "acr")
    assert unknown.returncode == 2
    assert "'distribution2', 'dockerhub', 'ecr'" in unknown.stderr
