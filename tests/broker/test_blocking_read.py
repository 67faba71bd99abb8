"""What a reader reads comes in pieces, is parsed as it comes, and is whole or nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from socket import AF_UNIX, socket
from typing import Any

import pytest
import trio

from runnel_trio._broker._redis._transport import _blocking_read
from runnel_trio._broker._redis._transport._blocking_read import BlockingRead
from runnel_trio._broker._redis._transport._endpoint import Endpoint
from runnel_trio._broker._redis._transport._socket import Answers
from runnel_trio._broker._redis._transport._waiter import Waiter
from runnel_trio._embedded._server import embedded_server
from runnel_trio.exceptions import BrokerRefused, BrokerUnavailable

#: What the server does: say something, or wait for us.
Step = bytes | threading.Event
#: Serves one connection after the other, each asked once, by these steps.
Serve = Callable[[Sequence[Sequence[Step]]], BlockingRead]

LOG = b"*1\r\n*2\r\n$3\r\nlog\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$4\r\ndata\r\n$2\r\n{}\r\n"
FOUND = {"log": [[b"1-0", [b"data", b"{}"]]]}


async def nobody(client: int) -> int:
    pytest.fail(f"client {client} was unblocked")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    threads: list[threading.Thread] = []
    listener = socket(AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()

    def answer(peer: socket, steps: Sequence[Step]) -> None:
        while (asked := peer.recv(4096)) and b"XREAD" not in asked:
            peer.sendall(b":7\r\n" if b"\r\nID\r\n" in asked else b"+OK\r\n" * asked.count(b"*"))
        for step in steps:
            if isinstance(step, bytes):
                peer.sendall(step)
            else:
                assert step.wait(60)

    def run(all_steps: Sequence[Sequence[Step]]) -> None:
        for steps in all_steps:
            peer, _ = listener.accept()
            with peer:
                answer(peer, steps)

    def start(all_steps: Sequence[Sequence[Step]]) -> BlockingRead:
        threads.append(threading.Thread(target=run, args=(all_steps,)))
        threads[-1].start()
        return BlockingRead(
            endpoint=Endpoint.at(f"unix://{tmp_path / 's'}", timeout=2), unblock=nobody, block=1.0
        )

    yield start
    for thread in threads:
        thread.join(60)
    listener.close()


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much was whole, each time that something was parsed."""
    seen: list[int] = []
    real = Answers.take

    def take(answers: Answers, into: list[Any], most: int) -> bool:
        came = real(answers, into, most)
        seen.append(len(into))
        return came

    monkeypatch.setattr(Answers, "take", take)
    return seen


async def until(condition: Callable[[], Any]) -> None:
    with trio.fail_after(60):
        while not condition():
            await trio.sleep(0.001)


