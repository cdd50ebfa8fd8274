"""Expecting an error by its code."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager

import pytest

from ociserver.errors import OCIError

__all__ = ["code_of", "refused"]


@contextmanager
def refused(*codes: str) -> Iterator[pytest.ExceptionInfo[OCIError]]:
    """The block has to raise an `OCIError` with one of these codes."""
    with pytest.raises(OCIError) as caught:
        yield caught
    code = caught.value.code
    assert code in codes, f"the code is {code}, and has to be {' or '.join(codes)}: {caught.value}"


async def code_of(work: Awaitable[object]) -> str | None:
    """The code of the error that something raises, or None where it raises none."""
    try:
        await work
    except OCIError as error:
        return error.code
    return None
