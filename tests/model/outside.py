"""What happens to the system: the vendor, callbacks, people, machines that fail, and time."""

from __future__ import annotations

from model import scripts
from model.model import Model, Steps, name
from model.rules import Rule
from model.steps import unfair
from model.world import (
    Execution,
    Line,
    Request,
    Server,
    World,
    begin,
    end,
    line_of,
    open_lines,
    set_request,
    spend,
)
from motionq.contract.states import FINAL, State


# -- the vendor --------------------------------------------------------------------------------------------------
def vendor(m: Model, w: World) -> Steps:
    """A request arrives or not, is refused or becomes a task; a task comes to its end."""
    del m
    for request in w.requests:
        for status in _MADE.get(request.status, ()):
            yield f"vendor: {request.task} is {status}", set_request(w, request.task, status=status), True
        for what, status in _UNLUCKY.get(request.status, ()):
            if getattr(w.budget, what):
                status = "too_late" if status == "late_ok" and _another_is_bought(w, request) else status
                after = set_request(spend(w, what), request.task, status=status)
                yield f"vendor: {request.task} is {status}", after, False


_MADE = {"wire": ("run",), "run": ("ok", "fail"), "524": ("ok", "fail524")}
_UNLUCKY = {
    "wire": (("lost", "lost"), ("refuse", "refused")),
    "run": (("t524", "524"), ("mute", "mute")),
    "fail": (("flip", "late_ok"),),
    "fail524": (("flip", "late_ok"),),
}


def _another_is_bought(w: World, request: Request) -> bool:
    """A failure that turns around while the next purchase is being sent is beyond what anybody can do."""
    newer = any(r.job == request.job for r in w.requests[w.requests.index(request) + 1 :])
    return newer or any(e.step == "submit" and (e.job, e.nonce) != (request.job, request.nonce) for e in w.executions)


def speaks_again(m: Model, w: World) -> Steps:
    """A task that was silent for a day comes to its end after all; nobody is bound to see that."""
    del m
    for request in w.requests:
        if request.status == "mute":
            for status in ("ok", "fail"):
                yield f"vendor: {request.task} is {status} at last", set_request(w, request.task, status=status), False


# -- callbacks, and people who name a task -----------------------------------------------------------------------
def callback(m: Model, w: World) -> Steps:
    """At any time, any number of times, for old purchases too; with a foreign task if the budget has it."""
    for request in w.requests if m.callbacks else ():
        for j, job in enumerate(w.server.jobs):
            for line in job.book:
                if not (costs := _price(request, j, line)):
                    yield from _name(m, w, request, j, line, "a callback")
                elif getattr(w.budget, costs):
                    yield from _name(m, spend(w, costs), request, j, line, "a callback")


def _price(request: Request, j: int, line: Line) -> str:
    """A callback with news is free."""
    if (request.job, request.nonce) != (j, line.nonce):
        return "foreign"
    return "again" if line.task == request.task else ""


def attach(m: Model, w: World) -> Steps:
    """A person names a task for a job; it is looked at like a callback's."""
    for request in w.requests if w.budget.attach else ():
        line = line_of(w.server.jobs[request.job], request.nonce)
        if line is not None:
            yield from _name(m, spend(w, "attach"), request, request.job, line, "a person")


def _name(m: Model, w: World, request: Request, j: int, line: Line, who: str) -> Steps:
    if request.status in ("wire", "lost", "refused") or line.candidate == request.task:
        return
    outcome, server = scripts.name_task(m.rules, w.server, j, nonce=line.nonce, task=request.task)
    if outcome == "stored":
        yield f"{who} names {request.task} for job{j} {line.nonce}", m.write(w, server), False


# -- people ------------------------------------------------------------------------------------------------------
def cancel(m: Model, w: World) -> Steps:
    """A person wants no more of a job."""
    for j, job in enumerate(w.server.jobs):
        move = _CANCEL.get(job.state)
        if move and w.budget.cancel:
            e = Execution("person", "cancels", j, nonce=job.nonce, plan=move)
            yield from unfair(m.call(begin(spend(w, "cancel"), e), e, move, f"cancel of a {job.state} job"))


