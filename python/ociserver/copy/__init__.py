"""Copies images from one backend to another: `ociserver copy` as a library.

For example:

    async with Client("https://registry.example") as source, Store("a-folder") as target:
        async with Copy(Ends(source, "group/project", target, "group/project")) as copy:
            await copy.tag("v1", "v1", "latest")
"""

from ociserver.copy.copier import Copied, Copy, Settings
from ociserver.copy.ends import CopyError, Ends
from ociserver.copy.platforms import Platform, PlatformError, choose
from ociserver.copy.progress import Progress

__all__ = ["Copied", "Copy", "CopyError", "Ends", "Platform", "PlatformError", "Progress", "Settings", "choose"]
