"""A registry of two nodes over PostgreSQL and a bucket, behind nginx, on this machine alone: `make serve-cluster`.

It is for trying out, and to read: it does by hand what an operator of a cluster sets up once. Everything listens on
127.0.0.1, without users and rights. All files are in one folder: those of PostgreSQL, those of the bucket, the
configuration files, which are those beside this program, and the logs. Ctrl-C stops everything.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
TOOLS: Final = HERE.parents[1] / ".tools" / "bin"
Command = Sequence[str | Path]

START_S: Final = 30.0
STOP_S: Final = 45.0
"""Longer than the time that requests of a node have to finish."""


TRY: Final = """
Logs and data are in {folder}. Try:

  docker pull alpine && docker tag alpine localhost:{port}/alpine && docker push localhost:{port}/alpine
  ociserver tags localhost:{port}/alpine

  # X-Node is the node that has answered.
  curl -s -D - http://localhost:{port}/v2/

  # Without the first node, everything above still works. The second line starts it again.
  kill -9 {pid}
  {again}

Ctrl-C stops everything. A temporary folder is then deleted."""


class Failed(Exception):
    """Something cannot be started. The message says what, and what to do."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0], allow_abbrev=False)
    parser.add_argument("--port", type=int, default=5000, help="where nginx listens (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="keep everything in this folder (default: a temporary one)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            folder = arguments.folder or Path(stack.enter_context(temporary_folder("ociserver-cluster-")))
            serve(stack, folder.absolute(), arguments.port)
            while True:
                signal.pause()
    except KeyboardInterrupt:
        print("stopped", flush=True)
    except Failed as failed:
        sys.exit(f"serve-cluster: {failed}")


def serve(stack: ExitStack, folder: Path, port: int) -> None:
    """Start everything. The end of `stack` stops it in the opposite order."""
    programs = find_programs()
    folder.mkdir(parents=True, exist_ok=True)
    if os.getuid() == 0:
        folder.chmod(0o711)  # PostgreSQL runs as another user, which needs the way to its files
    if not is_free(port):
        raise Failed(f"port {port} is in use: choose another one with --port")
    bucket, *nodes = free_ports(3)

    database = start_postgres(stack, programs["postgres"].parent, folder)
    say("PostgreSQL", f"socket in {database}")
    key_id, secret = start_bucket(stack, programs["s3-server"], folder, bucket)
    say("bucket", f"http://127.0.0.1:{bucket}")

    write_private(folder / "s3-key-id", key_id)
    write_private(folder / "s3-secret", secret)
    configuration = folder / "registry.toml"
    fill_in("registry.toml", configuration, DATABASE=database, BUCKET=bucket)
    commands: list[Command] = [
        [programs["ociserver"], "serve", "--config", configuration, "--port", str(node)] for node in nodes
    ]
    processes = []
    for number, (node, command) in enumerate(zip(nodes, commands, strict=True), 1):
        is_ready = partial(answers, node, "/readyz")
        pid = stack.enter_context(running(f"node {number}", command, folder / f"node-{number}.log", is_ready))
        say(f"node {number}", f"http://127.0.0.1:{node}, process {pid}")
        processes.append(pid)

    # Otherwise its worker would have no right to the files of root.
    user = "user root;" if os.getuid() == 0 else ""
    fill_in("nginx.conf", folder / "nginx.conf", USER=user, FOLDER=folder, PORT=port, NODE_1=nodes[0], NODE_2=nodes[1])
    balancer: Command = [programs["nginx"], "-c", folder / "nginx.conf", "-e", folder / "nginx.log"]
    stack.enter_context(running("nginx", balancer, folder / "nginx.log", partial(answers, port, "/readyz")))
    say("nginx", f"http://localhost:{port}")
    print(TRY.format(folder=folder, port=port, pid=processes[0], again=" ".join(map(str, commands[0]))), flush=True)


def find_programs() -> dict[str, Path]:
    """The programs that are needed.

    Raises:
        Failed: some are missing.
    """
    folders = f"{TOOLS}{os.pathsep}{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin"
    # Debian has a folder for each version of PostgreSQL, which is not in PATH.
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    at = {
        "ociserver": str(Path(sys.executable).parent),
        "postgres": str(versions[-1]) if versions else folders,
        "s3-server": folders,
        "nginx": folders,
    }
    found = {name: shutil.which(name, path=path) for name, path in at.items()}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise Failed(f"these programs are missing: {', '.join(missing)}. `make tools` installs them, or says how to")
    return {name: Path(path) for name, path in found.items() if path is not None}


def start_postgres(stack: ExitStack, programs: Path, folder: Path) -> Path:
    """Start PostgreSQL, and make the database. Returns the folder of its socket."""
    data = folder / "postgres"
    # Only who may enter this folder can connect. It is elsewhere because the path of a socket must be short.
    sockets = Path(stack.enter_context(temporary_folder("ociserver-pg-")))
    # PostgreSQL refuses to run as root.
    user = "postgres" if os.getuid() == 0 else None
    data.mkdir(mode=0o700, exist_ok=True)
    if user:
        shutil.chown(data, user)
        shutil.chown(sockets, user)
    is_new = not (data / "PG_VERSION").exists()
    if is_new:
        options = ["--auth=trust", "--username=registry", "--encoding=UTF8", "--locale=C", "--no-sync"]
        initialize: Command = [programs / "initdb", "--pgdata", data, *options]
        run(initialize, user)
    options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={sockets}"]
    command: Command = [programs / "postgres", "-D", data, *options]
    ready: Command = [programs / "pg_isready", "--quiet", "--host", sockets]
    stack.enter_context(
        running(
            "PostgreSQL",
            command,
            folder / "postgres.log",
            lambda: subprocess.run(ready, cwd="/", check=False).returncode == 0,
            user=user,
            # At once, without waiting for connections to end.
            stop=signal.SIGINT,
        )
    )
    if is_new:
        run([programs / "createdb", "--host", sockets, "--username=registry", "registry"], user)
    return sockets


def start_bucket(stack: ExitStack, program: Path, folder: Path, port: int) -> tuple[str, str]:
    """Start an object store with one bucket. Returns its keys."""
    # A folder is a bucket.
    (folder / "s3" / "registry").mkdir(parents=True, exist_ok=True)
    key_id, secret = secrets.token_hex(8), secrets.token_hex(16)
    stack.enter_context(
        running(
            "the bucket",
            [program, f"127.0.0.1:{port}", folder / "s3"],
            folder / "s3.log",
            lambda: not is_free(port),
            environment={"ROOT_ACCESS_KEY": key_id, "ROOT_SECRET_KEY": secret},
        )
    )
    return key_id, secret


@contextmanager
def running(
    name: str,
    command: Command,
    log: Path,
    is_ready: Callable[[], bool],
    *,
    user: str | None = None,
    environment: Mapping[str, str] | None = None,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[int]:
    """Run a program until the block ends. Yields the id of its process when it is ready."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            env={**os.environ, **(environment or {})},
            user=user,
            # So that a Ctrl-C reaches only this program, which stops the others in order.
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_S
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"{name} does not start. The end of {log}:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)
        yield process.pid
    finally:
        process.send_signal(stop)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run(command: Command, user: str | None) -> None:
    done = subprocess.run(command, user=user, cwd="/", capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{command[0]} has failed: {done.stderr or done.stdout}")


@contextmanager
def temporary_folder(prefix: str) -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix=prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fill_in(name: str, to: Path, **values: object) -> None:
    """Write one of the files beside this program with values for its words between @."""
    text = (HERE / name).read_text()
    for word, value in values.items():
        text = text.replace(f"@{word}@", str(value))
    to.write_text(text)


def write_private(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)


def free_ports(number: int) -> list[int]:
    """Ports that nothing uses."""
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [each.getsockname()[1] for each in taken]


def is_free(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) != 0


def answers(port: int, path: str) -> bool:
    """Whether a server answers a path with 200."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def say(what: str, where: str) -> None:
    print(f"{what:12}{where}", flush=True)


if __name__ == "__main__":
    main()
