from datetime import datetime

from payments import Alert, Payment, alerts_for

NOON = datetime(2026, 1, 1, 12)


def test_an_account_that_moves_much_is_told_of() -> None:
    batch = [
        Payment(account="a", cents=70_000, time=NOON),
        Payment(account="b", cents=70_000, time=NOON),
        Payment(account="a", cents=40_000, time=NOON),
    ]
    assert alerts_for(batch) == [Alert(account="a", payments=2, cents=110_000)]
