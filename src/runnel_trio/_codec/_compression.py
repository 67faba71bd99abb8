"""Compressors that come with the library."""

from __future__ import annotations

import gzip
import re
import zlib
from types import ModuleType

import attrs

from runnel_trio._codec._extras import imported
from runnel_trio.interfaces import Compressor

__all__ = ["LZ4", "Gzip"]

#: Bytes that are decompressed at a time. zlib copies what is left of them behind the end of a gzip member.
_PIECE = 1 << 14
#: Bytes that the first and each later call may yield: LZ4 allocates memory for all of them beforehand.
_FIRST, _LATER = 1 << 14, 1 << 20
#: zlib's word for "as in a gzip file".
_GZIP = 16 + zlib.MAX_WBITS
#: Zeros may follow a member, up to the next one.
_ZEROS = re.compile(rb"\0*").match


@attrs.frozen
class Gzip(Compressor):
    """Gzip from the standard library: small output, slow to compress. Equal values give equal bytes.

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

    def decompress_within(self, value: bytes, limit: int) -> bytes:
        """See `Compressor.decompress_within`: it stops one byte behind the limit."""
        found: list[bytes] = []
        room, at = limit + 1, 0
        while at < len(value) and room:
            member = zlib.decompressobj(_GZIP)
            while not member.eof and room:
                piece = value[at : at + _PIECE]
                if not piece:
                    raise EOFError("the gzip data ends in the middle")
                at += len(piece)
                found.append(member.decompress(piece, room))
                room -= len(found[-1])
            at -= len(member.unused_data)
            at = _ZEROS(value, at).end()  # type: ignore[union-attr]  # it also matches no zeros
        return b"".join(found)


@attrs.frozen
class LZ4(Compressor):
    """LZ4 frames: larger than gzip and many times faster. Needs the ``fast`` extra.

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

    def decompress_within(self, value: bytes, limit: int) -> bytes:
        """See `Compressor.decompress_within`: it stops one byte behind the limit."""
        frame = _frame().LZ4FrameDecompressor()
        room, found = limit + 1, [frame.decompress(value, min(limit + 1, _FIRST))]
        while not frame.eof and (room := room - len(found[-1])):
            if frame.needs_input:
                raise EOFError("the LZ4 frame ends in the middle")
            found.append(frame.decompress(b"", min(room, _LATER)))
        return b"".join(found)


def _frame() -> ModuleType:
    return imported("lz4.frame", "LZ4")
