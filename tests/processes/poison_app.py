"""An app one of whose events ends the process of whoever handles it."""

from __future__ import annotations

import os
import signal

from runnel_trio import App, Events, Record
from runnel_trio.middleware import Dead, DeadLetterMiddleware

app = App("poison", default_lock_expiry=0.6, default_partition_count=4, default_max_unacked=20)


class Dose(Record):
    """One event; one of them is deadly."""

    key: str
    n: int


doses = app.stream("doses", Dose, partition_by="key")
letters = DeadLetterMiddleware(app.stream("dead", Dead, partition_by="xid"))


def end(how: str) -> None:
    if how == "exit":
        os._exit(9)
    signal.raise_signal(signal.Signals[how])  # SIGSEGV: a fault in C; SIGKILL: the kernel needs memory


async def swallow(events: Events[Dose]) -> None:
    log = os.open(os.environ["FLOWN_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    async for dose in events.records():
        os.write(log, f"{dose.key} {dose.n}\n".encode())
        if (dose.key, dose.n) == ("a", 50):
            end(os.environ.get("POISON_END", "exit"))


app.processor(
    doses,
    exception_policy=os.environ.get("POISON_POLICY", "quarantine"),
    middleware=[letters] if "POISON_LETTERS" in os.environ else [],
)(swallow)
