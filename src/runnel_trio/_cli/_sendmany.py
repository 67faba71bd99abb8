"""``runnel-trio sendmany``: a file of JSON lines into a stream, with an exact account at every end.

Lines are sent in batches, in order, and the next batch is read when the last one is stored. So whenever it
ends, all lines up to some line are settled (sent, or skipped because they are bad), and those after the batch
in hand have not been touched. Only the batch in hand can be in doubt, if the server was lost or a second
signal came during it; then the account says so.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import attrs
import click
import trio

from runnel_trio._app import App
from runnel_trio._cli._command import Target, command
from runnel_trio._cli._errors import Ended, Exit, folded
from runnel_trio._cli._lines import LONGEST, Line, Lines
from runnel_trio._cli._logging import configure
from runnel_trio._cli._progress import Progress, rate
from runnel_trio._cli._send import BadRecord, allow_unknown, parsed, warn_of_loss
from runnel_trio._cli._signals import handling_signals
from runnel_trio._report._words import counted, ranges, summary
from runnel_trio._scopes import helpers
from runnel_trio._stream import Stream
from runnel_trio.exceptions import (
    BrokerRefused,
    BrokerUnavailable,
    InternalError,
    RunnelError,
    StreamFull,
)

__all__ = ["sendmany"]

#: Seconds that the batch in hand may take after a signal, because a full stream may never have room for it.
GRACE = 3.0


@command(Stream, makes=True, discovers=False, logs=False)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True))
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="What to do with a line that is not a valid record.",
)
@click.option(
    "--from-line", type=click.IntRange(min=1), default=1, metavar="N", help="Skip the lines before N."
)
@allow_unknown
def sendmany(target: Target, file: str, on_error: str, from_line: int, *, allow_unknown: bool) -> int:
    """Send a file of JSON lines, one event per line.

    FILE may be gzipped; - is standard input. Lines are sent in their order. Whatever ends it, the last lines
    say what was sent and what was not, and how to continue.
    """
    with closing(Lines.open(file)) as lines:
        progress = Progress(lines)
        configure(target.app.settings, progress.tell)
        warn_of_loss(target.app)
        sending = _Sending(
            app=target.app,
            stream=target.found,
            lines=lines,
            progress=progress,
            skip=on_error == "skip",
            first=from_line,
            allow_unknown=allow_unknown,
        )
        return trio.run(sending.run)


@attrs.define(eq=False, kw_only=True)
class _Sending:
    """A file on its way into a stream.

    Attributes:
        app: the app of the stream.
        stream: where the events go.
        lines: where the lines come from.
        progress: the progress bar, which also prints messages.
        skip: whether to leave out bad lines, instead of stopping at the first.
        first: the number of the first line to send.
        allow_unknown: whether to leave out fields that the record does not have.
        sent: how many events are stored for certain.
        skipped: how many lines were bad.
        settled: the number of the last line up to which all are sent or skipped.
        doubt: what the account says about the lines of the last batch.
    """

    app: App
    stream: Stream[Any]
    lines: Lines
    progress: Progress
    skip: bool
    first: int
    allow_unknown: bool = False
    sent: int = 0
    skipped: int = 0
    settled: int = 0
    doubt: str = ""
    _reading: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _everything: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _signal: int = 0
    _started: bool = False
    _complete: bool = False

    async def run(self) -> int:
        """Send the whole file, or as much as possible, and tell what was sent and what was not.

        Returns:
            The exit code: 0, or 128 + the number of the signal that ended it before its end.

        Raises:
            Ended, RunnelError: it stopped before the end of the file.
        """
        try:
            with handling_signals(self._stop, self._abort):
                async with helpers() as nursery:
                    nursery.start_soon(self.progress.run, lambda: self.sent)
                    with self._everything:
                        await self._send_all()
        finally:
            if self._started:
                self.progress.tell(folded(self._account()))
        return Exit.OK if self._complete else 128 + self._signal

    def _stop(self, number: int) -> None:
        self._signal = number
        self.progress.tell(
            f"{signal.Signals(number).name}: ending after this batch; once more to stop at once"
        )
        self._reading.cancel()
        self._everything.deadline = trio.current_time() + GRACE

    def _abort(self, number: int) -> None:
        self._signal = number
        self._everything.cancel()

    async def _send_all(self) -> None:
        self.settled = self.first - 1
        async with self.app.session():
            self._started = True
            while batch := await self._read():
                await self._send([line for line in batch if line.number >= self.first])
            self._complete = not self._signal

    async def _read(self) -> list[Line]:
        """The next batch; none at the end, or after a signal. A signal drops lines, but only unsent ones."""
        if self._signal:
            return []
        with trio.CancelScope() as self._reading:
            return await trio.to_thread.run_sync(self.lines.batch, abandon_on_cancel=True)
        return []

    async def _send(self, batch: Sequence[Line]) -> None:
        """Send the good lines. At a bad line, skip it, or send the lines before it and end."""
        records: dict[int, Any] = {}
        for line in batch:
            try:
                records[line.number] = self._record(line)
            except BadRecord as error:
                if not self.skip:
                    await self._store(records)
                    self.settled = line.number - 1
                    raise self._bad(line.number, error) from None
                self._skip(line.number, error)
        await self._store(records)
        if batch:
            self.settled = batch[-1].number

    def _record(self, line: Line) -> Any:
        if line.text is None:
            raise BadRecord(f"longer than {LONGEST:,} bytes")
        return parsed(self.stream, line.text, allow_unknown=self.allow_unknown)

    def _bad(self, number: int, error: Exception) -> Ended:
        return Ended(Exit.DATA, f"{self.lines.name}, line {number}: {_reason(error)}")

    def _skip(self, number: int, error: Exception) -> None:
        self.skipped += 1
        self.progress.tell(f"skipped line {number}: {_reason(error)}")

    async def _store(self, records: dict[int, Any]) -> None:
        """Send a batch.

        Some records can be read but not stored (a text without a UTF-8 form, a key that cannot be hashed).
        `Stream.send` finds these before it sends anything.
        """
        try:
            await self._deliver(records)
        except (BrokerUnavailable, BrokerRefused, StreamFull, InternalError):
            raise
        except Exception as error:
            self.doubt = ""
            await self._sift(records, error)

    async def _sift(self, records: dict[int, Any], error: Exception) -> None:
        """Find the records that were refused. Skip them, or send those before the first one and end."""
        good: dict[int, Any] = {}
        for number, record in records.items():
            try:
                self.stream.codec.encode(record)
                self.stream.partition_of(record)
            except Exception as reason:
                if not self.skip:
                    await self._deliver(good)
                    self.settled = number - 1
                    raise self._bad(number, reason) from reason
                self._skip(number, reason)
            else:
                good[number] = record
        if len(good) == len(records):
            raise error
        await self._deliver(good)

    async def _deliver(self, records: dict[int, Any]) -> None:
        if not records:
            return
        numbers = list(records)
        self.doubt = _doubtful(numbers)
        try:
            await self.stream.send(*records.values())
        except StreamFull as error:
            unsent = [numbers[index] for index in error.unsent]
            self.sent += len(numbers) - len(unsent)
            self.doubt = f"Of lines {ranges(numbers, ' to ')}, these are not stored: {ranges(unsent, ' to ')}"
            raise
        self.doubt = ""
        self.sent += len(numbers)

    def _account(self) -> str:
        """The account of what was sent, and what was not."""
        seconds = time.monotonic() - self.progress.began
        told = f"{counted(self.sent, 'event')} sent to {self.stream.name}"
        if self.skipped:
            told += f", {counted(self.skipped, 'bad line')} skipped"
        told += f", in {seconds:.1f} s ({rate(self.sent, seconds)})."
        if self._complete:
            return told
        following = self.settled + 1
        if self.doubt:
            told += (
                f" {self.doubt}; nothing after them was sent. To continue: --from-line {following}, "
                "which sends twice what is stored of these."
            )
        else:
            told += f" Nothing from line {following} on was sent. To continue: --from-line {following}"
        return told


def _reason(error: Exception) -> str:
    """What is wrong with a line, in one line; an exception of the user's functions is shown with its type."""
    text = str(error) if isinstance(error, BadRecord | RunnelError) else summary(error)
    return " ".join(text.split())


def _doubtful(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"Line {numbers[0]} may be stored or not"
    return f"Of lines {ranges(numbers, ' to ')}, any may be stored or not"
