"""Everything that a `Handler` needs to know who asks, and what they may do."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ociserver.auth import audit
from ociserver.auth.accounts import HtpasswdAccounts
from ociserver.auth.authorization import Basic, InvalidCredentialsError
from ociserver.auth.challenges import TOKEN_PATH, Challenges, token_error, wrong_credentials
from ociserver.auth.credentials import MAX_MEMO, Authenticate, Authenticator
from ociserver.auth.guard import Guard, denied
from ociserver.auth.hashing import Hashing, usable_threads
from ociserver.auth.identity import CATALOG, Action, Grants, Identity
from ociserver.auth.key_accounts import KeyAccounts, KeyStore
from ociserver.auth.keys import TokenKeys, new_key
from ociserver.auth.needs import NEEDS
from ociserver.auth.oidc import OidcProvider
from ociserver.auth.origin import client_of
from ociserver.auth.owned_uploads import UploadOwners
from ociserver.auth.rules import Rule, Rules
from ociserver.auth.scopes import format_scope
from ociserver.auth.throttle import Throttle
from ociserver.auth.token_server import VIA as TOKEN_SERVER
from ociserver.auth.token_server import TokenServer
from ociserver.auth.tokens import LIFETIME_S, IssuedToken, Tokens
from ociserver.auth.watched_file import CHECK_EVERY_S
from ociserver.errors import OCIError
from ociserver.interface import Backend
from ociserver.meter import Meter

if TYPE_CHECKING:
    from ociserver._core import Request
    from ociserver.types import Scope

__all__ = ["SERVICE", "Auth"]

SERVICE: Final = "ociserver"
"""The name of this registry in the token protocol, unless another is given."""

_CHANGES: Final = {
    "manifest_put": "push",
    "upload_blob": "push",
    "upload_complete": "push",
    "blob_mount": "push",
    "manifest_delete": "delete",
    "blob_delete": "delete",
}
"""Kinds of requests that the audit log has."""


class Auth:
    """Who is asking, and what they may do.

    Everybody is denied what no rule allows. With this, `GET /v2/` without credentials is answered with 401, so that
    every client learns how to sign in; clients without an account get a token without one.

    Args:
        rules: who may do what.
        groups: the users of each group.
        htpasswd: a file of users and password hashes (bcrypt or argon2id). It is read again when it changes.
        authenticate: an authenticator of one's own, which is asked before the others.
        token_keys: sign the tokens of this registry. Without them a random key is made, so only this process accepts
            the tokens.
        token_lifetime_s: seconds that a token is valid, from 60 to 86,400.
        service: the name of this registry in the token protocol.
        realm: the URL of the token endpoint. By default `/v2/token` at the host that the client has asked.
        check_every_s: seconds between two looks at the file of users.
        meter: is told of sign-ins and tokens, for metrics.
        throttle: slows down the guessing of passwords; by default one with its own defaults.
        hashing_threads: passwords that are checked at the same time; by default half of the cores.
        clock: the time in seconds since the epoch.
        token_server: issues the tokens in place of this registry, which then has no token endpoint. With rules, its
            tokens only narrow them. Without rules its tokens decide alone, and nobody else may do anything.
        oidc: identity providers whose tokens are accepted, as a token on every endpoint, and as the password of a user
            with the name of the provider.
        api_keys: the API keys of a store, `Store.api_keys`, as passwords of users with the names of the keys. The
            rights of a key are its own: no rule adds to them. None: keys are not accepted.

    Raises:
        ValueError: a setting or the file is wrong.
        ImportError: the packages for password hashes are not installed.
    """

    def __init__(
        self,
        rules: Rules | Sequence[Rule],
        *,
        groups: Mapping[str, Collection[str]] | None = None,
        htpasswd: str | Path | None = None,
        authenticate: Authenticate | None = None,
        token_keys: TokenKeys | None = None,
        token_lifetime_s: float = LIFETIME_S,
        service: str = SERVICE,
        realm: str | None = None,
        check_every_s: float = CHECK_EVERY_S,
        throttle: Throttle | None = None,
        hashing_threads: int | None = None,
        clock: Callable[[], float] = time.time,
        token_server: TokenServer | None = None,
        oidc: Sequence[OidcProvider] = (),
        meter: Meter | None = None,
        api_keys: KeyStore | None = None,
    ) -> None:
        keys = token_keys or TokenKeys([new_key().encode()])
        if not isinstance(rules, Rules):
            rules = Rules(rules, groups, unlimited=TOKEN_SERVER if token_server is not None and not rules else "")
        self._rules = rules
        self._meter = meter or Meter()
        self._has_endpoint = token_server is None
        if token_server is None:
            self._challenges = Challenges(realm, service)
        else:
            self._challenges = Challenges(token_server.realm, token_server.service)
        self._tokens = Tokens(keys, issuer=service, service=service, lifetime_s=token_lifetime_s, clock=clock)
        self._owners = UploadOwners(keys.derive(b"uploads"))
        accounts = None
        if htpasswd is not None:
            hashing = Hashing(hashing_threads or usable_threads())
            accounts = HtpasswdAccounts(Path(htpasswd), check_every_s, throttle or Throttle(), hashing)
        self._authenticator = Authenticator(
            self._tokens,
            accounts,
            authenticate,
            check_every_s,
            clock,
            token_server=token_server,
            oidc=oidc,
            meter=self._meter,
            keys=None if api_keys is None else KeyAccounts(api_keys, clock),
        )

    @property
    def token_path(self) -> str | None:
        """The path of the token endpoint, below the prefix where the handler is mounted; None: there is none."""
        return TOKEN_PATH if self._has_endpoint else None

    def guard(self, backend: Any) -> Backend:
        """The backend as the client of the current request may use it."""
        return Guard(backend, self._rules, self._owners)

    # Requests

    async def identify(self, scope: Scope, request: Request) -> Identity:
        """Who sends a request.

        Raises:
            OCIError: UNAUTHORIZED with a challenge, if the credentials are wrong; UNAUTHORIZED/400 if there are
                several; TOOMANYREQUESTS if the client has to wait.
        """
        try:
            return await self._authenticator.identify(scope)
        except InvalidCredentialsError as error:
            what = token_error(scope)
            if what is not None:
                self._meter.signed_in("token", "refused")
                audit.record("token-refused", reason=str(error), client=client_of(scope))
            raise self._challenges.unauthorized(scope, request, str(error), what) from None

    def check(self, scope: Scope, request: Request, identity: Identity) -> None:
        """Whether a client may make a request, as far as its kind, repository and tags say.

        `Guard` decides again at each call of the backend. This is for the answers that are not the backend's, and so
        that no body is read for nothing.

        Raises:
            OCIError: UNAUTHORIZED with a challenge, if signing in, or another token, would help; DENIED if not.
        """
        refusal = self._refusal(scope, request, identity)
        if refusal is not None:
            raise refusal

    def admit_nowait(self, authorization: bytes | None, repository: str) -> Identity | None:
        """The identity of a client that may read everything in a repository. None: ask `identify`. In any thread.

        Args:
            authorization: the value of the only Authorization header.
            repository: the repository to read from.
        """
        known = self._authenticator.identify_nowait(authorization)
        if known is None:
            return None
        allowed = known.pulls.get(repository)
        if allowed is None:
            identity = known.identity
            allowed = identity.permits("pull", repository) and self._rules.pulls_every_tag(identity, repository)
            if allowed:
                # Not what is denied: a client could ask for any number of names.
                if len(known.pulls) >= MAX_MEMO:
                    known.pulls.clear()
                known.pulls[repository] = True
        return known.identity if allowed else None

    def finished(
        self, scope: Scope, request: Request, identity: Identity, status: int, digest: str | None = None
    ) -> None:
        """Write a change into the audit log.

        Args:
            scope: of the request.
            request: what was asked.
            identity: who has asked.
            status: of the answer.
            digest: of what was pushed, if the request does not have it.
        """
        event = _CHANGES.get(request.kind)
        # 202 to a push of a blob is an upload that has begun.
        if event is None or status not in (201, 202) or (event == "push" and status != 201):
            return
        tags = [*dict.fromkeys([request.tag, *request.tags] if request.tag else request.tags)]
        self._record(
            event,
            scope,
            identity,
            kind=request.kind,
            repository=request.repository,
            digest=request.digest or digest,
            tags=tags or None,
        )

    def denied(self, scope: Scope, request: Request, identity: Identity) -> None:
        """Write a refused request into the audit log.

        Args:
            scope: of the request.
            request: what was asked.
            identity: who has asked.
        """
        self._record(
            "denied",
            scope,
            identity,
            kind=request.kind,
            repository=request.repository,
            reference=request.tag or request.digest,
        )

    async def aclose(self) -> None:
        """Refuse the sign-ins that wait for their password to be checked. Later ones are served again.

        The store with the API keys must be open: the last uses of keys are recorded.
        """
        await self._authenticator.aclose()

    # Tokens

    async def token_identity(self, scope: Scope, credentials: Basic | None, account: str) -> Identity:
        """Who asks for a token.

        Args:
            scope: of the request.
            credentials: from its form; None: those of its headers.
            account: the user that the client names besides; "": none.

        Raises:
            OCIError: UNAUTHORIZED if the credentials are wrong, of another account, or a token: a token gives no other
                token.
        """
        try:
            identity = await self._authenticator.identify(scope, credentials)
        except InvalidCredentialsError as error:
            raise wrong_credentials(str(error)) from None
        if identity.grants is not None:
            raise wrong_credentials("a token gives no other token: send a user name and a password")
        if account and not identity.answers_to(account):
            raise wrong_credentials("the account is not that of the credentials")
        return identity

    def issue(self, scope: Scope, identity: Identity, asked: Grants) -> IssuedToken:
        """A token for what the rules allow of what a client asks for, which may be nothing.

        Raises:
            ValueError: the scopes do not fit into a token.
        """
        grants = {name: actions & self._granted(identity, name) for name, actions in asked.items()}
        grants = {name: actions for name, actions in grants.items() if actions}
        token = self._tokens.issue(
            identity.name,
            via=identity.via,
            grants=grants,
            groups=identity.groups,
            stamp=self._authenticator.stamp(identity),
            provided=self._rules.claims_of(identity),
            expires=identity.expires,
        )
        self._meter.token_issued()
        self._record("token", scope, identity, scope=format_scope(grants))
        return token

    def _granted(self, identity: Identity, name: str) -> frozenset[str]:
        if name == CATALOG:
            return frozenset({"*"}) if self._may_list(identity) else frozenset()
        return self._rules.granted(identity, name)

    def _record(self, event: str, scope: Scope, identity: Identity, /, **facts: Any) -> None:
        client = client_of(scope)
        audit.record(event, user=identity.name, via=identity.via, client=client, **facts)

    # Decisions about one request

    def _refusal(self, scope: Scope, request: Request, identity: Identity) -> OCIError | None:
        match NEEDS[request.kind]:
            case "sign-in":
                if not identity.is_anonymous or identity.grants is not None:
                    return None
                return self._challenges.unauthorized(scope, request)
            case "catalog":
                is_permitted = identity.grants is None or CATALOG in identity.grants
                if self._may_list(identity):
                    return None if is_permitted else self._challenges.insufficient(scope, request)
                return self._challenges.unauthorized(scope, request, error=token_error(scope, "insufficient_scope"))
            case "pull":
                return self._check(scope, request, identity, "pull", (request.tag,))
            case "delete":
                return self._check(scope, request, identity, "delete", (request.tag,))
            case "write":
                tags = (request.tag, *request.tags) if request.tag else request.tags or (None,)
                refusal = self._check(scope, request, identity, "create", tags)
                if refusal is None and self._needs_source(identity, request.from_repository):
                    refusal = self._challenges.insufficient(scope, request)
                return refusal

    def _check(
        self, scope: Scope, request: Request, identity: Identity, action: Action, tags: Sequence[str | None]
    ) -> OCIError | None:
        repository = request.repository
        assert repository
        wrong = [tag for tag in tags if not self._rules.allows(identity, action, repository, tag)]
        if not wrong:
            return None
        if all(self._rules.policy_allows(identity, action, repository, tag) for tag in wrong):
            # The rules allow it, so the token does not.
            return self._challenges.insufficient(scope, request)
        if identity.is_anonymous:
            return self._challenges.unauthorized(scope, request, error=token_error(scope, "insufficient_scope"))
        return denied("push" if action == "create" else action, repository, wrong[0])

    def _needs_source(self, identity: Identity, source: str | None) -> bool:
        """Whether a client should get a wider token, so that it can mount from a repository.

        If nobody knows that it would get one, `Guard` answers as if the repository did not have the blob: a client
        that gets no wider token would fail, but it can upload the blob.
        """
        if source is None or not identity.issued_here or identity.permits("pull", source):
            return False
        return self._rules.policy_allows(identity, "pull", source)

    def _may_list(self, identity: Identity) -> bool:
        return not identity.is_anonymous or self._rules.may_pull_anything(identity)
