"""``runnel-trio run --check``: says line by line whether the app would run, and runs or changes nothing."""

from __future__ import annotations

import warnings

import attrs
import click
import trio

from runnel_trio._app import App
from runnel_trio._broker._values import Layouts, StreamSpec
from runnel_trio._cli._errors import Ended, Exit, Unwritable, ended, print_out
from runnel_trio._cli._load import discover, load, redirect
from runnel_trio._cli._worker_process import chosen
from runnel_trio._operate._health import troubles
from runnel_trio._report._redaction import redacted, redacted_text
from runnel_trio._report._words import counted

__all__ = ["check"]


@attrs.define
class _Findings:
    """Prints findings as they come: what is fine, what is worth knowing, and what is wrong."""

    code: int = Exit.OK

    def fine(self, text: str) -> None:
        self._say(f"{click.style('ok', fg='green')}     {text}")

    def note(self, text: str) -> None:
        self._say(f"{click.style('note', fg='yellow')}   {text}")

    def wrong(self, code: int, text: str) -> None:
        self._say(f"{click.style('wrong', fg='red')}  {text}")
        self.code = self.code or code

    def _say(self, text: str) -> None:
        print_out(redacted_text(text))


def check(target: str, processors: str | None, *, redis_url: str | None, embedded: str | None) -> int:
    """Check an app and print the findings. Returns 0, or the exit code with which ``run`` would end.

    Args:
        target: ``module:name`` of an app.
        processors: the value of ``--processors``.
        redis_url: the value of ``--redis-url``.
        embedded: the value of ``--embedded``.
    """
    findings = _Findings()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            app = load(target, App)
            discover(app)
            names = chosen(app, processors)
            redirect(app, redis_url=redis_url, embedded=embedded)
        except Exception as error:
            found = error if isinstance(error, Ended) else ended(error)
            if found.blamed is not None:
                raise found from error  # with the traceback
            findings.wrong(found.code, found.text)
            return findings.code
    for warning in told:
        if issubclass(warning.category, UserWarning):
            findings.note(str(warning.message))
    if not app.processors and not app.background:
        findings.wrong(
            Exit.CONFIG, f"{target} has nothing to run; declare a processor: @app.processor(stream)"
        )
    else:
        others = counted(len(app.background), "task or timer", "tasks and timers")
        parts = f"{len(names)} of {counted(len(app.processors), 'processor')}, {others}"
        findings.fine(f"{target} can be imported, its settings can be used: {parts}")
    trio.run(_server, app, findings)
    return findings.code


async def _server(app: App, findings: _Findings) -> None:
    try:
        async with app.operator() as op:
            findings.fine(f"server {redacted(app.settings.redis_url)}: {op.server}")
            there = {layouts.current.name: layouts for layouts in await op.streams()}
            for stream in app.streams.values():
                _stream(stream.declared_spec, there.get(stream.name), findings)
            for trouble in troubles(await op.overview()):
                if trouble.kind == "misfit":
                    findings.wrong(Exit.REFUSED, trouble.line)
    except Unwritable:
        raise
    except Exception as error:
        found = ended(error)
        findings.wrong(found.code, found.text)


def _stream(spec: StreamSpec, layouts: Layouts | None, findings: _Findings) -> None:
    name = spec.name
    if layouts is None:
        findings.note(f"stream {name} is not on the server: it will be with its first event or worker")
        return
    stored = layouts.current
    differ = [x for x in ("partition_count", "record", "hasher") if _of(stored, x) != _of(spec, x)]
    if differ == ["partition_count"] and spec.partition_count in layouts.former_counts:
        count = stored.partition_count
        findings.note(
            f"stream {name} has {count} partitions now, which hold, and {spec.partition_count} here: write "
            f"partition_count={count}"
        )
        differ = []
    for what in differ:
        advice = f"keep {_of(stored, what)}, or take another name and drain this one first"
        if what == "partition_count":
            advice = (
                f"keep {_of(stored, what)}, or change it on the server first: runnel-trio stream repartition "
                f"MODULE:{name} --to {_of(spec, what)}"
            )
        server = f"stream {name} has {what}={_of(stored, what)} on the server"
        findings.wrong(Exit.CONFIG, f"{server}, and {_of(spec, what)} here: {advice}")
    if spec.partition_count == stored.partition_count and not differ:
        partitions = counted(spec.partition_count, "partition")
        findings.fine(f"stream {name} is declared as on the server: {partitions}")
    for what in ("partition_size", "overflow"):
        if _of(stored, what) != _of(spec, what):
            before, now = _of(stored, what), _of(spec, what)
            findings.note(f"stream {name} had {what}={before}: {now} will hold from the start on")


def _of(spec: StreamSpec, what: str) -> object:
    value = getattr(spec, what)
    return getattr(value, "value", value)
