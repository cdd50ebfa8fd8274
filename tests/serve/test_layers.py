"""`cli` imports `serve` and `config`. Neither of them imports the other, or `cli`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import ociserver

ROOT: Final = Path(ociserver.__file__).parent

MUST_NOT_KNOW: Final = {
    "serve": ("cli", "config"),
    "config": ("cli", "serve"),
    "settings.py": ("cli", "serve", "config"),
    "units.py": ("cli", "serve", "config"),
}


def imported(file: Path) -> Iterator[str]:
    """All modules that a file imports, also inside functions and only for types."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("part", MUST_NOT_KNOW)
def test_a_part_does_not_import_those_above_it(part: str) -> None:
    path = ROOT / part
    files = [path] if path.is_file() else list(path.rglob("*.py"))
    assert files
    for file in files:
        for name in imported(file):
            for above in MUST_NOT_KNOW[part]:
                assert not f"{name}.".startswith(f"ociserver.{above}."), f"{file} imports {name}"
