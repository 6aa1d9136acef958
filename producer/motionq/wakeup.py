"""The one Celery message a producer sends: it makes a worker's clock tick now.

Jobs do not depend on it: the record is the truth, and the clock of any worker finds it.
"""

from __future__ import annotations

import logging

from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from motionq.broker import START_TASK, broker_options, broker_url
from motionq.contract.keys import Keys
from motionq.contract.settings import Settings

_WAITING = 4  # so many wake-ups in the queue are enough, whatever the number of jobs

_log = logging.getLogger(__name__)


class Wakeup:
    """Publishes `motionq.start`, which only wakes a worker."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self._redis = redis
        self._keys = Keys(settings.namespace)
        self._app = Celery("motionq-producer", set_as_current=False)
        self._app.conf.update(
            broker_url=broker_url(settings.server()),
            broker_transport_options=broker_options(settings),
            task_ignore_result=True,
            task_publish_retry=False,
        )

    def send(self) -> None:
        """Wakes a worker, unless enough wake-ups wait already; a failure only costs a tick's time."""
        try:
            if int(self._redis.llen(self._keys.queue("start"))) < _WAITING:
                self._app.send_task(START_TASK, queue=self._keys.queue_name("start"), retry=False)
        except (OperationalError, RedisError, OSError) as error:
            _log.debug("no wake-up was sent: %s", type(error).__name__)

    def close(self) -> None:
        """Gives the broker connections back."""
        self._app.close()
