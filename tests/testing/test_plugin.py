"""The plugin in pytest runs of a sample project, with the settings that break careless plugins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

PROJECT: Final = Path(__file__).parent / "project"
TIMEOUT_S: Final = 60

SETTINGS: Final = """\
[pytest]
addopts = --strict-markers --strict-config -p no:cacheprovider
filterwarnings = error
python_files = *_checks.py
"""


def run(folder: Path, *arguments: str) -> str:
    """Run pytest as a user does, in a folder of its own. Returns what it prints."""
    (folder / "pytest.ini").write_text(SETTINGS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", str(folder / "pytest.ini"), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return f"{done.stdout}{done.stderr}\nexit status {done.returncode}"


def test_sync_and_async_tests(tmp_path: Path) -> None:
    output = run(tmp_path, str(PROJECT))
    assert "9 passed" in output, output


def test_xdist(tmp_path: Path) -> None:
    output = run(tmp_path, "-n", "2", str(PROJECT))
    assert "9 passed" in output, output


def test_a_run_without_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "own_checks.py").write_text("def test_nothing():\n    pass\n")
    # The project uses the marker, which nobody registers now.
    output = run(
        tmp_path,
        "-p",
        "no:ociserver",
        "--continue-on-collection-errors",
        "own_checks.py",
        str(PROJECT / "sync_checks.py"),
    )
    assert "1 passed, 1 error" in output, output
    assert "'oci_registry' not found in `markers` configuration option" in output, output


def test_mistakes_in_markers(tmp_path: Path) -> None:
    (tmp_path / "own_checks.py").write_text(
        "import pytest\n"
        "@pytest.mark.oci_registry(colour='red')\n"
        "def test_unknown(oci_registry): pass\n"
        "@pytest.mark.oci_registry('ecr')\n"
        "def test_positional(oci_registry): pass\n"
        "@pytest.mark.oci_registry(auth='yes')\n"
        "def test_value(oci_registry): pass\n"
    )
    output = run(tmp_path, "own_checks.py")
    assert "own_checks.py::test_unknown: Registry.__init__() got an unexpected keyword argument 'colour'" in output
    assert "own_checks.py::test_positional takes only named options" in output
    assert "own_checks.py::test_value: auth is 'yes'; use True, 'push'" in output
    assert "3 errors" in output, output


def test_a_run_that_uses_no_registry_imports_next_to_nothing() -> None:
    """pytest imports the plugin in every run of an environment that has ociserver."""
    heavy = {"asyncio", "ociserver.handler", "ociserver.memory", "ociserver.testing.registry", "ssl", "uvicorn"}
    script = (
        "import sys, pytest; before = set(sys.modules)\n"
        "import ociserver.testing.plugin; new = set(sys.modules) - before\n"
        f"print(sorted(new & {heavy}), len([name for name in new if not name.startswith('ociserver')]))"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["[]", "0"]


@pytest.mark.parametrize("missing,made", [("uvicorn", "Registry()"), ("trustme", "Registry(tls=True)")])
def test_a_missing_package_is_named_with_what_to_install(missing: str, made: str) -> None:
    script = f"import sys; sys.modules[{missing!r}] = None\nfrom ociserver.testing import Registry; {made}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "pip install 'ociserver[testing]'" in done.stderr.splitlines()[-1]
