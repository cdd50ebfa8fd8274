"""The unit of systemd, checked by systemd's own tools, and its configuration file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from ociserver.config import ConfigError, load, parse
from tests.support.tools import ROOT, require_tool

FOLDER: Final = ROOT / "deploy" / "systemd"
PROGRAM: Final = "/opt/ociserver/bin/ociserver"
MAX_EXPOSURE: Final = 15
"""In tenths. systemd calls 11 to 20 well protected, and everything from 50 on insecure."""


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, for a program that exists here."""
    text = (FOLDER / "ociserver.service").read_text()
    assert text.count(PROGRAM) == 1
    path = tmp_path / "ociserver.service"
    path.write_text(text.replace(PROGRAM, sys.executable))
    return path


def test_the_unit_has_no_mistakes(unit: Path) -> None:
    # Warnings, such as those about unknown keys, do not change its exit status.
    done = subprocess.run(
        [require_tool("systemd-analyze"), "verify", "--man=no", unit], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_unit_is_hardened(unit: Path) -> None:
    limit = f"--threshold={MAX_EXPOSURE}"
    done = subprocess.run(
        [require_tool("systemd-analyze"), "security", "--offline=true", "--no-pager", limit, unit],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_has_the_time_that_a_stop_takes(unit: Path) -> None:
    """30 s for requests by default, and 5 s for workers that do not end (ociserver.serve.workers)."""
    (timeout,) = re.findall(r"^TimeoutStopSec=(\d+)s$", unit.read_text(), re.MULTILINE)
    assert int(timeout) > 30 + 5


def test_the_configuration_keeps_the_data_where_the_unit_may_write(unit: Path) -> None:
    config = load(FOLDER / "registry.toml")
    (store,) = config.leaves()
    assert store.kind == "store"
    assert store.data == Path("/var/lib/ociserver")
    assert "\nStateDirectory=ociserver\n" in unit.read_text()


def test_a_credential_is_a_path_and_a_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        '[server]\nhost = { file = "$CREDENTIALS_DIRECTORY/host" }\n'
        'tls-cert = "$CREDENTIALS_DIRECTORY/tls/cert"\ntls-key = "key"\n'
    )
    with pytest.raises(ConfigError, match="CREDENTIALS_DIRECTORY is not set; systemd sets it"):
        parse(text, tmp_path / "registry.toml")
    (tmp_path / "host").write_text("127.0.0.1\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    server = parse(text, Path("/etc/registry.toml")).server
    assert server.host == "127.0.0.1"
    assert (server.tls_cert, server.tls_key) == (tmp_path / "tls" / "cert", Path("/etc/key"))
