"""Links that come with the library.

The last of every chain is ours: `_deliver` turns events into records, notes what is in the processor's hand,
and acknowledges it when the processor asks for the next.
"""

from __future__ import annotations

from runnel_trio.interfaces import Middleware as Middleware

__all__ = ["Middleware"]
