"""A handler that behaves as a profile says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from ociserver.handler import Handler
from ociserver.options import Options
from ociserver.testing.profiles import middleware
from ociserver.testing.profiles.emulated import Emulated
from ociserver.testing.profiles.profile import BasicOnly, Tokens

if TYPE_CHECKING:
    from types import TracebackType

    from ociserver.testing.profiles.profile import Answering, Profile
    from ociserver.types import Receive, Scope, Send

__all__ = ["Profiled", "options_of"]


def options_of(profile: Profile, options: Options | None = None) -> Options:
    """The options of a profile. What other options say that is not their default counts more."""
    own = profile.options
    if profile.writes_errors:
        own = replace(own, write_error=profile.write_error)
    if options is None:
        return own
    default = Options()
    given = {name: getattr(options, name) for name in Options.__slots__}
    return replace(own, **{name: value for name, value in given.items() if value != getattr(default, name)})


class Profiled:
    """An ASGI application: a handler that behaves as a profile says.

    Args:
        profile: how the registry behaves.
        backend: holds the contents.
        realm: where the registry is, in the challenge of registries that take a password.
        options: of the handler, instead of those of the profile, where they are not the default.
        creates: whether a push creates its repository, whatever the profile says.
        handler: further arguments of the handler.
    """

    def __init__(
        self,
        profile: Profile,
        backend: Any,
        *,
        realm: str = "",
        options: Options | None = None,
        creates: bool = False,
        **handler: Any,
    ) -> None:
        self.emulated = Emulated(backend, profile, creates=creates)
        self._handler = Handler(self.emulated, options_of(profile, options), **handler)
        self._answering = self._around(profile, realm, handler.get("auth") is not None)

    def _around(self, profile: Profile, realm: str, has_users: bool) -> Answering:  # noqa: FBT001
        answering: Answering = self._handler
        if profile.pages is not None:
            answering = middleware.with_pages(answering, profile.pages)
        if profile.rate_limit is not None:
            answering = middleware.with_rate_limit(answering, profile.rate_limit)
        match profile.sign_in:
            case Tokens(path) if path != middleware.TOKEN_PATH:
                answering = middleware.with_token_path(answering, path)
            case BasicOnly(service) if has_users:
                answering = middleware.with_basic_challenge(answering, realm, service)
        return answering

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answering(scope, receive, send)

    def answer_nowait(self, scope: Scope, send: Send) -> bool:
        """Never: every request passes through the whole profile. See `Handler.answer_nowait`."""
        return False

    async def __aenter__(self) -> Self:
        await self._handler.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the backend."""
        await self._handler.aclose()
