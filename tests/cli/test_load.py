"""What ``module:name`` can mean, beyond the cases of `test_run`; and what importing it can do."""

from __future__ import annotations

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
