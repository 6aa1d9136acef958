"""The vendor: accounts, tasks and what happens to them. Everything but HTTP."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from motionq_ops.sandbox import prices, records
from motionq_ops.sandbox.accounts import Account, admit
from motionq_ops.sandbox.answers import MESSAGES
from motionq_ops.sandbox.callbacks import Call, Courier
from motionq_ops.sandbox.clock import Agenda, Clock, wall_ms
from motionq_ops.sandbox.rules import Rules
from motionq_ops.sandbox.settings import Settings, changed, parse_rate
from motionq_ops.sandbox.studio import BadMedia, Studio
from motionq_ops.sandbox.tasks import Order, Plan, Reading, Task, draw_plan, read
from motionq_ops.sandbox.validation import Rejected

_WATCHED_TASKS = 10_000
_ROUNDING = 1e-6
"""Seconds that a moment and the difference of two moments may disagree by; else an end could be missed."""


class Vendor:
    """One vendor. Its methods raise Rejected where the real one answers with a code."""

    def __init__(
        self, settings: Settings, keys: Sequence[str], credits: float, clock: Clock, agenda: Agenda, seed: int
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.rules = Rules()
        self.tasks: dict[str, Task] = {}
        self.films: dict[str, Task] = {}
        self._agenda = agenda
        self._start = (settings, credits)
        self._dice = random.Random(seed)
        self._keys = {key: str(100_001 + number) for number, key in enumerate(keys)}
        self.accounts = {name: Account(name, credits) for name in self._keys.values()}
        self._reads: OrderedDict[str, deque[float]] = OrderedDict()
        self._running: set[asyncio.Task[None]] = set()

    def connect(self, studio: Studio, courier: Courier) -> None:
        """Give the vendor its film maker and its messenger (they need the running event loop)."""
        self._studio = studio
        self._courier = courier

    def account_of(self, authorization: str) -> Account | None:
        """Return the account behind an Authorization header, or None."""
        scheme, _, key = authorization.partition(" ")
        name = self._keys.get(key.strip()) if scheme.lower() == "bearer" else None
        return self.accounts[name] if name else None

    def admit_create(self, account: Account, arrival: float) -> None:
        """Take a place in the account's create window (wall clock). Raises Rejected 429."""
        if not admit(account.window, arrival, parse_rate(self.settings.rate_limit)):
            raise Rejected(429, MESSAGES[429])

    def admit_read(self, task_id: str, arrival: float) -> None:
        """Take a place in the task's read window (wall clock). Raises Rejected 429."""
        if not self.settings.read_limit:
            return
        window = self._reads.setdefault(task_id, deque())
        self._reads.move_to_end(task_id)
        if len(self._reads) > _WATCHED_TASKS:
            self._reads.popitem(last=False)
        if not admit(window, arrival, (self.settings.read_limit, 1.0)):
            raise Rejected(429, MESSAGES[429])

    async def create(self, account: Account, order: Order, base: str) -> Task:
        """Make a task: credits are held, its future is drawn, its film begun. Raises Rejected 402."""
        seconds = await self._studio.driver_seconds(order.video_url)
        seconds = self.settings.foreign_seconds if seconds is None else seconds
        cost = self._cost(order, seconds)
        if not account.hold(cost):
            raise Rejected(402, MESSAGES[402])
        task = self._new_task(account, order, base, seconds, cost)
        account.created.append(task.id)
        self.tasks[task.id] = self.films[task.film_name] = task
        self._plan_end(task)
        self.start(self._produce(task))
        await self._call_early(task)
        return task

    def reading(self, task: Task) -> Reading:
        """Return what recordInfo would say of a task now."""
        age = self.clock.now() - task.created + _ROUNDING
        return read(task.plan, age, task.film_age, self.settings.waiting_share)

    def record(self, account: Account, task_id: str) -> dict[str, Any] | None:
        """Return recordInfo's data; None for a task that is unknown, another account's, too new or too old."""
        task = self.tasks.get(task_id)
        if task is None or task.account != account.id:
            return None
        age = self.clock.now() - task.created
        if age < self.settings.null_seconds or age > self.settings.record_ttl:
            return None
        return records.record(task, self.reading(task), self.settings)

    def film_of(self, name: str) -> Task | None:
        """Return the successful task whose result has that file name, unless it has expired."""
        task = self.films.get(name)
        reading = self.reading(task) if task else None
        if task is None or reading is None or reading.state != "success" or reading.ended_after is None:
            return None
        return task if self.clock.now() < task.created + reading.ended_after + self.settings.result_ttl else None

    def change(self, values: Mapping[str, Any]) -> None:
        """Turn switches. Raises BadSetting."""
        before, self.settings = self.settings, changed(self.settings, values)
        if self.settings.speed != before.speed:
            self.clock.set_speed(self.settings.speed)
            self._agenda.poke()

    def advance(self, seconds: float) -> None:
        """Let simulated time jump forward for everything."""
        self.clock.advance(seconds)
        self._agenda.poke()

    def reset(self) -> None:
        """Forget tasks, faults, windows and changed switches; accounts are as at the start."""
        for running in tuple(self._running):
            running.cancel()
        self._agenda.clear()
        self.rules.clear()
        self.tasks.clear()
        self.films.clear()
        self._reads.clear()
        settings, credits = self._start
        self.accounts.update({name: Account(name, credits) for name in self.accounts})
        self.settings = settings
        self.clock.set_speed(settings.speed)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the background until it is done or the vendor is closed."""
        running = asyncio.get_running_loop().create_task(work)
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Cancel what runs in the background."""
        for running in tuple(self._running):
            running.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _cost(self, order: Order, seconds: float) -> float:
        return prices.cost(self.settings.prices, order.model, order.mode, seconds, self.settings.billing)

    def _new_task(self, account: Account, order: Order, base: str, seconds: float, cost: float) -> Task:
        task_id = secrets.token_hex(16)
        facts = {
            "model": order.model,
            "mode": order.mode,
            "prompt": str(order.input.get("prompt") or ""),
            "callBackUrl": order.callback_url or "",
            "taskId": task_id,
        }
        fault = self.rules.take("generation", facts)
        return Task(
            id=task_id,
            account=account.id,
            order=order,
            base=base,
            created_ms=wall_ms(),
            created=self.clock.now(),
            plan=draw_plan(self.settings, self._dice, seconds, fault),
            held=cost,
            film_name=f"{task_id}_0_{int(time.time())}_{secrets.randbelow(9000) + 1000}.mp4",
            callbacks=self.rules.take_all("callback", facts),
        )

    def _plan_end(self, task: Task) -> None:
        if task.plan.verdict == "silent":
            return
        self._agenda.at(task.created + task.plan.seconds, lambda: self._settle(task))
        if task.plan.flips_after is not None:
            self._agenda.at(task.created + task.plan.seconds + task.plan.flips_after, lambda: self._settle(task))

    async def _produce(self, task: Task) -> None:
        """Have the film made; unusable media turn the task into one that fails soon."""
        try:
            if task.plan.needs_film:
                film, seconds = await self._studio.film(task.order, self.settings)
                self._correct_hold(task, seconds)
                task.film, task.film_age = film, self.clock.now() - task.created
        except BadMedia as bad:
            age = max(self.settings.fail_seconds, self.clock.now() - task.created)
            task.plan = Plan(min(age, task.plan.seconds), "fail", bad.code, bad.msg)
            self._agenda.at(task.created + task.plan.seconds, lambda: self._settle(task))
            return
        self._settle(task)

    def _correct_hold(self, task: Task, seconds: float | None) -> None:
        if seconds is None or task.booked != "held":
            return
        cost = self._cost(task.order, seconds)
        self.accounts[task.account].correct(cost - task.held)
        task.held = cost

    def _settle(self, task: Task) -> None:
        """Book a task whose state is final now, once per state, and send its callback."""
        reading = self.reading(task)
        if task.id not in self.tasks or reading.ended_after is None or task.booked == reading.state:
            return
        account = self.accounts[task.account]
        if reading.state == "fail":
            account.give_back(task.held)
        elif task.booked == "fail":
            account.charge_again(task.held)
        else:
            account.burn(task.held)
        task.booked = reading.state
        self._call_at_end(task, reading)

    def _call_at_end(self, task: Task, reading: Reading) -> None:
        if task.order.callback_url is None or "callback_never" in task.callbacks:
            return
        late = task.callbacks.get("callback_late")
        moment = self.clock.now() + (float(late.options["seconds"]) if late else 0.0)
        copies = task.callbacks.get("callback_duplicate")
        call = self._call(task, reading, self._about(task))
        for _ in range(int(copies.options["copies"]) if copies else 1):
            self._agenda.at(moment, self._sender(call))

    def _about(self, task: Task) -> Task:
        """Return the task of which its callback speaks: itself, or with ``callback_crossed`` the one before it."""
        created = self.accounts[task.account].created
        place = created.index(task.id) if "callback_crossed" in task.callbacks else 0
        return self.tasks[created[place - 1]] if place else task

    def _call(self, task: Task, reading: Reading, about: Task) -> Call:
        reading = reading if about is task else self.reading(about)
        data = records.record(about, reading, self.settings)
        return Call(str(task.order.callback_url), task.account, data, task.callbacks)

    def _sender(self, call: Call, attempt: int = 0) -> Callable[[], None]:
        return lambda: self.start(self._courier.send(call, self.settings, self._again, attempt))

    def _again(self, call: Call, attempt: int) -> None:
        self._sender(call, attempt)()

    async def _call_early(self, task: Task) -> None:
        """Send the extra callback of ``callback_early`` and wait for its answer, so that it comes first for sure."""
        if task.order.callback_url is None or "callback_early" not in task.callbacks:
            return
        state = "fail" if task.plan.verdict == "fail" else "success"
        call = self._call(task, Reading(state, task.plan.seconds), self._about(task))
        await self._courier.send(call, self.settings, self._again)
