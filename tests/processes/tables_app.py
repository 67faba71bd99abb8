"""An app that counts per key in a table, with as many lanes as ``TABLES_LANES`` says."""

from __future__ import annotations

import os

import trio

from runnel_trio import App, Events, Record

app = App("tables", default_lock_expiry=1, default_partition_count=3, default_max_attempts=1000)


class Payment(Record):
    customer: str
    amount: int


class Account(Record):
    spent: int = 0
    payments: int = 0


payments = app.stream("payments", Payment, partition_by="customer")
accounts = app.table("accounts", Account, ttl=3600)


@app.processor(
    payments, tables=[accounts], concurrency=int(os.environ.get("TABLES_LANES", "1")), max_unacked=200
)
async def total(events: Events[Payment]) -> None:
    mine = events.table(accounts)
    async for payment in events.records():
        account = mine.get(payment.customer) or Account()
        mine[payment.customer] = Account(spent=account.spent + payment.amount, payments=account.payments + 1)
        if payment.amount % 7 == 0:
            await trio.sleep(0.001)
