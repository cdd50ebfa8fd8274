"""The command line, `ociserver`."""

from __future__ import annotations

import click

from ociserver import __version__
from ociserver.cli.auth import auth
from ociserver.cli.bench import bench
from ociserver.cli.check import check
from ociserver.cli.collect import collect
from ociserver.cli.config import config
from ociserver.cli.copy import copy
from ociserver.cli.delete import delete
from ociserver.cli.ls import ls, tags
from ociserver.cli.manifest import manifest, referrers
from ociserver.cli.serve import serve

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ociserver", message="%(prog)s %(version)s")
def main() -> None:
    """An OCI registry: docker, podman, skopeo, crane, oras and regctl push to it and pull from it."""


for command in (serve, collect, check, copy, delete, ls, tags, manifest, referrers, config, auth, bench):
    main.add_command(command)
