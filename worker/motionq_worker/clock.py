"""The alarm clock in every worker: the gate admits, due alarms are claimed and published, and nothing else.

The backlog lives in Redis' sets, never in Celery's lists: only as much is published as can start soon. Claims are
atomic, so every worker may tick; they take turns, and whoever is alive keeps the clock going.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence
from typing import Any

from celery import bootsteps
from celery.utils.nodenames import default_nodename
from kombu.exceptions import KombuError
from redis.exceptions import RedisError, ResponseError
from ulid import ULID

from motionq.contract.errors import MotionQueueError
from motionq.contract.settings import Settings
from motionq.contract.store import Claim, reachable
from motionq_worker.gate import Gate
from motionq_worker.publisher import Publisher
from motionq_worker.recovery import replay_journal
from motionq_worker.services import Services

CHECKS_PER_MESSAGE = 100
IDLE = 2.0  # seconds between ticks while no alarm is near
SILENT = 30.0  # seconds after which a worker without a sign of life counts as gone
_FORGET = 100  # finished records dropped per tick

QUIET = (MotionQueueError, RedisError, KombuError, OSError)  # what passes when the server is back

_log = logging.getLogger(__name__)


class Clock:
    """One worker's clock."""

    def __init__(self, services: Services, publisher: Publisher, worker: str) -> None:
        self._services = services
        self._settings: Settings = services.settings
        self._gate: Gate = services.gate
        self._publisher = publisher
        self._worker = worker
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="motionq-clock", daemon=True)

    def start(self) -> None:
        """Begins to tick."""
        self._thread.start()

    def stop(self) -> None:
        """Ticks no more."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def wake(self) -> None:
        """Tick now."""
        self._wake.set()

    def _run(self) -> None:
        woken = False
        while not self._stop.is_set():
            try:
                pause = self.tick()
            except QUIET as error:
                _log.warning("the clock could not tick: %s", _words(error))
                pause = IDLE
            except Exception:  # a defect of ours must not stop the clock for ever
                _log.exception("the clock could not tick")
                pause = IDLE
            # Somebody else may just have had the turn: after a wake-up the next tick comes soon in any case.
            pause = min(pause, self._settings.tick) if woken else pause
            woken = self._wake.wait(pause * random.uniform(0.9, 1.1))
            self._wake.clear()

    def tick(self) -> float:
        """One tick; returns how many seconds the next one can wait.

        Each part stands alone: what goes wrong in one must not keep the others from their jobs.
        """
        mine, workers, next_alarm = self._turn()
        self._part("journal", lambda: replay_journal(self._services))
        if mine:
            self._part("beat", self._services.beat.beat)
            self._part("gate", lambda: self._gate.admit(self._worker))
            for step in ("deliver", "check", "submit", "upload"):
                self._part(step, lambda step=step: self._publish(step, workers))  # type: ignore[misc]
            self._part("prober", self._services.prober.look)
            self._part("forget", lambda: self._services.store.scripts.run("forget", {"limit": _FORGET}))
        near = 0 <= next_alarm <= IDLE * 1000
        return self._settings.tick if near else max(IDLE, self._settings.tick)

    def _part(self, name: str, work: Callable[[], object]) -> None:
        try:
            work()
        except QUIET as error:
            _log.warning("the clock's %s failed: %s", name, _words(error))
        except Exception:  # a defect of ours
            _log.exception("the clock's %s failed", name)

    def _turn(self) -> tuple[bool, int, int]:
        argument = {
            "worker": self._worker,
            "turn": max(1, int(self._settings.tick * 900)),
            "silent": int(SILENT * 1000),
        }
        with reachable():
            mine, workers, next_alarm = self._services.store.scripts.run("tick", argument)
        return bool(mine), max(1, int(workers)), int(next_alarm)

    def _publish(self, step: str, workers: int) -> None:
        claims = self._claim(step, workers)
        if step == "check":
            self._publisher.checks(_chunks(self._named() + [claim.job_id for claim in claims]))
        elif claims:
            self._publisher.steps(claims)

    def _claim(self, step: str, workers: int) -> list[Claim]:
        room = self._room(step, workers)
        if room <= 0:
            return []
        transfers = self._settings.transfers * workers if step in ("upload", "deliver") else None
        rate = self._settings.submit_rate[0] if step == "submit" else None
        return self._services.store.claim(step, room=room, lease=self._lease(step), transfers=transfers, rate=rate)

    def _named(self) -> list[str]:
        """Jobs for which a callback or a person has named a task."""
        return self._services.store.due_candidates(room=CHECKS_PER_MESSAGE, lease=self._settings.check_lease)

    def _room(self, step: str, workers: int) -> int:
        """How many jobs may be published for a step now: what its queue can still take, and can start soon."""
        keys, redis = self._services.store.keys, self._services.store.redis
        with reachable():
            waiting = int(redis.llen(keys.queue(step)))
        free = queue_cap(self._settings, workers) - waiting
        if step != "check":
            return free
        share = self._settings.read_rate[0] / self._settings.read_rate[1] * self._settings.tick
        # A share below one read per tick is kept on average: chance rounds it.
        return min(free * CHECKS_PER_MESSAGE, int(share) + (random.random() < share % 1))

    def _lease(self, step: str) -> float:
        return self._settings.check_lease if step == "check" else self._settings.step_lease


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, MotionQueueError | ResponseError) else type(error).__name__


def queue_cap(settings: Settings, workers: int) -> int:
    """How many messages of one step may wait in its Celery list: what the live workers can start at once."""
    return settings.concurrency * workers


def _chunks(job_ids: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Batches of jobs to look at, each with the Celery task ID of its message."""
    return [
        (f"check.{str(ULID()).lower()}", list(job_ids[i : i + CHECKS_PER_MESSAGE]))
        for i in range(0, len(job_ids), CHECKS_PER_MESSAGE)
    ]


class ClockStep(bootsteps.StartStopStep):
    """Starts the clock with the worker, when it is connected to the broker."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.clock: Clock | None = None

    def start(self, parent: Any) -> None:
        """The broker's connection is up (again)."""
        services = parent.app.motionq_services()
        worker = parent.hostname or default_nodename(None)
        self.clock = parent.app.motionq_clock = Clock(services, Publisher(parent.app), worker)
        self.clock.start()

    def stop(self, parent: Any) -> None:
        """The broker's connection is lost, or the worker stops."""
        if self.clock:
            self.clock.stop()
            self.clock = None

    terminate = stop
