"""`python -m benches.compare --quick` as it is called: two registries and the bounds, one short round."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.tools import ROOT, require_tool

COMPARE = (sys.executable, "-m", "benches.compare")


def compare(*arguments: str) -> subprocess.CompletedProcess[str]:
    # The settings of whoever runs the tests are not what is tested.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OCISERVER_")}
    return subprocess.run(
        [*COMPARE, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_tool("crane")
    folder = tmp_path_factory.mktemp("compare")
    done = compare("--quick", "--results", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


def figures(results: Path) -> dict[tuple[str, str], dict[str, Any]]:
    report = json.loads((results / "report.json").read_text())
    return {(one["work"], one["server"]): one for group in report.values() for one in group["figures"]}


@pytest.mark.parametrize("server", ["ociserver", "crane"])
@pytest.mark.parametrize(
    "work", ["manifest-get-tag", "image-push", "upload-put", "download", "tags-page-5000", "start"]
)
def test_each_registry_is_measured(results: Path, work: str, server: str) -> None:
    (sample,) = figures(results)[work, server]["samples"]
    assert sample["errors"] == {}
    assert sample["rate"] == pytest.approx(
        sample["bytes" if work in ("upload-put", "download") else "count"] / sample["seconds"]
    )


@pytest.mark.parametrize(
    "work,bound",
    [("manifest-get-tag", "constant"), ("upload-put", "drop"), ("upload-put", "sha256"), ("image-push", "fsync")],
)
def test_bounds_are_measured_beside_them(results: Path, work: str, bound: str) -> None:
    (sample,) = figures(results)[work, bound]["samples"]
    assert sample["rate"] > 0


def test_an_upload_costs_the_server_and_is_counted_in_bytes(results: Path) -> None:
    for server in ("ociserver", "crane"):
        (sample,) = figures(results)["upload-put", server]["samples"]
        assert sample["bytes"] == sample["count"] * 8 * 1024 * 1024
        assert sample["cpu_seconds"] > 0


def test_what_a_registry_cannot_do_is_a_row_with_its_reason(results: Path) -> None:
    assert figures(results)["image-push-collecting", "ociserver"]["samples"]
    refused = figures(results)["image-push-collecting", "crane"]
    assert refused["samples"] == []
    assert "no collection" in refused["failed"]
    assert "crane registry, in memory, push of a small image, collection running" in (results / "report.md").read_text()


def test_memory_and_pictures_are_there(results: Path) -> None:
    report = json.loads((results / "report.json").read_text())
    assert all(group["memory"].keys() == {"ociserver", "crane"} for group in report.values())
    assert all(1 < peak < 4096 for group in report.values() for peak in group["memory"].values())
    assert (results / "summary.svg").read_text().count("ociserver") >= 5


@pytest.mark.parametrize("key", ["ecdsa", "rsa"])
def test_a_comparison_over_tls(tmp_path: Path, key: str) -> None:
    done = compare("--quick", "--tls", key, "--only", "manifest-get-tag", "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    # Only servers with the certificate take part.
    assert {server for _, server in figures(tmp_path)} - {"nginx"} == {"ociserver"}
    assert "crane: how it gets a certificate is not known here" in done.stderr
    for figure in figures(tmp_path).values():
        (sample,) = figure["samples"]
        assert sample["errors"] == {}


def test_a_registry_without_a_program_is_named(tmp_path: Path) -> None:
    done = compare("--peers", "olareg", "--only", "start", "--rounds", "1", "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "olareg: no binary: --binary olareg=PATH" in done.stdout


def test_a_program_that_does_not_start_is_named(tmp_path: Path) -> None:
    program = tmp_path / "zot"
    program.write_text("#!/bin/sh\necho no licence; exit 1\n")
    program.chmod(0o755)
    binary = ("--binary", f"zot={program}", "--peers", "zot")
    done = compare(*binary, "--only", "start", "--rounds", "1", "--results", str(tmp_path / "results"))
    assert done.returncode == 0, done.stderr
    assert "did not start: no licence" in done.stdout


@pytest.mark.parametrize(
    "arguments,error",
    [
        (("--only", "everything"), "'everything' is neither a group nor a work"),
        (("--peers", "quay"), "'quay' is not a known registry"),
        (("--binary", "zot"), "'zot' is not NAME=VALUE"),
        (("--tls", "rsa", "--documents"), "--documents publishes figures without TLS"),
    ],
)
def test_what_is_not_known_is_said(arguments: tuple[str, ...], error: str) -> None:
    done = compare(*arguments)
    assert done.returncode == 2
    assert error in done.stderr
