"""Compressors that come with the library."""

from __future__ import annotations

import gzip
from types import ModuleType

import attrs

from runnel_trio._codec._extras import imported
from runnel_trio.interfaces import Compressor

__all__ = ["LZ4", "Gzip"]


@attrs.frozen
class Gzip(Compressor):
    """Gzip from the standard library: small, slow to write. Equal values give equal bytes.

    Attributes:
        level: from 1 (fast) to 9 (small); 0 stores uncompressed.

    Example:
        >>> from runnel_trio._codec import Gzip
        >>> Gzip().decompress(Gzip(level=1).compress(b"abc"))
        b'abc'
    """

    level: int = attrs.field(default=6, validator=attrs.validators.in_(range(10)))

    def compress(self, value: bytes) -> bytes:
        """A gzip member without a time stamp."""
        return gzip.compress(value, self.level, mtime=0)

    def decompress(self, value: bytes) -> bytes:
        """One or more gzip members."""
        return gzip.decompress(value)


@attrs.frozen
class LZ4(Compressor):
    """LZ4 frames: less small than gzip and many times faster. Needs the ``fast`` extra.

    Raises:
        Misconfigured: the package ``lz4`` is not installed.
    """

    def __attrs_post_init__(self) -> None:
        _frame()

    def compress(self, value: bytes) -> bytes:
        """One LZ4 frame."""
        compressed: bytes = _frame().compress(value)
        return compressed

    def decompress(self, value: bytes) -> bytes:
        """One LZ4 frame."""
        found: bytes = _frame().decompress(value)
        return found


def _frame() -> ModuleType:
    return imported("lz4.frame", "LZ4")
