"""The control addresses under /sandbox/: faults, switches, the ledger. Loopback only, no key."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from motionq_ops.sandbox.answers import to_json
from motionq_ops.sandbox.faults import FAULTS
from motionq_ops.sandbox.ledger import Ledger
from motionq_ops.sandbox.numbers import is_number, read_text
from motionq_ops.sandbox.records import record
from motionq_ops.sandbox.rules import BadFault, parse_rules
from motionq_ops.sandbox.settings import BadSetting, parse_rate
from motionq_ops.sandbox.shelf import Shelf
from motionq_ops.sandbox.vendor import Vendor

_LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
Action = Callable[[web.Request], Awaitable[Any]]


class NotFound(Exception):
    """No such task."""


class Control:
    """Handlers of the control addresses; each returns what is sent as JSON."""

    def __init__(self, vendor: Vendor, ledger: Ledger, shelf: Shelf) -> None:
        self._vendor = vendor
        self._ledger = ledger
        self._shelf = shelf

    def routes(self) -> list[web.RouteDef]:
        """Return the addresses."""
        return [
            web.get("/sandbox/ledger", _guarded(self.ledger)),
            web.get("/sandbox/tasks/{id}", _guarded(self.task)),
            web.get("/sandbox/faults", _guarded(self.list_faults)),
            web.post("/sandbox/faults", _guarded(self.add_faults)),
            web.delete("/sandbox/faults", _guarded(self.clear_faults)),
            web.post("/sandbox/credits", _guarded(self.credits)),
            web.get("/sandbox/settings", _guarded(self.settings)),
            web.post("/sandbox/settings", _guarded(self.settings)),
            web.post("/sandbox/advance", _guarded(self.advance)),
            web.post("/sandbox/reset", _guarded(self.reset)),
        ]

    async def ledger(self, request: web.Request) -> Any:
        """Return ``{summary, requests}``; ``?call=`` picks one call, ``?summary=1`` leaves the requests out."""
        rate = parse_rate(self._vendor.settings.rate_limit)
        window = rate[1] if rate else 10.0
        summary = self._ledger.summary(self._vendor.accounts.values(), self._vendor.tasks, window)
        if request.query.get("summary"):
            return {"summary": summary}
        return {"summary": summary, "requests": self._ledger.entries(request.query.get("call"))}

    async def task(self, request: web.Request) -> Any:
        """Return one task with its future."""
        task = self._vendor.tasks.get(request.match_info["id"])
        if task is None:
            raise NotFound(request.match_info["id"])
        reading = self._vendor.reading(task)
        return {
            "record": record(task, reading, self._vendor.settings),
            "plan": dataclasses.asdict(task.plan),
            "age": self._vendor.clock.now() - task.created,
            "account": task.account,
            "held": task.held,
            "booked": task.booked,
            "resultUrl": task.film_url,
            "callBackUrl": task.order.callback_url,
        }

    async def list_faults(self, request: web.Request) -> Any:
        """Return the rules in force and every fault by name."""
        return {"rules": self._vendor.rules.pending(), "known": {name: fault.text for name, fault in FAULTS.items()}}

    async def add_faults(self, request: web.Request) -> Any:
        """Add one rule, or a list of rules (all or none)."""
        rules = parse_rules(await _body(request))
        self._vendor.rules.add(rules)
        return {"added": len(rules)}

    async def clear_faults(self, request: web.Request) -> Any:
        """Drop all rules."""
        self._vendor.rules.clear()
        return {"cleared": True}

    async def credits(self, request: web.Request) -> Any:
        """Set the balance of all accounts, or of ``account``."""
        body = _object(await _body(request))
        balance = _number(body, "balance")
        for account in self._vendor.accounts.values():
            if body.get("account") in (None, account.id):
                account.balance = balance
        return {"balance": {account.id: account.balance for account in self._vendor.accounts.values()}}

    async def settings(self, request: web.Request) -> Any:
        """Return the switches, after turning those that a POST names."""
        if request.method == "POST":
            self._vendor.change(_object(await _body(request)))
        return dataclasses.asdict(self._vendor.settings)

    async def advance(self, request: web.Request) -> Any:
        """Jump forward by ``seconds`` of simulated time."""
        seconds = _number(_object(await _body(request)), "seconds")
        if seconds < 0:
            raise BadSetting(f"seconds is a number of at least zero, not {seconds:g}: time does not go back")
        self._vendor.advance(seconds)
        return {"now": self._vendor.clock.now()}

    async def reset(self, request: web.Request) -> Any:
        """Forget everything but the clock."""
        self._vendor.reset()
        self._ledger.clear()
        self._shelf.clear()
        return {"reset": True}


def _guarded(action: Action) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.remote not in _LOOPBACK:
            return _json({"error": "the control addresses answer on the loopback interface only"}, 403)
        try:
            return _json(await action(request), 200)
        except NotFound as missing:
            return _json({"error": f"no task {missing}"}, 404)
        except (BadFault, BadSetting) as error:
            return _json({"error": str(error)}, 400)

    return handler


def _json(value: Any, status: int) -> web.Response:
    return web.Response(status=status, body=to_json(value), content_type="application/json")


async def _body(request: web.Request) -> Any:
    try:
        return read_text(await request.read())
    except ValueError as error:
        raise BadSetting(f"the body is not JSON: {error}") from None


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise BadSetting("the body is a JSON object")
    return body


def _number(body: dict[str, Any], name: str) -> float:
    value = body.get(name)
    if not is_number(value):
        raise BadSetting(f"{name} is a number, not {value!r}")
    return float(value)
