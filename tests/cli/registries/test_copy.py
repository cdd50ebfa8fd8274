"""`ociserver copy` between servers: what crane sees at both, which requests were sent, and the messages of failures."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ociserver import Handler, Memory
from tests.cli.process import Serve, clean_environment, serving
from tests.cli.registries.conftest import address, filled, ociserver, ociserver_here, refused, serve_backend
from tests.cli.test_bench_login import Gate
from tests.contract.contents import IMAGE, digest_of, image, push_image, push_manifest, read_blob, tags_of
from tests.copy.images import fill
from tests.serving.uvicorn_here import serve_here
from tests.support.client import Client
from tests.support.tools import require_tool

MIB = 1 << 20
NOWHERE = digest_of(b"is not there")


@pytest.fixture
def crane(tmp_path: Path) -> Client:
    environment = {"HOME": str(tmp_path), "PATH": os.environ.get("PATH", os.defpath), "NO_PROXY": "127.0.0.1"}
    return Client(require_tool("crane"), environment, ("--insecure",))


@pytest.fixture
def regctl(servers: tuple[Serve, Serve], tmp_path: Path) -> Client:
    environment = {"HOME": str(tmp_path), "PATH": os.environ.get("PATH", os.defpath), "NO_PROXY": "127.0.0.1"}
    hosts = [option for server in servers for option in ("--host", f"reg={address(server)},tls=disabled")]
    return Client(require_tool("regctl"), environment, tuple(hosts))


def requests(server: Serve, word: str) -> list[tuple[str, str, int]]:
    """The requests for a repository in the server's log so far."""
    lines = [json.loads(line) for line in server.printed().splitlines() if line.startswith("{")]
    return [
        (line["method"], line["path"], line["status"])
        for line in lines
        if line["message"] == "request" and word in line["path"]
    ]


def test_an_image_is_the_same_for_crane(servers: tuple[Serve, Serve], crane: Client) -> None:
    first, second = servers
    images = filled(first, "copies/image")
    source, target = f"{address(first)}/copies/image", f"{address(second)}/there/image"
    done = ociserver("copy", f"{source}:v1", target)
    assert done.status == 0, done.stderr
    assert done.lines[0] == f"v1  {digest_of(images.index)}"
    assert done.lines[1].startswith("manifests: 3 copied; blobs: 6 copied; ")
    assert crane.run("manifest", f"{target}:v1").encode() == images.index
    for platform in ("linux/amd64", "linux/arm64"):
        arguments = ("--platform", platform, "digest")
        assert crane.run(*arguments, f"{target}:v1") == crane.run(*arguments, f"{source}:v1")
    for digest in (digest_of(b"shared layer"), digest_of(b"layer of arm64")):
        assert crane.run("blob", f"{target}@{digest}") == crane.run("blob", f"{source}@{digest}")
    assert crane.run("ls", target).split() == ["v1"]


def test_a_whole_repository(servers: tuple[Serve, Serve], crane: Client) -> None:
    first, second = servers
    filled(first, "copies/whole")
    source, target = f"{address(first)}/copies/whole", f"{address(second)}/there/whole"
    done = ociserver("copy", "--all-tags", source, target)
    assert done.status == 0, done.stderr
    assert [line.split()[0] for line in done.lines] == ["amd64", "latest", "v1", "manifests:"]
    assert crane.run("ls", target) == crane.run("ls", source)
    for tag in ("amd64", "latest", "v1"):
        assert crane.run("digest", f"{target}:{tag}") == crane.run("digest", f"{source}:{tag}")


def test_referrers_are_seen_by_regctl(servers: tuple[Serve, Serve], regctl: Client) -> None:
    first, second = servers
    images = filled(first, "copies/signed")
    source, target = f"{address(first)}/copies/signed:v1", f"{address(second)}/there/signed:v1"
    assert ociserver("copy", source, target, "--referrers").status == 0
    listed = [regctl.json("artifact", "list", "--format", "body", each)["manifests"] for each in (source, target)]
    assert [entry["digest"] for entry in listed[1]] == [digest_of(images.sbom)]
    assert listed[0] == listed[1]


