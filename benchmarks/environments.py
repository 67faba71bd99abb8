"""Environments of peers: each is installed once, below a cache directory, and has nothing of ours in it."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from benchmarks.rounds import Failed
from benchmarks.scenarios.peers import PEERS, Peer


def cache() -> Path:
    """Where they are."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "runnel-trio-benchmarks" / f"python{sys.version_info[0]}.{sys.version_info[1]}"


def installed(peer: Peer) -> str:
    """The interpreter of a peer's environment, which is made if it is not there.

    Raises:
        Failed: it cannot be installed here.
    """
    place = cache() / peer.name
    python, stamp = place / "bin" / "python", place / "requires"
    wanted = "\n".join(peer.requires)
    if stamp.exists() and stamp.read_text() == wanted:
        return str(python)
    print(f"installing {peer.title}", file=sys.stderr)
    venv.create(place, with_pip=True, clear=True)
    command = [str(python), "-m", "pip", "install", "-q", *peer.requires]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise Failed((done.stderr.strip().splitlines() or ["pip failed"])[-1])
    stamp.write_text(wanted)
    return str(python)


def version(python: str, peer: Peer) -> str:
    """Which one it is."""
    code = f"from importlib.metadata import version; print(version({peer.name!r}))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def chosen(names: str) -> list[Peer]:
    """Peers by their names, with commas between; or all.

    Raises:
        LookupError: there is none of a name.
    """
    known = {peer.name: peer for peer in PEERS}
    wanted = list(known) if names == "all" else [name for name in names.split(",") if name]
    for name in wanted:
        if name not in known:
            raise LookupError(f"there is no peer {name!r}; there are {', '.join(known)}, and all")
    return [known[name] for name in wanted]


def ready(peers: Sequence[Peer]) -> tuple[list[Peer], dict[str, str], dict[str, str]]:
    """Those that can take part, their interpreters, and their versions; of the others it says why not."""
    present, pythons, versions = [], {}, {}
    for peer in peers:
        try:
            pythons[peer.name] = installed(peer)
            versions[peer.title] = version(pythons[peer.name], peer)
        except (Failed, OSError, subprocess.CalledProcessError) as error:
            print(f"{peer.title} takes no part: {error}", file=sys.stderr)
        else:
            present.append(peer)
    return present, pythons, versions
