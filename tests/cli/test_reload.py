"""``runnel-trio run --reload``: what is saved runs, and what cannot be imported is shown and waited on."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any


def test_a_change_restarts_the_worker_and_a_broken_one_waits_for_the_next(
    reads: Any, started: Any, command: Any, shop: Path
) -> None:
    run = started("run", "shop:app", "--embedded=data", "--reload", "--processors=printer")
    reads(run, "watching directory=")
    reads(run, "running app=shop")
    good = (shop / "shop.py").read_text()
    (shop / "shop.py").write_text(good.replace('say(f"begin', 'say(f"now begin'))
    reads(run, "changed files=shop.py")
    reads(run, " stopped member=")
    reads(run, "running app=shop")
    command("send", "shop:orders", "--embedded=data", '{"key": "a", "n": 1}')
    assert run.stdout.readline() == "now begin 1\n"
    (shop / "shop.py").write_text("import nowhere\n")
    reads(run, "Error: shop cannot be imported: ModuleNotFoundError: No module named 'nowhere'")
    reads(run, "worker-ended worker=1 .*then=waits for a change of a file")
    (shop / "shop.py").write_text(good)
    reads(run, "running app=shop")
    run.send_signal(signal.SIGINT)
    assert run.wait(60) == 0


def test_what_cannot_be_imported_at_the_start_is_waited_on_too(reads: Any, started: Any, shop: Path) -> None:
    good = (shop / "shop.py").read_text()
    (shop / "shop.py").write_text("def f(:\n")
    run = started("run", "shop:app", "--embedded=data", "--reload", "--workers=2")
    reads(run, "waits for a change")
    (shop / "shop.py").write_text(good)
    reads(run, "running app=shop")
    reads(run, "running app=shop")
    run.send_signal(signal.SIGTERM)
    assert run.wait(60) == 0


def test_other_files_restart_nobody(reads: Any, started: Any, shop: Path) -> None:
    run = started("run", "shop:app", "--embedded=data", "--reload", "--processors=printer")
    reads(run, "running app=shop")
    (shop / "notes.txt").write_text("no code")
    (shop / "other.py").write_text("")
    reads(run, "changed files=other.py$")
    run.send_signal(signal.SIGTERM)
    assert run.wait(60) == 0


def test_without_the_extra_reload_names_it(command: Any, shop: Path) -> None:
    hidden = shop / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import importlib.util as u\nfound = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'watchfiles' else found(name, *more)\n"
    )
    done = command("run", "shop:app", "--reload", PYTHONPATH=str(hidden))
    assert done.returncode == 78
    assert done.stderr == 'Error: --reload needs watchfiles: pip install "runnel-trio[reload]"\n'
