"""docs/auth.md: the commands and the configuration of a team and of a robot, as somebody types them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.auth.registry import MANIFEST_TYPE, basic, manifest
from tests.cli.process import Serve, clean_environment, serving
from tests.docs.pages import block

PAGE = "auth.md"
STORE = '[registry]\nkind = "store"\ndata = "data"\nlax-child-references = true\n'


def typed(folder: Path, commands: str, said: str = "") -> str:
    """What commands print that are typed in a folder. `said` is typed where they ask."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/bash", "-euc", commands],
        cwd=folder,
        env=clean_environment({"PATH": path}),
        input=said,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def lines(begins: str, program: str) -> list[str]:
    """The lines of a block that use a program."""
    return [line for line in block(PAGE, begins, {}).splitlines() if program in line]


def push(server: Serve, headers: dict[str, str], reference: str) -> int:
    connection = server.http()
    connection.request("PUT", reference, manifest(), {"Content-Type": MANIFEST_TYPE, **headers})
    return connection.getresponse().status


def test_a_team_and_a_robot(tmp_path: Path) -> None:
    (install,) = lines("pip install", "auth hash alice")
    for user in ("alice", "ci-1"):
        typed(tmp_path, install.replace("alice", user), f"the password of {user}\n")
    assert (tmp_path / "users.htpasswd").stat().st_mode & 0o777 == 0o600
    config = tmp_path / "registry.toml"
    team, keys = block(PAGE, "[auth.htpasswd]", {}), block(PAGE, "[auth]\napi-keys", {})
    config.write_text(f"{STORE}{team}{keys}")
    check, serve = lines("ociserver config check", "ociserver")
    typed(tmp_path, check)
    (explain,) = lines("ociserver auth explain", "ociserver")
    assert "denied" in typed(tmp_path, f"{explain} || test $? = 1")
    create, *rest = lines("ociserver key create", "ociserver key")
    arguments = serve.split()[2:]
    with serving(tmp_path, "--config", str(config)) as server:
        assert arguments == ["--config", "registry.toml"]
        alice, robot, nobody = (basic(user, f"the password of {user}") for user in ("alice", "ci-1", "nobody"))
        assert push(server, alice, "/v2/team/app/manifests/v1") == 201
        assert push(server, robot, "/v2/team/app/manifests/v2") == 201
        assert push(server, robot, "/v2/team/app/manifests/latest") == 403
        assert server.get("/v2/team/app/manifests/v1", headers=nobody)[0] == 401
        assert server.get("/v2/team/app/manifests/v1")[0] == 401
        # There is nothing, but everybody may look.
        assert server.get("/v2/public/app/manifests/v1")[0] == 404
        typed(tmp_path, create)
        key = basic("ci-app", (tmp_path / "ci-app.key").read_text().strip())
        assert push(server, key, "/v2/team/app/manifests/latest") == 201
        listed, revoke = rest
        assert "ci-app" in typed(tmp_path, listed)
        typed(tmp_path, revoke)
        assert server.get("/v2/team/app/manifests/v1", headers=key)[0] == 401
