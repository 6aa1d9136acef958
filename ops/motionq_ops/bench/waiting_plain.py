"""What most people would write: a Celery task that looks once and asks to be retried. The benchmark's yardstick.

`celery -A motionq_ops.bench.waiting_plain worker`; BENCH_BROKER, BENCH_VENDOR and BENCH_INTERVAL say where, how often.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import requests
from celery import Celery

POOL, CONCURRENCY = "threads", 50

app = Celery("plain", broker=os.environ.get("BENCH_BROKER", "memory://"))
app.conf.update(task_ignore_result=True, broker_transport_options={"max_connections": CONCURRENCY + 50})


@cache
def _session() -> requests.Session:
    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=CONCURRENCY))
    return session


@app.task(bind=True, max_retries=None)  # type: ignore[untyped-decorator]
def look(self: Any, task_id: str) -> None:
    """Is it done? If not, look again later."""
    url = f"{os.environ['BENCH_VENDOR']}/api/v1/jobs/recordInfo"
    answer = _session().get(url, params={"taskId": task_id}, timeout=30)
    if answer.json()["data"]["state"] != "success":
        raise self.retry(countdown=float(os.environ["BENCH_INTERVAL"]))
