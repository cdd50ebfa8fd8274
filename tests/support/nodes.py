"""A registry in a database and a bucket, for any number of nodes."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cli.process import Serve, serving
from tests.support import postgres
from tests.support.bucket import REGION, Versity, versity

__all__ = ["Place", "place"]


@dataclass
class Place:
    """A database and a bucket of its own, and the file that describes them. All secrets are in the environment."""

    folder: Path
    database: str
    bucket: Versity
    password: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def environment(self) -> dict[str, str]:
        return {
            "NODE_PASSWORD": self.password,
            "NODE_KEY_ID": self.bucket.access_key,
            "NODE_SECRET": self.bucket.secret_key,
        }

    @property
    def secrets(self) -> list[str]:
        return list(self.environment.values())

    def table(self, *, port: int | None = None, objects: str = "", keys: str = "") -> str:
        """The table `[registry]`.

        Args:
            port: of a proxy in front of the bucket.
            objects: further lines of its bucket.
            keys: further lines of the store.
        """
        return f"""
[registry]
kind = "store"
database = "{self.database}"
database-password = {{ env = "NODE_PASSWORD" }}
database-connections = 4
lax-child-references = true
{keys}
[registry.objects]
url = "{self.bucket.url}/prefix"
endpoint = "http://127.0.0.1:{port or self.bucket.port}"
region = "{REGION}"
access-key-id = {{ env = "NODE_KEY_ID" }}
secret-access-key = {{ env = "NODE_SECRET" }}
{objects}
"""

    def write(self, text: str = "", **table: Any) -> Path:
        """The configuration file: this text, and then the table `[registry]`."""
        file = self.folder / "registry.toml"
        file.write_text(text + self.table(**table))
        return file

    @contextmanager
    def node(self, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[Serve]:
        """Serve the configuration file until the block ends."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        given = ("--config", str(self.folder / "registry.toml"), *arguments)
        with serving(folder, *given, environment=self.environment | dict(environment or {})) as server:
            yield server


@contextmanager
def place(folder: Path, database: str | None = None) -> Iterator[Place]:
    """A new database, beside the shared one of the tests if none is given, and a new bucket, until the block ends."""
    with versity(folder) as bucket:
        yield Place(folder, database or postgres.create(f"node_{secrets.token_hex(4)}"), bucket)
