"""`registry.toml`: what is served, and how, as one file.

`load` reads it, `Config.backend` makes what it describes. A key has the name of the flag of `ociserver serve`
that does the same; `schema.json`, beside this, lets editors complete them.
"""

from ociserver.config.load import load, load_to_build, parse
from ociserver.config.model import Config
from ociserver.config.problems import ConfigError, Problem

__all__ = ["Config", "ConfigError", "Problem", "load", "load_to_build", "parse"]
