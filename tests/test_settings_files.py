"""Settings from ``runnel.toml`` and ``pyproject.toml``: which file is read, what may stand in it, what comes from where."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from runnel_trio import App, ExceptionPolicy, Misconfigured, Settings
from runnel_trio._settings._sources import nearest
from runnel_trio.settings import describe


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, some levels deep."""
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    return deep


def refusal() -> str:
    with pytest.raises(Misconfigured) as caught:
        Settings()
    return str(caught.value)


def test_a_file_is_between_variables_and_defaults(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "runnel.toml").write_text(
        "default_lock_expiry = 30\ndefault_join_delay = 3\nlog_level = 'debug'\ndefault_pool_size = 4\n"
    )
    monkeypatch.setenv("RUNNEL_DEFAULT_JOIN_DELAY", "2")
    monkeypatch.setenv("RUNNEL_LOG_LEVEL", "error")
    settings = App("shop", log_level="warning").settings
    assert (settings.log_level, settings.origins["log_level"]) == ("warning", "argument")
    assert settings.default_join_delay == 2
    assert settings.origins["default_join_delay"] == "RUNNEL_DEFAULT_JOIN_DELAY"
    assert (settings.default_lock_expiry, settings.origins["default_lock_expiry"]) == (30, "runnel.toml")
    assert (settings.stall_limit, settings.origins["stall_limit"]) == (300, "default")
    assert list(settings.origins) == [x.name for x in describe()]


def test_pyproject_has_them_in_a_table(here: Path) -> None:
    (here / "pyproject.toml").write_text(
        "[project]\nname = 'shop'\n[tool.runnel]\ndefault_max_attempts = 7\n"
    )
    settings = Settings()
    assert settings.default_max_attempts == 7
    assert settings.origins["default_max_attempts"] == "pyproject.toml [tool.runnel]"


def test_the_nearest_file_counts_and_no_other(here: Path) -> None:
    (here.parents[1] / "runnel.toml").write_text("default_max_attempts = 7\ndefault_pool_size = 4\n")
    assert Settings().default_max_attempts == 7
    assert Settings().origins["default_max_attempts"] == "../../runnel.toml"
    (here.parent / "pyproject.toml").write_text("[tool.runnel]\ndefault_max_attempts = 8\n")
    assert (Settings().default_max_attempts, Settings().default_pool_size) == (8, 16)
    (here.parent / "runnel.toml").write_text("default_max_attempts = 9\n")
    assert Settings().default_max_attempts == 9
    (here / "runnel.toml").touch()
    assert Settings() == Settings(redis_url=None)
    assert set(Settings().origins.values()) == {"default"}


def test_a_pyproject_without_the_table_is_passed_over(here: Path) -> None:
    (here.parent / "runnel.toml").write_text("default_max_attempts = 7\n")
    for text in ("[project]\ndependencies = ['runnel-trio']\n[tool.pytest]\n", "[tool]\n", "no [TOML\n"):
        (here / "pyproject.toml").write_text(text)
        assert Settings().default_max_attempts == 7


@pytest.mark.parametrize("name", ["runnel-trio", "runnel_trio"])
def test_a_table_by_the_name_of_the_package_is_told(here: Path, name: str) -> None:
    (here / "pyproject.toml").write_text(f"[tool.{name}]\nlog_level = 'debug'\n")
    with pytest.warns(UserWarning, match=rf"\[tool.{name}\] is not read: .* \[tool.runnel\]"):
        assert App("shop").settings.log_level == "info"


def test_a_directory_of_that_name_is_no_file(here: Path) -> None:
    (here / "runnel.toml").mkdir()
    assert Settings().origins["log_level"] == "default"


