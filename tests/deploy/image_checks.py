"""The container image: push, pull, health, a restart, and what it must not be able to do.

`make test-image` builds the image, and runs these checks. `make test` does not: the image takes minutes.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import bcrypt
import pytest

from tests.cli.process import eventually
from tests.deploy.image import Image, mounted
from tests.support.bucket import versity
from tests.support.cluster import over_bucket
from tests.support.images import Layout
from tests.support.leaks import remember
from tests.support.postgres import Cluster
from tests.support.server import free_port
from tests.support.tools import require_tool

ADDRESS: Final = "REGISTRY_HTTP_ADDR"
USER: Final = 65532
VOLUME: Final = "/var/lib/registry"
SOCKET: Final = ".s.PGSQL.5432"
"""Where PostgreSQL listens, in its folder."""


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    with mounted(os.environ["OCISERVER_IMAGE"]) as image:
        yield image


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A volume as an engine makes it: with the owner of the folder in the image."""
    folder = tmp_path / "volume"
    folder.mkdir()
    os.chown(folder, USER, USER)
    # The folders of pytest are for root alone.
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    return folder


def skopeo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [require_tool("skopeo"), "copy", *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def wait_until_healthy(image: Image, data: Path, variables: dict[str, str], log: Path) -> None:
    eventually(lambda: image.is_healthy(data, variables), "health", log.read_text)


def test_what_it_says(image: Image) -> None:
    assert image.config["User"] == f"{USER}:{USER}"
    assert image.config["Entrypoint"] == ["ociserver"]
    assert image.config["Cmd"] == ["serve"]
    assert list(image.config["ExposedPorts"]) == ["5000/tcp"]
    assert list(image.config["Volumes"]) == [VOLUME]
    assert (image.root / "var/lib/registry").stat().st_uid == USER, "and so will a new volume"


def test_it_contains_nothing_to_install_with(image: Image) -> None:
    installed = image.root / "opt/ociserver"
    assert not list(installed.glob("lib/python3*/site-packages/pip*"))
    assert not list(installed.glob("bin/pip*"))


def test_push_restart_and_pull(image: Image, data: Path, tmp_path: Path) -> None:
    variables = {ADDRESS: f"127.0.0.1:{free_port()}", "REGISTRY_STORAGE_DELETE_ENABLED": "true"}
    log, layout = tmp_path / "log", Layout(tmp_path / "layout")
    pushed = layout.image(b"a layer")
    layout.tag(pushed, "v1")
    name = f"docker://{variables[ADDRESS]}/team/app:v1"
    assert not image.is_healthy(data, variables)
    with image.serving(data, variables, log):
        wait_until_healthy(image, data, variables, log)
        done = skopeo("--dest-tls-verify=false", f"oci:{layout.path}:v1", name)
        assert done.returncode == 0, done.stderr
    with image.serving(data, variables, log):
        wait_until_healthy(image, data, variables, log)
        done = skopeo("--src-tls-verify=false", name, f"oci:{tmp_path / 'pulled'}:v1")
        assert done.returncode == 0, done.stderr
    assert {path.stat().st_uid for path in data.rglob("*")} == {USER}
    assert "Read-only file system" not in log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_database_and_a_bucket(image: Image, data: Path, tmp_path: Path) -> None:
    log, layout = tmp_path / "log", Layout(tmp_path / "layout")
    layout.tag(layout.image(os.urandom(100_000)), "v1")
    database, port = Cluster("fsync=off"), free_port()
    try:
        with versity(tmp_path) as bucket:
            # The volume is the only folder of this machine that the image sees.
            os.link(database.folder / SOCKET, data / SOCKET)
            url = database.create("registry").replace(str(database.folder), VOLUME)
            (data / "registry.toml").write_text(over_bucket(url, bucket))
            file = f"{VOLUME}/registry.toml"
            address = {"OCISERVER_HOST": "127.0.0.1", "OCISERVER_PORT": str(port)}
            variables = {"OCISERVER_CONFIG": file, **address, **bucket.environment()}
            checked = image.run(data, variables, "ociserver", "config", "check", file, "--connect")
            assert checked.returncode == 0, checked.stdout + checked.stderr
            with image.serving(data, variables, log):
                wait_until_healthy(image, data, variables, log)
                name = f"docker://127.0.0.1:{port}/team/app:v1"
                done = skopeo("--dest-tls-verify=false", f"oci:{layout.path}:v1", name)
                assert done.returncode == 0, done.stderr
                assert [size for size in bucket.objects().values() if size > 100_000], "the layer"
                done = skopeo("--src-tls-verify=false", name, f"oci:{tmp_path / 'pulled'}:v1")
                assert done.returncode == 0, done.stderr
    finally:
        database.close()
    assert {path.name for path in data.iterdir()} == {SOCKET, "registry.toml"}, "nothing else is on a disk"


def test_users_of_htpasswd(image: Image, data: Path, tmp_path: Path) -> None:
    remember("alice's secret")
    line = b"alice:" + bcrypt.hashpw(b"alice's secret", bcrypt.gensalt(rounds=5, prefix=b"2a"))
    # Below the volume, since that is the folder of this machine that the image sees.
    (data / ".htpasswd").write_bytes(line)
    variables = {
        ADDRESS: f"127.0.0.1:{free_port()}",
        "REGISTRY_AUTH_HTPASSWD_REALM": "any",
        "REGISTRY_AUTH_HTPASSWD_PATH": f"{VOLUME}/.htpasswd",
    }
    log, layout = tmp_path / "log", Layout(tmp_path / "layout")
    layout.tag(layout.image(b"a layer"), "v1")
    copy = ("--dest-tls-verify=false", f"oci:{layout.path}:v1", f"docker://{variables[ADDRESS]}/app:v1")
    with image.serving(data, variables, log):
        wait_until_healthy(image, data, variables, log)
        refused = skopeo(*copy)
        assert refused.returncode != 0
        assert "denied" in refused.stderr
        done = skopeo("--dest-creds", "alice:alice's secret", *copy)
        assert done.returncode == 0, done.stderr


def test_its_root_cannot_be_written(image: Image, data: Path) -> None:
    script = "import os; print(os.getuid(), os.getpid()); open('/opt/ociserver/x', 'w')"
    done = image.run(data, {}, "/opt/ociserver/bin/python", "-c", script)
    assert done.stdout == f"{USER} 1\n"
    assert "Errno 30" in done.stderr or "Errno 13" in done.stderr
