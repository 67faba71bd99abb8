import signal
import sys
from pathlib import Path

import trio
from charges import app, ledger_at


async def main(path: Path) -> None:
    async with ledger_at(path), app.worker():
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                break


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
