"""Real clients sign in and pull, with the rights of docs/auth.md, and not without.

docker itself cannot run here: see test_docker_sequences.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.signed_in import WHO, Trial, cells
from tests.clients.signed_in_tools import Tool
from tests.support.server import Server
from tests.support.signed_in import reload
from tests.support.tap import tapped


@pytest.mark.parametrize("tool, who, outcome", cells("pull public"))
def test_pull_from_a_public_repository(users: Server, tool: Tool, who: str, outcome: object, tmp_path: Path) -> None:
    _pull(users, tool, who, outcome, "public", tmp_path)


@pytest.mark.parametrize("tool, who, outcome", cells("pull private"))
def test_pull_from_a_private_repository(users: Server, tool: Tool, who: str, outcome: object, tmp_path: Path) -> None:
    _pull(users, tool, who, outcome, "team", tmp_path)


@pytest.mark.parametrize("tool, who, outcome", cells("login"))
def test_login(users: Server, tool: Tool, who: str, outcome: object, tmp_path: Path) -> None:
    """What a login with the right password leaves behind lets the next call pull. After a wrong one, nothing does."""
    user, password = WHO[who] or ("", "")
    if who == "wrong":
        # All clients have the same address, and their wrong passwords count together.
        reload(users)
    # A login through a relay would be for another address than the pull.
    client = tool.client(tmp_path / "home", users.address, None)
    words = tool.words("login", address=users.address, user=user)
    repository = f"{users.address}/team/{tool.content.tag}/example:{tool.content.tag}"
    out = tmp_path / "out"
    out.mkdir()
    if outcome == "works":
        client.run(*words, stdin=password.encode())
    else:
        said = client.refused(*words, stdin=password.encode())
        assert "401" in said or "unauthorized" in said.lower() or "invalid username/password" in said
        assert password not in said
    pull = tool.words("pull", image=repository, out=out)
    may_pull = who in {"alice", "bob"}
    client.run(*pull) if may_pull else client.refused(*pull)
    assert tool.pulled(out) == may_pull


def _pull(server: Server, tool: Tool, who: str, outcome: object, project: str, folder: Path) -> None:
    if who == "wrong":
        reload(server)
    with tapped(server) as tap:
        trial = Trial(tool, tap, folder)
        repository = f"{project}/{tool.content.tag}/example"
        exchanges = trial.run(who, "pull", outcome, image=trial.image(repository))
    assert tool.pulled(folder / "out") == (outcome == "works")
    if outcome == "works":
        # A wrong password that was sent did not work.
        assert who != "wrong" or all("authorization" not in each.headers for each in exchanges)
    else:
        reads = [each for each in exchanges if repository in each.target.partition("?")[0]]
        assert {each.status for each in reads} <= {outcome, 401}
