"""Checks the files of a release before they are published: `python -m tests.packaging.complete DIST VERSION`.

What PyPI has once can never be replaced, so a release with a missing platform would stay so.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

PLATFORMS: Final = (
    "manylinux2014_x86_64.manylinux_2_17_x86_64",
    "manylinux2014_aarch64.manylinux_2_17_aarch64",
    "musllinux_1_2_x86_64",
    "musllinux_1_2_aarch64",
    "macosx_11_0_arm64",
    "macosx_10_12_x86_64",
)
"""The platform tags of the wheels of a release."""


PACKAGES: Final = ("ociserver", "ociserver_objects")
"""The packages of a release. The sdist of the first has the sources of both."""


def expected(version: str) -> set[str]:
    """The names of the files of a release."""
    wheels = {f"{name}-{version}-cp311-abi3-{platform}.whl" for name in PACKAGES for platform in PLATFORMS}
    return {f"ociserver-{version}.tar.gz"} | wheels


def mistakes(names: Iterable[str], version: str) -> Iterator[str]:
    """A line for each file that is missing, and for each that does not belong to the release."""
    found, wanted = set(names), expected(version)
    yield from (f"{name} is missing" for name in sorted(wanted - found))
    yield from (f"{name} does not belong to the release" for name in sorted(found - wanted))


def main() -> None:
    folder, version = sys.argv[1:]
    lines = list(mistakes((path.name for path in Path(folder).iterdir()), version))
    if lines:
        sys.exit("\n".join((*lines, "Nothing may be published.")))


if __name__ == "__main__":
    main()
