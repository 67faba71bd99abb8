"""What ``module:name`` can mean, beyond the cases of `test_run`; and what importing it can do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

RAISES = "def f():\n    return {}['x']\n\nf()\n"


def frames(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("  File")]


def test_only_the_users_frames_are_shown(command: Any, shop: Path) -> None:
    (shop / "bad.py").write_text(RAISES)
    done = command("run", "bad:app")
    assert frames(done.stderr) == [
        f'  File "{shop}/bad.py", line 4, in <module>',
        f'  File "{shop}/bad.py", line 2, in f',
    ]
    assert done.stderr.splitlines()[-1] == "Error: bad cannot be imported: KeyError: 'x'"


def test_traceback_shows_them_all(command: Any, shop: Path) -> None:
    (shop / "bad.py").write_text(RAISES)
    done = command("run", "bad:app", "--traceback")
    assert done.returncode == 2
    assert "_load.py" in done.stderr
    assert done.stderr.splitlines()[-1] == "Error: bad cannot be imported: KeyError: 'x'"


def test_traceback_of_an_error_that_is_one_line_without(command: Any) -> None:
    done = command("run", "shop:app", "--redis-url", "127.0.0.1:1", "--traceback")
    assert done.returncode == 3
    assert "ConnectionRefusedError" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: no server at redis://127.0.0.1:1: ")


def test_a_module_that_imports_what_is_not_there_is_not_one_that_is_not_there(
    command: Any, shop: Path
) -> None:
    (shop / "bad.py").write_text("import nothere\n")
    done = command("run", "bad:app")
    assert done.returncode == 2
    assert frames(done.stderr) == [f'  File "{shop}/bad.py", line 1, in <module>']
    assert done.stderr.endswith(
        "Error: bad cannot be imported: ModuleNotFoundError: No module named 'nothere'\n"
    )


def test_a_syntax_error_is_shown_at_its_line(command: Any, shop: Path) -> None:
    (shop / "bad.py").write_text("x = (\n")
    done = command("run", "bad:app")
    assert done.returncode == 2
    assert frames(done.stderr) == [f'  File "{shop}/bad.py", line 1']


def test_a_declaration_that_cannot_be_is_one_line_with_its_place(command: Any, shop: Path) -> None:
    (shop / "bad.py").write_text("from runnel_trio import App\n\napp = App('a:b')\n")
    done = command("run", "bad:app")
    assert done.returncode == 78
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: bad.py:3: app name 'a:b'")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("empty:app", "empty has no 'app'. There is no App in it."),
        ("shop:app.name.x", "shop has no 'app.name.x'. It has shop:app."),
        ("shop.orders:app", "there is no module 'shop.orders', neither installed nor in {shop}"),
        ("./sub/shop.py:app", "'./sub/shop.py:app' is a path: write sub.shop:app"),
    ],
)
def test_other_things_that_are_no_app(target: str, said: str, command: Any, shop: Path) -> None:
    (shop / "empty.py").touch()
    done = command("run", target)
    assert (done.returncode, done.stderr) == (2, f"Error: {said.format(shop=shop)}\n")


def test_a_stream_whose_app_is_no_attribute_of_a_module(command: Any, shop: Path) -> None:
    (shop / "lost.py").write_text(
        "from runnel_trio import App\nfrom shop import Order\n"
        "orders = App('x').stream('lost', Order, partition_by='key')\n"
    )
    done = command("send", "lost:orders", "{}")
    assert done.returncode == 2
    assert done.stderr == "Error: no module has the App of stream 'lost' as an attribute\n"


def test_lazy_proxies_do_no_harm(command: Any, shop: Path) -> None:
    (shop / "aaa.py").write_text(
        "class Lazy:\n    @property\n    def __class__(self):\n        raise RuntimeError('unbound')\n\n"
        "lazy = Lazy()\nfrom shop import app, orders\n"
    )
    done = command("send", "aaa:orders", "{}")
    assert done.returncode == 65, done.stderr


def test_files_of_autodiscover_are_imported(started: Any, command: Any, shop: Path) -> None:
    (shop / "more").mkdir()
    (shop / "more" / "extra.py").write_text(
        "from shop import app, orders\n\n"
        "@app.processor(orders)\nasync def added(events):\n    async for _ in events:\n        pass\n"
    )
    worker = started(
        *("run", "shop:app", "--embedded", "--processors=added"), RUNNEL_AUTODISCOVER="more/*.py"
    )
    assert "processor=added" in worker.stderr.readline()
    (shop / "more" / "extra.py").write_text(RAISES)
    done = command("run", "shop:app", RUNNEL_AUTODISCOVER="more/*.py")
    assert done.returncode == 2
    assert frames(done.stderr)[0] == f'  File "{shop}/more/extra.py", line 4, in <module>'
    nothing = command("run", "shop:app", RUNNEL_AUTODISCOVER="none/*.py")
    assert nothing.returncode == 78


RUNS = {
    "as it is": "trio.run(app.run)",
    "by a function of its own": "async def main():\n    async with app.worker():\n        pass\ntrio.run(main)",
    "in a nursery": (
        "async def main():\n    async with trio.open_nursery() as nursery:\n"
        "        await nursery.start(app.run)\ntrio.run(main)"
    ),
    "in a thread that it waits for": (
        "async def main():\n    await trio.to_thread.run_sync(trio.run, app.run)\ntrio.run(main)"
    ),
    "whatever it raises": "try:\n    trio.run(app.run)\nexcept BaseException:\n    pass",
    "to its exit code": "try:\n    trio.run(app.run)\nexcept Exception:\n    raise SystemExit(1)",
    "as a program": "import runpy\nrunpy.run_path('program.py', run_name='__main__')",
    "by the command line": "from runnel_trio.__main__ import main\nmain(['run', 'shop:app', '--embedded'])",
}


@pytest.mark.parametrize("how", RUNS)
def test_a_module_that_runs_its_app_when_it_is_imported_is_told_to_guard_it(
    how: str, command: Any, shop: Path
) -> None:
    (shop / "program.py").write_text("import trio\nfrom shop import app\ntrio.run(app.run)\n")
    (shop / "runs.py").write_text(f"import trio\nfrom shop import app, orders\n{RUNS[how]}\n")
    done = command("run", "runs:app", "--embedded=data")
    assert done.returncode == 78, done.stderr
    places = {"as a program": "program.py:3: ", "by the command line": ""}
    assert re.search(
        f"{places.get(how, r'runs.py:[0-9]+: ')}app 'shop' is run while its module is imported", done.stderr
    )
    assert 'under `if __name__ == "__main__":`' in done.stderr
    assert "Traceback" not in done.stderr
    assert "running" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["send", "runs:orders", "{}"],
        ["status", "runs:app"],
        ["processor", "resume", "runs:quiet"],
        ["run", "runs:app", "--check"],
    ],
    ids=" ".join,
)
def test_whichever_command_imports_it(arguments: list[str], command: Any, shop: Path) -> None:
    (shop / "runs.py").write_text("import trio\nfrom shop import app, orders, quiet\ntrio.run(app.run)\n")
    done = command(*arguments)
    assert done.returncode == 78, done.stderr
    assert "runs.py:3: app 'shop' is run while its module is imported" in done.stdout + done.stderr


def test_a_file_of_autodiscover_that_runs_its_app_is_told_so_too(command: Any, shop: Path) -> None:
    (shop / "more").mkdir()
    (shop / "more" / "extra.py").write_text("import trio\nfrom shop import app\ntrio.run(app.run)\n")
    done = command("run", "shop:app", "--embedded=data", RUNNEL_AUTODISCOVER="more/*.py")
    assert done.returncode == 78, done.stderr
    assert re.match(r"Error: more/extra.py:3: app 'shop' is run while its module is imported", done.stderr)


def test_several_workers_of_such_a_module_end_with_the_same_line_once(command: Any, shop: Path) -> None:
    (shop / "runs.py").write_text("import trio\nfrom shop import app\ntrio.run(app.run)\n")
    done = command("run", "runs:app", "--workers", "2", "--embedded=data")
    assert done.returncode == 78, done.stderr
    assert done.stderr.count("is run while its module is imported") == 1


def test_what_else_a_module_does_with_trio_when_it_is_imported_is_its_own_affair(
    command: Any, shop: Path
) -> None:
    (shop / "sends.py").write_text(
        "import trio\nfrom shop import app, orders, Order\n"
        "async def main():\n    async with app.session():\n        await orders.send(Order(key='a', n=1))\n"
        "trio.run(main)\n"
    )
    done = command("send", "sends:orders", '{"key": "a", "n": 2}', RUNNEL_REDIS_URL="embedded://data")
    assert done.returncode == 0, done.stderr
    seen = command("inspect", "shop:orders", "--embedded=data")
    assert re.findall(r'"n": (\d)', seen.stdout) == ["1", "2"], seen.stderr


def test_an_app_that_is_run_later_by_what_a_worker_runs_is_run(started: Any, reads: Any, shop: Path) -> None:
    (shop / "outer.py").write_text(
        "import shop\nfrom runnel_trio import App\n\napp = App('outer', redis_url='embedded://data')\n"
        "shop.app.use_server('embedded://data')\n\n"
        "@app.task\nasync def inner():\n    await shop.app.run(processors=['quiet'])\n"
    )
    reads(started("run", "outer:app"), "joined processor=quiet")
