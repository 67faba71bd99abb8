"""Growing pauses between one try and the next."""

from __future__ import annotations

import random

import attrs

from runnel_trio.exceptions import Misconfigured

__all__ = ["Backoff"]


@attrs.frozen(kw_only=True)
class Backoff:
    """Pauses that grow from one try to the next.

    Attributes:
        delay: the first pause, in seconds.
        factor: each pause is this many times as long as the one before.
        maximum: the longest pause, in seconds.
        jitter: shorten each pause by up to a half, at random, so that not everything is tried at once.
        tries: how many pauses there are; None: no end. After the last one, nothing is tried any more.

    Raises:
        Misconfigured: a number that cannot be used.

    Example:
        >>> backoff = Backoff(delay=60, maximum=200, jitter=False)
        >>> [backoff.pause(number) for number in (1, 2, 3)]
        [60.0, 120.0, 200.0]
    """

    delay: float = 60.0
    factor: float = 2.0
    maximum: float = 3600.0
    jitter: bool = True
    tries: int | None = None

    def __attrs_post_init__(self) -> None:
        tries = 1 if self.tries is None else self.tries
        if self.delay < 0 or self.factor < 1 or self.maximum < 0 or tries < 1:
            raise Misconfigured(f"{self}: factor and tries must be at least 1, delay and maximum at least 0")

    def pause(self, number: int) -> float | None:
        """Seconds of a pause, the first of which has the number 1; None: nothing is tried any more.

        Args:
            number: of the pause.
        """
        if self.tries is not None and number > self.tries:
            return None
        longest = min(self.maximum, self.delay * self.factor ** min(number - 1, 64))
        return float(longest * random.uniform(0.5, 1.0) if self.jitter else longest)
