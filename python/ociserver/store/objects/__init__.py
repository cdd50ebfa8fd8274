"""Large contents in a bucket of S3, Google Cloud Storage or Azure: `Blobs` with objects instead of files.

It needs the extra `objects`, whose module `ociserver_objects` sends the requests and hashes uploads.
"""

from ociserver.store.objects.storage import ObjectStorage

__all__ = ["ObjectStorage"]
