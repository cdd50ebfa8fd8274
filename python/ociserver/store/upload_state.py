"""The states of an upload, while one request uses it.

Theory of operation
===================
An upload outlives its requests: its row in the database says that it exists. Each request opens an `Upload`, writes,
and either suspends it (`aclose`), commits it or cancels it. `Uploads` does what concerns the database and other
requests; `UploadContent` (`blobs`) does what concerns the file. `Upload` decides which comes when.

Where the bytes are
-------------------
Up to `INLINE_SIZE` bytes are in memory during a request, and in the row between requests: a small blob never gets a
file. More go to a file. Once the row says that there is a file, the length of that file says how far the upload is.

States
------
- REMEMBERED: nothing has happened. The row is as this process has recorded it last, in an earlier request.
- OPENED: nothing has happened. The row is as it was when the request began. No other request is kept out.
- CLAIMED: this is the only writer. There is nothing to record yet.
- WRITTEN: the request has brought bytes, or may have. `aclose` records them.
- FULL: as WRITTEN, and the last step failed because the disk is full. `aclose` and `cancel` first free the space that
  this request has used.
- OVERTAKEN: another request has written to the upload. Nothing of this one may be recorded.
- COMMITTING: the transaction of the commit was sent. It may have succeeded, even if the request was cancelled.
- ENDED: suspended, committed, cancelled, or ended by another request.

`TRANSITIONS` has every change of state that can happen.

One writer at a time
--------------------
Within a process, `Uploads.claim` ensures this. Between processes, the lock on the file does. While there is no file,
two processes may write, and the one that records first wins: a transaction records or ends an upload only if its row
still has the size that the writer knows. Otherwise it raises RANGE_INVALID.

When the row is read
--------------------
Once, when the request begins, unless this process has recorded it last and no other process has committed since
(`Metadata.epoch`). A request may write to a file only if it has found the upload under the lock on the file:
without the lock, another process may have committed the upload, so that the file belongs to a blob. So a request that
says where it writes (Content-Range), or that it ends the upload (a digest), locks the file first and then reads the
row. Any other request may only ask how far the upload is, and must not hinder a writer. So it locks the file when bytes
come, and reads the row again if anything was committed in between.

Bytes in memory need no such read, because the transaction that records them compares the size. So the row may even be
one that this process remembers. If the bytes do not fit to it (their offset, or at the end the digest), the row is read
again. In this case the request also does not look for a file until it records bytes in the row. The record is refused
while another process writes to the file.

Whether the upload still exists is checked with each piece, without the database: the claim knows of a `cancel` in this
process, and a file that another process has deleted has no name.
"""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["TRANSITIONS", "UNCLAIMED", "Event", "State"]


class State(enum.Enum):
    """See "States"."""

    REMEMBERED = enum.auto()
    OPENED = enum.auto()
    CLAIMED = enum.auto()
    WRITTEN = enum.auto()
    FULL = enum.auto()
    OVERTAKEN = enum.auto()
    COMMITTING = enum.auto()
    ENDED = enum.auto()

    # Members are compared by identity. The hash of `enum.Enum` is a Python function, which each lookup would call.
    __hash__ = object.__hash__


class Event(enum.Enum):
    """What changes the state."""

    CLAIM = "this became the only writer"
    WRITE = "bytes are about to be taken"
    FILL = "the disk is full"
    OVERTAKE = "another request was found to have written"
    COMMIT = "the transaction of the commit is about to be sent"
    END = "the request has ended, or the upload has"

    __hash__ = object.__hash__


TRANSITIONS: Final = {
    State.REMEMBERED: {Event.CLAIM: State.CLAIMED, Event.FILL: State.REMEMBERED, Event.END: State.ENDED},
    State.OPENED: {Event.CLAIM: State.CLAIMED, Event.FILL: State.OPENED, Event.END: State.ENDED},
    State.CLAIMED: {
        Event.WRITE: State.WRITTEN,
        Event.FILL: State.CLAIMED,
        Event.COMMIT: State.COMMITTING,
        Event.END: State.ENDED,
    },
    State.WRITTEN: {
        Event.WRITE: State.WRITTEN,
        Event.FILL: State.FULL,
        Event.OVERTAKE: State.OVERTAKEN,
        Event.COMMIT: State.COMMITTING,
        Event.END: State.ENDED,
    },
    State.FULL: {
        Event.WRITE: State.WRITTEN,
        Event.FILL: State.FULL,
        Event.OVERTAKE: State.OVERTAKEN,
        Event.COMMIT: State.COMMITTING,
        Event.END: State.ENDED,
    },
    State.OVERTAKEN: {Event.FILL: State.OVERTAKEN, Event.END: State.ENDED},
    State.COMMITTING: {
        Event.WRITE: State.COMMITTING,
        Event.FILL: State.FULL,
        Event.OVERTAKE: State.OVERTAKEN,
        Event.COMMIT: State.COMMITTING,
        Event.END: State.ENDED,
    },
    State.ENDED: {Event.FILL: State.ENDED, Event.END: State.ENDED},
}
"""The next state, for each state and each event that can happen in it."""

UNCLAIMED: Final = (State.REMEMBERED, State.OPENED)
"""The states in which a request begins. They do not keep out other requests."""
