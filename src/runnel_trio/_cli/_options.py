"""What commands have in common: the options for the server, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, TypeVar

import click

from runnel_trio._app import App
from runnel_trio._report._redaction import redacted
from runnel_trio.settings import MOST_PARTITIONS

__all__ = ["Command", "F", "common", "partitions", "typed_server", "with_zone"]

F = TypeVar("F", bound=Callable[..., Any])


class Command(click.Command):
    """A command whose ``--embedded`` takes a directory only behind an equals sign.

    click would take what follows as the directory, in ``run --embedded shop:app`` the app.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Make ``--embedded=`` of a bare ``--embedded``."""
        given = ["--embedded=" if arg == "--embedded" else arg for arg in args]
        try:
            return super().parse_args(ctx, given)
        except click.UsageError as error:
            if "--embedded" in args and "unexpected" in error.message:
                hint = "A directory for --embedded goes behind an equals sign: --embedded=DIR"
                raise click.UsageError(f"{error.message}. {hint}", ctx) from None
            raise


def common(command: F) -> F:
    """The options that every command has."""
    options = [
        click.option("--redis-url", metavar="URL", help="The server to use, whatever the settings say."),
        click.option(
            "--embedded",
            metavar="[=DIR]",
            help="Use a server of its own, which keeps its data in DIR; without =DIR, they are thrown away.",
        ),
        click.option("--traceback", "show_all", is_flag=True, help="Show errors with their whole traceback."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _numbers(text: str) -> Iterator[int]:
    """The numbers in a text like ``3``, ``0-15`` or ``0-3,7``, which is how commands show partitions."""
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = (first, last if dash else first)
        if not all(x.isascii() and x.isdigit() for x in ends):
            raise click.BadParameter(f"{text!r} is no number of a partition, and no range as 0-15 or 0-3,7")
        least, most = map(int, ends)
        if not least <= most <= MOST_PARTITIONS:
            raise click.BadParameter(f"{text!r} is no range of partitions")
        yield from range(least, most + 1)


def partitions(command: F) -> F:
    """The option that chooses partitions; if it is given more than once, all of them count."""
    return click.option(
        "--partition",
        "partitions",
        multiple=True,
        metavar="N",
        help="Only this partition; repeatable, and 0-3,7 names several.",
        callback=lambda _, __, given: tuple(sorted({x for text in given for x in _numbers(text)})),
    )(command)


def with_zone(start: str, app: App) -> str | datetime:
    """A start as it was typed; a time without an offset is read in the setting ``timezone``."""
    try:
        when = datetime.fromisoformat(start) if not start.isdigit() else None
    except ValueError:
        return start
    if when is None:
        return start
    return when if when.tzinfo is not None else when.replace(tzinfo=app.settings.timezone)


def typed_server(redis_url: str | None, embedded: str | None) -> str:
    """The options for the server as they were typed, for a command in a message; without a password."""
    if redis_url is not None and redacted(redis_url) == redis_url:
        return f" --redis-url {redis_url}"
    return f" --embedded={embedded}" if embedded else ""
