"""The table `[server]` of a configuration file, read without the library that checks such files.

`ociserver health` needs only the address. A file with mistakes is a matter of the server, which does not start with it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ociserver.cli.errors import CommandError

__all__ = ["address_of", "server_table"]

MAX_VALUE: Final = 64 * 1024
"""Maximum bytes of a file that contains a value, as for the server."""

_KEYS: Final = ("host", "port", "tls-cert", "tls-client-ca")


def server_table(path: Path) -> dict[str, str]:
    """The address in a configuration file, as texts of flags.

    Raises:
        CommandError: the file, or one with a value, cannot be read.
    """
    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise CommandError(f"{path} is not valid TOML: `ociserver config check {path}` says where.") from None
    return address_of(document, path.parent)


def address_of(document: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """The address in the content of a configuration file. Relative paths start in `folder`."""
    table = document.get("server")
    if not isinstance(table, dict):
        return {}
    return {key.replace("-", "_"): _text(table[key], folder) for key in _KEYS if key in table}


def _text(value: Any, folder: Path) -> str:
    match value:
        case {"env": str(name)}:
            if name not in os.environ:
                raise CommandError(f"the environment variable {name} of the configuration file is not set.")
            return os.environ[name]
        case {"file": str(name)}:
            try:
                with (folder / name).open("rb") as file:
                    return file.read(MAX_VALUE).decode(errors="replace").rstrip("\r\n")
            except OSError as error:
                raise CommandError(
                    f"{name}, which the configuration file names, cannot be read: {error.strerror}."
                ) from None
    return str(value)
