"""Reads the credentials that `docker login` and similar commands store (Go: `ociauth.LoadWithEnv`)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from ociserver.client.auth.credentials import Credentials
from ociserver.urls import HUB_HOSTS

__all__ = ["CredentialsError", "docker_credentials"]

HELPER_TIMEOUT_S: Final = 60.0
"""Timeout of a credential helper in seconds. It may open a keychain that asks the user."""

MAX_CONFIG_SIZE: Final = 1024 * 1024
"""Largest file of credentials in bytes."""

_HUB: Final = "https://index.docker.io/v1/"
"""The name under which Docker keeps the credentials of Docker Hub."""

_NOT_FOUND: Final = b"credentials not found in native keychain"


class CredentialsError(Exception):
    """Credentials exist and cannot be read. The message says where and why, and never contains a secret."""


async def docker_credentials(host: str, environment: Mapping[str, str] | None = None) -> Credentials | None:
    """The credentials of a registry, found as Docker and Podman find them; None if there are none.

    The first source that has the host counts: `DOCKER_AUTH_CONFIG` (JSON); `config.json` in the folder
    `DOCKER_CONFIG`, by default `~/.docker`; `$XDG_RUNTIME_DIR/containers/auth.json`.

    Args:
        host: `host` or `host:port`.
        environment: to use instead of that of the process.

    Raises:
        CredentialsError: a source cannot be read, or its helper fails.
    """
    environment = os.environ if environment is None else environment
    for source, config in _configs(environment):
        found = await _find(config, host, source, environment)
        if found is not None:
            return found
    return None


def _configs(environment: Mapping[str, str]) -> list[tuple[str, dict[str, Any]]]:
    texts: list[tuple[str, str | None]] = [("DOCKER_AUTH_CONFIG", environment.get("DOCKER_AUTH_CONFIG"))]
    folder = environment.get("DOCKER_CONFIG")
    home = environment.get("HOME")
    runtime = environment.get("XDG_RUNTIME_DIR")
    paths: list[Path] = []
    if folder:
        paths.append(Path(folder) / "config.json")
    elif home:
        paths.append(Path(home) / ".docker" / "config.json")
    if runtime:
        paths.append(Path(runtime) / "containers" / "auth.json")
    texts += [(str(path), _text(path)) for path in paths]
    return [(source, _object(text, source)) for source, text in texts if text and text.strip()]


def _text(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG_SIZE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CredentialsError(f"{path}: {error.strerror}") from None
    if len(content) > MAX_CONFIG_SIZE:
        raise CredentialsError(f"{path}: larger than {MAX_CONFIG_SIZE} bytes")
    return content.decode(errors="replace")


def _object(text: str, source: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise CredentialsError(f"{source}: not a JSON object")
    return config


async def _find(config: dict[str, Any], host: str, source: str, environment: Mapping[str, str]) -> Credentials | None:
    names = [_HUB, *sorted(HUB_HOSTS)] if host in HUB_HOSTS else [host]
    helpers = _member(config, "credHelpers", source)
    for name in names:
        if isinstance(helpers.get(name), str):
            found = await _ask_helper(helpers[name], name, source, environment)
            if found is None:
                raise CredentialsError(f"{source}: the helper for {name} is not installed")
            return found if found != Credentials() else None
    store = config.get("credsStore")
    if isinstance(store, str) and store:
        found = await _ask_helper(store, names[0], source, environment)
        if found is not None:
            return found if found != Credentials() else None
    entry = _entry(config, names, source)
    return None if entry is None else _read(entry, f"{source}: {names[0]}")


def _entry(config: dict[str, Any], names: list[str], source: str) -> dict[str, Any] | None:
    """The entry of a host: by its name, or else by a URL with that name."""
    auths = _member(config, "auths", source)
    for name in names:
        if isinstance(auths.get(name), dict):
            return cast("dict[str, Any]", auths[name])
    by_url = [key for key in auths if "//" in key and key.partition("//")[2].partition("/")[0] in names]
    if len(by_url) > 1:
        raise CredentialsError(f"{source}: more than one entry for {names[0]}")
    return auths[by_url[0]] if by_url and isinstance(auths[by_url[0]], dict) else None


def _member(config: dict[str, Any], name: str, source: str) -> dict[str, Any]:
    value = {} if config.get(name) is None else config[name]
    if not isinstance(value, dict):
        raise CredentialsError(f"{source}: {name} is not an object")
    return value


def _read(entry: dict[str, Any], where: str) -> Credentials | None:
    fields = {
        name: entry.get(name) or "" for name in ("auth", "username", "password", "identitytoken", "registrytoken")
    }
    if not all(isinstance(value, str) for value in fields.values()):
        raise CredentialsError(f"{where}: a field is not a string")
    user, password = fields["username"], fields["password"]
    if fields["auth"]:
        try:
            text = base64.b64decode(fields["auth"], validate=True).decode()
        except (binascii.Error, ValueError):
            raise CredentialsError(f"{where}: auth is not base64") from None
        user, colon, password = text.partition(":")
        if not colon or not user:
            raise CredentialsError(f"{where}: auth is not a user and a password")
        # Some tools pad the password with NULs.
        password = password.strip("\0")
    if fields["identitytoken"] and user and not fields["auth"]:
        raise CredentialsError(f"{where}: ambiguous auth credentials")
    if fields["identitytoken"]:
        user, password = "", ""
    try:
        found = Credentials(user, password, fields["identitytoken"], fields["registrytoken"])
    except ValueError as error:
        raise CredentialsError(f"{where}: {error}") from None
    return None if found == Credentials() else found


async def _ask_helper(name: str, host: str, source: str, environment: Mapping[str, str]) -> Credentials | None:
    """The answer of `docker-credential-NAME get`: empty credentials if it has none, None if the program is missing."""
    if not name or "/" in name or "\0" in name:
        raise CredentialsError(f"{source}: the credential helper for {host} does not have a valid name")
    program = f"docker-credential-{name}"
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            "get",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=dict(environment),
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CredentialsError(f"{source}: {program}: {error.strerror}") from None
    try:
        async with asyncio.timeout(HELPER_TIMEOUT_S):
            output, _ = await process.communicate(host.encode())
    except TimeoutError:
        raise CredentialsError(f"{source}: {program} did not answer within {HELPER_TIMEOUT_S:g} seconds") from None
    finally:
        # The caller may be cancelled, too.
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        if _NOT_FOUND in output:
            return Credentials()
        raise CredentialsError(f"{source}: {program} failed with status {process.returncode}")
    answer = _object(output.decode(errors="replace"), f"{source}: {program}")
    user, secret = answer.get("Username"), answer.get("Secret")
    if not isinstance(user, str) or not isinstance(secret, str):
        raise CredentialsError(f"{source}: the answer of {program} does not contain Username and Secret")
    return Credentials(refresh_token=secret) if user == "<token>" else Credentials(user, secret)
