"""Azurite, Microsoft's emulator of Azure's object storage, with an empty container. Only with FULL_TESTS."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from azure.storage.blob import BlobBlock, ContainerClient

from tests.support.bucket import BUCKET, Multipart, ObjectStore
from tests.support.process import Process
from tests.support.server import free_port
from tests.support.tools import require_tool

__all__ = ["Azurite", "azurite"]

_ACCOUNT: Final = "account"


class Azurite(ObjectStore):
    """The emulator. What it holds is asked with Microsoft's client, because its files are its own format.

    Azure has no multipart uploads with an id: blocks belong to the key, until a list of blocks becomes its content.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.url = f"az://{BUCKET}"
        self._key = base64.b64encode(secrets.token_bytes(32)).decode()
        port = free_port()
        self.process = Process(
            [
                str(require_tool("azurite-blob")),
                "--silent",
                "--disableTelemetry",
                # Newer clients name a version of the API that it does not know yet.
                "--skipApiVersionCheck",
                "--blobPort",
                str(port),
                "--location",
                str(folder / "azurite"),
            ],
            port,
            folder / "azurite.log",
            {"AZURITE_ACCOUNTS": f"{_ACCOUNT}:{self._key}"},
        )
        self.container = ContainerClient(f"{self.endpoint}/{_ACCOUNT}", BUCKET, credential=self._key)

    def options(self, port: int | None = None) -> dict[str, str]:
        return {
            "azure_endpoint": f"http://127.0.0.1:{port or self.port}/{_ACCOUNT}",
            "azure_storage_account_name": _ACCOUNT,
            "azure_storage_account_key": self._key,
        }

    def environment(self) -> dict[str, str]:
        return {"AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": self._key}

    def objects(self) -> dict[str, int]:
        return {blob.name: blob.size for blob in self.container.list_blobs()}

    def uploads(self) -> list[Multipart]:
        return [
            Multipart(blob.name, "", {number: block.size for number, block in enumerate(blocks, 1)})
            for blob in self.container.list_blobs(include=["uncommittedblobs"])
            if (blocks := self._uncommitted(blob.name))
        ]

    def delete(self, key: str) -> None:
        self.container.delete_blob(key)

    def truncate(self, key: str, size: int) -> None:
        blob = self.container.get_blob_client(key)
        blob.upload_blob(blob.download_blob(0, size).readall(), overwrite=True)

    def _uncommitted(self, key: str) -> list[BlobBlock]:
        return self.container.get_blob_client(key).get_block_list("uncommitted")[1]


@contextmanager
def azurite(folder: Path) -> Iterator[Azurite]:
    """Run Azurite with an empty container until the block ends. Its files are in `folder`."""
    store = Azurite(folder)
    with store.process:
        store.container.create_container()
        yield store
