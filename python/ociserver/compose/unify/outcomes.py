"""Combines the outcomes of the same call to several registries into one result or one error."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Sequence
from typing import Any, Final, NoReturn, TypeVar

from ociserver.cancellation import finish
from ociserver.errors import CONTENT_UNKNOWN, OCIError, RegistryError

__all__ = ["UNKNOWN", "BrokenOffError", "code_of", "everywhere", "most_telling", "settle"]

Result = TypeVar("Result")
Outcomes = Sequence[Result | BaseException]

UNKNOWN: Final = CONTENT_UNKNOWN | {"BLOB_UPLOAD_UNKNOWN"}
"""Codes that say that something does not exist."""


class BrokenOffError(RegistryError):
    """Ends a push to one registry because another one refused it. No caller outside of this package sees it."""


async def everywhere(calls: Sequence[Coroutine[Any, Any, Result]], *, forgive: Collection[str] = ()) -> list[Result]:
    """Make all calls concurrently, and finish them even if the caller is cancelled; see `settle`."""
    return settle(await finish(asyncio.gather(*calls, return_exceptions=True)), forgive=forgive)


def settle(outcomes: Outcomes[Result], *, forgive: Collection[str] = ()) -> list[Result]:
    """The results, if all calls succeeded.

    If all calls failed, raises the most telling error. If only some failed, raises the first error whose code is not in
    `forgive`, if there is one.
    """
    results = [each for each in outcomes if not isinstance(each, BaseException)]
    failures = {
        number: each
        for number, each in enumerate(outcomes, 1)
        if isinstance(each, BaseException) and not isinstance(each, BrokenOffError)
    }
    if failures and not results:
        raise most_telling(failures.values())
    for number, error in failures.items():
        if code_of(error) not in forgive:
            _fail_in_part(f"registry {number} of {len(outcomes)} failed where another did not", error)
    return results


def most_telling(errors: Collection[BaseException]) -> BaseException:
    """The first error that is not of an unknown content; else the first one that is not of an unknown repository."""
    return min(errors, key=lambda error: (code_of(error) in UNKNOWN) + (code_of(error) == "NAME_UNKNOWN"))


def code_of(error: BaseException) -> str:
    return error.code if isinstance(error, OCIError) else ""


def _fail_in_part(text: str, error: BaseException) -> NoReturn:
    if isinstance(error, OCIError):
        raise OCIError(error.code, text, detail=error.detail, status=error.status, headers=error.headers) from error
    raise RegistryError(text) from error
