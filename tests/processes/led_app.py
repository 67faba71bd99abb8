"""An app whose leader writes down that it leads."""

from __future__ import annotations

import os

from runnel_trio import App

app = App("led", default_lock_expiry=2)


@app.timer(interval=0.05, on_leader=True)
async def lead() -> None:
    log = os.open(os.environ["FLOWN_LOG"], os.O_WRONLY | os.O_APPEND)
    os.write(log, f"{os.getpid()}\n".encode())
    os.close(log)
