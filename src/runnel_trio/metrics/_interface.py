"""`Metrics`: the methods that an app calls to tell what it does. They do nothing."""

from __future__ import annotations

__all__ = ["Metrics"]


class Metrics:
    """Told what an app does; override what you want to know.

    The methods are called often, in the Trio thread (those of sending in the thread of
    `Stream.send_sync` too): they must be quick, not block, and not raise. None of them is called for each
    event.

    Example:
        >>> from runnel_trio import App
        >>> from runnel_trio.metrics import Metrics
        >>> class Printer(Metrics):
        ...     def acknowledged(self, stream, processor, outcome, events):
        ...         print(f"{events} events of {stream} {outcome} by {processor}")
        >>> app = App("example", redis_url="memory://", metrics=Printer())
    """

    def acknowledged(self, stream: str, processor: str, outcome: str, events: int) -> None:
        """The server knows that a processor is through with so many events; each event is told once.

        Args:
            stream: name of the stream.
            processor: name of the processor.
            outcome: ``"processed"``; ``"ignored"``, by the policy; ``"set_aside"``, as a dead letter; or
                ``"lost"``: they left the log before this processor had read them.
            events: how many.
        """

    def failed(self, stream: str, processor: str, then: str, events: int) -> None:
        """The handling of so many events failed.

        Args:
            stream: name of the stream.
            processor: name of the processor.
            then: what became of them: ``"retried"``, ``"set_aside"``, ``"ignored"``, ``"quarantined"``, or
                ``"halted"``: the worker ends.
            events: how many were in hand: one, or as many as a list of `Events.take` holds.
        """

    def handled(self, stream: str, processor: str, seconds: float, calls: int) -> None:
        """Events were handled, well or not.

        Args:
            stream: name of the stream.
            processor: name of the processor.
            seconds: how long one took, from when it left the source until the next was asked for, with its
                decoding and its middleware: of each that took longer than 1.5 ms, and of quicker ones the
                mean of those within 1.5 ms.
            calls: how many took that long; a list of `Events.take` is one.
        """

    def aged(self, stream: str, processor: str, seconds: float, events: int) -> None:
        """Events were taken up for handling that had been stored so many seconds before.

        By the time in their ids, which is the server's, and this machine's time of day. Of events that are
        taken up within 1.5 ms, it is the age of the first.
        """

    def committed(self, stream: str, processor: str, events: int, seconds: float) -> None:
        """One commit stored so many acknowledgements, of all partitions; how long the server took."""

    def commit_refused(self, stream: str, processor: str, partitions: int) -> None:
        """The server refused acknowledgements: these partitions are another worker's, or were reset."""

    def rebalancing(self, stream: str, processor: str) -> None:
        """The members of a processor have changed: there is a new generation."""

    def rebalanced(self, stream: str, processor: str, seconds: float) -> None:
        """So long after that change this worker owns its share."""

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
        """How this worker's part of a processor is; told after each heartbeat, and zeros at the end.

        Args:
            stream: name of the stream.
            processor: name of the processor.
            owned: partitions.
            quarantined: partitions of its share that stand still.
            unacked: events that are handled, and wait for their commit.
            lag: events in its partitions that are not acknowledged, as the server says. The worker that has
                run the processor for longest adds those in partitions that nobody owns (see `unowned`).
            age: seconds since the oldest of them that is here, or that nobody owns, was stored; 0 when there
                is none.
        """

    def unowned(self, stream: str, processor: str, partitions: int) -> None:
        """So many partitions have no owner: they stand still, or nobody has taken them over yet.

        Told by the worker that has run the processor for longest, after a heartbeat (of streams with 64
        partitions and more: after every so many); by the others, and at the end, it is 0, told once.
        """

    def sent(self, stream: str, events: int, seconds: float) -> None:
        """The server stored so many events; one call of `Stream.send` may be told in several parts."""

    def blocked(self, stream: str, seconds: float, *, begins: bool) -> None:
        """A send waits for room in a full partition.

        Args:
            stream: name of the stream.
            seconds: for how long, since this was told last.
            begins: whether it has just begun.
        """

    def refused(self, stream: str, events: int) -> None:
        """`Stream.send` raised `StreamFull`: so many of its events were not stored."""

    def server_away(self) -> None:
        """The server does not answer, or refuses for now; whoever needs it waits."""

    def server_back(self, seconds: float) -> None:
        """All that waited are answered, after so long."""

    def stalled(self, seconds: float) -> None:
        """Something blocked the Trio thread for so long; told when it is over."""
