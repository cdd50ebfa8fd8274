"""How each client signs in, pulls, pushes, copies and deletes, and what docs/auth.md lets each user do."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.auth.registry import PASSWORDS, basic
from tests.clients.contents import CHART, IMAGE, Content
from tests.support.client import Client
from tests.support.http import Answer, send, with_query
from tests.support.images import MANIFEST
from tests.support.server import Server
from tests.support.signed_in import docker_config
from tests.support.tap import Exchange, Tap
from tests.support.tools import require_tool


@dataclass(frozen=True, slots=True)
class Tool:
    """A client: its program, and the arguments of each operation; "" if it cannot do that.

    `{image}` is the reference to pull, push, delete or copy from, and `{target}` the one to copy to. `{layout}` is an
    OCI layout with the content, `{file}` its only layer, and `{out}` a folder that exists. `login` gets the password on
    stdin.
    """

    program: str
    options: str
    login: str
    pull: str
    push: str
    copy: str
    delete: str
    content: Content = IMAGE
    mounts: bool = True
    """Whether it mounts the blobs when it copies within a registry."""

    def client(self, home: Path, address: str, who: tuple[str, str] | None) -> Client:
        """The client with a home folder of its own, and with what a login of this user has left there."""
        home.mkdir(exist_ok=True)
        config = home / "config.json"
        config.write_text(docker_config(address, who))
        environment = {
            "HOME": str(home),
            "DOCKER_CONFIG": str(home),
            "REGISTRY_AUTH_FILE": str(config),
            "XDG_RUNTIME_DIR": str(home),
            "TMPDIR": str(home),
            "PATH": os.environ.get("PATH", os.defpath),
            "NO_PROXY": "127.0.0.1",
        }
        if who is not None:
            # Of the library of a daemon, which has no file.
            environment |= {"CLIENT_USER": who[0], "CLIENT_PASSWORD": who[1]}
        return Client(require_tool(self.program), environment, tuple(self.options.format(address=address).split()))

    def words(self, operation: str, **values: object) -> list[str]:
        """The arguments of an operation."""
        text: str = getattr(self, operation)
        values |= {"layout_digest": self.content.digest, "media_type": MANIFEST}
        return [word.format(**values) for word in text.split()]

    def pulled(self, out: Path) -> bool:
        """Whether a pull has written the whole content into this folder."""
        if self.content is CHART:
            chart = out / "chart.tgz"
            return chart.exists() and digest_of(chart.read_bytes()) in self.content.blobs
        blobs = out / "blobs" / "sha256"
        return blobs.exists() and {path.name for path in blobs.iterdir()} >= self.content.files()


_PLAIN: Final = "--src-tls-verify=false --dest-tls-verify=false"
_LOGIN: Final = "--username {user} --password-stdin {address}"

TOOLS: Final = {
    "skopeo": Tool(
        program="skopeo",
        options="--insecure-policy",
        login=f"login --tls-verify=false {_LOGIN}",
        pull=f"copy {_PLAIN} docker://{{image}} oci:{{out}}:v1",
        push=f"copy {_PLAIN} oci:{{layout}}:v1 docker://{{image}}",
        copy=f"copy {_PLAIN} docker://{{image}} docker://{{target}}",
        delete="delete --tls-verify=false docker://{image}",
    ),
    "podman": Tool(
        program="podman-client",
        options="",
        login="login {address} {user}",
        pull="save {image} {out}:v1",
        push="push {layout}:v1 {image}",
        copy="copy {image} {target}",
        delete="delete {image}",
    ),
    "crane": Tool(
        program="crane",
        options="--insecure",
        login=f"auth login {_LOGIN}",
        pull="pull --format oci {image} {out}",
        push="push {layout} {image}",
        copy="copy {image} {target}",
        delete="delete {image}",
    ),
    "oras": Tool(
        program="oras",
        options="",
        login=f"login --plain-http {_LOGIN}",
        pull="cp --from-plain-http --to-oci-layout {image} {out}:v1",
        push="cp --to-plain-http --from-oci-layout {layout}:v1 {image}",
        copy="cp --from-plain-http --to-plain-http {image} {target}",
        delete="manifest delete --plain-http --force {image}",
    ),
    "regctl": Tool(
        program="regctl",
        options="--host reg={address},tls=disabled",
        login="registry login --user {user} --pass-stdin {address}",
        pull="image copy {image} ocidir://{out}:v1",
        push="image copy ocidir://{layout}:v1 {image}",
        copy="image copy {image} {target}",
        delete="tag delete {image}",
    ),
    "helm": Tool(
        program="helm-client",
        options="",
        login="login {address} {user}",
        pull="pull {image} {out}",
        push="push {file} {image}",
        copy="",
        delete="",
        content=CHART,
    ),
    # containerd keeps no credentials: kubelet, docker or nerdctl hand them over with each call.
    "containerd": Tool(
        program="containerd-client",
        options="",
        login="",
        pull="pull {image} {out}",
        push="push {layout} {layout_digest} {media_type} {image}",
        copy="copy {image} {out} {target}",
        delete="",
    ),
}
