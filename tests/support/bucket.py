"""An object store with one bucket, as a process, and what is really in the bucket.

What a bucket holds is read from the files of the store or asked of it by another way than ours, so that a test can
compare it with what our code believes.
"""

from __future__ import annotations

import errno
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.process import Process
from tests.support.server import free_port
from tests.support.tools import require_tool

__all__ = ["BUCKET", "REGION", "Multipart", "ObjectStore", "Versity", "versity"]

BUCKET: Final = "registry"
REGION: Final = "us-east-1"
_TEMPORARY: Final = ".sgwtmp"


@dataclass(frozen=True, slots=True)
class Multipart:
    """A multipart upload that was neither completed nor aborted."""

    key: str
    id: str
    parts: Mapping[int, int]
    """Sizes of the stored parts by their numbers."""


class ObjectStore(ABC):
    """A running store. `process` stops, kills and starts it again."""

    url: str
    """Names the bucket, without the endpoint."""

    process: Process

    @property
    def port(self) -> int:
        return self.process.port

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @abstractmethod
    def options(self, port: int | None = None) -> dict[str, str]:
        """Options of the crate `object_store`. `port` is that of a proxy in front of the store."""

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """Credentials as environment variables."""

    @abstractmethod
    def objects(self) -> dict[str, int]:
        """The sizes of all objects by their keys."""

    @abstractmethod
    def uploads(self) -> list[Multipart]:
        """All multipart uploads that are in progress."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Delete an object while nobody knows."""

    @abstractmethod
    def truncate(self, key: str, size: int) -> None:
        """Shorten an object while nobody knows."""


def _multipart(folder: Path) -> Multipart | None:
    try:
        key = os.getxattr(folder.parent, "user.objname").decode()
        return Multipart(key, folder.name, {int(part.name): part.stat().st_size for part in folder.iterdir()})
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        return None


class Versity(ObjectStore):
    """versitygw, which offers a folder as S3 (`tests/tools/stores/s3-server`).

    In the folder of the bucket, the object `a/b` is the file `a/b`. `.sgwtmp` belongs to versitygw: it has the parts of
    multipart uploads as `multipart/SHA256-OF-KEY/ID/NUMBER`, and the key in an attribute of the second folder.
    """

    def __init__(self, folder: Path) -> None:
        root = folder / "s3"
        self._bucket = root / BUCKET
        # A folder is a bucket.
        self._bucket.mkdir(parents=True)
        self.url = f"s3://{BUCKET}"
        self.access_key = secrets.token_hex(8)
        self.secret_key = secrets.token_hex(16)
        port = free_port()
        self.process = Process(
            [str(require_tool("s3-server")), f"127.0.0.1:{port}", str(root)],
            port,
            folder / "s3-server.log",
            {"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key},
        )

    def options(self, port: int | None = None) -> dict[str, str]:
        return {
            "aws_endpoint": f"http://127.0.0.1:{port or self.port}",
            "aws_region": REGION,
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
        }

    def environment(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key, "AWS_REGION": REGION}

    def objects(self) -> dict[str, int]:
        return {
            str(path.relative_to(self._bucket)): path.stat().st_size
            for path in sorted(self._bucket.rglob("*"))
            if path.is_file() and not path.is_relative_to(self._bucket / _TEMPORARY)
        }

    def uploads(self) -> list[Multipart]:
        """Multipart uploads, without those that are just being begun or ended, which have no parts."""
        folders = sorted((self._bucket / _TEMPORARY / "multipart").glob("*/*"))
        return [upload for upload in map(_multipart, folders) if upload is not None]

    def delete(self, key: str) -> None:
        self.path(key).unlink()

    def truncate(self, key: str, size: int) -> None:
        os.truncate(self.path(key), size)

    def path(self, key: str) -> Path:
        """The file with the content of an object."""
        return self._bucket / key


@contextmanager
def versity(folder: Path) -> Iterator[Versity]:
    """Run versitygw with an empty bucket until the block ends. Its files are in `folder`."""
    store = Versity(folder)
    with store.process:
        yield store
