"""From ``module:name`` on the command line to the app or stream it names."""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from runnel_trio._app import App
from runnel_trio._cli._errors import Ended, Exit, tell, trimmed
from runnel_trio._stream import Stream
from runnel_trio.exceptions import Misconfigured

__all__ = ["app_of", "discover", "load", "redirect"]

T = TypeVar("T")

_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def load(target: str, kind: type[T], *, show_all: bool) -> T:
    """The object that ``module:name`` names, which must be of a kind.

    Args:
        target: what stands on the command line. Modules are found from the current directory, too.
        kind: `App` or `Stream`.
        show_all: show the whole traceback of a module that cannot be imported.

    Raises:
        Ended: there is no such thing; the line says what there is.
    """
    module_name, colon, path = target.partition(":")
    if module_name.endswith(".py") or os.sep in module_name:
        module_name = module_name.removesuffix(".py").replace(os.sep, ".").strip(".")
        raise _unusable(f"{target!r} is a path: write {module_name}:{path or kind.__name__.lower()}")
    if not _MODULE.fullmatch(module_name):
        raise _unusable(f"{target!r} cannot be read: write MODULE:NAME, as in shop.orders:app")
    module = imported(module_name, show_all=show_all)
    if not colon or not path:
        raise _unusable(f"{target!r} names no {kind.__name__} in that module. {_candidates(module, kind)}")
    found: Any = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise _unusable(f"{module_name} has no {path!r}. {_candidates(module, kind)}") from None
    if not isinstance(found, kind):
        raise _unusable(
            f"{target} is a {type(found).__name__}, not {_noun(kind)}. {_candidates(module, kind)}"
        )
    return found


def imported(name: str, *, show_all: bool) -> ModuleType:
    """A module of the user's.

    Raises:
        Ended: it does not exist, or raises; then its traceback was shown.
    """
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise _unusable(f"there is no module {error.name!r}, neither installed nor in {here}") from error
        raise _broken(name, error, show_all=show_all) from error
    except Exception as error:
        raise _broken(name, error, show_all=show_all) from error


def _broken(name: str, error: Exception, *, show_all: bool) -> Ended:
    """A module that raises; a setting or declaration that is wrong needs no traceback but the place."""
    if isinstance(error, Misconfigured):
        return Ended(Exit.CONFIG, f"{_place(error)}{error}")
    if not show_all:
        tell("".join(trimmed(error)).rstrip())
    return Ended(Exit.USAGE, f"{name} cannot be imported: {type(error).__name__}: {error}")


def _place(error: Exception) -> str:
    """The last line of the user's that led to an error."""
    ours = str(Path(__file__).parent.parent)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((ours, "<")) and "importlib" not in frame.filename
    ]
    if not frames:
        return ""
    path = os.path.relpath(frames[-1].filename)
    return f"{frames[-1].filename if path.startswith(os.pardir) else path}:{frames[-1].lineno}: "


def _candidates(module: ModuleType, kind: type[Any]) -> str:
    names = sorted(name for name, value in vars(module).items() if isinstance(value, kind))
    if not names:
        return f"There is no {kind.__name__} in it."
    return f"It has {', '.join(f'{module.__name__}:{name}' for name in names)}."


def _noun(kind: type[Any]) -> str:
    return "an App" if kind is App else "a Stream"


def _unusable(text: str) -> Ended:
    return Ended(Exit.USAGE, text)


def app_of(stream: Stream[Any]) -> App:
    """The app that a stream was declared on.

    A stream does not know its app. Whoever declared it has imported it, so the app is in a module.
    """
    for module in tuple(sys.modules.values()):
        for value in tuple(getattr(module, "__dict__", {}).values()):
            if isinstance(value, App) and any(x is stream for x in value.streams.values()):
                return value
    raise _unusable(f"no module has the App of stream {stream.name!r} as an attribute")


def redirect(app: App, *, redis_url: str | None, embedded: str | None) -> None:
    """Send an app to another server, as ``--redis-url`` and ``--embedded`` ask for.

    Raises:
        Ended: both were given.
        Misconfigured: the URL cannot be used.
    """
    if redis_url is not None and embedded is not None:
        raise _unusable("--redis-url and --embedded name two servers: give one of them")
    if embedded is not None:
        redis_url = f"embedded://{embedded}"
    if redis_url is not None:
        app.use_server(redis_url)


def discover(app: App, *, show_all: bool) -> None:
    """Import the files of the setting ``autodiscover``.

    Raises:
        Ended: a file cannot be imported.
        Misconfigured: there is none.
    """
    try:
        app.discover()
    except Exception as error:
        raise _broken(f"autodiscover={app.settings.autodiscover!r}", error, show_all=show_all) from error