async def test_a_large_reply_is_parsed_in_pieces_with_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with embedded_server("embedded://") as url:
        wait = BlockingRead(endpoint=Endpoint.at(url), unblock=nobody, block=1.0)
        assert await wait.read({"log": b"0-0"}, 10, 0.01) == {}
        redis = wait.endpoint.connect()
        for number in range(500):
            redis.send_command("XADD", "log", f"1-{number + 1}", "data", b"x" * 10_000)
            redis.read_response()
        redis.disconnect()
        monkeypatch.setattr(Waiter, "in_thread", lambda *_: pytest.fail("no thread is needed"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(others)
            found = await wait.read({"log": b"0-0"}, 1000, 1.0)
            nursery.cancel_scope.cancel()
        wait.close()
    assert [entry[0] for entry in found["log"]] == [b"1-%d" % number for number in range(1, 501)]
    assert {len(entry[1][1]) for entry in found["log"]} == {10_000}
    assert turns > 20, "5 MB are 40 pieces"


@pytest.mark.parametrize("cut", [1, 20, len(LOG) - 1])
async def test_a_wake_in_the_middle_waits_for_the_rest(serve: Serve, taken: list[int], cut: int) -> None:
    gate = threading.Event()
    wait = serve([[LOG[:cut], gate, LOG[cut:]]])
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def wake() -> None:
            await until(lambda: taken)
            wait.wake()
            gate.set()

        assert await wait.read({"log": b"0-0"}, 10, 1.0) == FOUND
    wait.close()


async def test_who_is_cancelled_in_the_middle_reads_it_anew(serve: Serve, taken: list[int]) -> None:
    gate = threading.Event()
    wait = serve([[LOG[:20], gate], [LOG]])
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def read() -> None:
            await wait.read({"log": b"0-0"}, 10, 1.0)
            pytest.fail("there is no answer")

        await until(lambda: taken)
        nursery.cancel_scope.cancel()
    gate.set()
    assert await wait.read({"log": b"0-0"}, 10, 1.0) == FOUND
    wait.close()


@pytest.mark.parametrize("silent", [True, False], ids=["silent", "gone"])
async def test_a_server_that_ends_in_the_middle_has_answered_nothing(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, *, silent: bool
) -> None:
    monkeypatch.setattr(_blocking_read, "_MARGIN", 0.2)
    gate = threading.Event()
    wait = serve([[LOG[:20], gate], [LOG]])
    wait.endpoint.timeout = 0.2
    if not silent:
        gate.set()
    with (
        trio.fail_after(60),
        pytest.raises(BrokerUnavailable, match="does not answer" if silent else "closed"),
    ):
        await wait.read({"log": b"0-0"}, 10, 1.0)
    gate.set()
    assert await wait.read({"log": b"0-0"}, 10, 1.0) == FOUND
    wait.close()


async def test_a_refusal_says_of_what(serve: Serve) -> None:
    wait = serve([[b"-ERR it is no log\r\n"], [b"-LOADING it is not ready\r\n"], [LOG]])
    with pytest.raises(BrokerRefused, match=r"it is no log \(one of log\)"):
        await wait.read({"log": b"0-0"}, 10, 1.0)
    with pytest.raises(BrokerUnavailable, match="not ready"):
        await wait.read({"log": b"0-0"}, 10, 1.0)
    assert await wait.read({"log": b"0-0"}, 10, 1.0) == FOUND
    wait.close()


async def test_a_wake_that_nothing_answers_ends(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a connection was dropped on the way: what the server said is lost, and it blocks no more."""
    monkeypatch.setattr(_blocking_read, "_MARGIN", 0.3)
    gate = threading.Event()
    wait = serve([[gate], [LOG]])
    asked = 0

    async def unblock(_: int) -> int:
        nonlocal asked
        asked += 1
        return 0

    wait.unblock = unblock
    wait.begin()
    wait.wake()
    with trio.fail_after(60), pytest.raises(BrokerUnavailable, match="does not answer"):
        await wait.read({"log": b"0-0"}, 10, 60.0)
    assert asked > 1
    gate.set()
    assert await wait.read({"log": b"0-0"}, 10, 1.0) == FOUND
    wait.close()


async def test_a_wake_that_comes_with_a_message_of_tls_is_none_that_was_answered(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    unblocked = threading.Event()
    wait = serve([[LOG[:1], unblocked, LOG[1:]]])
    readable, real = trio.lowlevel.wait_readable, Answers.take

    async def woken_too(sock: Any) -> None:
        await readable(sock)
        if not unblocked.is_set():
            wait.wake()

    def take(answers: Answers, into: list[Any], most: int) -> bool:
        if not unblocked.is_set():  # what has come is no answer
            answers._sock.recv(1)
            return False
        answers._parser.feed(LOG[:1])
        monkeypatch.setattr(Answers, "take", real)
        return real(answers, into, most)

    async def unblock(_: int) -> int:
        unblocked.set()
        return 1

    wait.unblock = unblock
    monkeypatch.setattr(trio.lowlevel, "wait_readable", woken_too)
    monkeypatch.setattr(Answers, "take", take)
    wait.begin()
    with trio.fail_after(60):
        assert await wait.read({"log": b"0-0"}, 10, 60.0) == FOUND
    wait.close()


async def test_a_stall_may_last_as_long_as_the_user_says(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_blocking_read, "_MARGIN", 0.1)
    gate = threading.Event()
    wait = serve([[LOG[:20], gate, LOG[20:]]])
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def later() -> None:
            await trio.sleep(0.5)  # no condition, but the stall itself: longer than the margin
            gate.set()

        assert await wait.read({"log": b"0-0"}, 10, 1.0) == FOUND
    wait.close()
