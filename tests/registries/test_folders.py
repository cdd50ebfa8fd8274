"""`serve` refuses the folder of another registry. The commands in the message copy its images."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.cli.process import run_to_end, serving
from tests.cli.registries.conftest import address, ociserver
from tests.registries.kinds import KINDS, Kind
from tests.support.images import Layout
from tests.support.tools import require_tool


def on_disk(folder: Path) -> Kind:
    """distribution, with its data in this folder."""

    def command(program: Path, own: Path, port: int) -> list[str]:
        arguments = KINDS[0].command(program, own, port)
        config = own / "config.yml"
        config.write_text(config.read_text().replace("inmemory: {}", f"filesystem: {{rootdirectory: {folder}}}"))
        return arguments

    return Kind("distribution 3, on disk", "distribution3", command)


def names(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


def refusal(folder: Path) -> str:
    """The message of `serve` about a folder. It must not change the folder."""
    before = names(folder)
    done = run_to_end("--port", "0", "--data", str(folder))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert names(folder) == before
    return done.stderr


def test_the_folder_of_distribution(tmp_path: Path) -> None:
    layout, theirs = Layout(tmp_path / "layout"), tmp_path / "theirs"
    digest = layout.tag(layout.image(b"layer"), "v1")
    kind = on_disk(theirs)
    with kind.start(tmp_path) as running:
        skopeo("copy", "--dest-tls-verify=false", f"oci:{layout.path}:v1", f"docker://{host(running.url)}/group/app:v1")
    said = refusal(theirs)
    assert "distribution (registry:2, registry:3, Harbor) in docker/registry/v2" in said
    told = re.search(r"`(ociserver copy --all-tags OLD:PORT/NAME NEW:PORT/NAME)`", said)
    assert told
    with kind.start(tmp_path) as running, serving(tmp_path, "--data", str(tmp_path / "ours")) as server:
        arguments = told[1].replace("OLD:PORT/NAME", f"{host(running.url)}/group/app")
        arguments = arguments.replace("NEW:PORT/NAME", f"{address(server)}/group/app")
        assert ociserver(*arguments.split()[1:]).status == 0
        assert ociserver("manifest", "--json", f"{address(server)}/group/app:v1").json["digest"] == digest


def test_an_image_layout(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    digest = layout.tag(layout.image(b"layer"), "v1")
    told = re.search(r"`skopeo (copy oci:DIR:TAG docker://NEW:PORT/NAME:TAG)`", refusal(layout.path))
    assert told
    with serving(tmp_path, "--data", str(tmp_path / "ours")) as server:
        arguments = (
            told[1].replace("DIR:TAG", f"{layout.path}:v1").replace("NEW:PORT/NAME:TAG", f"{address(server)}/a:v1")
        )
        skopeo(*arguments.split(), "--dest-tls-verify=false")
        assert ociserver("manifest", "--json", f"{address(server)}/a:v1").json["digest"] == digest


def host(url: str) -> str:
    return url.removeprefix("http://")


def skopeo(*arguments: str) -> None:
    subprocess.run(
        [require_tool("skopeo"), "--insecure-policy", *arguments], check=True, capture_output=True, timeout=60
    )
