"""The alarm clock in every worker: the gate admits, due alarms are claimed and published, and nothing else.

The backlog lives in Redis' sets, never in Celery's lists: only as much is published as can start soon. Claims are
atomic, so every worker may tick; they take turns, and whoever is alive keeps the clock going.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from celery import bootsteps
from celery.utils.nodenames import default_nodename
from kombu.exceptions import KombuError
from redis.exceptions import RedisError, ResponseError
from ulid import ULID

from motionq.contract.errors import MotionQueueError
from motionq.contract.keys import SILENT
from motionq.contract.settings import Settings
from motionq.contract.store import Claim, reachable
from motionq_worker import scratch
from motionq_worker.gate import Gate
from motionq_worker.publisher import Publisher
from motionq_worker.recovery import replay_journal
from motionq_worker.services import Services

CHECKS_PER_MESSAGE = 200
MANY = 100  # looks due at once, from which on ticks come sooner: many looks in small, even portions are on time
SOME = 8  # the same for steps that are published one by one
TURN, BUSY = 0.9, 0.4  # of a tick: how long a turn lasts for all workers, and the pause of a busy one
# Seconds between two turns of all workers together, at least, when a step has just made the next one due. Every second
# one may come after GAP, so that a callback's look and the delivery after it follow each other at once.
SOON, GAP = 0.1, 0.01
JOURNAL = 1.0  # seconds between two looks at the journal
IDLE = 2.0  # seconds between ticks while no alarm is near
_FORGET = 100  # finished records dropped per tick
_EARLY = 2  # tick.lua's word for a turn that came before SOON

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
        self._journal_next = 0.0
        self._busy = False  # whether my last turn found many looks: the next one then comes sooner
        self._woken = False  # whether something has happened since my last turn
        self._ticked = 0.0  # when it was (monotonic)
        self._early = False  # whether it came before SOON
        self._refused = 0.0  # when it last was another worker's turn (monotonic)
        self._kept = 0.0  # when I last kept house
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
        while not self._stop.is_set():
            try:
                pause = self.tick()
            except QUIET as error:
                _log.warning("the clock could not tick: %s", _words(error))
                pause = IDLE
            except Exception:  # a defect of ours must not stop the clock for ever
                _log.exception("the clock could not tick")
                pause = IDLE
            if self._wake.wait(pause * random.uniform(0.9, 1.1)):
                self._woken = True
                self._stop.wait(self._until_turn())
            self._wake.clear()

    def _until_turn(self) -> float:
        """Seconds for which a wake-up waits, so that what happens meanwhile is found together with it."""
        pause = self._settings.tick * BUSY if self._busy else self._soon if self._early else GAP
        return max(0.0, self._ticked + pause - time.monotonic(), self._refused + self._soon - time.monotonic())

    @property
    def _soon(self) -> float:
        return min(SOON, self._settings.tick * BUSY)

    def tick(self) -> float:
        """One tick; returns how many seconds the next one can wait.

        Each part stands alone: what goes wrong in one must not keep the others from their jobs.
        """
        again = self._busy and time.monotonic() >= self._ticked + self._settings.tick * BUSY * TURN
        mine, workers, next_alarm = self._turn(again)
        scratch.ticked()
        self._part("journal", self._look_at_journal)
        if not mine:
            self._refused = time.monotonic()
        if again or mine:
            self._busy = False
        if mine:
            self._woken = False
            self._ticked = time.monotonic()
            self._part("beat", self._services.beat.beat)  # it closes the gate when the server went back in time
            self._move_on(workers)
            self._keep_house()
        self._part("reports", self._services.reports.tick)
        return self._pause(next_alarm)

    def _move_on(self, workers: int) -> None:
        """What is due begins; what is nearer to its end first."""
        self._part("gate", lambda: self._gate.admit(self._worker))
        self._part("deliver", lambda: self._publish("deliver", workers))
        self._part("check", lambda: self._publish_checks(workers))
        self._part("submit", lambda: self._publish("submit", workers))
        self._part("upload", lambda: self._publish("upload", workers))

    def _keep_house(self) -> None:
        """No job waits for these: once a tick is enough."""
        if time.monotonic() < self._kept + self._settings.tick * BUSY:
            return
        self._kept = time.monotonic()
        self._part("prober", lambda: self._services.prober.look())
        self._part("balance", lambda: self._services.balance.look())
        self._part("sweep", lambda: self._services.sweeper.look())
        self._part("tallies", self._services.tallies.look)
        self._part("forget", lambda: self._services.store.scripts.run("forget", {"limit": _FORGET}))

    def _look_at_journal(self) -> None:
        """A busy worker ticks twenty times a second, and holds each of its task IDs there for seconds."""
        if time.monotonic() >= self._journal_next:
            self._journal_next = time.monotonic() + JOURNAL
            replay_journal(self._services)

    def _pause(self, next_alarm: int) -> float:
        if self._busy:
            return self._settings.tick * BUSY
        if self._woken:
            return self._soon
        near = 0 <= next_alarm <= IDLE * 1000
        return self._settings.tick if near else max(IDLE, self._settings.tick)

    def _part(self, name: str, work: Callable[[], object]) -> None:
        try:
            work()
        except QUIET as error:
            _log.warning("the clock's %s failed: %s", name, _words(error))
        except Exception:  # a defect of ours
            _log.exception("the clock's %s failed", name)

    def _turn(self, again: bool) -> tuple[bool, int, int]:
        argument = {
            "worker": self._worker,
            "turn": max(1, int(self._settings.tick * TURN * 1000)),
            "again": again or None,
            "soon": int(self._soon * 1000) if self._woken else None,
            "gap": int(GAP * 1000),
            "silent": int(SILENT * 1000),
        }
        with reachable():
            mine, workers, next_alarm = self._services.store.scripts.run("tick", argument)
        if mine:
            self._early = int(mine) == _EARLY
        return bool(mine), max(1, int(workers)), int(next_alarm)

    def _publish(self, step: str, workers: int) -> None:
        if claims := self._claim(step, workers):
            self._publisher.steps(claims)
            self._busy = self._busy or len(claims) >= SOME

    def _claim(self, step: str, workers: int) -> list[Claim]:
        room = self._room(step, workers)
        if room <= 0:
            return []
        transfers = self._settings.transfers_at_once * workers if step in ("upload", "deliver") else None
        rate = self._settings.submit_rate[0] if step == "submit" else None
        lease = self._settings.step_lease
        return self._services.store.claim(step, room=room, lease=lease, transfers=transfers, rate=rate)

    def _publish_checks(self, workers: int) -> None:
        """Looks that are due, as many as may be read now; first those for which somebody has named a task."""
        lease, rate = self._settings.check_lease, self._settings.read_rate
        named = self._services.store.due_candidates(room=CHECKS_PER_MESSAGE, lease=lease, rate=rate)
        room = max(0, self._room("check", workers)) * CHECKS_PER_MESSAGE
        due = self._services.store.claim_checks(room=room, lease=lease, rate=rate)
        self._publisher.checks(_chunks([*named, *due.job_ids]))
        self._busy = self._busy or due.left > 0 or len(due.job_ids) >= MANY or len(named) >= SOME

    def _room(self, step: str, workers: int) -> int:
        """How many messages of a step may be published now: what its queue can still take, and can start soon."""
        keys, redis = self._services.store.keys, self._services.store.redis
        with reachable():
            waiting = int(redis.llen(keys.queue(step)))
        return queue_cap(self._settings, workers) - waiting


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