def test_a_file_far_away_is_named_by_its_whole_path(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far = here.joinpath(*"deeperandstill" * 20)
    far.mkdir(parents=True)
    (here / "runnel.toml").write_text("testing = true\n")
    monkeypatch.chdir(far)
    assert Settings().origins["testing"] == str(here / "runnel.toml")


def test_a_current_directory_that_is_gone_has_no_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here.rmdir()
    assert nearest() is None


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("redis_url = 'db:6379'", "redis://db:6379"),
        ("log_format = 'JSON'", "json"),
        ("autodiscover = 'shop/**/streams.py'", "shop/**/streams.py"),
        ("timezone = 'Europe/Berlin'", ZoneInfo("Europe/Berlin")),
        ("timezone = 'utc'", UTC),
        ("testing = true", True),
        ("testing = 'yes'", True),
        ("stall_limit = 0.5", 0.5),
        ("stall_limit = 1", 1.0),
        ("stall_limit = '1'", 1.0),
        ("default_partition_count = 32", 32),
        ("default_prefetch_bytes = 1_000_000", 1_000_000),
        ("default_exception_policy = 'ignore'", ExceptionPolicy.IGNORE),
        ("default_hasher = 'shop:hashed'", "shop:hashed"),
    ],
)
def test_values_are_written_as_toml_has_them(here: Path, line: str, value: object) -> None:
    (here / "runnel.toml").write_text(line)
    assert getattr(Settings(), line.partition(" ")[0]) == value


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "default_lock_expiry = 0",
            "default_lock_expiry=0 cannot be used: expected a number of seconds above 0",
        ),
        ("default_lock_expiry = 'soon'", "default_lock_expiry='soon' cannot be used"),
        ("default_lock_expiry = true", "default_lock_expiry=True cannot be used"),
        ("testing = 1", "testing=1 cannot be used: expected True or False; true or false in"),
        ("default_partition_count = 1.5", "default_partition_count=1.5 cannot be used"),
        ("default_hasher = 1", "default_hasher=1 cannot be used"),
        ("redis_url = 'http://me:secret@db'", "redis_url='http://me:***@db' cannot be used"),
        ("redis_url = {password = 'secret'}", "redis_url=dict cannot be used"),
        ("timezone = 2026-01-01", "timezone=datetime.date(2026, 1, 1) cannot be used"),
        ("log_level = ['info']", "log_level=['info'] cannot be used"),
        (
            "default_partition_count = 0x" + "f" * 5000,
            "default_partition_count=a very large int cannot be used",
        ),
        ("lock_expiry = 1", "there is no setting lock_expiry: did you mean default_lock_expiry?"),
        ("colour = 'red'", "there is no setting colour: there are redis_url, "),
    ],
)
@pytest.mark.parametrize(
    ("file", "table", "origin"),
    [
        ("runnel.toml", "", "runnel.toml"),
        ("pyproject.toml", "[tool.runnel]\n", "pyproject.toml [tool.runnel]"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_key(
    here: Path, line: str, said: str, file: str, table: str, origin: str
) -> None:
    (here / file).write_text(table + line)
    assert refusal().startswith(f"{origin}: {said}")
    assert "secret" not in refusal()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("log_level = 'info'\n\nlog_format = \n", 3),
        ("log_level = 'info'\nlog_level = 'info'\n", 2),
        ("log_level = '''info\n\n", 1),
        (b"log_level = 'info'\n# caf\xe9\n", 2),
    ],
)
def test_what_is_no_toml_is_told_with_its_line(here: Path, text: str | bytes, line: int) -> None:
    (here / "runnel.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert refusal().startswith(f"runnel.toml, line {line}: no")
    assert "\n" not in refusal()
    assert "at line" not in refusal()


def test_windows_files_are_read_too(here: Path) -> None:
    (here / "runnel.toml").write_bytes(b"\xef\xbb\xbflog_level = 'debug'\r\ntesting = true\r\n")
    assert (Settings().log_level, Settings().testing) == ("debug", True)


def test_the_tables_of_the_two_files_are_told_apart(here: Path) -> None:
    (here / "pyproject.toml").write_text("[tool]\nrunnel = 3\n")
    assert refusal() == (
        "pyproject.toml [tool.runnel] is no table of settings: write [tool.runnel] above them"
    )
    (here / "runnel.toml").write_text("[tool.runnel]\nlog_level = 'debug'\n")
    assert refusal() == "runnel.toml: settings stand at the top of this file, without [tool.runnel]"


def test_a_file_that_may_not_be_read_is_told(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "runnel.toml").write_text("testing = true")

    def refused(_: Path) -> bytes:  # root, as whom tests may run, may read everything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refused)
    assert refusal().startswith("runnel.toml may have settings and cannot be read: Permission denied. ")


def test_a_file_that_changes_is_read_again(here: Path) -> None:
    for number in (1, 2, 3):
        (here / "runnel.toml").write_text(f"default_pool_size = {number}\n")
        assert Settings().default_pool_size == number


def test_origins_say_nothing_about_equality_and_cannot_be_changed() -> None:
    assert Settings(log_level="info") == Settings()
    assert Settings(log_level="info").origins != Settings().origins
    with pytest.raises(TypeError):
        Settings().origins["log_level"] = "mine"  # type: ignore[index]  # that it is refused is the test


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000], ids=["long", "deep"])
def test_toml_that_python_does_not_read_is_told(here: Path, value: str) -> None:
    (here / "runnel.toml").write_text(f"default_partition_count = {value}")
    with pytest.raises(Misconfigured, match=r"^runnel.toml.* cannot be read|^runnel.toml, line 1: no TOML"):
        Settings()


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_have_the_origins_too(copied: Any) -> None:
    settings = Settings(log_level="debug")
    assert copied(settings) == settings
    assert copied(settings).origins == settings.origins


def test_another_server_leaves_all_other_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNEL_LOG_LEVEL", "debug")
    app = App("shop", testing=True)
    app.use_server("memory://", origin="--embedded")
    assert app.settings.redis_url == "memory://"
    chosen = {name: origin for name, origin in app.settings.origins.items() if origin != "default"}
    assert chosen == {"redis_url": "--embedded", "log_level": "RUNNEL_LOG_LEVEL", "testing": "argument"}


async def test_another_server_for_a_block_is_undone_at_its_end() -> None:
    app = App("shop", redis_url="redis://db")
    with app.use_server("memory://"):
        async with app.session():
            assert app.server_url == "memory://"
    assert app.settings.redis_url == app._shared.server.url == "redis://db"
    assert app.settings.origins["redis_url"] == "argument"


def test_what_is_changed_is_checked() -> None:
    with pytest.raises(Misconfigured, match="did you mean log_level"):
        Settings().changed(loglevel="debug")
    with pytest.raises(Misconfigured, match="redis_url='http://x' cannot be used"):
        Settings().changed(redis_url="http://x")
