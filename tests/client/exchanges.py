"""The credentials that the client sends, for each kind of credentials and each challenge of the registry.

`python -m tests.client.exchanges` prints them as the table of docs/client-auth.md.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from ociserver import Descriptor
from ociserver.client import Basic, Client, Credentials
from tests.client.scripted import Reply
from tests.contract.contents import BINARY, digest_of, pieces_of, read_blob

__all__ = ["EXCHANGES", "Exchange", "table"]

TEXT: Final = b"some content"
DIGEST: Final = digest_of(TEXT)
PULL: Final = "repository:project:pull"

Act = Callable[[Client], Awaitable[object]]


async def pull(client: Client) -> object:
    return await client.get_tag("project", "latest")


async def pull_twice(client: Client) -> object:
    return [await pull(client), await pull(client)]


async def pull_blob(client: Client) -> object:
    return await read_blob(client, DIGEST, None, "project")


async def push(client: Client) -> object:
    return await client.push_manifest("project", b"{}", "application/json", tags=["latest"])


async def push_blob(client: Client) -> object:
    content = bytes(100_000)
    return await client.push_blob("project", Descriptor(BINARY, digest_of(content), 100_000), pieces_of(content))


async def mount(client: Client) -> object:
    return await client.mount_blob("from", "to", DIGEST)


async def delete(client: Client) -> object:
    await client.delete_tag("project", "latest")
    return None


async def list_repositories(client: Client) -> object:
    return [name async for name in client.repositories()]


async def list_tags(client: Client) -> object:
    return [name async for name in client.tags("project")]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One row of the table.

    Args:
        who: the credentials of the client, a key of `IDENTITIES`.
        asks: what the registry does, in words.
        sent: each request in order: its receiver and its credentials, `-` for none.
        ends: the result for the caller.
        registry: the registry's answers. `{registry}`, `{tokens}` and `{elsewhere}` stand for URLs.
        tokens: the token server's answers.
        elsewhere: the answers of a third host.
        act: the client's call.
        tls: the registry has TLS, and the others do not.
    """

    who: str
    asks: str
    sent: tuple[str, ...]
    ends: str
    registry: tuple[Reply, ...] = ()
    tokens: tuple[Reply, ...] = ()
    elsewhere: tuple[Reply, ...] = ()
    act: Act = field(default=pull)
    tls: bool = False


def wants(*challenges: str) -> Reply:
    return Reply(401, [("WWW-Authenticate", challenge) for challenge in challenges])


def bearer(scope: str = PULL, realm: str = "{tokens}/token") -> Reply:
    return wants(f'Bearer realm="{realm}",service="registry",scope="{scope}"')


def token(name: str, **fields: Any) -> Reply:
    return Reply(200, {}, json.dumps({"token": name, "expires_in": 300, **fields}).encode())


FOUND: Final = Reply(200, {}, b"{}")
BLOB: Final = Reply(200, {}, TEXT)
REDIRECT: Final = Reply(307, {"Location": "{elsewhere}/x"})
BASIC: Final = wants('Basic realm="a"')

IDENTITIES: Final[dict[str, dict[str, Any]]] = {
    "no credentials": {},
    "a password": {"credentials": Credentials("user", "password")},
    "a password beyond ASCII": {"credentials": Credentials("user", "paßwort")},
    "a password, sent unasked": {"authorization": Basic("user", "password")},
    "an identity token": {"credentials": Credentials(refresh_token="old")},
    "a registry token": {"credentials": Credentials(access_token="mine")},
}
"""Arguments of `Client`. test_docker.py tests the credentials of `docker login`."""

_BARE: Final = "registry: -"
_BASIC: Final = "registry: Basic user:password"
_ASKED: Final = f"tokens: Basic user:password for {PULL}"
_ASKED_MORE: Final = "tokens: Basic user:password for repository:project:pull,push"
_NEW: Final = "registry: Bearer one"

