"""``runnel-trio settings``: shows every setting, its value, and where the value comes from."""

from __future__ import annotations

import json
from typing import Any

import click

from runnel_trio._app import App
from runnel_trio._cli._errors import Exit, conclude, print_out
from runnel_trio._cli._load import load, redirect, server_of
from runnel_trio._cli._options import Command, common
from runnel_trio._report._redaction import redacted
from runnel_trio._settings._kinds import shown
from runnel_trio.settings import Settings, describe

__all__ = ["settings"]

#: The usual width of a terminal, in columns.
WIDTH = 80
#: The columns of a value, so that the default of ``redis_url`` fits.
VALUE = 22


@click.command(cls=Command)
@click.argument("target", metavar="[MODULE:APP]", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object: value, unit and origin by name.")
@common
def settings(
    target: str | None, *, as_json: bool, redis_url: str | None, embedded: str | None, show_all: bool
) -> int:
    """Show every setting, its value, and where that comes from.

    Those of an app, or without one those that variables, a file and defaults alone give. Nothing is
    connected to. Passwords are not shown.
    """

    def command() -> int:
        found = _found(target, redis_url=redis_url, embedded=embedded)
        print_out(json.dumps(_document(found), indent=2, ensure_ascii=False) if as_json else _table(found))
        return Exit.OK

    return conclude(command, show_all=show_all)


def _found(target: str | None, *, redis_url: str | None, embedded: str | None) -> Settings:
    if target is not None:
        app = load(target, App)
        redirect(app, redis_url=redis_url, embedded=embedded)
        return app.settings
    found = Settings()
    if server := server_of(redis_url=redis_url, embedded=embedded):
        url, origin = server
        found = found.changed(origin, redis_url=url)
    return found


def _value(found: Settings, name: str) -> Any:
    value = getattr(found, name)
    return redacted(value) if name == "redis_url" else value


def _document(found: Settings) -> dict[str, dict[str, Any]]:
    document = {}
    for x in describe():
        value = _value(found, x.name)
        plain = value if isinstance(value, bool | int | float | None) else shown(value)
        document[x.name] = {"value": plain, "unit": x.unit, "origin": found.origins[x.name]}
    return document


def _table(found: Settings) -> str:
    """One line for each setting; if that would be too long, the origin gets its own line."""
    names = max(len(x.name) for x in describe())
    lines = [f"{'setting':<{names}}  {'value':<{VALUE}} from"]
    for x in describe():
        value = f"{shown(_value(found, x.name))} {x.unit}".rstrip()
        line = f"{x.name:<{names}}  {value:<{VALUE}}"
        origin = found.origins[x.name]
        if len(line) + 1 + len(origin) <= WIDTH:
            lines.append(f"{line} {origin}")
        else:
            lines += [line.rstrip(), f"{origin:>{WIDTH}}"]
    return "\n".join(lines)