def test_referrers_at_a_registry_without_the_api(servers: tuple[Serve, Serve], regctl: Client, tmp_path: Path) -> None:
    first, _ = servers
    images = filled(first, "copies/noted")
    with serving(tmp_path, "--disable-referrers-api") as old:
        target = f"{address(old)}/there/noted:v1"
        assert ociserver("copy", f"{address(first)}/copies/noted:v1", target, "--referrers").status == 0
        plain = Client(regctl.program, regctl.environment, ("--host", f"reg={address(old)},tls=disabled"))
        listed = plain.json("artifact", "list", "--format", "body", target)["manifests"]
        assert [entry["digest"] for entry in listed] == [digest_of(images.sbom)]
        assert [entry["digest"] for entry in ociserver("referrers", target, "--json").json["referrers"]] == [
            digest_of(images.sbom)
        ]


def test_one_platform_and_a_digest(servers: tuple[Serve, Serve], crane: Client) -> None:
    first, second = servers
    images = filled(first, "copies/part")
    source, target = f"{address(first)}/copies/part", f"{address(second)}/there/part"
    assert ociserver("copy", "--platform", "linux/arm64", f"{source}:v1", f"{target}:arm").status == 0
    assert crane.run("manifest", f"{target}:arm").encode() == images.arm64
    assert ociserver("copy", f"{source}@{digest_of(images.amd64)}", f"{target}:amd").status == 0
    assert crane.run("manifest", f"{target}:amd").encode() == images.amd64
    # Without a tag, the image is pushed by its digest only.
    done = ociserver("copy", f"{source}@{digest_of(images.index)}", target)
    assert (done.status, done.lines[0]) == (0, f"-  {digest_of(images.index)}")
    assert crane.run("ls", target).split() == ["amd", "arm"]
    assert crane.run("manifest", f"{target}@{digest_of(images.index)}").encode() == images.index


def test_within_a_registry_nothing_is_sent(servers: tuple[Serve, Serve]) -> None:
    first, _ = servers
    filled(first, "copies/mounted/from")
    source, target = f"{address(first)}/copies/mounted/from:v1", f"{address(first)}/copies/mounted/to:v1"
    report = ociserver("copy", source, target, "--json").json
    assert (report["blobs_mounted"], report["blobs_copied"], report["bytes_sent"]) == (6, 0, 0)
    first.wait_for("/copies/mounted/to/manifests/v1")
    sent = [each for each in requests(first, "/copies/mounted/to/") if each[0] in ("POST", "PATCH", "PUT")]
    assert [each for each in sent if "/manifests/" not in each[1]] == [
        ("POST", "/v2/copies/mounted/to/blobs/uploads/", 201)
    ] * 6


def test_existing_contents_are_not_sent_again(servers: tuple[Serve, Serve]) -> None:
    first, second = servers
    images = filled(first, "copies/again")
    source, target = f"{address(first)}/copies/again:v1", f"{address(second)}/there/again:v1"
    ociserver("copy", source, target)
    report = ociserver("copy", source, target, "--json").json
    assert report == {
        "source": source,
        "destination": target,
        "images": [
            {
                "tag": "v1",
                "digest": digest_of(images.index),
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "size": len(images.index),
                "error": None,
            }
        ],
        "blobs_copied": 0,
        "blobs_mounted": 0,
        "blobs_existing": 0,
        "manifests_copied": 0,
        "manifests_existing": 1,
        "bytes_sent": 0,
        "bytes_total": 0,
        "bytes_done": 0,
    }


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serve, Serve]]:
    folders = [tmp_path_factory.mktemp(name) for name in ("from", "to")]
    with (
        serving(folders[0], "--data", str(folders[0] / "data")) as first,
        serving(folders[1], "--data", str(folders[1] / "data"), "--lax-child-references") as second,
    ):
        yield first, second


