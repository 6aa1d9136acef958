"""The one Celery message a producer sends. Celery is imported by this module alone (see `wakeup`)."""

from __future__ import annotations

import logging

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from motionq.broker import START_TASK, broker_options, broker_tls, broker_url
from motionq.contract.keys import Keys
from motionq.contract.settings import Settings

_log = logging.getLogger(__name__)


class StartMessage:
    """Publishes `motionq.start`, which only wakes a worker."""

    def __init__(self, settings: Settings) -> None:
        self._queue = Keys(settings.namespace).queue_name("start")
        self._app = Celery("motionq-producer", set_as_current=False)
        self._app.conf.update(
            broker_url=broker_url(settings.server()),
            broker_use_ssl=broker_tls(settings.server()),
            broker_transport_options=broker_options(settings),
            task_ignore_result=True,
            task_publish_retry=False,
        )

    def publish(self) -> None:
        """Sends it once; a failure is logged only."""
        try:
            self._app.send_task(START_TASK, queue=self._queue, retry=False)
        except (OperationalError, RedisError, OSError) as error:
            _log.debug("no wake-up was sent: %s", type(error).__name__)

    def close(self) -> None:
        """Gives the broker connections back."""
        self._app.close()
