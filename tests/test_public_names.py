"""The names that the package promises."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import ociserver

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(ociserver.__path__, "ociserver.")
    if module.name not in ("ociserver.__main__", "ociserver._core")
)


def test_what_is_public_is_what_all_says() -> None:
    """Names are loaded when they are used. What type checkers see and what is loaded then is the same."""
    tree = ast.parse(Path(ociserver.__file__).read_text())
    shown = {
        alias.name
        for branch in tree.body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert shown == set(ociserver.__all__)
    assert len(ociserver.__all__) == len(set(ociserver.__all__))
    for name in ociserver.__all__:
        assert getattr(ociserver, name) is not None
        assert name in dir(ociserver)
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = ociserver.Nothing  # type: ignore[attr-defined]


def test_a_program_loads_only_what_it_uses() -> None:
    script = "import sys, ociserver; print(sorted(name for name in sys.modules if name.startswith('ociserver')))"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "['ociserver', 'ociserver._unix']"


# Compiled classes have their documentation in the stub, beside their types.
CLASSES = [
    name
    for name in ociserver.__all__
    if inspect.isclass(cls := getattr(ociserver, name)) and cls.__module__ != "ociserver._core"
]


@pytest.mark.parametrize("name", CLASSES)
def test_every_public_class_and_its_public_methods_are_documented(name: str) -> None:
    cls = getattr(ociserver, name)
    assert cls.__doc__
    for method, value in vars(cls).items():
        if method[0] == "_" or not callable(value):
            continue
        # What overrides a documented method of the interface has its text.
        assert inspect.getdoc(getattr(cls, method)), f"{name}.{method} has no docstring"


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is_and_what_it_exports(name: str) -> None:
    module: ModuleType = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    for exported in getattr(module, "__all__", ()):
        assert hasattr(module, exported), f"{name}.__all__ has {exported}, which is not there"


def test_the_handler_imports_no_server_and_no_command_line() -> None:
    """Who embeds a registry does not load granian or click."""
    script = "import sys, ociserver; print(sorted({'granian', 'click', 'uvicorn'} & set(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "[]"


def test_a_backend_knows_nothing_of_http() -> None:
    """One direction: backends do not import the handler (docs/architecture.md)."""
    script = (
        "import sys; sys.modules['ociserver.handler'] = None\n"
        "import importlib.util, types\n"
        "spec = importlib.util.find_spec('ociserver')\n"
        "package = types.ModuleType('ociserver'); package.__path__ = spec.submodule_search_locations\n"
        "sys.modules['ociserver'] = package\n"
        "import ociserver.memory, ociserver.store, ociserver.compose\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
