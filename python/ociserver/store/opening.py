"""Opens an upload for one request. See "When the row is read" in `upload_state`."""

from __future__ import annotations

from ociserver.errors import OCIError
from ociserver.store.upload import Upload
from ociserver.store.upload_state import State
from ociserver.store.uploads import Claim, Uploads, is_upload_id

__all__ = ["resume_upload", "start_upload"]


async def start_upload(uploads: Uploads, repository: str, algorithm: str) -> Upload:
    """Start a new upload, and open it."""
    return Upload(uploads, repository, await uploads.start(repository, algorithm), 0)


async def resume_upload(
    uploads: Uploads, repository: str, upload_id: str, offset: int | None, *, is_writer: bool
) -> Upload:
    """Open an upload that exists.

    Args:
        uploads: the uploads of the store.
        repository: the repository that the upload is in.
        upload_id: the id of the upload, as a client has sent it.
        offset: where the first bytes have to begin; None: at the end of the upload, wherever that is.
        is_writer: whether this request certainly writes to the upload, or ends it.

    Raises:
        OCIError: BLOB_UPLOAD_UNKNOWN.
    """
    if not is_upload_id(upload_id):
        raise OCIError("BLOB_UPLOAD_UNKNOWN")
    remembered = uploads.take_remembered(repository, upload_id)
    if is_writer:
        if remembered is not None:
            return Upload(uploads, repository, remembered.row, offset, State.REMEMBERED)
        upload = await _resume_locked(uploads, repository, upload_id, offset)
        if upload is not None:
            return upload
    elif remembered is not None and uploads.is_current(remembered):
        return Upload(uploads, repository, remembered.row, offset)
    return Upload(uploads, repository, await uploads.find(repository, upload_id), offset)


async def _resume_locked(uploads: Uploads, repository: str, upload_id: str, offset: int | None) -> Upload | None:
    """Open an upload as its only writer; None if it has no file, or if another request is writing to it."""
    claim: Claim | None = None
    try:
        claim = uploads.claim(upload_id)
        held = await uploads.hold(repository, upload_id, make=False)
    except BaseException as error:
        if claim is not None:
            uploads.release(claim)
        if isinstance(error, OCIError) and error.code == "RANGE_INVALID":
            return None  # the first write raises this again, if it is still true
        raise
    if held is None:
        uploads.release(claim)
        return None
    file, row = held
    return Upload(uploads, repository, row, offset, locked=(claim, file))
