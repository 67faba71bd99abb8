"""Links that come with the library.

The last two of every chain are ours: `_acknowledge` notes what is in the processor's hand and acknowledges
it when the processor asks for the next, `_deserialize` turns events into records.
"""

from __future__ import annotations

from runnel_trio.interfaces import Middleware as Middleware

__all__ = ["Middleware"]
