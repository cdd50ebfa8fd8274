"""Runs one case of cases.json against a server, and reports the differences."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from typing import Any, Final, NotRequired, TypedDict
from urllib.parse import urlencode, urlsplit

from tests.serving.site import TIMEOUT_S, Site

_PIECE: Final = 65536
_BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH"})


class Step(TypedDict):
    """One request. `{loc}` in the path becomes what an earlier step captured; `query` is appended to the URL."""

    method: str
    path: str
    headers: NotRequired[dict[str, str]]
    body: NotRequired[str | None]
    query: NotRequired[dict[str, str]]
    chunked: NotRequired[bool]
    expect_status: NotRequired[int]
    capture: NotRequired[dict[str, str]]


class Expectation(TypedDict):
    """The expected last answer."""

    status: int | list[int]
    headers: NotRequired[dict[str, dict[str, Any]]]
    error_code: NotRequired[str]
    body_json: NotRequired[Any]
    body_text: NotRequired[str]
    body_length: NotRequired[int]


class Case(TypedDict):
    """One case. It starts with an empty registry with these settings."""

    name: str
    setup: list[Step]
    request: Step
    expect: Expectation
    server_options: NotRequired[dict[str, Any]]
    registry_options: NotRequired[dict[str, Any]]
    backend: NotRequired[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: HTTPMessage
    body: bytes


def run(case: Case, site: Site, registry: str) -> list[str]:
    """Run a case over the registry with this name. Returns the differences: none if it passes."""
    _make_registry(case, site, registry)
    captured: dict[str, str] = {}
    for number, step in enumerate(case["setup"]):
        answer = _send(site, step, captured)
        wanted = step.get("expect_status", answer.status)
        if answer.status != wanted:
            got = f"expected {wanted}, got {answer.status}: {answer.body!r}"
            return [f"setup {number}, {step['method']} {step['path']}: {got}"]
        for name, header in step.get("capture", {}).items():
            # An error may omit the Location; the previous one is then still valid (spec: pushing a blob in chunks).
            captured[name] = answer.headers.get(header) or captured[name]
    return list(_differences(case["expect"], _send(site, case["request"], captured)))


def _make_registry(case: Case, site: Site, registry: str) -> None:
    settings = {
        "registry": registry,
        "registry_options": case.get("registry_options") or {},
        "server_options": case.get("server_options") or {},
        "backend": case.get("backend"),
    }
    step = Step(method="POST", path="/case", body=json.dumps(settings))
    answer = _send(site, step, {})
    assert answer.status == 204, f"the application could not make the registry of the case: {answer}"


def _send(site: Site, step: Step, captured: Mapping[str, str]) -> Answer:
    path = step["path"].format(**captured)
    parts = urlsplit(path)
    if parts.netloc:
        # An absolute Location must name this server.
        assert parts.netloc == urlsplit(site.url).netloc
        path = parts._replace(scheme="", netloc="").geturl()
    if "query" in step:
        path += ("&" if "?" in path else "?") + urlencode(step["query"], safe=":")
    text = step.get("body")
    body = None if text is None else text.encode()
    connection = HTTPConnection(site.host, site.port, timeout=TIMEOUT_S)
    try:
        connection.putrequest(step["method"], path, skip_accept_encoding=True)
        for name, value in _headers(step, body).items():
            connection.putheader(name, value)
        connection.endheaders()
        if step.get("chunked"):
            _send_in_chunks(connection, body or b"")
        elif body:
            connection.send(body)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def _headers(step: Step, body: bytes | None) -> dict[str, str]:
    headers = dict(step.get("headers", {}))
    if step.get("chunked"):
        headers.pop("Content-Length", None)
        return headers | {"Transfer-Encoding": "chunked"}
    if body is not None or step["method"] in _BODY_METHODS:
        headers.setdefault("Content-Length", str(len(body or b"")))
    return headers


def _send_in_chunks(connection: HTTPConnection, body: bytes) -> None:
    for start in range(0, len(body), _PIECE):
        piece = body[start : start + _PIECE]
        connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
    connection.send(b"0\r\n\r\n")


def _differences(expected: Expectation, answer: Answer) -> Iterator[str]:
    for key, wanted in expected.items():
        if key == "status":
            right = answer.status in (wanted if isinstance(wanted, list) else [wanted])
        elif key == "headers":
            yield from _header_differences(expected["headers"], answer.headers)
            right = True
        elif key == "body_length":
            right = len(answer.body) == wanted
        elif key == "body_text":
            right = answer.body.decode(errors="replace") == wanted
        elif key == "body_json":
            right = _json(answer) == wanted
        elif key == "error_code":
            right = _error_code(answer) == wanted
        else:
            raise ValueError(f"unknown expectation: {key}")
        if not right:
            yield f"{key}: expected {wanted!r}, got {answer.status} with {answer.body[:300]!r}"


def _header_differences(expected: Mapping[str, Mapping[str, Any]], headers: HTTPMessage) -> Iterator[str]:
    for name, matchers in expected.items():
        values = headers.get_all(name, [])
        for matcher, wanted in matchers.items():
            if matcher == "absent":
                right = not values
            elif matcher == "equals":
                right = values[:1] == [wanted]
            elif matcher == "regex":
                right = bool(values) and re.search(wanted, values[0]) is not None
            elif matcher == "list_contains":
                right = set(wanted) <= {item.strip() for value in values for item in value.split(",")}
            else:
                raise ValueError(f"unknown matcher: {matcher}")
            if not right:
                yield f"header {name}: expected {matcher} {wanted!r}, got {values}"


def _json(answer: Answer) -> Any:
    try:
        return json.loads(answer.body)
    except ValueError:
        return None


def _error_code(answer: Answer) -> str | None:
    try:
        code: str = _json(answer)["errors"][0]["code"]
    except (TypeError, KeyError, IndexError):
        return None
    return code
