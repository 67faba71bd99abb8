"""How large an event may be, both as it is stored and decompressed.

Data from the server is not trusted: a few kilobytes can decompress to gigabytes. So each step that produces
bytes is bounded, and sender and reader both refuse a larger event.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from runnel_trio._codec._hooks._traits import Mismatch
from runnel_trio.interfaces import Compressor

__all__ = ["bounded_compress", "bounded_decompress", "too_large"]


def too_large(size: int, most: int, what: str = "") -> Mismatch:
    """The fault of a value that is too large; it names the setting to change if the size is intended."""
    return Mismatch(f"{size:,} bytes{what}, and max_event_bytes of its stream is {most:,}")


def bounded_compress(compressor: Compressor, most: int) -> Callable[[bytes], bytes]:
    """The compressor's ``compress``, which refuses values that readers would refuse."""
    compress = compressor.compress

    def bounded(value: bytes) -> bytes:
        if len(value) > most:
            raise too_large(len(value), most, " before compression")
        return compress(value)

    bounded.__qualname__ = compress.__qualname__
    return bounded


def bounded_decompress(compressor: Compressor, most: int) -> Callable[[bytes], bytes]:
    """The compressor's ``decompress``, which stops with a fault after ``most`` bytes."""
    # A user's compressor need not inherit from `Compressor`.
    own = getattr(compressor, "decompress_within", None)
    within = own or partial(Compressor.decompress_within, compressor)

    def bounded(value: bytes) -> bytes:
        found: bytes = within(value, most)
        if len(found) > most:
            raise Mismatch(f"more than {most:,} bytes decompressed: that is max_event_bytes of its stream")
        return found

    return bounded
