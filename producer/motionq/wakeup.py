"""Makes a worker's clock tick now.

Jobs do not depend on it: the record is the truth, and the clock of any worker finds it.
"""

from __future__ import annotations

import importlib
import logging
from functools import cached_property
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from motionq.contract.keys import Keys
from motionq.contract.settings import Settings

_WAITING = 4  # so many wake-ups in the queue are enough, whatever the number of jobs

_log = logging.getLogger(__name__)


class Wakeup:
    """Wakes workers through Celery, which is imported when the first message is to be sent."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self._settings = settings
        self._redis = redis
        self._keys = Keys(settings.namespace)

    @cached_property
    def _message(self) -> Any:
        # Celery takes as long to import as everything else here; those who only look at jobs are spared that.
        return importlib.import_module("motionq.start_message").StartMessage(self._settings)

    def send(self) -> None:
        """Wakes a worker, unless enough wake-ups wait already; a failure only costs a tick's time."""
        try:
            enough = int(self._redis.llen(self._keys.queue("start"))) >= _WAITING
        except (RedisError, OSError) as error:
            _log.debug("no wake-up was sent: %s", type(error).__name__)
            return
        if not enough:
            self._message.publish()

    def close(self) -> None:
        """Gives the broker connections back."""
        if "_message" in self.__dict__:
            self.__dict__.pop("_message").close()
