from datetime import datetime

import pytest
import trio
from payments import Alert, Payment, alerts, app, report, watch
from trio.testing import MockClock

from runnel_trio.testing import Outcome, advance_to

NOON = datetime(2026, 1, 1, 12)


def of(account: str, *cents: int) -> list[Payment]:
    return [Payment(account=account, cents=x, time=NOON) for x in cents]


async def test_payments_of_two_seconds_count_together(autojump_clock: MockClock) -> None:
    async with watch.test() as t:
        await t.send(*of("a", 70_000, 40_000))
        assert t.sent[alerts] == [Alert(account="a", payments=2, cents=110_000)]
        await t.send(*of("a", 70_000))
        await t.send(*of("a", 40_000))
        assert len(t.sent[alerts]) == 1
        assert len(t.acked) == 4


async def test_a_payment_of_nothing_is_set_aside(autojump_clock: MockClock) -> None:
    async with watch.test() as t:
        (result,) = await t.send(*of("a", 0))
        assert result.outcome is Outcome.DEAD_LETTERED
        (letter,) = t.dead_letters
        assert letter.record.error == "ValueError: a payment must be more than nothing"


async def test_a_lost_connection_is_tried_again(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([ConnectionError("away"), ConnectionError("still away")])
    send = alerts.send

    async def unsteady(*records: Alert) -> None:
        for failure in failures:
            raise failure
        await send(*records)

    monkeypatch.setattr("payments.alerts", type("Unsteady", (), {"send": staticmethod(unsteady)}))
    async with watch.test() as t:
        (result,) = await t.send(*of("a", 200_000))
        assert (result.outcome, result.attempts) == (Outcome.ACKED, 3)
        assert len(t.sent[alerts]) == 1


async def test_what_is_on_its_way_waits_for_more(mock_clock: MockClock) -> None:
    async with watch.test() as t:
        (result,) = await t.send(*of("a", 1))
        assert result.outcome is Outcome.WAITING
        mock_clock.jump(2)
        await t.settled()
        assert t.results[0].outcome is Outcome.ACKED


async def test_the_report_comes_at_six(autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]) -> None:
    with app.use_server("memory://"):
        async with app.worker(processors=[]):
            due = await advance_to(app, report)
    assert due.hour == 6
    assert capsys.readouterr().out == "good morning\n"
    assert trio.current_time() > 0
