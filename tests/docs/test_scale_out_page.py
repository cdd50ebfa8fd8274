"""docs/scale-out.md: a node runs with the configuration of the page, and the policy is one."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
from pathlib import Path

from urllib3 import make_headers, request

from ociserver.config import load
from tests.auth.registry import htpasswd
from tests.cli.process import serving
from tests.docs.pages import block
from tests.support import postgres
from tests.support.bucket import REGION, Versity
from tests.support.server import PROGRAM
from tests.support.tools import ROOT

PAGE = "scale-out.md"


def test_a_node(bucket: Versity, tmp_path: Path) -> None:
    database = postgres.create("scale_out_page")
    for name, text in {
        "db.password": secrets.token_hex(16),
        "s3-key-id": bucket.access_key,
        "s3-secret": bucket.secret_key,
        "token.key": secrets.token_hex(32),
    }.items():
        (tmp_path / name).write_text(text)
    htpasswd(tmp_path).rename(tmp_path / "htpasswd")
    file = tmp_path / "registry.toml"
    changes = {
        '"0.0.0.0"': '"127.0.0.1"',
        "postgresql://registry@db.example/registry": database,
        "s3://registry-contents": bucket.url,
        "https://s3.example": bucket.endpoint,
        '"eu-1"': f'"{REGION}"',
        'shutdown-delay = "10s"\n': "",
    }
    file.write_text(block(PAGE, "[server]", changes))
    tried = subprocess.run([*PROGRAM, "config", "check", str(file), "--connect"], capture_output=True, text=True)
    assert tried.returncode == 0, tried.stderr
    with serving(tmp_path, "--config", str(file)) as server:
        url = f"http://127.0.0.1:{server.port}/v2/"
        assert request("GET", url).status == 401
        assert request("GET", url, headers=make_headers(basic_auth="alice:alice's secret")).status == 200
    assert "main/ociserver" in bucket.objects()


def test_the_name_of_several_servers(tmp_path: Path) -> None:
    text = (ROOT / "docs" / PAGE).read_text()
    (url,) = re.findall(r"`(postgresql://[^`]*[?][^`]*)`", text)
    file = tmp_path / "registry.toml"
    file.write_text(f'[registry]\nkind = "store"\ndatabase = "{url}"\nobjects = {{ url = "s3://bucket" }}\n')
    load(file)


def test_the_policy_allows_what_nodes_do() -> None:
    policy = json.loads(block(PAGE, "{\n", {}))
    on_objects, on_bucket = policy["Statement"]
    assert on_objects["Resource"] == f"{on_bucket['Resource']}/main/*"
    assert 'url = "s3://registry-contents/main"' in block(PAGE, "[server]", {})
