"""Links that come with the library.

The last link of every chain is ours: `_deliver` turns events into records, remembers which item the processor
has in hand, and acknowledges it when the processor asks for the next.
"""

from __future__ import annotations

from runnel_trio._operate._letters import Dead as Dead
from runnel_trio._operate._letters import Letter as Letter
from runnel_trio.interfaces import Middleware as Middleware
from runnel_trio.middleware._dead_letter import DeadLetterMiddleware as DeadLetterMiddleware
from runnel_trio.middleware._retry import RetryMiddleware as RetryMiddleware

__all__ = ["Dead", "DeadLetterMiddleware", "Letter", "Middleware", "RetryMiddleware"]

for _thing in (Dead, DeadLetterMiddleware, Letter, RetryMiddleware):
    _thing.__module__ = __name__  # where they are public, for tracebacks and docs
