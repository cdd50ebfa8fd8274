"""What the parent does when workers end before they serve, or unnoticed: with workers that do nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cli.process import TIMEOUT_S

PARENT = """
import logging, sys
from ociserver.cli import workers

logging.basicConfig(format="%(message)s")
# What it starts as a worker.
sys.executable = sys.argv[1]
workers.RESTART_S = 0.01
sys.exit(workers.supervise([], int(sys.argv[2]), lambda: print("all serve", flush=True), lambda: True))
"""

WORKER = """#!{python} -IS
import os, signal, sys, time

number, ready, life = (int(part) for part in os.environ["_OCISERVER_WORKER"].split(","))
parent = os.getppid()


def end_before_it_is_known_whether_it_serves():
    '''Killed, and its end of the pipe is still open somewhere.'''
    me = os.getpid()
    if os.fork():
        os.kill(me, signal.SIGKILL)
    time.sleep(0.5)


"""


def supervised(folder: Path, worker: str, count: int = 1) -> tuple[int, list[str]]:
    """How a parent of workers with this program ends, and what it says."""
    program = folder / "worker"
    program.write_text(WORKER.replace("{python}", sys.executable) + worker)
    program.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", PARENT, str(program), str(count)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()


def again(number: int) -> str:
    return f"worker {number} ended by itself with status -9; starting another"


def test_one_that_is_killed_before_it_serves_is_replaced(tmp_path: Path) -> None:
    worker = """
if number < 3:
    os.kill(os.getpid(), signal.SIGKILL)
os.write(ready, b"1")
time.sleep(0.2)
os.kill(parent, signal.SIGTERM)
time.sleep(60)
"""
    assert supervised(tmp_path, worker) == (0, [again(1), again(2), "all serve"])


def test_but_not_for_ever(tmp_path: Path) -> None:
    said = [again(1), again(2), "worker 3 ended by itself with status -9, like those before it"]
    assert supervised(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)") == (9, said)


def test_one_that_cannot_start_has_said_why(tmp_path: Path) -> None:
    assert supervised(tmp_path, "print('no store'); sys.exit(3)") == (3, ["no store"])


def test_a_reload_is_not_for_one_that_has_ended(tmp_path: Path) -> None:
    worker = """
if number == 1:
    end_before_it_is_known_whether_it_serves()
    os.kill(parent, signal.SIGHUP)
    time.sleep(0.2)
    os.write(ready, b"1")
    sys.exit()
os.write(ready, b"1")
time.sleep(0.2)
os.kill(parent, signal.SIGTERM)
time.sleep(60)
"""
    status, said = supervised(tmp_path, worker)
    assert (status, sorted(said)) == (0, ["all serve", again(1)])


def test_a_stop_is_for_the_others_too(tmp_path: Path) -> None:
    worker = """
if number == 1:
    end_before_it_is_known_whether_it_serves()
    os.kill(parent, signal.SIGTERM)
    time.sleep(0.2)
    sys.exit()
time.sleep(60)
"""
    assert supervised(tmp_path, worker, 2) == (9, [])
