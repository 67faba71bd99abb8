from datetime import datetime

from runnel_trio import App, Events, Record
from runnel_trio.middleware import Dead, DeadLetterMiddleware, RetryMiddleware

app = App("bank")


class Payment(Record):
    account: str
    cents: int
    time: datetime


class Alert(Record):
    account: str
    payments: int
    cents: int


payments = app.stream("payments", Payment, partition_by="account")
alerts = app.stream("alerts", Alert, partition_by="account")
refused = app.stream("refused-payments", Dead, partition_by="xid")


def alerts_for(batch: list[Payment], *, limit: int = 100_000) -> list[Alert]:
    """One for each account that has moved more than the limit."""
    spent: dict[str, list[int]] = {}
    for payment in batch:
        spent.setdefault(payment.account, []).append(payment.cents)
    return [
        Alert(account=account, payments=len(cents), cents=sum(cents))
        for account, cents in spent.items()
        if sum(cents) > limit
    ]


@app.processor(
    payments,
    middleware=[RetryMiddleware(attempts=3, on=(ConnectionError,)), DeadLetterMiddleware(refused)],
)
async def watch(events: Events[Payment]) -> None:
    async for batch in events.take(100, within=2).records():
        if any(payment.cents <= 0 for payment in batch):
            raise ValueError("a payment must be more than nothing")
        await alerts.send(*alerts_for(batch))  # after a crash perhaps once more


@app.crontab("0 6 * * *")
async def report() -> None:
    print("good morning")