_PEAK = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "ociserver", *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


def test_a_large_blob_costs_no_more_memory_than_a_small_one(stores: tuple[Serve, Serve]) -> None:
    """192 MiB. Measured by the process's maximum resident size."""
    first, second = stores
    peaks = []
    for name, size in (("small", 1), ("large", 192 * MIB)):
        filled(first, f"{name}/image", random.Random(size).randbytes(min(size, MIB)) * max(size // MIB, 1))
        arguments = ("copy", f"{address(first)}/{name}/image:v1", f"{address(second)}/{name}/image")
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, *arguments],
            env=clean_environment(None),
            capture_output=True,
            text=True,
            check=True,
            timeout=100,
        )
        peaks.append(int(done.stdout))
    # Pieces of 256 KiB at both ends, and the allocator's reserve.
    assert peaks[1] - peaks[0] < 24 * MIB, [peak / MIB for peak in peaks]


def test_a_terminal_shows_a_progress_bar(servers: tuple[Serve, Serve]) -> None:
    first, second = servers
    filled(first, "copies/watched", bytes(8 * MIB))
    arguments = ("copy", f"{address(first)}/copies/watched:v1", f"{address(second)}/there/watched")
    screen, terminal = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "ociserver", *arguments],
        env=clean_environment({"TERM": "xterm"}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=terminal,
    ) as process:
        os.close(terminal)
        drawn = read_to_end(screen)
        assert process.stdout
        printed = process.stdout.read()
    os.close(screen)
    assert process.returncode == 0, drawn
    # Of a small image only the last picture is sure to be drawn.
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn)
    assert re.search(r"copying +━+ +100% \d:\d\d:\d\d 8 MiB of 8 MiB", text), drawn
    # The bar is removed, and the cursor is visible again.
    assert drawn.endswith("\x1b[2K")
    assert "\x1b[?25h" in drawn
    assert [line.split()[0] for line in printed.splitlines()] == [b"v1", b"manifests:"]


def read_to_end(screen: int) -> str:
    pieces = []
    # Linux answers EIO when no process has the terminal open any more.
    with contextlib.suppress(OSError):
        while piece := os.read(screen, 1 << 16):
            pieces.append(piece)
    return b"".join(pieces).decode()


