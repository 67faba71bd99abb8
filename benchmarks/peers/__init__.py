"""Adapters for other frameworks; each file runs in an environment in which its framework is installed.

They do what the loops by hand do: the same records, JSON, everything acknowledged. Consumers store their
backlog themselves, before the clock starts: each framework has its own format. Those that take a while for
each event get a share of the events.
"""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit


def with_user(url: str) -> str:
    """The server's URL with its password before the path, where most clients look for it."""
    parts = urlsplit(url)
    (password,) = parse_qs(parts.query)["password"]
    return f"unix://:{password}@{parts.path}"
