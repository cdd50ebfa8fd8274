"""Values as they stand in the file: what is accepted, and the same as JSON Schema."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict, ValidationInfo, WithJsonSchema

from ociserver._core import is_repository

__all__ = ["Bound", "Count", "Duration", "File", "Flag", "Part", "Port", "Prefix", "Size", "Text"]

_DURATION: Final = r"^[0-9]{1,9}(\.[0-9]{1,9})? ?(ms|s|m|h)?$"
_SIZE: Final = r"^([0-9]{1,15}(\.[0-9]{1,9})? ?([KMGT](iB|B)?|B)?|(100|[0-9]{1,2}) ?%)$"
_PREFIX: Final = "^{0}(/{0})*$".format(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*")
_MOST_S: Final = 10**9 - 1
_MOST_BYTES: Final = 10**15 - 1


class Part:
    """A table of the file. Its keys are its fields, with hyphens; no others are accepted."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        alias_generator=lambda name: name.replace("_", "-"), extra="forbid", use_attribute_docstrings=True
    )


def _text(value: Any, info: ValidationInfo) -> Any:
    """A text, or one from elsewhere, so that what is secret need not stand in the file."""
    match value:
        case {"env": str(name)} if len(value) == 1:
            if name not in os.environ:
                raise ValueError(f"the environment variable {name} is not set")
            return os.environ[name]
        case {"file": str(name)} if len(value) == 1:
            try:
                return (_folder(info) / name).read_text(encoding="utf-8").removesuffix("\n")
            except (OSError, ValueError) as error:
                raise ValueError(f"the file {_folder(info) / name} cannot be read: {error}") from error
        case str():
            return value
    raise ValueError('wants a text, { env = "NAME" } or { file = "PATH" }')


def _file(value: str, info: ValidationInfo) -> Path:
    return _folder(info) / value


def _folder(info: ValidationInfo) -> Path:
    """Where relative paths begin: wherever the server is started, the file says the same."""
    assert info.context
    folder: Path = info.context["folder"]
    return folder


def _duration(value: Any) -> str:
    if _is_number(value, _MOST_S) or (isinstance(value, str) and re.fullmatch(_DURATION, value)):
        return f"{value:.9f}" if isinstance(value, float) else str(value)
    raise ValueError('wants a duration: "500ms", "30s", "5m", "1h", or a number of seconds')


def _size(value: Any) -> str:
    is_count = isinstance(value, int) and _is_number(value, _MOST_BYTES)
    if is_count or (isinstance(value, str) and re.fullmatch(_SIZE, value)):
        return str(value)
    raise ValueError('wants a size: "512MiB", "2GiB", "50%", or a number of bytes')


def _is_number(value: Any, most: int) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most


def _prefix(value: str) -> str:
    if not is_repository(value):
        raise ValueError("wants elements of a repository's name, such as team/project")
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

Text = Annotated[str, BeforeValidator(_text), _TEXT_SCHEMA]
"""A text, `{ env = "NAME" }` or `{ file = "PATH" }`."""

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

Prefix = Annotated[
    str, AfterValidator(_prefix), WithJsonSchema({"type": "string", "pattern": _PREFIX, "maxLength": 255})
]
"""Elements of a repository's name."""