class Breaks:
    """An application that aborts the first large upload half-way."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self.broken = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "PUT" and "/uploads/" in scope["path"] and not self.broken:
            for _ in range(3):
                await receive()
            self.broken += 1
            # uvicorn closes the connection of an application that ends without an answer.
            await send({"type": "http.response.start", "status": 502, "headers": [(b"connection", b"close")]})
            await send({"type": "http.response.body", "body": b""})
            return
        await self._application(scope, receive, send)


@pytest.mark.anyio
async def test_an_aborted_upload_is_repeated() -> None:
    source, target = Memory(), Memory()
    breaks = Breaks(Handler(target))
    large = random.Random(3).randbytes(8 * MIB)
    await push_image(source, "v1", layers=[large], repository="group/app")
    async with serve_backend(Handler(source)) as first, serve_backend(breaks) as second:
        done = await ociserver_here("copy", f"{first}/group/app:v1", f"{second}/group/app", "--json")
    assert done.status == 0, done.stderr
    assert breaks.broken == 1
    assert await read_blob(target, digest_of(large), repository="group/app") == large
    assert done.json["blobs_copied"] == 2
    assert done.json["bytes_sent"] > done.json["bytes_done"] == done.json["bytes_total"]


@pytest.mark.anyio
async def test_credentials_are_those_of_docker_login(tmp_path: Path) -> None:
    """The source requires a token. The destination requires none, and gets none."""
    gate, target = Gate("Bearer"), Memory()
    await fill(gate.handler.backend, "group/app")
    async with serve_here(gate) as site, serve_backend(Handler(target)) as second:
        gate.site = site
        host = site.url.removeprefix("http://")
        refused = await ociserver_here("copy", f"{host}/group/app:v1", f"{second}/group/app", home=tmp_path)
        assert (refused.status, refused.stdout) == (1, b"")
        assert refused.stderr.endswith(f"Try `docker login {host}`.\n")
        (tmp_path / "config.json").write_text(json.dumps({"auths": {host: {"auth": "dXNlcjpzZWNyZXQ="}}}))
        done = await ociserver_here("copy", f"{host}/group/app:v1", f"{second}/group/app", home=tmp_path)
        assert done.status == 0, done.stderr
    assert (await target.get_tag("group/app", "v1")).descriptor.size > 0


@pytest.mark.anyio
async def test_a_tag_that_fails_is_reported_and_the_others_are_copied() -> None:
    source, target = Memory(lax_child_references=True), Memory()
    await fill(source, "some/app")
    await push_manifest(source, image(b"is not there"), IMAGE, "broken", repository="some/app")
    async with serve_backend(Handler(source)) as first, serve_backend(Handler(target)) as second:
        done = await ociserver_here("copy", "--all-tags", f"{first}/some/app", f"{second}/some/app", "--json")
    assert done.status == 1
    errors = {each["tag"]: each["error"] for each in done.json["images"]}
    assert [tag for tag, error in errors.items() if error is None] == ["amd64", "latest", "v1"]
    needed_by = digest_of(image(b"is not there"))
    missing = f"blob {digest_of(b'is not there')}"
    assert errors["broken"] == f"{first}/some/app has no {missing}, which manifest {needed_by} needs"
    assert done.stderr == f"ociserver: broken: {errors['broken']}\n"
    assert await tags_of(target, "some/app") == ["amd64", "latest", "v1"]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("{a}/x:v1", "{b}/x@sha256:" + 64 * "0"), "DST has a digest"),
        (("--all-tags", "{a}/x:v1", "{b}/x"), "--all-tags copies repositories"),
        (("--all-tags", "{a}/x", "{b}/x:v1"), "--all-tags copies repositories"),
        (("{a}/X", "{b}/x"), "is not a reference"),
        (("alpine", "{b}/x"), "write HOST/REPOSITORY, such as localhost:5000/group/project"),
        (("--platform", "linux", "{a}/x", "{b}/x"), "write linux/amd64 or linux/arm/v7"),
        (("--jobs", "0", "{a}/x", "{b}/x"), "0 is not in the range"),
    ],
)
def test_a_command_line_that_is_wrong(arguments: tuple[str, ...], said: str) -> None:
    assert said in refused("copy", *(each.format(a="localhost:5000", b="localhost:5001") for each in arguments))


def test_the_message_for_an_image_that_cannot_be_copied(servers: tuple[Serve, Serve]) -> None:
    first, second = servers
    filled(first, "copies/errors")
    source, target = f"{address(first)}/copies/errors", f"{address(second)}/there/errors"
    for arguments, said in (
        (
            (f"{source}:v9", target),
            f"ociserver: {source} has no tag v9. See `ociserver tags {source}`.\n",
        ),
        (
            (f"{source}@{NOWHERE}", target),
            f"ociserver: {source} has no manifest {NOWHERE}. See `ociserver tags {source}`.\n",
        ),
        (
            (f"{address(first)}/none/x:v1", target),
            f"ociserver: {address(first)} has no repository none/x. See `ociserver ls {address(first)}`.\n",
        ),
        ((f"{source}:v1", "127.0.0.1:1/x"), "127.0.0.1:1/x: 127.0.0.1 port 1 cannot be reached: connection refused. "),
        (("--platform", "linux/s390x", f"{source}:v1", target), "it has linux/amd64, linux/arm64"),
    ):
        done = ociserver("copy", *arguments)
        assert (done.status, done.stdout) == (1, b"")
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert "502" not in done.stderr, "the registry has answered nothing"
