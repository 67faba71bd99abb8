"""What commands have in common: the options for the server, and how they are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["Command", "F", "common"]

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
