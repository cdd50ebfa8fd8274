"""Circles of modules that `lint-imports` cannot see: through the stub of the compiled core, and in the crates."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import ociserver

PACKAGE = Path(ociserver.__file__).parent
CRATES = [crate for crate in sorted(Path(__file__).parents[1].glob("rust/*/src")) if len(list(crate.rglob("*.rs"))) > 1]


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


@pytest.mark.parametrize("source", CRATES, ids=lambda source: source.parent.name)
def test_modules_of_a_crate_use_each_other_in_one_direction(source: Path) -> None:
    uses: dict[str, set[str]] = {}
    for path in source.rglob("*.rs"):
        if path.stem.endswith("tests"):
            continue
        module = path.relative_to(source).parts[0].removesuffix(".rs")
        code, _, _ = re.sub(r"//.*", "", path.read_text()).partition("#[cfg(test)]")
        uses.setdefault(module, set()).update(set(re.findall(r"\bcrate::(\w+)", code)) - {module})
    assert any(uses.values())
    TopologicalSorter(uses).prepare()  # raises CycleError, which names the circle
