"""`registry.toml`: one file that says what is served, and how.

`load` reads it, and `Config.backend` makes the backend that it describes. A key has the name of the flag of
`ociserver serve` that does the same. With `schema.json`, in this folder, editors complete keys.
"""

from ociserver.config.load import from_document, load, load_to_build, parse
from ociserver.config.model import Config
from ociserver.config.problems import ConfigError, Problem

__all__ = ["Config", "ConfigError", "Problem", "from_document", "load", "load_to_build", "parse"]
