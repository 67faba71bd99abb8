"""The app stands in `runnel_trio._demo.flights`, because `runnel-trio demo` has it in the wheel too.

runnel-trio run examples.flights.app:app
"""

from __future__ import annotations

from runnel_trio._demo.flights import (
    PLANES,
    Flight,
    add,
    app,
    apply,
    client,
    flights,
    history,
    known,
    order_of,
)

__all__ = ["PLANES", "Flight", "add", "app", "apply", "client", "flights", "history", "known", "order_of"]
