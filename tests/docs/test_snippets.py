"""What the documents tell people to type: Python blocks run and serve, commands exist."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import httpx
import pytest

from ociserver import Handler
from tests.cli.reference import command
from tests.docs.snippets import DOCUMENTS, ROOT, Snippet, snippets

PYTHON = list(snippets("python"))
CONSOLE = list(snippets("console"))

_LINK = re.compile(r"\]\(([^)#]*)(?:#([^)]*))?\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_ANCHOR = re.compile(r'<a id="([^"]+)">')
_TARGET = re.compile(r"^\.PHONY: ([a-z-]+) ", re.MULTILINE)


def test_the_readme_shows_python_and_commands() -> None:
    assert {"README.md"} <= {snippet.document for snippet in PYTHON} & {snippet.document for snippet in CONSOLE}


@pytest.mark.parametrize("snippet", PYTHON, ids=str)
def test_a_python_block_runs_and_its_app_answers(
    snippet: Snippet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "snippet"}
    exec(compile(snippet.text, str(snippet), "exec"), namespace)  # noqa: S102 - our own documentation
    app = namespace.get("app")
    if app is None:
        return

    async def ping() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://registry") as client:
            answer = await client.get("/v2/")
        if isinstance(app, Handler):
            # What a server does at its end.
            await app.aclose()
        return answer

    response = asyncio.run(ping())
    assert response.status_code in (200, 401)  # 401 if the example has users
    assert response.headers["docker-distribution-api-version"] == "registry/2.0"


@pytest.mark.parametrize("snippet", CONSOLE, ids=str)
def test_a_command_that_is_shown_exists(snippet: Snippet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The one file that commands are shown with; what may be in it is in `tests.config`.
    (tmp_path / "registry.toml").touch()
    monkeypatch.chdir(tmp_path)
    targets = set(_TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    for line in snippet.text.splitlines():
        if not line.startswith("$ "):
            continue
        words = [word for word in shlex.split(line[2:], comments=True) if "=" not in word or word.startswith("-")]
        if words[0] == "make":
            assert set(words[1:]) <= targets, f"{snippet}: {line}"
        elif words[0] == "ociserver":
            _check_arguments(words[1:], f"{snippet}: {line}")
        else:
            assert words[:2] in (["pip", "install"], ["git", "clone"]), f"{snippet}: {line}: how is this tested?"


def _check_arguments(words: list[str], where: str) -> None:
    try:
        command(words[0]).make_context(words[0], words[1:], resilient_parsing=False)
    except click.ClickException as error:
        pytest.fail(f"{where}: {error.format_message()}")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target, fragment in _LINK.findall(document.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path = document.parent / target if target else document
        assert path.exists(), f"{document.name} links to {target}"
        assert not fragment or fragment in _anchors(path), f"{document.name} links to {target}#{fragment}"


def _anchors(document: Path) -> set[str]:
    """Return the fragments that lead to a heading, as GitHub makes them, or to an anchor in HTML."""
    text = document.read_text(encoding="utf-8")
    headings = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(text)]
    return {*headings, *_ANCHOR.findall(text)}


def test_the_command_is_installed() -> None:
    output = subprocess.run(
        [sys.executable, "-m", "ociserver", "--version"], capture_output=True, text=True, check=True
    )
    assert output.stdout.startswith("ociserver ")
