"""How a worker ends that was told to stop: purchases are waited for, transfers as long as MOTIONQ_STOP_GRACE allows.

Celery has stopped the clock and takes no more messages; what it had taken and not begun goes back to its queue.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time

from celery.worker import state
from redis.exceptions import RedisError

from motionq.contract.errors import MotionQueueError
from motionq_worker import scratch
from motionq_worker.services import Services
from motionq_worker.settings import submit_lease

_log = logging.getLogger(__name__)


def begin(services: Services, worker: str) -> None:
    """Watches over the end of this process from a thread of its own; returns at once."""
    threading.Thread(target=_watch, args=(services, worker), name="motionq-ending", daemon=True).start()


def longest(services: Services) -> float:
    """Seconds after which the process is gone in any case: the grace, then as long as a purchase's answer may take."""
    return services.settings.stop_grace + submit_lease(services.settings)


def _watch(services: Services, worker: str) -> None:
    ends = time.monotonic() + longest(services)
    time.sleep(services.settings.stop_grace)
    if jobs := services.leases.hand_back(worker):
        _log.warning("this worker stops: %d transfers are cut off and go on elsewhere: %s", len(jobs), ", ".join(jobs))
    time.sleep(max(0.0, ends - time.monotonic()))
    _cut_off(services)


def _cut_off(services: Services) -> None:
    """As a kill would: each job goes on elsewhere after its lease, a task ID in hand waits in the journal."""
    running = ", ".join(sorted(request.id for request in tuple(state.active_requests)))
    _log.error("this worker stops, whatever still runs: %s", running or "nothing")
    with contextlib.suppress(MotionQueueError, RedisError):
        services.reports.send()
    scratch.sweep()
    os._exit(0)
