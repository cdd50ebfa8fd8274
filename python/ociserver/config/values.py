"""Values as they stand in the file: what is accepted, and the same as JSON Schema."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict, ValidationInfo, WithJsonSchema
from pydantic.config import JsonDict

from ociserver._core import is_repository
from ociserver.urls import parse_registry_url, shown

__all__ = [
    "HOSTS_SCHEMA",
    "Bound",
    "Count",
    "Duration",
    "File",
    "Flag",
    "Host",
    "Part",
    "Port",
    "Prefix",
    "Size",
    "Text",
    "Url",
]

_DURATION: Final = r"^[0-9]{1,9}(\.[0-9]{1,9})? ?(ms|s|m|h)?$"
_SIZE: Final = r"^([0-9]{1,15}(\.[0-9]{1,9})? ?([KMGT](iB|B)?|B)?|(100|[0-9]{1,2}) ?%)$"
_PREFIX: Final = "^{0}(/{0})*$".format(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*")
_HOST: Final = "^{0}(:[0-9]+)?(/{0})*$".format(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*")
_URL: Final = r"^https?://[^\s@?#]+$"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MOST_S: Final = 10**9 - 1
_MOST_BYTES: Final = 10**15 - 1

MAX_TEXT: Final = 64 * 1024
"""Bytes of a file that a text is taken from. Passwords and tokens have some KiB at most; a file may have no end."""


class Part:
    """A table of the file. Its keys are its fields, with hyphens; no others are accepted."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        alias_generator=lambda name: name.replace("_", "-"),
        extra="forbid",
        use_attribute_docstrings=True,
        # A text may be a secret, whatever key it stands at.
        hide_input_in_errors=True,
    )


def _text(value: Any, info: ValidationInfo) -> Any:
    """A text, or one from elsewhere, so that a secret need not stand in the file.

    No message repeats a text: it may be a secret, or stand where a secret was meant.
    """
    match value:
        case {"env": str(name)} if len(value) == 1:
            origin = f"the environment variable {shown(name)}"
            if name not in os.environ:
                raise ValueError(f"{origin} is not set")
            return _one_line(os.environ[name], origin)
        case {"file": str(name)} if len(value) == 1:
            return _read(_folder(info) / name)
        case str():
            return value
    raise ValueError('must be a text, { env = "NAME" } or { file = "PATH" }')


def _read(path: Path) -> str:
    origin = f"the file {shown(str(path))}"
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TEXT + 1)
    except OSError as error:
        raise ValueError(f"{origin} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ValueError(f"{origin} cannot be read: there is no file of such a name") from None
    if len(content) > MAX_TEXT:
        raise ValueError(f"{origin} has more than {MAX_TEXT} bytes: name one that has the text alone")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{origin} is not UTF-8 text") from None
    return _one_line(text.removesuffix("\n").removesuffix("\r"), origin)


def _one_line(text: str, origin: str) -> str:
    """A text from elsewhere. One of several lines is something else, such as a key, in the place of its path."""
    if _CONTROL.search(text):
        raise ValueError(f"{origin} has more than one line, or control characters: it must have the text alone")
    return text


def _file(value: str, info: ValidationInfo) -> Path:
    return _folder(info) / value


def _url(value: str) -> str:
    parse_registry_url(value)
    return value


def _folder(info: ValidationInfo) -> Path:
    """Where relative paths begin: wherever the server is started, the file says the same."""
    assert info.context
    folder: Path = info.context["folder"]
    return folder


def _duration(value: Any) -> str:
    if _is_number(value, _MOST_S) or (isinstance(value, str) and re.fullmatch(_DURATION, value)):
        return f"{value:.9f}" if isinstance(value, float) else str(value)
    raise ValueError('must be a duration: "500ms", "30s", "5m", "1h", or a number of seconds')


def _size(value: Any) -> str:
    is_count = isinstance(value, int) and _is_number(value, _MOST_BYTES)
    if is_count or (isinstance(value, str) and re.fullmatch(_SIZE, value)):
        return str(value)
    raise ValueError('must be a size: "512MiB", "2GiB", "50%", or a number of bytes')


def _is_number(value: Any, most: int) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most


def _prefix(value: str) -> str:
    if not is_repository(value):
        raise ValueError("must be elements of a repository's name, such as team/project")
    return value


def _host(value: str) -> str:
    # What begins the names of its repositories in a cache, where the colon of a port is written `_`.
    if not is_repository(value.replace(":", "_")):
        raise ValueError("must be the host of a registry, such as docker.io or registry.example:5000")
    return value


_FROM_ELSEWHERE: Final = [
    {
        "type": "object",
        "properties": {name: {"type": "string", "description": text}},
        "required": [name],
        "additionalProperties": False,
    }
    for name, text in (
        ("env", "The environment variable that has the text."),
        ("file", "The file that has the text; the end of its last line does not count."),
    )
]
_TEXT_SCHEMA: Final = WithJsonSchema({"anyOf": [{"type": "string"}, *_FROM_ELSEWHERE]})
_URL_SCHEMA: Final = WithJsonSchema({"anyOf": [{"type": "string", "pattern": _URL}, *_FROM_ELSEWHERE]})

Text = Annotated[str, BeforeValidator(_text), _TEXT_SCHEMA]
"""A text, `{ env = "NAME" }` or `{ file = "PATH" }`."""

Url = Annotated[str, AfterValidator(_url), BeforeValidator(_text), _URL_SCHEMA]
"""The URL of a registry, without credentials; as a `Text`, it may come from elsewhere."""

File = Annotated[Path, BeforeValidator(_file), BeforeValidator(_text), _TEXT_SCHEMA]
"""A path; a relative one begins in the folder of the configuration file."""

Duration = Annotated[
    str,
    BeforeValidator(_duration),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": _DURATION}, {"type": "number", "minimum": 0, "maximum": _MOST_S}]}
    ),
]
"""As a flag takes it: "500ms", "30s", "5m", "1h"; a number is seconds."""

Size = Annotated[
    str,
    BeforeValidator(_size),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": _SIZE}, {"type": "integer", "minimum": 0, "maximum": _MOST_BYTES}]}
    ),
]
"""As a flag takes it: "512MiB", "50%"; a number is bytes."""

# Otherwise "yes" would be true, and "5" a number.
Flag = Annotated[bool, Strict()]
Port = Annotated[int, Strict(), Field(ge=0, le=65535)]
Count = Annotated[int, Strict(), Field(ge=1)]
Bound = Annotated[int, Strict(), Field(ge=0)]
"""0 stands for no bound."""

Host = Annotated[str, AfterValidator(_host)]
"""A registry that a cache stands for: a key, whose schema is `HOSTS_SCHEMA`."""
HOSTS_SCHEMA: Final[JsonDict] = {"propertyNames": {"pattern": _HOST}}

Prefix = Annotated[
    str, AfterValidator(_prefix), WithJsonSchema({"type": "string", "pattern": _PREFIX, "maxLength": 255})
]
"""Elements of a repository's name."""
