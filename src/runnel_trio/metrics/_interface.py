"""`Metrics`: the methods that an app calls to report what it does. They do nothing."""

from __future__ import annotations

__all__ = ["Metrics"]


class Metrics:
    """Receives what an app does; override the methods that you need.

    The methods are called often, in the Trio thread (those about sending also in the thread of
    `Stream.send_sync`). They must be fast, and must not block or raise. None of them is called per event.

    Example:
        >>> from runnel_trio import App
        >>> from runnel_trio.metrics import Metrics
        >>> class Printer(Metrics):
        ...     def acknowledged(self, stream, processor, outcome, events):
        ...         print(f"{events} events of {stream} {outcome} by {processor}")
        >>> app = App("example", redis_url="memory://", metrics=Printer())
    """

    def acknowledged(self, stream: str, processor: str, outcome: str, events: int) -> None:
        """The server has stored that a processor finished this many events; each event is reported once.

        Args:
            stream: name of the stream.
            processor: name of the processor.
            outcome: ``"processed"``; ``"ignored"``, by the policy; ``"set_aside"``, as dead letters; or
                ``"lost"``: they left the log before this processor had read them.
            events: how many.
        """

    def failed(self, stream: str, processor: str, then: str, events: int) -> None:
        """The handling of this many events failed.

        Args:
            stream: name of the stream.
            processor: name of the processor.
            then: what happened to them: ``"retried"``, ``"set_aside"``, ``"ignored"``, ``"parked"``,
                ``"quarantined"``, or ``"halted"``, which ends the worker.
            events: how many were in hand: one, or the length of a list of `Events.take`.
        """

    def handled(self, stream: str, processor: str, seconds: float, calls: int) -> None:
        """Events were handled, successfully or not.

        Args:
            stream: name of the stream.
            processor: name of the processor.
            seconds: how long one took, from when it left the source until the next was asked for, including
                decoding and middleware. For one that took longer than 1.5 ms this is exact; for faster ones
                it is the mean of those within 1.5 ms.
            calls: how many took that long; a list of `Events.take` counts as one.
        """

    def aged(self, stream: str, processor: str, seconds: float, events: int) -> None:
        """Handling began for events that had been stored this many seconds before.

        The age is this machine's time of day minus the time in the event's id, which is the server's. For
        events taken up within the same 1.5 ms, it is the age of the first.
        """

    def committed(self, stream: str, processor: str, events: int, seconds: float) -> None:
        """One commit stored this many acknowledgements, of all partitions; the server took ``seconds``."""

    def commit_refused(self, stream: str, processor: str, partitions: int) -> None:
        """The server refused acknowledgements: these partitions belong to another worker, or were reset."""

    def rebalancing(self, stream: str, processor: str) -> None:
        """The members of a processor have changed: there is a new generation."""

    def rebalanced(self, stream: str, processor: str, seconds: float) -> None:
        """This worker owns its share; ``seconds`` is the time since that change."""

    def standing(
        self,
        stream: str,
        processor: str,
        *,
        owned: int,
        quarantined: int,
        unacked: int,
        lag: int,
        age: float,
    ) -> None:
        """The state of this worker's part of a processor, after each heartbeat, and zeros at the end.

        Args:
            stream: name of the stream.
            processor: name of the processor.
            owned: partitions that it owns.
            quarantined: partitions of its share that stand still.
            unacked: handled events that wait for their commit.
            lag: unacknowledged events in its partitions, according to the server. The worker that has run the
                processor longest adds those in partitions without an owner (see `unowned`).
            age: seconds since the oldest of these events was stored; 0 if there is none.
        """

    def in_hand(
        self, stream: str, processor: str, *, lanes: int, events: int, ahead: int, oldest: float
    ) -> None:
        """What handlers work on now; told after each heartbeat, of processors with many keys at a time.

        Args:
            stream: name of the stream.
            processor: name of the processor.
            lanes: copies of the function that were started in this worker's partitions.
            events: that they have in hand.
            ahead: events that are handled ahead of others that are not.
            oldest: seconds since a heartbeat first found the oldest event in hand; 0 when there is none.
        """

    def parked(self, stream: str, processor: str, *, keys: int, events: int) -> None:
        """So many keys are parked in the partitions that this worker owns; told after each heartbeat.

        Args:
            stream: name of the stream.
            processor: name of the processor.
            keys: that are parked, those without events included.
            events: of these keys that wait, with those that the next commit brings.
        """

    def unowned(self, stream: str, processor: str, partitions: int) -> None:
        """This many partitions have no owner: they stand still, or have not been taken over yet.

        The worker that has run the processor longest reports this after a heartbeat (with 64 partitions or
        more, not after each one). The others report 0, once, and so does each worker at its end.
        """

    def sent(self, stream: str, events: int, seconds: float) -> None:
        """The server stored this many events; one call of `Stream.send` may be reported in several parts."""

    def blocked(self, stream: str, seconds: float, *, begins: bool) -> None:
        """A send waits for room in a full partition.

        Args:
            stream: name of the stream.
            seconds: how long it has waited since the last report.
            begins: whether the wait has just begun.
        """

    def refused(self, stream: str, events: int) -> None:
        """`Stream.send` raised `StreamFull`: this many of its events were not stored."""

    def server_away(self) -> None:
        """The server does not answer, or refuses temporarily; everything that needs it waits."""

    def server_back(self, seconds: float) -> None:
        """The server answers again, after this many seconds."""

    def stalled(self, seconds: float) -> None:
        """Something blocked the Trio thread for this many seconds; reported when it is over."""
