"""The types of values in the file: for the parser, and as JSON Schema."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict, ValidationInfo, WithJsonSchema
from pydantic.config import JsonDict

from ociserver._core import is_repository
from ociserver.auth.fetching import check_url
from ociserver.units import DURATION_PATTERN, MAX_PORT, PERCENT_PATTERN, SIZE_PATTERN
from ociserver.urls import check_host, parse_registry_url, shown

__all__ = [
    "HOSTS_SCHEMA",
    "Bound",
    "BucketUrl",
    "Count",
    "DatabaseUrl",
    "DocumentUrl",
    "Duration",
    "File",
    "FilledText",
    "Flag",
    "Host",
    "Networks",
    "Part",
    "Port",
    "Prefix",
    "Size",
    "Text",
    "TokenHost",
    "Url",
]

_DURATION: Final = f"^{DURATION_PATTERN}$"
_SIZE: Final = f"^({SIZE_PATTERN}|{PERCENT_PATTERN})$"
_PREFIX: Final = "^{0}(/{0})*$".format(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*")
_HOST: Final = "^{0}(:[0-9]+)?(/{0})*$".format(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*")
_HOST_AND_PORT: Final = r"^[^\s/@?#\\]+$"
_URL: Final = r"^https?://[^\s@?#]+$"
_DOCUMENT_URL: Final = r"^(https://|http://(localhost|127(\.[0-9]+){3}|\[::1\])(:|/|$))[^\s@#]*$"
_DATABASE_URL: Final = r"^postgres(ql)?://\S*$"
_BUCKET_URL: Final = r"^(s3|gs|az)://[^\s/@?#]+(/[^\s@?#]*)?$"
_CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
_CREDENTIALS: Final = f"${_CREDENTIALS_VARIABLE}/"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MAX_S: Final = 10**9 - 1
_MAX_BYTES: Final = 10**15 - 1

MAX_TEXT: Final = 64 * 1024
"""Maximum bytes of a file that contains a value. Passwords and tokens have a few KiB; some files have no end."""


class Part:
    """A table of the file. Its keys are its fields, with hyphens. Other keys are mistakes."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        alias_generator=lambda name: name.replace("_", "-"),
        extra="forbid",
        use_attribute_docstrings=True,
        # Any string may be a secret, whatever its key.
        hide_input_in_errors=True,
    )


def _text(value: Any, info: ValidationInfo) -> Any:
    """A string, possibly from the environment or from another file, so that a secret need not be in this one.

    No message repeats it: it may be a secret, even where none belongs.
    """
    match value:
        case {"env": str(name)} if len(value) == 1:
            origin = f"the environment variable {shown(name)}"
            if name not in os.environ:
                raise ValueError(f"{origin} is not set")
            return _one_line(os.environ[name], origin)
        case {"file": str(name)} if len(value) == 1:
            return _read(_path(name, info))
        case str():
            return value
    raise ValueError('must be a string, { env = "NAME" } or { file = "PATH" }')


