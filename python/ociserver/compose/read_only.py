"""A registry that can only be read (Go: `ocifilter.ReadOnly`)."""

from ociserver.compose.wrapper import ListerOf, ReaderOf, Wrapper

__all__ = ["ReadOnly"]


class ReadOnly(ReaderOf, ListerOf, Wrapper, reads_nowait=True):
    """Passes reads and lists on. Every write and every deletion is UNSUPPORTED."""
