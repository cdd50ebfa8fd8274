"""What the stub of the compiled core imports. `lint-imports` checks all other modules, and cannot see this one."""

from __future__ import annotations

import ast
from pathlib import Path

import ociserver

PACKAGE = Path(ociserver.__file__).parent


def imported(path: Path) -> set[str]:
    """Names of the modules of `ociserver` that a file imports, for types too."""
    return {
        node.module
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith("ociserver")
    }


def test_what_the_core_names_does_not_import_the_core() -> None:
    waiting, seen = imported(PACKAGE / "_core.pyi"), set[str]()
    assert "ociserver.event" in waiting
    while waiting:
        module = waiting.pop()
        seen.add(module)
        path = PACKAGE.joinpath(*module.split(".")[1:])
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        waiting |= imported(file) - seen
    assert not seen & {"ociserver", "ociserver._core"}, sorted(seen)
