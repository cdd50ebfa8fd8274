"""Real clients push, copy and delete, with the rights of docs/auth.md, and not without."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.clients.contents import IMAGE, OTHER_IMAGE
from tests.clients.signed_in import WHO, Trial, cells, digest, exists, push
from tests.clients.signed_in_tools import TOOLS, Tool
from tests.support.server import Server
from tests.support.signed_in import reload, signed_in_server
from tests.support.tap import Exchange, tapped

WRITES: Final = {"POST", "PUT", "PATCH", "DELETE"}


@pytest.mark.parametrize("tool, who, outcome", cells("push"))
def test_push(users: Server, tool: Tool, who: str, outcome: object, tmp_path: Path) -> None:
    repository = f"team/pushed-{tool.program}-{who}/example"
    with tapped(users) as tap:
        trial = Trial(tool, tap, tmp_path)
        _prepare(users, who)
        exchanges = trial.run(who, "push", outcome, image=trial.image(repository))
    _check(exchanges, outcome)
    assert exists(users, repository, tool.content.tag) == (outcome == "works")


@pytest.mark.parametrize(
    "tool", [tool for tool in TOOLS.values() if tool.content is IMAGE], ids=lambda tool: tool.program
)
def test_a_robot_that_creates_tags_and_moves_none(users: Server, tool: Tool, tmp_path: Path) -> None:
    new, taken = (f"team/{name}-robot-{tool.program}/example" for name in ("new", "taken"))
    push(users, taken, OTHER_IMAGE)
    with tapped(users) as tap:
        trial = Trial(tool, tap, tmp_path)
        trial.run("ci-1", "push", "works", image=trial.image(new))
        # The tag stays where it is.
        trial.run("ci-1", "push", "works", image=trial.image(new))
        trial.run("ci-1", "push", 403, image=trial.image(taken))
    assert exists(users, new, "v1")
    assert digest(users, taken, "v1") == OTHER_IMAGE.digest


@pytest.mark.parametrize("tool, who, outcome", cells("mount"))
def test_copy_within_the_registry(users: Server, tool: Tool, who: str, outcome: object, tmp_path: Path) -> None:
    source, target = (f"team/{end}-{tool.program}-{who}/example" for end in ("from", "to"))
    with tapped(users) as tap:
        trial = Trial(tool, tap, tmp_path)
        # With the same client, because containers/image remembers where it has pushed what.
        trial.run("alice", "push", "works", image=trial.image(source))
        _prepare(users, who)
        exchanges = trial.run(who, "copy", outcome, image=trial.image(source), target=trial.image(target))
    _check(exchanges, outcome)
    assert exists(users, target, tool.content.tag) == (outcome == "works")
    mounts = [each for each in exchanges if f"from={source.replace('/', '%2F')}" in each.target.replace("/", "%2F")]
    granted = [each for each in mounts if each.status == 201]
    assert len(granted) == (tool.mounts if outcome == "works" else 0), mounts
    sent = [each for each in exchanges if "/blobs/" in each.target and each.method == "PUT" and each.status == 201]
    assert len(granted) + len(sent) == (2 if outcome == "works" else 0), sent


def test_a_push_of_what_is_where_the_user_has_no_right(tmp_path: Path) -> None:
    """containers/image remembers where it has pushed what, and asks there. Others mount only what they have read."""
    skopeo, folder = TOOLS["skopeo"], tmp_path / "server"
    folder.mkdir()
    with signed_in_server(folder) as server, tapped(server) as tap:
        trial = Trial(skopeo, tap, tmp_path)
        trial.run("alice", "push", "works", image=trial.image("team/from/example"))
        config = folder / "registry.toml"
        config.write_text(config.read_text().replace('["team/*"]', '["team/to/*"]', 1))
        reload(server)
        before, target = len(tap.exchanges()), trial.image("team/to/example")
        client = skopeo.client(tmp_path / "home", tap.address, WHO["alice"])
        client.run(*skopeo.words("push", layout=tmp_path / "layout", image=target))
        asked = [each for each in tap.exchanges()[before:] if each.target.startswith("/v2/team/from/")]
        assert {each.status for each in asked} == {403}
        assert exists(server, "team/to/example", "v1")


@pytest.mark.parametrize("tool, who, outcome", cells("delete"))
def test_delete(users: Server, tool: Tool, who: str, outcome: object, tmp_path: Path) -> None:
    repository = f"team/deleted-{tool.program}-{who}/example"
    push(users, repository, tool.content)
    with tapped(users) as tap:
        trial = Trial(tool, tap, tmp_path)
        _prepare(users, who)
        exchanges = trial.run(who, "delete", outcome, image=trial.image(repository))
    _check(exchanges, outcome)
    assert exists(users, repository, tool.content.tag) == (outcome != "works")


def _prepare(server: Server, who: str) -> None:
    if who == "wrong":
        # All clients have the same address, and their wrong passwords count together.
        reload(server)


def _check(exchanges: list[Exchange], outcome: object) -> None:
    """Nothing was written if the outcome is a refusal."""
    written = [each for each in exchanges if each.method in WRITES and not each.target.startswith("/v2/token")]
    assert any(each.status < 300 for each in written) == (outcome == "works"), written
