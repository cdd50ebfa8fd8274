"""What the parent does when workers end early or unexpectedly. The workers here are small scripts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ociserver import __version__
from tests.cli.process import TIMEOUT_S, run_to_end

PARENT = """
import logging, sys
from ociserver.serve import workers

logging.basicConfig(format="%(message)s")
# What it starts as a worker.
sys.executable = sys.argv[1]
silence_s = float(sys.argv[3])
all_serve = lambda: print("all serve", flush=True)
limits = {"silence_s": silence_s, "graceful_timeout_s": 0.5, "stop_margin_s": 0.5, "restart_s": 0.01}
sys.exit(workers.supervise([], int(sys.argv[2]), all_serve, lambda: True, **limits))
"""

WORKER = """#!{python} -IS
import os, signal, sys, time

_, *numbers = os.environ["_OCISERVER_WORKER"].split(",")
number, place, count, ready, life, *_ = map(int, numbers)
parent = os.getppid()


def end_before_it_is_known_whether_it_serves():
    '''Killed, and its end of the pipe is still open somewhere.'''
    me = os.getpid()
    if os.fork():
        os.kill(me, signal.SIGKILL)
    time.sleep(0.5)


"""


def supervised(folder: Path, worker: str, count: int = 1, silence_s: float = 60) -> tuple[int, list[str]]:
    """Run a parent of workers with this program. Returns its exit status and its output."""
    program = folder / "worker"
    program.write_text(WORKER.replace("{python}", sys.executable) + worker)
    program.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", PARENT, str(program), str(count), str(silence_s)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()


def again(number: int) -> str:
    return f"worker {number} ended unexpectedly with status -9; starting another"


def test_a_worker_that_is_killed_before_it_serves_is_replaced(tmp_path: Path) -> None:
    worker = """
if number < 3:
    os.kill(os.getpid(), signal.SIGKILL)
os.write(ready, b"1")
time.sleep(0.2)
os.kill(parent, signal.SIGTERM)
time.sleep(60)
"""
    assert supervised(tmp_path, worker) == (0, [again(1), again(2), "all serve"])


def test_a_worker_is_not_replaced_forever(tmp_path: Path) -> None:
    said = [again(1), again(2), "worker 3 ended with status -9 before it served, as did 2 before it; stopping"]
    assert supervised(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)") == (9, said)


def test_a_worker_that_cannot_start_has_reported_why(tmp_path: Path) -> None:
    assert supervised(tmp_path, "print('no store'); sys.exit(3)") == (3, ["no store"])


def test_a_worker_of_another_version_than_its_parent_says_what_to_do() -> None:
    done = run_to_end("--memory", environment={"_OCISERVER_WORKER": "0.0.0,of,another,meaning"})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"ociserver: ociserver {__version__} was installed while a server of another version was running. "
        "Restart the server.\n"
    )


def test_a_reload_does_not_signal_a_worker_that_has_ended(tmp_path: Path) -> None:
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


def test_a_stop_reaches_the_other_workers_too(tmp_path: Path) -> None:
    worker = """
if number == 1:
    end_before_it_is_known_whether_it_serves()
    os.kill(parent, signal.SIGTERM)
    time.sleep(0.2)
    sys.exit()
time.sleep(60)
"""
    assert supervised(tmp_path, worker, 2) == (9, [])


def test_a_frozen_worker_is_killed_and_replaced(tmp_path: Path) -> None:
    worker = """
os.write(ready, b"1")
for beat in range(4):
    if number == 1:
        time.sleep(60)
    os.write(ready, b".")
    time.sleep(0.5)
os.kill(parent, signal.SIGTERM)
time.sleep(60)
"""
    said = ["all serve", "worker 1 has not responded for 2 s; killing it and starting another"]
    status, lines = supervised(tmp_path, worker, silence_s=2)
    assert (status, sorted(lines)) == (0, said)


def test_a_worker_that_still_starts_is_not_frozen(tmp_path: Path) -> None:
    worker = """
time.sleep(2.5)
os.write(ready, b"1")
time.sleep(0.2)
os.kill(parent, signal.SIGTERM)
time.sleep(60)
"""
    assert supervised(tmp_path, worker, silence_s=1) == (0, ["all serve"])


def test_a_worker_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    worker = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(ready, b"1")
time.sleep(0.2)
os.kill(parent, signal.SIGTERM)
while True:
    os.write(ready, b".")
    time.sleep(0.5)
"""
    assert supervised(tmp_path, worker) == (9, ["all serve"])