def cancel_again(m: Model, w: World, e: Execution) -> Steps:
    """The answer was lost."""
    yield from unfair(m.call(w, e, e.plan, "cancel again"))


_CANCEL = {
    **dict.fromkeys((State.QUEUED, State.UPLOADING, State.READY), "cancel_unbought"),
    State.ARMED: "cancel_armed",
    **dict.fromkeys((State.SUBMITTING, State.SUBMIT_UNKNOWN, State.RUNNING), "cancel_bought"),
}


def replay(m: Model, w: World) -> Steps:
    """A person wants a finished job taken up again; with consent for the open purchase that was shown."""
    for j, job in enumerate(w.server.jobs):
        if w.budget.replay and job.state in (State.FAILED, State.CANCELLED):
            outcome, server = scripts.replay(m.rules, w.server, j)
            if outcome == "ok":
                yield f"replay of job{j}", m.write(spend(w, "replay"), server), False
        if w.budget.consent and job.state in FINAL and (lines := open_lines(job)):
            e = Execution("person", "consents", j, nonce=lines[-1].nonce)
            seen = begin(spend(w, "consent"), e)
            shown = seen._replace(shown=w.shown | {(j, line.nonce) for line in lines})
            yield f"a person is shown {e.nonce} of job{j}, and may pay twice", shown, False


def consent(m: Model, w: World, e: Execution) -> Steps:
    """The consent arrives, perhaps late, perhaps twice."""
    outcome, server = scripts.replay(m.rules, w.server, e.job, call=e.call, consent=e.nonce)
    yield f"consent to pay twice for {name(e)} is {outcome}", m.write(end(w, e), server), False
    if w.budget.repeat and not e.call and outcome == "ok":
        _, server = scripts.replay(m.rules, w.server, e.job, call="consent", consent=e.nonce)
        again = begin(end(spend(w, "repeat"), e), e._replace(call="consent"))
        yield f"consent to pay twice for {name(e)} is {outcome}, the answer is lost", m.write(again, server), False


# -- machines ------------------------------------------------------------------------------------------------------
def crash(m: Model, w: World) -> Steps:
    """Whoever is at work stops at any point."""
    del m
    for e in dict.fromkeys(w.executions) if w.budget.crash else ():
        yield f"crash of {e.step} {name(e)} ({e.stage})", end(spend(w, "crash"), e), False


def time_passes(m: Model, w: World) -> Steps:
    """The oldest young write becomes durable."""
    del m
    last = len(w.versions) - 1
    if w.budget.power and w.on_disk < last:
        yield "a write reaches the disk", w._replace(on_disk=w.on_disk + 1), True
    if w.budget.failover and w.on_replica < last:
        yield "a write reaches the replica", w._replace(on_replica=w.on_replica + 1), True


def power_loss(m: Model, w: World) -> Steps:
    """The server restarts, with some of its last writes gone (or none)."""
    for i in range(w.on_disk, len(w.versions)) if w.budget.power else ():
        lost = len(w.versions) - 1 - i
        yield f"POWER LOSS: the last {lost} writes are gone", _restarted(m, spend(w, "power"), w.versions[i]), False


def failover(m: Model, w: World) -> Steps:
    """A replica becomes the server; the former one may still be talked to."""
    for i in range(w.on_replica, len(w.versions)) if w.budget.failover else ():
        lost = len(w.versions) - 1 - i
        after = _restarted(m, spend(w, "failover"), w.versions[i])._replace(old=w.server)
        yield f"FAIL-OVER: the last {lost} writes are gone", after, False


def _restarted(m: Model, w: World, version: Server) -> World:
    number = int(w.server.identity.removeprefix("server"))
    number = number + 1 if m.rules.hold(Rule.IDENTITY_IS_NEW) else 1 - number
    server = version._replace(identity=f"server{number}")
    return w._replace(versions=(server,), on_disk=0, on_replica=0)


HAPPENS = (vendor, speaks_again, callback, attach, cancel, replay, crash, time_passes, power_loss, failover)
PEOPLE = {("person", "cancels"): cancel_again, ("person", "consents"): consent}
