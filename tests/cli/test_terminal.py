"""What a person sees in a terminal: colours and progress bars, which no pipe or file gets."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import pytest

from tests.cli.process import run_to_end, serving
from tests.cli.screen import Screen, on_screen

COMMAND = (sys.executable, "-m", "ociserver")
COLOURED = re.compile(r"\x1b\[[0-9;]+m")


def drawn(*arguments: str, **environment: str) -> Screen:
    """What a command draws until it ends."""
    with on_screen([*COMMAND, *arguments], environment) as screen:
        screen.wait_for_end()
    return screen


def test_the_first_lines_of_a_server_are_coloured(tmp_path: Path) -> None:
    with on_screen([*COMMAND, "serve", "--memory", "--port", "0"], {"HOME": str(tmp_path)}) as screen:
        screen.wait_for("docker push")
        assert "\x1b[33mnot protected:\x1b[0m everybody on this machine may push" in screen.raw
        screen.process.send_signal(signal.SIGINT)
        assert screen.wait_for_end() == 0


def test_an_error_is_coloured(tmp_path: Path) -> None:
    missing = ("collect", "--data", str(tmp_path / "none"))
    assert drawn(*missing).raw.startswith("\x1b[31m\x1b[1mociserver:\x1b[0m ")
    for wish in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        plain = drawn(*missing, **wish)
        assert plain.raw.startswith("ociserver: ")
        assert not COLOURED.search(plain.raw)


@pytest.mark.parametrize("command", ["collect", "check"])
def test_work_on_a_store_shows_a_progress_bar(command: str, tmp_path: Path) -> None:
    with serving(tmp_path, "--data", str(tmp_path / "data")):
        pass
    folder = ("--data", str(tmp_path / "data"))
    screen = drawn(command, *folder)
    assert re.search(rf"{command}ing +━+ +(\d+%)? *\d:\d\d:\d\d", screen.text), screen.raw
    # The bar is removed, and only the result stays.
    last = screen.raw.rpartition("\x1b[2K")[2]
    assert last.strip() in ("nothing to collect", "0 blobs, 0 manifests, 0 files: nothing is wrong")
    assert not COLOURED.search(drawn(command, *folder, NO_COLOR="1").raw)
    assert "ing " not in drawn(command, *folder, TERM="dumb").raw.replace("nothing ", "")


def test_a_backup_shows_the_same_bar(tmp_path: Path) -> None:
    with serving(tmp_path, "--data", str(tmp_path / "data")):
        pass
    arguments = ("backup", str(tmp_path / "to"), "--data", str(tmp_path / "data"))
    screen = drawn(*arguments)
    assert re.search(r"copying +━+ +(\d+%)? *\d:\d\d:\d\d", screen.text), screen.raw
    assert screen.raw.rpartition("\x1b[2K")[2].strip().endswith("is complete")
    assert "copying" not in drawn(*arguments, TERM="dumb").raw


def test_json_is_not_coloured(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text("")
    assert not COLOURED.search(drawn("config", "check", "--json", str(file)).raw)
    assert drawn("config", "check", str(file)).raw == f"{file}: \x1b[32mno mistakes\x1b[0m\r\n"


def test_without_a_terminal_rich_is_not_even_imported(tmp_path: Path) -> None:
    program = [sys.executable, "-X", "importtime", "-m", "ociserver"]
    with serving(tmp_path, program=program) as server:
        printed = server.wait_for("docker push")
    assert "| click" in re.sub(" +", " ", printed)
    assert not re.search(r"\| +rich", printed)


def test_the_help_of_a_pipe_is_plain() -> None:
    assert not COLOURED.search(run_to_end("--help").stdout)