def _read(path: Path) -> str:
    origin = f"the file {shown(str(path))}"
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TEXT + 1)
    except OSError as error:
        raise ValueError(f"{origin} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ValueError(f"{origin} cannot be read: its name is not valid") from None
    if len(content) > MAX_TEXT:
        raise ValueError(f"{origin} is larger than {MAX_TEXT} bytes; it must contain only the value")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{origin} is not UTF-8 text") from None
    return _one_line(text.removesuffix("\n").removesuffix("\r"), origin)


def _one_line(text: str, origin: str) -> str:
    """A value from elsewhere. Several lines are something else, such as a key in place of its path."""
    if _CONTROL.search(text):
        raise ValueError(f"{origin} contains several lines or control characters; it must contain only the value")
    return text


def _path(text: str, info: ValidationInfo) -> Path:
    """The path of a file. Credentials of a unit of systemd are where that says."""
    if "\0" in text:
        raise ValueError("must be a path, which has no NUL characters")
    if not text.startswith(_CREDENTIALS):
        return _folder(info) / text
    if _CREDENTIALS_VARIABLE not in os.environ:
        raise ValueError(f"${_CREDENTIALS_VARIABLE} is not set; systemd sets it for a unit with LoadCredential=")
    return Path(os.environ[_CREDENTIALS_VARIABLE]) / text.removeprefix(_CREDENTIALS)


def _url(value: str) -> str:
    parse_registry_url(value)
    return value


def _database_url(value: str) -> str:
    if not re.fullmatch(_DATABASE_URL, value):
        raise ValueError("must be the URL of a database: postgresql://USER@HOST/DATABASE")
    return value


def _bucket_url(value: str) -> str:
    if not re.fullmatch(_BUCKET_URL, value):
        raise ValueError("must be the URL of a bucket: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX")
    return value


def _filled(value: str) -> str:
    if not value:
        raise ValueError("must not be empty")
    return value


def _folder(info: ValidationInfo) -> Path:
    """The folder in which relative paths start, wherever the server is started."""
    assert info.context
    folder: Path = info.context["folder"]
    return folder


def _duration(value: Any) -> str:
    if _is_number(value, _MAX_S) or (isinstance(value, str) and re.fullmatch(_DURATION, value)):
        return f"{value:.9f}" if isinstance(value, float) else str(value)
    raise ValueError('must be a duration, such as "500ms", "30s", "5m" or "1h", or a number of seconds')


def _size(value: Any) -> str:
    is_count = isinstance(value, int) and _is_number(value, _MAX_BYTES)
    if is_count or (isinstance(value, str) and re.fullmatch(_SIZE, value)):
        return str(value)
    raise ValueError('must be a size, such as "512MiB", "2GiB" or "50%", or a number of bytes')


def _is_number(value: Any, maximum: int) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= maximum


def _prefix(value: str) -> str:
    if not is_repository(value):
        raise ValueError("must be the beginning of a repository name, such as team or team/project")
    return value


def _host(value: str) -> str:
    # In a cache, the names of its repositories begin with it, with `_` for the colon of a port.
    if not is_repository(value.replace(":", "_")):
        raise ValueError("must be the host name of a registry, such as docker.io or registry.example:5000")
    return value


def _token_host(value: str) -> str:
    return check_host(value)


_FROM_ELSEWHERE: Final = [
    {
        "type": "object",
        "properties": {name: {"type": "string", "description": text}},
        "required": [name],
        "additionalProperties": False,
    }
    for name, text in (
        ("env", "The environment variable that contains the value."),
        ("file", "The file that contains the value, without the newline at its end."),
    )
]
_TEXT_SCHEMA: Final = WithJsonSchema({"anyOf": [{"type": "string"}, *_FROM_ELSEWHERE]})
_URL_SCHEMA: Final = WithJsonSchema({"anyOf": [{"type": "string", "pattern": _URL}, *_FROM_ELSEWHERE]})


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        # Python's own message repeats the text.
        raise ValueError('must be an address or a network, such as "10.0.0.0/8", without host bits') from None
    return text


Text = Annotated[str, BeforeValidator(_text), _TEXT_SCHEMA]
"""A string, `{ env = "NAME" }` or `{ file = "PATH" }`."""

Url = Annotated[str, AfterValidator(_url), BeforeValidator(_text), _URL_SCHEMA]
"""The URL of a registry, without credentials. Like a `Text`, it may come from elsewhere."""

DatabaseUrl = Annotated[
    str,
    AfterValidator(_database_url),
    BeforeValidator(_text),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": _DATABASE_URL}, *_FROM_ELSEWHERE]}),
]
"""The URL of a database of PostgreSQL. It may contain a password, so no message repeats it."""

BucketUrl = Annotated[
    str,
    AfterValidator(_bucket_url),
    BeforeValidator(_text),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": _BUCKET_URL}, *_FROM_ELSEWHERE]}),
]
"""The URL of a bucket, or of a part of it, without credentials."""

FilledText = Annotated[
    str,
    AfterValidator(_filled),
    BeforeValidator(_text),
    WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, *_FROM_ELSEWHERE]}),
]
"""A `Text` that is not empty."""

DocumentUrl = Annotated[
    str,
    AfterValidator(check_url),
    BeforeValidator(_text),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": _DOCUMENT_URL}, *_FROM_ELSEWHERE]}),
]
"""The URL of a document that decides who is trusted: with `https`, or at a loopback address."""

File = Annotated[Path, BeforeValidator(_path), BeforeValidator(_text), _TEXT_SCHEMA]
"""A path. A relative one starts in the folder of the configuration file. `$CREDENTIALS_DIRECTORY/` is replaced."""

Duration = Annotated[
    str,
    BeforeValidator(_duration),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": _DURATION}, {"type": "number", "minimum": 0, "maximum": _MAX_S}]}
    ),
]
"""As for a flag: "500ms", "30s", "5m", "1h". A number is seconds."""

Size = Annotated[
    str,
    BeforeValidator(_size),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": _SIZE}, {"type": "integer", "minimum": 0, "maximum": _MAX_BYTES}]}
    ),
]
"""As for a flag: "512MiB", "50%". A number is bytes."""

# Strict: "yes" is not true, and "5" is not a number.
Flag = Annotated[bool, Strict()]
Port = Annotated[int, Strict(), Field(ge=0, le=MAX_PORT)]
Count = Annotated[int, Strict(), Field(ge=1)]
Bound = Annotated[int, Strict(), Field(ge=0)]
"""0 is no limit."""

Host = Annotated[str, AfterValidator(_host)]
"""The host name of a registry that a cache mirrors: a key, whose schema is `HOSTS_SCHEMA`."""
HOSTS_SCHEMA: Final[JsonDict] = {"propertyNames": {"pattern": _HOST}}

Networks = list[
    Annotated[
        str,
        AfterValidator(_network),
        WithJsonSchema({"type": "string", "pattern": r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"}),
    ]
]
"""IP addresses or networks in CIDR notation."""

TokenHost = Annotated[str, AfterValidator(_token_host), WithJsonSchema({"type": "string", "pattern": _HOST_AND_PORT})]
"""`host` or `host:port` of a token server."""

Prefix = Annotated[
    str, AfterValidator(_prefix), WithJsonSchema({"type": "string", "pattern": _PREFIX, "maxLength": 255})
]
"""The first elements of a repository name."""