EXCHANGES: Final = (
    # The registry asks for nothing
    Exchange("a password", "nothing", ("registry: -",), "the content", (FOUND,)),
    Exchange("a password, sent unasked", "nothing", (_BASIC,), "the content", (FOUND,)),
    Exchange("a registry token", "nothing", ("registry: Bearer mine",), "the content", (FOUND,)),
    # Basic
    Exchange("a password", "Basic", (_BARE, _BASIC), "the content", (BASIC, FOUND)),
    Exchange(
        "a password",
        "Basic, for two requests",
        (_BARE, _BASIC, _BASIC),
        "the content",
        (BASIC, FOUND, FOUND),
        act=pull_twice,
    ),
    Exchange("a password", "`BASIC` without a realm", (_BARE, _BASIC), "the content", (wants("BASIC"), FOUND)),
    Exchange(
        "a password beyond ASCII", "Basic", (_BARE, "registry: Basic user:paßwort"), "the content", (BASIC, FOUND)
    ),
    Exchange(
        "a password",
        "`Negotiate abc==, Basic realm=a` in one header",
        (_BARE, _BASIC),
        "the content",
        (wants("Negotiate abc==, Basic realm=a"), FOUND),
    ),
    Exchange(
        "a password",
        "Digest and Basic, in two headers",
        (_BARE, _BASIC),
        "the content",
        (wants('Digest realm="a", nonce="b,c"', "Basic"), FOUND),
    ),
    Exchange("a password", "Basic, and refuses it", (_BARE, _BASIC), "UNAUTHORIZED", (BASIC, BASIC)),
    Exchange("a password, sent unasked", "Basic, and refuses it", (_BASIC,), "UNAUTHORIZED", (BASIC,)),
    Exchange("no credentials", "Basic", (_BARE,), "UNAUTHORIZED", (BASIC,)),
    Exchange("an identity token", "Basic", (_BARE,), "UNAUTHORIZED", (BASIC,)),
    Exchange("a password", "Digest", (_BARE,), "UNAUTHORIZED", (wants('Digest realm="a", nonce="b"'),)),
    Exchange("a password", "401 without a challenge", (_BARE,), "UNAUTHORIZED", (Reply(401),)),
    Exchange("a password", "a challenge with invalid syntax", (_BARE,), "UNAUTHORIZED", (wants('"""'),)),
    Exchange("a password", "403", (_BARE,), "DENIED", (Reply(403),)),
    # Bearer
    Exchange("a password", "Bearer", (_BARE, _ASKED, _NEW), "the content", (bearer(), FOUND), (token("one"),)),
    Exchange(
        "no credentials",
        "Bearer",
        (_BARE, f"tokens: - for {PULL}", _NEW),
        "the content",
        (bearer(), FOUND),
        (token("one"),),
    ),
    Exchange(
        "a password",
        "Bearer; the token is an `access_token`",
        (_BARE, _ASKED, _NEW),
        "the content",
        (bearer(), FOUND),
        (Reply(200, {}, b'{"access_token":"one"}'),),
    ),
    Exchange(
        "a password",
        "Bearer, without service and scope",
        (_BARE, _ASKED, _NEW),
        "the content",
        (wants('Bearer realm="{tokens}/token"'), FOUND),
        (token("one"),),
    ),
    Exchange(
        "a password",
        '`bearer realm={tokens}/token , scope="..."` with spaces',
        (_BARE, _ASKED, _NEW),
        "the content",
        (wants(f'bearer  realm = {{tokens}}/token ,  scope = "{PULL}"'), FOUND),
        (token("one"),),
    ),
    Exchange(
        "a password",
        "Bearer, with the registry itself as realm",
        (_BARE, f"registry: Basic user:password for {PULL}", _NEW),
        "the content",
        (bearer(realm="{registry}/token"), token("one"), FOUND),
    ),
    Exchange(
        "a password",
        "Bearer, for two requests",
        (_BARE, _ASKED, _NEW, _NEW),
        "the content",
        (bearer(), FOUND, FOUND),
        (token("one"),),
        act=pull_twice,
    ),
    Exchange(
        "a password",
        "Bearer; the token expires at once",
        (_BARE, _ASKED, _NEW, _ASKED, "registry: Bearer two"),
        "the content",
        (bearer(), FOUND, FOUND),
        (token("one", expires_in=1), token("two")),
        act=pull_twice,
    ),
    Exchange(
        "a password",
        "Bearer; the token has no expiry",
        (_BARE, _ASKED, _NEW, _NEW),
        "the content",
        (bearer(), FOUND, FOUND),
        (token("one", expires_in=None),),
        act=pull_twice,
    ),
    Exchange(
        "a password",
        "Bearer; later it refuses the token",
        (_BARE, _ASKED, _NEW, _NEW, _ASKED, "registry: Bearer two"),
        "the content",
        (bearer(), FOUND, bearer(), FOUND),
        (token("one"), token("two")),
        act=pull_twice,
    ),
    Exchange(
        "a password",
        "Bearer, and refuses the new token",
        (_BARE, _ASKED, _NEW),
        "UNAUTHORIZED",
        (bearer(), bearer()),
        (token("one"),),
    ),
    Exchange(
        "a password",
        "Bearer, for less than a push needs",
        (_BARE, _ASKED_MORE, _NEW),
        "the content",
        (bearer(), Reply(201)),
        (token("one"),),
        act=push,
    ),
    Exchange(
        "a password",
        "Bearer, for more than a pull needs",
        (_BARE, _ASKED_MORE, _NEW),
        "the content",
        (bearer("repository:project:pull,push"), FOUND),
        (token("one"),),
    ),
    Exchange(
        "a password",
        "Bearer; the token server refuses a scope that the registry did not name",
        (
            _BARE,
            "tokens: Basic user:password for repository:other:pull repository:project:pull",
            "tokens: Basic user:password for repository:other:pull",
            _NEW,
        ),
        "the content",
        (bearer("repository:other:pull"), FOUND),
        (Reply(401), token("one")),
    ),
    Exchange(
        "a password",
        "Bearer, for a mount",
        (_BARE, "tokens: Basic user:password for repository:from:pull repository:to:pull,push", _NEW, _NEW),
        "the content",
        (bearer("repository:to:pull,push"), Reply(201), Reply(200, {"Content-Length": "12"})),
        (token("one"),),
        act=mount,
    ),
    Exchange(
        "a password",
        "Bearer, for a deletion",
        (_BARE, "tokens: Basic user:password for repository:project:delete", _NEW),
        "the content",
        (bearer("repository:project:delete"), Reply(202)),
        (token("one"),),
        act=delete,
    ),
    Exchange(
        "a password",
        "Bearer, for the catalog",
        (_BARE, "tokens: Basic user:password for registry:catalog:*", _NEW),
        "the content",
        (bearer("registry:catalog:*"), Reply(200, {}, b'{"repositories":[]}')),
        (token("one"),),
        act=list_repositories,
    ),
    Exchange(
        "a password",
        "Bearer, for an upload",
        (_BARE, _ASKED_MORE, _NEW, _NEW),
        "the content",
        (bearer("repository:project:pull,push"), Reply(202, {"Location": "/v2/project/blobs/uploads/1"}), Reply(201)),
        (token("one"),),
        act=push_blob,
    ),
    Exchange(
        "a password",
        "Bearer and Basic",
        (_BARE, _BASIC),
        "the content",
        (wants('Bearer realm="{tokens}/token"', "Basic"), FOUND),
    ),
    Exchange(
        "no credentials",
        "Bearer and Basic",
        (_BARE, f"tokens: - for {PULL}", _NEW),
        "the content",
        (wants('Bearer realm="{tokens}/token"', "Basic"), FOUND),
        (token("one"),),
    ),
    Exchange(
        "an identity token",
        "Bearer",
        (_BARE, f"tokens: identity token old for {PULL}", _NEW),
        "the content",
        (bearer(), FOUND),
        (token("one"),),
    ),
    Exchange(
        "an identity token",
        "Bearer; the token server gives a new identity token",
        (
            _BARE,
            f"tokens: identity token old for {PULL}",
            _NEW,
            f"tokens: identity token new for {PULL}",
            "registry: Bearer two",
        ),
        "the content",
        (bearer(), FOUND, FOUND),
        (token("one", refresh_token="new", expires_in=1), token("two")),
        act=pull_twice,
    ),
    Exchange(
        "an identity token",
        "Bearer; the token server does not support POST",
        (_BARE, f"tokens: identity token old for {PULL}", f"tokens: - for {PULL}", _NEW),
        "the content",
        (bearer(), FOUND),
        (Reply(404), token("one")),
    ),
    Exchange("a registry token", "Bearer", ("registry: Bearer mine",), "UNAUTHORIZED", (bearer(),)),
    # Token servers that fail
    Exchange(
        "a password",
        "Bearer; the token server answers 401",
        (_BARE, _ASKED),
        "UNAUTHORIZED",
        (bearer(),),
        (Reply(401),),
    ),
    Exchange(
        "a password",
        "Bearer; the token server answers 403",
        (_BARE, _ASKED),
        "UNAUTHORIZED",
        (bearer(),),
        (Reply(403),),
    ),
    Exchange(
        "a password",
        "Bearer; the token server answers 503, then gives a token",
        (_BARE, _ASKED, _ASKED, _NEW),
        "the content",
        (bearer(), FOUND),
        (Reply(503), token("one")),
    ),
    Exchange("a password", "Bearer; the token server answers 500", (_BARE, _ASKED), "502", (bearer(),), (Reply(500),)),
    Exchange(
        "a password",
        "Bearer; the token server gives no token",
        (_BARE, _ASKED),
        "502",
        (bearer(),),
        (Reply(200, {}, b"{}"),),
    ),
    Exchange(
        "a password",
        "Bearer; the token contains a line break",
        (_BARE, _ASKED),
        "502",
        (bearer(),),
        (token("a\r\nX: y"),),
    ),
    Exchange(
        "a password",
        "Bearer; the token server redirects elsewhere",
        (_BARE, _ASKED),
        "502",
        (bearer(),),
        (Reply(307, {"Location": "{elsewhere}/token"}),),
    ),
    Exchange(
        "a password",
        "Bearer; the realm is `file:///etc/passwd`",
        (_BARE,),
        "502",
        (bearer(realm="file:///etc/passwd"),),
    ),
    Exchange(
        "a password", "Bearer; the realm contains a user", (_BARE,), "502", (bearer(realm="http://a:b@localhost/"),)
    ),
    Exchange("a password", "over TLS: Bearer; the realm is without TLS", (_BARE,), "502", (bearer(),), tls=True),
    # Other hosts
    Exchange(
        "a password, sent unasked",
        "redirects a blob elsewhere",
        (_BASIC, "elsewhere: -"),
        "the content",
        (Reply(307, {"Location": "{elsewhere}/x?signature=y"}),),
        elsewhere=(BLOB,),
        act=pull_blob,
    ),
    Exchange(
        "a registry token",
        "redirects a blob elsewhere",
        ("registry: Bearer mine", "elsewhere: -"),
        "the content",
        (REDIRECT,),
        elsewhere=(BLOB,),
        act=pull_blob,
    ),
    Exchange(
        "a password",
        "Bearer, then redirects elsewhere",
        (_BARE, _ASKED, _NEW, "elsewhere: -"),
        "the content",
        (bearer(), REDIRECT),
        (token("one"),),
        (BLOB,),
        act=pull_blob,
    ),
    Exchange(
        "a password, sent unasked",
        "redirects elsewhere, where Basic is asked for",
        (_BASIC, "elsewhere: -"),
        "UNAUTHORIZED",
        (REDIRECT,),
        elsewhere=(BASIC,),
        act=pull_blob,
    ),
    Exchange(
        "a password",
        "redirects elsewhere, where Basic is asked for",
        (_BARE, "elsewhere: -"),
        "UNAUTHORIZED",
        (REDIRECT,),
        elsewhere=(BASIC,),
        act=pull_blob,
    ),
    Exchange(
        "a password",
        "redirects elsewhere, where Bearer is asked for",
        (_BARE, "elsewhere: -"),
        "UNAUTHORIZED",
        (REDIRECT,),
        elsewhere=(bearer(),),
        act=pull_blob,
    ),
    Exchange(
        "a password, sent unasked",
        "redirects elsewhere, and from there back",
        (_BASIC, "elsewhere: -", _BASIC),
        "the content",
        (REDIRECT, BLOB),
        elsewhere=(Reply(307, {"Location": "{registry}/y"}),),
        act=pull_blob,
    ),
    Exchange(
        "a password, sent unasked",
        "redirects within the registry",
        (_BASIC, _BASIC),
        "the content",
        (Reply(302, {"Location": "/y"}), BLOB),
        act=pull_blob,
    ),
    Exchange(
        "a password, sent unasked",
        "over TLS: redirects to a URL without TLS",
        (_BASIC,),
        "502",
        (REDIRECT,),
        act=pull_blob,
        tls=True,
    ),
    Exchange(
        "a password, sent unasked",
        "over TLS: redirects to itself without TLS",
        (_BASIC,),
        "502",
        (Reply(307, {"Location": "http://localhost/x"}),),
        act=pull_blob,
        tls=True,
    ),
    Exchange(
        "a password, sent unasked",
        "continues an upload elsewhere",
        (_BASIC, "elsewhere: -"),
        "the content",
        (Reply(202, {"Location": "{elsewhere}/upload"}),),
        elsewhere=(Reply(201),),
        act=push_blob,
    ),
    Exchange(
        "a password, sent unasked",
        "continues an upload elsewhere, where Basic is asked for",
        (_BASIC, "elsewhere: -", "elsewhere: -"),
        "UNAUTHORIZED",
        (Reply(202, {"Location": "{elsewhere}/upload"}),),
        elsewhere=(BASIC, Reply(204)),
        act=push_blob,
    ),
    Exchange(
        "a password, sent unasked",
        "names the next page of a list elsewhere",
        (_BASIC,),
        "502",
        (Reply(200, {"Link": "<{elsewhere}/v2/>; rel=next"}, b'{"tags":["a"]}'),),
        act=list_tags,
    ),
)


def table() -> str:
    """Return the rows as a Markdown table."""
    head = ["| credentials | the registry asks for, or does | sent, in this order | the caller gets |"]
    lines = [*head, "| --- | --- | --- | --- |"]
    lines += [f"| {row.who} | {row.asks} | {'; '.join(row.sent)} | {row.ends} |" for row in EXCHANGES]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
