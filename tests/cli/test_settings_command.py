"""``runnel-trio settings``: what holds, and from where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runnel_trio.settings import describe


def rows(text: str) -> dict[str, str]:
    lines = [line.split(maxsplit=1) for line in text.splitlines()]
    return {line[0]: line[1] if len(line) > 1 else "" for line in lines}


def test_an_apps_settings_are_shown_with_their_origins(command: Any, shop: Path) -> None:
    (shop / "pyproject.toml").write_text("[tool.runnel]\nlog_format = 'json'\n")
    done = command("settings", "shop:app", "--embedded=data", RUNNEL_LOG_LEVEL="debug")
    assert (done.returncode, done.stderr) == (0, "")
    found = rows(done.stdout)
    assert list(found) == ["setting", *(x.name for x in describe())]
    assert found["redis_url"].split() == ["embedded://data", "--embedded"]
    assert found["log_format"].split() == ["json", "pyproject.toml", "[tool.runnel]"]
    assert found["log_level"].split() == ["debug", "RUNNEL_LOG_LEVEL"]
    assert found["default_partition_count"].split() == ["4", "partitions", "argument"]
    assert found["default_lock_expiry"].split() == ["10", "s", "default"]


def test_without_an_app_it_is_what_variables_and_files_give(command: Any, shop: Path) -> None:
    (shop / "runnel.toml").write_text("default_partition_count = 7\n")
    found = rows(command("settings", "--redis-url=db:1").stdout)
    assert found["default_partition_count"].split() == ["7", "partitions", "runnel.toml"]
    assert found["redis_url"].split() == ["redis://db:1", "--redis-url"]


def test_the_table_fits_eighty_columns(command: Any, shop: Path) -> None:
    changes = {
        "RUNNEL_REDIS_URL": "rediss://me:secret@redis-17.eu.example.com:16379/0",
        "RUNNEL_DEFAULT_ASSIGNMENT_ATTEMPTS": "100000",
        "RUNNEL_DEFAULT_SERIALIZER": "shop.formats:Compressed",
    }
    lines = command("settings", **changes).stdout.splitlines()
    assert max(map(len, lines)) == 80
    following = lines[lines.index("default_assignment_attempts  100000 attempts") + 1]
    assert following == "RUNNEL_DEFAULT_ASSIGNMENT_ATTEMPTS".rjust(80)


def test_json_has_all_there_is(command: Any, shop: Path) -> None:
    (shop / "odd.py").write_text(
        "from datetime import timezone, timedelta\nfrom runnel_trio import App\n"
        "def hashed(key): return 1\n"
        "app = App('odd', default_hasher=hashed, timezone=timezone(timedelta(hours=1)), stall_limit=0.5)\n"
    )
    found = json.loads(command("settings", "odd:app", "--json").stdout)
    assert list(found) == [x.name for x in describe()]
    assert found["stall_limit"] == {"value": 0.5, "unit": "s", "origin": "argument"}
    assert found["testing"] == {"value": False, "unit": "", "origin": "default"}
    assert found["autodiscover"]["value"] is None
    assert found["default_hasher"]["value"] == "odd:hashed"
    assert found["timezone"]["value"] == "UTC+01:00"
    assert found["default_overflow"]["value"] == "block"


def test_a_file_that_is_wrong_is_one_line(command: Any, shop: Path) -> None:
    (shop / "runnel.toml").write_text("lock_expiry = 3\n")
    for target in ((), ("shop:app",)):
        done = command("settings", *target)
        assert done.returncode == 78
        assert done.stderr.endswith(
            "runnel.toml: there is no setting lock_expiry: did you mean default_lock_expiry?\n"
        )
        assert len(done.stderr.splitlines()) == 1
