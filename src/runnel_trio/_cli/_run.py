"""``runnel-trio run``: one worker, several under a supervisor, or only a check."""

from __future__ import annotations

import sys
from typing import Any

import attrs
import click
import trio

from runnel_trio._app import App
from runnel_trio._cli import _worker_process
from runnel_trio._cli._check import check
from runnel_trio._cli._errors import Ended, Exit, conclude, tell
from runnel_trio._cli._leash import Leash
from runnel_trio._cli._load import discover, load, redirect
from runnel_trio._cli._logging import configure
from runnel_trio._cli._options import Command, common
from runnel_trio._cli._reload import check_extra
from runnel_trio._cli._streams import is_terminal
from runnel_trio._cli._supervisor import Supervisor
from runnel_trio._http._probes import BindAddress
from runnel_trio.settings import Settings

__all__ = ["run"]


@attrs.frozen(kw_only=True)
class _Given:
    """The options and arguments that were typed."""

    target: str
    processors: str | None
    workers: int | None
    reload: bool
    only_check: bool
    log_format: str | None
    log_level: str | None
    metrics_port: int | None
    metrics_host: str
    leash: int | None
    redis_url: str | None
    embedded: str | None
    show_all: bool


@click.command(cls=Command)
@click.argument("target", metavar="MODULE:APP")
@click.option("--processors", metavar="A,B", help="Run only these processors.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Run N worker processes; restart those that end, and replace them one by one on SIGHUP.",
)
@click.option("--reload", is_flag=True, help="Restart when a .py file below the current directory changes.")
@click.option(
    "--check", "only_check", is_flag=True, help="Run nothing; only say what is fine and what is wrong."
)
@click.option(
    "--log-format", type=click.Choice(["console", "json"]), help="How to log, whatever the settings say."
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error", "critical"]),
    help="The lowest level to log, whatever the settings say.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Serve /metrics, /healthz and /readyz there; with --workers, the first at PORT, the next at PORT+1.",
)
@click.option(
    "--metrics-host",
    default="127.0.0.1",
    show_default=True,
    metavar="HOST",
    help="The address to serve at; 0.0.0.0 for all addresses of the machine.",
)
@click.option("--leash", type=int, hidden=True)
@common
def run(**given: Any) -> int:
    """Run a worker: the processors and tasks of an app.

    SIGINT (Ctrl-C) or SIGTERM stops it gracefully: events in hand are finished. A second one stops it at
    once.
    """
    typed = _Given(**given)

    def command() -> int:
        if typed.only_check:
            return _check(typed)
        if typed.leash is None and (typed.workers is not None or typed.reload):
            return _supervise(typed)
        return _run_worker(typed)

    return conclude(command, show_all=typed.show_all)


def _run_worker(given: _Given) -> int:
    leash = None if given.leash is None else Leash.take(given.leash)
    app = load(given.target, App)
    discover(app)
    chosen = _worker_process.chosen(app, given.processors)
    redirect(app, redis_url=given.redis_url, embedded=given.embedded)
    numbered = leash is not None and leash.of > 1 and is_terminal(sys.stderr)
    configure(
        app.settings,
        tell,
        log_format=given.log_format,
        log_level=given.log_level,
        worker=leash.number if leash is not None and numbered else 0,
        remarks=leash is None or leash.number == 1,
    )
    if leash is not None:
        _worker_process.share_server(app, leash)
    return trio.run(_worker_process.run, app, chosen, leash, _address(given, leash))


def _address(given: _Given, leash: Leash | None) -> BindAddress | None:
    """The address where this worker serves its pages. A worker that replaces another waits for its port."""
    if given.metrics_port is None:
        return None
    if leash is None or given.metrics_port == 0:
        return BindAddress(given.metrics_host, given.metrics_port)
    return BindAddress(given.metrics_host, given.metrics_port + leash.number - 1, patient=True)


def _supervise(given: _Given) -> int:
    if given.reload:
        check_extra()
    settings = Settings()

    def configured(facts: dict[str, Any]) -> None:
        configure(
            settings,
            tell,
            log_format=given.log_format or facts.get("log_format"),
            log_level=given.log_level or facts.get("log_level"),
        )

    configured({})
    supervisor = Supervisor(
        arguments=_arguments(given),
        workers=given.workers or 1,
        reload=given.reload,
        configured=configured,
    )
    return trio.run(supervisor.run)


def _arguments(given: _Given) -> list[str]:
    """The arguments that each worker is started with."""
    options = {
        "--processors": given.processors,
        "--log-format": given.log_format,
        "--log-level": given.log_level,
        "--redis-url": given.redis_url,
        "--embedded": given.embedded,
        "--metrics-port": given.metrics_port,
        "--metrics-host": given.metrics_host if given.metrics_port is not None else None,
    }
    arguments = [f"{name}={value}" for name, value in options.items() if value is not None]
    return [given.target, *arguments, *(["--traceback"] if given.show_all else [])]


def _check(given: _Given) -> int:
    if given.workers is not None and given.workers > 1 and (given.redis_url or "").startswith("memory://"):
        raise Ended(Exit.CONFIG, "memory:// is inside of one process, and --workers makes several")
    return check(given.target, given.processors, redis_url=given.redis_url, embedded=given.embedded)
