"""What `ociserver config check` warns about in `[server]`."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from ociserver.cli import main


def test_a_proxy_that_is_everybody(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text('[server]\ntrusted-proxies = ["10.0.0.0/8", "0.0.0.0/0", "::/0"]\n')
    done = CliRunner().invoke(main, ["config", "check", str(file)])
    assert done.exit_code == 0
    first, second = done.stderr.splitlines()
    assert ":2: server.trusted-proxies[1]: warning: trusts everybody, so that a client may claim" in first
    assert ":2: server.trusted-proxies[2]: warning: trusts everybody" in second
