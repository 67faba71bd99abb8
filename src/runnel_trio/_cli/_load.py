"""From ``module:name`` on the command line to the app or stream it names."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar

from runnel_trio._app import App
from runnel_trio._cli._errors import Ended, Exit, with_source_line
from runnel_trio._discovery import importing
from runnel_trio._report._redaction import redacted
from runnel_trio._report._words import summary
from runnel_trio._stream import Stream
from runnel_trio.exceptions import Misconfigured

__all__ = ["app_of", "discover", "load", "redirect", "server_of"]

T = TypeVar("T")

_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def load(target: str, kind: type[T]) -> T:
    """Import the object that ``module:name`` names.

    Args:
        target: the argument on the command line. Modules are also looked for in the current directory.
        kind: what it must be: `App`, `Stream` or `Processor`.

    Raises:
        Ended: there is no such object; the line says which ones there are.
    """
    if "://" in target:
        said = (
            f"{redacted(target)!r} is a URL, and no {kind.__name__}: name one as MODULE:NAME, as in shop:app"
        )
        raise _unusable(f"{said}, and the server with RUNNEL_REDIS_URL or --redis-url")
    module_name, _, path = target.partition(":")
    if module_name.endswith(".py") or os.sep in module_name:
        module_name = module_name.removesuffix(".py").replace(os.sep, ".").strip(".")
        raise _unusable(f"{target!r} is a path: write {module_name}:{path or kind.__name__.lower()}")
    if not _MODULE.fullmatch(module_name):
        raise _unusable(f"{target!r} cannot be read: write MODULE:NAME, as in shop.orders:app")
    module = _import(module_name)
    there = _candidates(module, kind)
    if not path:
        raise _unusable(f"{target!r} names no {kind.__name__} in that module. {there}")
    found: Any = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise _unusable(f"{module_name} has no {path!r}. {there}") from None
    if not isinstance(found, kind):
        raise _unusable(f"{target} is of type {type(found).__name__}, not {kind.__name__}. {there}")
    return found


def _import(name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        with _only_declared():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise _unusable(f"there is no module {error.name!r}, neither installed nor in {here}") from error
        raise _broken(name, error) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # `sys.exit()` in a module must not end the command without a word
        raise _broken(name, error) from error


@contextmanager
def _only_declared() -> Iterator[None]:
    """A context for an import, which refuses that a module runs an app, even if the module hides the error.

    Raises:
        Misconfigured: a module runs an app.
    """
    with importing() as refused:
        try:
            yield
        finally:
            if refused:
                raise refused[0]


def _broken(name: str, error: BaseException) -> Ended:
    """The error of a module that raises; a wrong setting or declaration gets its line, not a traceback."""
    if isinstance(error, Misconfigured):
        return Ended(Exit.CONFIG, with_source_line(error))
    return Ended(Exit.USAGE, f"{name} cannot be imported: {summary(error)}", blamed=error)


def _candidates(module: ModuleType, kind: type[Any]) -> str:
    names = sorted(name for name, value in vars(module).items() if issubclass(type(value), kind))
    if not names:
        return f"There is no {kind.__name__} in it."
    return f"It has {', '.join(f'{module.__name__}:{name}' for name in names)}."


def _unusable(text: str) -> Ended:
    return Ended(Exit.USAGE, text)


def app_of(stream: Stream[Any]) -> App:
    """The app that a stream was declared on.

    A stream does not know its app. But the module that declared the stream has the app, or imports it.

    Raises:
        Ended: no module has it.
    """
    for module in tuple(sys.modules.values()):
        for value in tuple(getattr(module, "__dict__", {}).values()):
            # Not isinstance: it asks lazy proxies for their class, and some of them raise.
            if issubclass(type(value), App) and any(x is stream for x in value.streams.values()):
                return value  # type: ignore[no-any-return]  # narrowed by its type
    raise _unusable(f"no module has the App of stream {stream.name!r} as an attribute")


def server_of(*, redis_url: str | None, embedded: str | None) -> tuple[str, str] | None:
    """The URL that ``--redis-url`` or ``--embedded`` asks for, and which of them does.

    Raises:
        Ended: both were given.
    """
    if redis_url is not None and embedded is not None:
        raise _unusable("--redis-url and --embedded name two servers: give one of them")
    if embedded is not None:
        return f"embedded://{embedded}", "--embedded"
    return (redis_url, "--redis-url") if redis_url is not None else None


def redirect(app: App, *, redis_url: str | None, embedded: str | None) -> None:
    """Send an app to another server, as ``--redis-url`` and ``--embedded`` ask for.

    Raises:
        Ended: both were given.
        Misconfigured: the URL cannot be used.
    """
    if server := server_of(redis_url=redis_url, embedded=embedded):
        url, origin = server
        app.use_server(url, origin=origin)


def discover(app: App) -> None:
    """Import the files of the setting ``autodiscover``.

    Raises:
        Ended: there is none, or one cannot be imported.
    """
    try:
        with _only_declared():
            app.discover()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _broken(f"a file of autodiscover={app.settings.autodiscover!r}", error) from error
