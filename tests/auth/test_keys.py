"""The keys of tokens: which are accepted, how they are replaced, and how processes come to share one."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ociserver.auth.keys import MAX_KEY_BYTES, TokenKeys, new_key, parse_key, read_key

KEY = b"The quick brown fox jumps over the lazy dog"
OLD_KEY = b"Sphinx of black quartz, judge my vow, and again"


def written(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_a_signature_is_that_of_rfc_7515() -> None:
    # RFC 7515, A.1.
    key = from_base64url("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
    signed = (
        b"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"
        b".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    )
    keys = TokenKeys([key])
    wanted = from_base64url("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    assert keys.sign(signed) == keys.mac(keys.ids[0], signed) == wanted


def test_the_newest_key_signs_and_all_verify() -> None:
    keys, old = TokenKeys([KEY, OLD_KEY]), TokenKeys([OLD_KEY])
    assert keys.ids == [*TokenKeys([KEY]).ids, *old.ids]
    assert keys.sign(b"text") == TokenKeys([KEY]).sign(b"text") != old.sign(b"text")
    assert keys.mac(old.ids[0], b"text") == old.sign(b"text")
    assert old.mac(keys.ids[0], b"text") is None
    assert keys.mac("", b"text") is None


def test_derived_keys_differ_by_key_and_purpose() -> None:
    keys = TokenKeys([KEY, OLD_KEY])
    passwords, uploads = keys.derive(b"passwords"), keys.derive(b"uploads")
    assert len({*passwords, *uploads, KEY, OLD_KEY}) == 6
    assert {len(key) for key in passwords} == {32}
    assert keys.derive(b"passwords") == passwords
    assert TokenKeys([OLD_KEY]).derive(b"passwords") == passwords[1:]
    # Nor is one what is signed for somebody.
    assert passwords[0] != keys.sign(b"passwords")


@pytest.mark.parametrize(
    "key, reason",
    [
        (b"", "fewer than 32 bytes"),
        (KEY[:31], "fewer than 32 bytes"),
        (bytes(64), "fewer than 8 different"),
        (b"a" * 64, "fewer than 8 different"),
        (b"abcdefg" * 8, "fewer than 8 different"),
    ],
)
def test_a_weak_key_is_refused(key: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=f"{reason}.*openssl rand -base64 32") as failed:
        TokenKeys([KEY, key])
    assert "key 2" in str(failed.value)
    assert not key or key.decode() not in str(failed.value)


def test_there_has_to_be_a_key_and_each_only_once() -> None:
    with pytest.raises(ValueError, match=r"no key.*openssl rand -base64 32"):
        TokenKeys([])
    with pytest.raises(ValueError, match=r"key 2 .*twice"):
        TokenKeys([KEY, bytes(bytearray(KEY))])


def test_the_shortest_key() -> None:
    assert TokenKeys([KEY[:32]]).ids
    assert TokenKeys([b"abcdefgh" * 4]).ids


def test_no_key_is_shown() -> None:
    shown = f"{TokenKeys([KEY])!r} {TokenKeys([KEY])}"
    assert TokenKeys([KEY]).ids[0] in shown
    assert not [form for form in (KEY.decode(), KEY.hex(), base64.b64encode(KEY).decode()) if form in shown]


@pytest.mark.parametrize("around", ["{}", "{}\n", "{}\r\n", "  {}\t\n\n"])
def test_the_text_of_a_key_is_not_decoded(around: str, tmp_path: Path) -> None:
    for line in (base64.b64encode(bytes(range(32))).decode(), bytes(range(32)).hex(), KEY.decode(), "ä" + KEY.decode()):
        text = around.format(line)
        assert parse_key(text) == read_key(written(tmp_path / "key", text.encode())) == line.encode()


@pytest.mark.parametrize(
    "content, reason",
    [
        (KEY + b"\n" + OLD_KEY, "not one line"),
        (KEY + b"\0", "not one line"),
        (b"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n", "not one line"),
        (b"\xff" + KEY, "not UTF-8"),
        (b"", "fewer than 32 bytes"),
        (b"short", "fewer than 32 bytes"),
        (b"a" * 40, "fewer than 8 different"),
        pytest.param(KEY * (MAX_KEY_BYTES // len(KEY) + 1), f"more than {MAX_KEY_BYTES} bytes", id="large"),
    ],
)
def test_a_file_that_contains_no_key_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    path = written(tmp_path / "key", content)
    with pytest.raises(ValueError, match=f"{reason}.*openssl rand -base64 32") as failed:
        TokenKeys.generate(path)
    assert str(path) in str(failed.value)
    assert failed.value.__context__ is None
    # It stays as it is: another service may need it.
    assert path.read_bytes() == content


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o601, 0o666])
def test_a_file_that_others_may_use_is_refused(mode: int, tmp_path: Path) -> None:
    path = written(tmp_path / "key", KEY, mode)
    with pytest.raises(ValueError, match=f"chmod 600 {path}") as failed:
        TokenKeys.generate(path)
    assert KEY.decode() not in str(failed.value)
    path.chmod(0o400)
    assert TokenKeys.generate(path).ids == TokenKeys([KEY]).ids


@pytest.mark.parametrize("mode", [0o640, 0o660, 0o620, 0o610])
def test_rights_of_the_group_are_taken_away(mode: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Kubernetes gives them to the files of a volume with an fsGroup, at each mount."""
    path = written(tmp_path / "key", KEY, mode)
    assert TokenKeys.generate(path).ids == TokenKeys([KEY]).ids
    assert path.stat().st_mode & 0o777 == 0o600
    assert "rights of its group" in caplog.text
    path.chmod(mode)
    # A key that somebody else has put there keeps its rights, and is refused.
    with pytest.raises(ValueError, match="chmod 600"):
        read_key(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        TokenKeys.generate(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ValueError, match="not a regular file"):
        TokenKeys.generate(tmp_path / "pipe")


def test_a_folder_that_is_missing_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        TokenKeys.generate(tmp_path / "missing" / "key")
    assert not list(tmp_path.iterdir())


def test_a_key_is_created_once(tmp_path: Path) -> None:
    path = tmp_path / "key"
    first = TokenKeys.generate(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    content = path.read_text()
    assert len(base64.b64decode(content)) == 32
    assert TokenKeys.generate(path).ids == first.ids == TokenKeys([parse_key(content)]).ids
    assert path.read_text() == content
    assert TokenKeys.generate(tmp_path / "other").ids != first.ids
    assert new_key() != new_key()


GENERATE = """
import sys
from pathlib import Path
from ociserver.auth.keys import TokenKeys

print("ready", flush=True)
sys.stdin.readline()
print(*[TokenKeys.generate(Path(sys.argv[1], f"key{number}")).ids[0] for number in range(int(sys.argv[2]))])
"""


def test_processes_that_start_together_get_the_same_key(tmp_path: Path) -> None:
    keys = 40
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", GENERATE, str(tmp_path), str(keys)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    try:
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
        found = [process.communicate()[0].split() for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    wanted = [TokenKeys.generate(tmp_path / f"key{number}").ids[0] for number in range(keys)]
    assert found == [wanted] * len(processes)
    assert len(set(wanted)) == len(list(tmp_path.iterdir())) == keys
