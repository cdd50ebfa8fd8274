"""No message, log or traceback contains a secret, whatever the mistake is.

A marker is at every place where a user may write a password, a token or a key, with every kind of mistake.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import re
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from ociserver import Url
from ociserver.cli import main
from ociserver.client import Client, Credentials, CredentialsError, docker_credentials
from ociserver.config import ConfigError, load_to_build, parse
from ociserver.urls import shown
from tests.cli.process import Serve, clean_environment, serving
from tests.cli.registries.conftest import canned, refused, serve_backend

MARKER: Final = "M4rk3r"
CERTIFICATES: Final = Path(__file__).parent / "certificates"
KEY: Final = f"-----BEGIN PRIVATE KEY-----\n{MARKER}\n-----END PRIVATE KEY-----\n"

CLIENT: Final = '[registry]\nkind = "client"\n'
URL: Final = f'{CLIENT}url = "https://registry.example"\n'

URLS: Final = (
    f"htps://user:{MARKER}@registry.example",
    f"https://user:{MARKER}@registry.example",
    f"https://{MARKER}@registry.example",
    f"https://user:{MARKER}",
    f"https://registry.example:{MARKER}",
    f"https://registry.example?token={MARKER}",
    f"https://registry.example/#{MARKER}",
    f"https://[{MARKER}",
    f"user:{MARKER}@registry.example",
    f"https://user:{MARKER} @registry.example",
)

WRONG: Final = {
    **{f"url: {url}": f'{CLIENT}url = "{url}"' for url in URLS},
    "a URL in a list": f'{CLIENT}url = ["https://user:{MARKER}@registry.example"]',
    "a URL in a table": f'{CLIENT}url = {{ value = "https://user:{MARKER}@registry.example" }}',
    "a URL for a registry": f'registry = "https://user:{MARKER}@registry.example"',
    "a URL for a backend": f'[registry]\nkind = "read-only"\nbackend = "https://user:{MARKER}@registry.example"',
    "a URL for an upstream": '[registry]\nkind = "cache"\nlocal = { kind = "memory" }\n'
    f'upstream = "https://user:{MARKER}@registry.example"',
    "a URL for all hosts": '[registry]\nkind = "cache"\nlocal = { kind = "memory" }\n'
    f'hosts = "https://user:{MARKER}@registry.example"',
    "a URL for a host": '[registry]\nkind = "cache"\nlocal = { kind = "memory" }\n'
    f'[registry.hosts."https://user:{MARKER}@registry.example"]\nkind = "memory"',
    "a URL for a kind": f'[registry]\nkind = "https://user:{MARKER}@registry.example"',
    "a URL for backends": f'[registry]\nkind = "unify"\nbackends = ["https://user:{MARKER}@registry.example", 5]',
    "a key with a user": f'"user:{MARKER}@registry.example" = 1',
    "a password in a list": f'{URL}username = "user"\npassword = ["{MARKER}"]',
    "a password in a table": f'{URL}username = "user"\npassword = {{ plain = "{MARKER}" }}',
    "a password in two tables": f'{URL}username = "user"\npassword = {{ env = "PATH", file = "{MARKER}" }}',
    "a password alone": f'{URL}password = "{MARKER}"',
    "a user alone": f'{URL}username = "{MARKER}"',
    "a user with a colon": f'{URL}username = "user:{MARKER}"\npassword = ""',
    "a password beside a mistake": f'{URL}username = "user"\npassword = "{MARKER}"\nurls = 1',
    "a password of another kind": f'[registry]\nkind = "memory"\npassword = "{MARKER}"',
    "a password that is no TOML": f'{URL}password = "{MARKER}\n',
    "a password without quotes": f"{URL}password = {MARKER}\n",
    "a password for a choice": f'[server]\nlog-level = "{MARKER}"',
    "a password for a number": f'[server]\nport = "{MARKER}"',
    "a password for a truth": f'[server]\naccess-log = "{MARKER}"',
    "a password for a duration": f'[server]\ngraceful-timeout = "{MARKER}"',
    "a password for a size": f'[registry]\nkind = "memory"\nmemory-limit = "{MARKER}"',
    "a password for a prefix": f'[registry]\nkind = "sub"\nprefix = "{MARKER}/"\nbackend = {{ kind = "memory" }}',
    "a password for a list": f'[registry]\nkind = "select"\ninclude = "{MARKER}"\nbackend = {{ kind = "memory" }}',
    # From the environment or another file.
    **{
        f"{key} of {name}": f'{CLIENT}{others}{key} = {{ file = "{name}" }}'
        for key, others in (("url", ""), ("password", 'url = "https://a.example"\nusername = "user"\n'))
        for name in ("key.pem", "not-text", "too-long", "url")
        if (key, name) != ("password", "url")
    },
    "a URL of the environment": f'{CLIENT}url = {{ env = "SECRET_URL" }}',
    "a user of the environment": f'{URL}username = {{ env = "SECRET_USER" }}\npassword = ""',
    "a password of the environment alone": f'{URL}password = {{ env = "SECRET" }}',
    "a certificate's key for its path": '[server]\ntls-cert = "cert.pem"\ntls-key = { file = "key.pem" }',
    "several lines of the environment": '[server]\nhost = { env = "SECRET_KEY" }',
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "key.pem").write_text(KEY)
    (tmp_path / "not-text").write_bytes(MARKER.encode() + b"\xff")
    (tmp_path / "too-long").write_text(MARKER * 20_000)
    (tmp_path / "url").write_text(f"htps://user:{MARKER}@registry.example\n")
    monkeypatch.setenv("SECRET", MARKER)
    monkeypatch.setenv("SECRET_KEY", KEY)
    monkeypatch.setenv("SECRET_URL", URLS[0])
    monkeypatch.setenv("SECRET_USER", f"user:{MARKER}")
    return tmp_path


@pytest.mark.parametrize("name", WRONG)
def test_a_configuration_with_a_mistake(name: str, folder: Path) -> None:
    file = folder / "registry.toml"
    file.write_text(WRONG[name])
    checked = CliRunner().invoke(main, ["config", "check", str(file)])
    assert checked.exit_code == 2, checked.output
    assert checked.stderr.startswith(f"{file}:")
    assert MARKER not in checked.output
    with pytest.raises(ConfigError) as caught:
        load_to_build(file)
    assert MARKER not in "".join(traceback.format_exception(caught.value))
    assert MARKER not in repr(caught.value)


def ran(*arguments: str, **environment: str) -> str:
    """The output of a command that fails."""
    done = subprocess.run(
        [sys.executable, "-m", "ociserver", *arguments],
        env=clean_environment({"HOME": "/nonexistent", "DOCKER_CONFIG": "/nonexistent", **environment}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "text, called",
    [
        (WRONG["url of url"], "registry.url: the URL begins with neither"),
        ('[server]\nhost = { env = "SECRET" }', "server.host of the configuration file"),
        ('[server]\ntls-cert = "key.pem"\ntls-key = { env = "SECRET" }', "tls-cert of the configuration file"),
        (
            '[server]\ntls-cert = "CERT"\ntls-key = "KEY"\ntls-client-ca = { env = "SECRET" }',
            "tls-client-ca of the configuration file",
        ),
        (f'[registry]\nkind = "store"\ndata = "{MARKER * 50}"', "the given folder"),
    ],
    ids=["url", "host", "tls", "client-ca", "data"],
)
def test_a_server_that_does_not_start(text: str, called: str, folder: Path) -> None:
    text = text.replace("CERT", str(CERTIFICATES / "cert.pem")).replace("KEY", str(CERTIFICATES / "key.pem"))
    (folder / "registry.toml").write_text(text)
    said = ran("serve", "--port", "0", "--config", str(folder / "registry.toml"), SECRET=MARKER)
    assert called in said
    assert MARKER not in said


@pytest.mark.parametrize("flag", ["TLS_KEY", "TLS_CERT", "TLS_CLIENT_CA", "HOST"])
def test_a_key_in_the_variable_that_should_name_its_file(flag: str) -> None:
    cert, key = str(CERTIFICATES / "cert.pem"), str(CERTIFICATES / "key.pem")
    others = {
        "TLS_KEY": {"OCISERVER_TLS_CERT": cert},
        "TLS_CERT": {"OCISERVER_TLS_KEY": cert},
        "TLS_CLIENT_CA": {"OCISERVER_TLS_CERT": cert, "OCISERVER_TLS_KEY": key},
        "HOST": {},
    }
    said = ran("serve", "--memory", "--port", "0", **others[flag], **{f"OCISERVER_{flag}": KEY})
    assert f"--{flag.lower().replace('_', '-')}, from its environment variable" in said
    assert MARKER not in said


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_server_in_front_of_a_registry_that_fails(folder: Path) -> None:
    """The server redirects clients to a signed URL that does not answer, and then reloads a file with a mistake."""
    signed = f"http://127.0.0.1:1/blob?X-Signature={MARKER}"
    async with serve_backend(canned(307, b"", location=signed)) as there:
        config = folder / "registry.toml"
        config.write_text(
            f'[server]\nlog-level = "debug"\n[registry]\nkind = "debug"\n[registry.backend]\nkind = "client"\n'
            f'url = "http://{there}"\nusername = "user"\npassword = {{ env = "SECRET" }}\n'
        )
        environment = {"SECRET": MARKER, "HTTPS_PROXY": f"http://user:{MARKER}@127.0.0.1:1"}
        with serving(folder, "--config", str(config), environment=environment) as started:
            # At this log level, granian has already logged another address.
            found = re.search(r"listens on http://localhost:(\d+)", started.wait_for("try it"))
            assert found
            server = dataclasses.replace(started, port=int(found[1]))
            await _asked(server, "/v2/a/manifests/v1")
            await _asked(server, f"/v2/a/blobs/sha256:{'0' * 64}")
            config.write_text(config.read_text().replace("http://", f"htps://user:{MARKER}@"))
            server.signal(signal.SIGHUP)
            server.wait_for("the configuration was not reloaded")
            server.signal(signal.SIGTERM)
            server.exit_status()
            assert "127.0.0.1 port 1 cannot be reached" in server.printed()
            assert MARKER not in server.printed()


async def _asked(server: Serve, path: str) -> None:
    status, body = await asyncio.to_thread(server.get, path)
    assert status == 502
    assert MARKER.encode() not in body


DOCKER: Final = {
    "no JSON": f'{{"auths": {MARKER}',
    "no base64": {"auths": {"HOST": {"auth": f"{MARKER}%"}}},
    "no user": {"auths": {"HOST": {"auth": base64.b64encode(MARKER.encode()).decode()}}},
    "a list": {"auths": {"HOST": {"username": "user", "password": [MARKER]}}},
    "two entries": {"auths": {f"https://HOST/{MARKER}": {}, f"https://HOST/v2/{MARKER}": {}}},
    "under a URL": {"auths": {f"https://HOST/?token={MARKER}": {"auth": "%"}}},
    "a helper": {"credHelpers": {"HOST": f"/bin/{MARKER}"}},
    "a token that cannot be sent": {"auths": {"HOST": {"registrytoken": f"{MARKER}\r\nX: y"}}},
    "a user with a colon": {"auths": {"HOST": {"username": f"user:{MARKER}", "password": MARKER}}},
    "two ways": {"auths": {"HOST": {"username": "user", "password": MARKER, "identitytoken": MARKER}}},
}


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("name", DOCKER)
async def test_credentials_of_docker_with_a_mistake(name: str) -> None:
    config = DOCKER[name]
    text = (config if isinstance(config, str) else json.dumps(config)).replace("HOST", "registry.example")
    with pytest.raises(CredentialsError) as caught:
        await docker_credentials("registry.example", {"DOCKER_AUTH_CONFIG": text})
    assert MARKER not in "".join(traceback.format_exception(caught.value))


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_commands_at_a_registry_that_refuses(folder: Path) -> None:
    """With valid credentials, and with credentials that cannot be read."""
    async with serve_backend(canned(401, b"{}", www_authenticate='Basic realm="a"')) as host:
        right = {"auths": {host: {"auth": base64.b64encode(f"user:{MARKER}".encode()).decode()}}}
        for config in (right, {"auths": {host: {"auth": MARKER}}}):
            (folder / "config.json").write_text(json.dumps(config))
            for command in (("ls", host), ("copy", f"{host}/a:v1", f"{host}/b:v1")):
                said = await asyncio.to_thread(ran, *command, DOCKER_CONFIG=str(folder))
                assert MARKER not in said


@pytest.mark.parametrize("proxy", [f"http://user:{MARKER}@127.0.0.1:1", MARKER])
def test_a_proxy_that_is_not_there(proxy: str) -> None:
    said = ran("ls", "registry.invalid", HTTPS_PROXY=proxy)
    assert "registry.invalid" in said
    assert MARKER not in said


@pytest.mark.parametrize(
    "typed",
    [
        f"https://user:{MARKER}@localhost:5000/a:v1",
        f"user:{MARKER}@localhost:5000/a:v1",
        f"user:{MARKER}@localhost:5000/a@sha256:{'0' * 64}",
        f"https://localhost:5000/a:v1?token={MARKER}",
        f"docker://user:{MARKER}@localhost/a",
    ],
)
@pytest.mark.parametrize("command", ["ls", "tags", "manifest", "referrers", "delete", "copy"])
def test_a_command_line_with_a_password(command: str, typed: str) -> None:
    more = ("localhost:5000/b",) if command == "copy" else ()
    assert MARKER not in refused(command, typed, *more)


@pytest.mark.parametrize("url", URLS)
def test_a_url_with_a_password_in_python(url: str) -> None:
    with pytest.raises(ValueError, match="the URL") as caught:
        Client(url)
    assert MARKER not in "".join(traceback.format_exception(caught.value))
    result = CliRunner().invoke(main, ["bench", url])
    assert (result.exit_code, MARKER in result.output) == (1, False)


def test_the_representations_of_objects() -> None:
    config = parse(f'{URL}username = "{MARKER}"\npassword = "{MARKER}"', Path("registry.toml"))
    held = (
        config,
        Credentials("user", MARKER, MARKER, MARKER),
        Url(f"https://storage.example/blob?X-Signature={MARKER}"),
        config.backend(),
    )
    assert MARKER not in repr(held)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("https://registry.example/a", "https://registry.example/a"),
        (f"https://user:{MARKER}@registry.example/a", "https://***@registry.example/a"),
        (f"https://u:a/{MARKER}@b@registry.example/a", "https://***@registry.example/a"),
        (f"{MARKER}://user:b@registry.example", "***@registry.example"),
        (f"https://registry.example/a?b={MARKER}#{MARKER}", "https://registry.example/a?***"),
        (f"https://registry.example/a#{MARKER}", "https://registry.example/a#***"),
        (f"user:{MARKER}@host:5000/a", "***@host:5000/a"),
        ("host:5000/a@sha256:00", "host:5000/a@sha256:00"),
        (f"u:{MARKER}@host:5000/a@sha256:00", "***@host:5000/a@sha256:00"),
        ("", ""),
    ],
)
def test_the_shown_part_of_a_url(text: str, expected: str) -> None:
    assert shown(text) == expected
