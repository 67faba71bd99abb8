from datetime import datetime

import redis
from payments import Payment, app, payments, refused


async def test_two_workers_share_the_work(runnel_worker, runnel_app_settings, drained) -> None:
    await runnel_worker(app)
    await runnel_worker(app)
    now = datetime(2026, 1, 1, 12)
    await payments.send(*(Payment(account=str(n), cents=n, time=now) for n in range(200)))
    await drained(app, within=20)
    client = redis.Redis.from_url(runnel_app_settings["redis_url"])
    letters = sum(client.xlen(key) for key in client.keys(f"*:{refused.name}:log"))
    assert letters >= 1  # account 0, with what was in its list
