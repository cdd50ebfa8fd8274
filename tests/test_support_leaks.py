"""What a server must not print, whatever starts it in the tests."""

from __future__ import annotations

import sys
from base64 import b64encode
from pathlib import Path
from typing import Final

import pytest

from ociserver.api_keys import new_secret
from ociserver.auth.passwords import hash_password
from tests.auth.registry import basic
from tests.cli.process import serving
from tests.support.leaks import remember, watched

CONFIG: Final = """
[server]
tls-key = "tls.pem"
[auth]
token-keys = [{ file = "one.key" }, { env = "TWO" }]
[registry]
kind = "store"
data = "data"
database = "postgresql://registry:of-the-url@/registry"
database-password = { env = "THREE" }
objects = { url = "s3://bucket", secret-access-key = "of the bucket" }
[upstream]
url = { env = "FOUR" }
username = "user"
password = "of the upstream"
"""
ENVIRONMENT: Final = {"TWO": "the second key", "THREE": "of the database", "FOUR": "https://a:of-the-url-too@example"}
FILES: Final = {
    "tls.pem": "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----\n",
    "one.key": "the first key\n",
    "data/token.key": "made at the start\n",
}
API_KEY: Final = new_secret()
TOKEN: Final = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"


def base64(text: str) -> str:
    return b64encode(text.encode()).decode()


PRINTED: Final = {
    "a key for tokens": "the first key",
    "another from the environment": "the second key",
    "that of the server": "made at the start",
    "the key of a certificate": "MIGHAgEAMBMGByqGSM49",
    "a key with its form": "-----BEGIN EC PRIVATE KEY-----",
    "the password of the database": "of the database",
    "in its URL": "of-the-url",
    "in a URL of the environment": "of-the-url-too",
    "of the bucket": "of the bucket",
    "of an upstream": "of the upstream",
    "in a message in JSON": r"a \"quoted\" one",
    "in a form": "a%20%22quoted%22%20one",
    "the password of an upstream, with its user": base64("user:of the upstream"),
    "one that was sent": "sent by a test",
    **{f"with the user {user}": base64(f"{user}:sent by a test") for user in ("a", "al", "ali")},
    "a short one": base64("alice:secret"),
    "a token": TOKEN,
    "a token as a password": base64(f"gitlab:{TOKEN}"),
    "an API key": API_KEY,
    "an API key with its user": base64(f"robot:{API_KEY}"),
    "any header": "Authorization: Basic YWxpY2U6eHl6MTIzNDU2",
    "any token": "authorization: bearer 0123456789abcdef",
    "any hash of argon2id": hash_password(b"any"),
    "any hash of bcrypt": hash_password(b"any", "bcrypt"),
    "any URL": "https://user:word@registry.example",
    "a signed URL": "https://bucket.example/a?X-Amz-Signature=0a",
}

HARMLESS: Final = f"""
127.0.0.1 "GET /v2/team/app/blobs/uploads/ZGNyYjRVaGZrTHVLRElPMkxkbmRTUTljMjQzOWQzNzMxYzc5" 202 id=a-1 user="alice"
{{"event": "token", "user": "alice", "via": "htpasswd", "scope": "repository:team/app:pull", "client": "127.0.0.1"}}
the upstream https://***@registry.example wants Basic authentication, and the token one.key is of {"sha256:" + "0" * 64}
it takes its secret from THREE, and listens on http://127.0.0.1:5000
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "registry.toml").write_text(CONFIG)
    return tmp_path


def search(folder: Path, printed: str) -> None:
    log = folder / "log"
    with watched(log, ["--config", str(folder / "registry.toml")], ENVIRONMENT):
        log.write_text(f"one line\n{printed}\nanother\n")


@pytest.mark.parametrize("what", PRINTED)
def test_a_secret_is_found(folder: Path, what: str) -> None:
    basic("alice", "sent by a test")
    remember("secret", 'a "quoted" one')
    with pytest.raises(AssertionError, match="printed a secret"):
        search(folder, f"before {PRINTED[what]} behind")


def test_others_are_not(folder: Path) -> None:
    search(folder, HARMLESS)


@pytest.mark.parametrize("printed", ["the first key", "the next key"])
def test_a_key_that_is_replaced_meanwhile(folder: Path, printed: str) -> None:
    def serve() -> None:
        with watched(folder / "log", ["--config", str(folder / "registry.toml")]):
            (folder / "one.key").write_text("the next key")
            (folder / "log").write_text(printed)

    with pytest.raises(AssertionError, match="printed a secret"):
        serve()


def test_variables_and_flags(folder: Path) -> None:
    given = (["--tls-key", str(folder / "tls.pem")], {"REGISTRY_HTTP_SECRET": "of a container"})
    for printed in ("MIGHAgEAMBMGByqGSM49", "of a container"):
        log = folder / "log"
        with pytest.raises(AssertionError, match="printed a secret"), watched(log, *given):
            log.write_text(printed)


def test_a_server_that_prints_one(folder: Path) -> None:
    """The other way to start one is in test_support.py."""
    program = [sys.executable, "-c", "print('http://localhost:1 of the upstream', flush=True); input()"]
    with (
        pytest.raises(AssertionError, match="printed a secret"),
        serving(folder, "--config", str(folder / "registry.toml"), program=program),
    ):
        pass
