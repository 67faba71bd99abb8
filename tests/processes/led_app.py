"""An app whose leader writes down that it leads; it is frozen between two runs, when a file says so."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from runnel_trio import App

app = App("led", default_lock_expiry=2)


@app.timer(interval=0.05, on_leader=True)
async def lead() -> None:
    log = os.open(os.environ["FLOWN_LOG"], os.O_WRONLY | os.O_APPEND)
    os.write(log, f"{os.getpid()}\n".encode())
    os.close(log)


@app.timer(interval=0.03, on_leader=True)
async def freeze() -> None:
    wanted = Path(os.environ["FLOWN_LOG"] + ".freeze")
    if wanted.exists():
        wanted.unlink()
        signal.raise_signal(signal.SIGSTOP)
