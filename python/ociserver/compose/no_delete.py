"""A registry from which nothing can be deleted."""

from ociserver.compose.wrapper import ListerOf, ReaderOf, Wrapper, WriterOf

__all__ = ["NoDelete"]


class NoDelete(ReaderOf, WriterOf, ListerOf, Wrapper, reads_nowait=True):
    """Passes reads, lists and writes on, so tags can be moved. Every deletion is UNSUPPORTED."""
