"""The decorator ``@override``, which Python has from 3.12 on.

Type checkers include the stub of `typing_extensions`, so users need not install that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["override"]

if TYPE_CHECKING:
    from typing_extensions import override
else:
    _Method = TypeVar("_Method", bound=Callable[..., Any])

    def override(method: _Method) -> _Method:
        """Say that a method has the meaning, and the documentation, of the one that it takes the place of."""
        return method
