"""What must hold in every world. Each check returns a sentence about what is wrong, or None."""

from __future__ import annotations

from model.model import Model
from model.scripts import stray
from model.world import MAY_COST, REFUND, Job, Line, Request, World, homes, line_of, open_lines
from motionq.contract.states import FINAL, RESTS, Purchase, State

_NOT_CHARGED = (Purchase.NOT_SENT, Purchase.REFUSED, Purchase.REFUNDED)
_HOLDS_SLOT = (State.ARMED, State.SUBMITTING, State.SUBMIT_UNKNOWN, State.RUNNING, State.CANCELLING)


def broken_promise(m: Model, w: World) -> str | None:
    """The first promise that does not hold here."""
    if wrong := _nonces(w):
        return wrong
    for j, job in enumerate(w.server.jobs):
        requests = [r for r in w.requests if r.job == j]
        if wrong := _books(w, j, job) or _money(w, j, job, requests) or _sets(job) or _result(w, j, job):
            return f"job{j}: {wrong}"
    return _slots(m, w) or _journal(m, w)


def _books(w: World, j: int, job: Job) -> str | None:
    if len(open_lines(job)) > 1:
        return "two open purchases"
    if len({p.nonce for p in job.book}) < len(job.book):
        return "a nonce was armed twice"
    if any(p.status is Purchase.WRITTEN_OFF and (j, p.nonce) not in w.shown for p in job.book):
        return "a purchase was written off without consent"
    if job.state in RESTS and stray(job) is not None:
        return f"{job.state}, beside a task that nobody follows"
    for line in job.book:
        if line.task and not any((r.task, r.job, r.nonce) == (line.task, j, line.nonce) for r in w.requests):
            return "a purchase has another one's task"
        if line.candidate and (j, line.nonce) not in w.server.candidates:
            return "a candidate that nobody will look at"
    return None


def _money(w: World, j: int, job: Job, requests: list[Request]) -> str | None:
    # A lie is found out when a callback names the task: nothing is *sent* after that (broken_step).
    unasked = [r for r in requests if r.status in MAY_COST and r.told != "lie" and (j, r.nonce) not in w.shown]
    if len(unasked) > 1:
        return "two purchases at the vendor without consent"
    for r in requests:
        line = line_of(job, r.nonce)
        if line is None:
            return "a purchase at the vendor that the books do not know"
        if r.told == "yes" and r.task not in (line.task, line.candidate) and not _in_hand(w, r):
            return "a task ID in hand was dropped"
        if line.status in _NOT_CHARGED and _costs_unnoticed(w, r, line.task == r.task, line.candidate == r.task):
            return "it may cost money, and the books say not charged"
    return None


def _costs_unnoticed(w: World, r: Request, known: bool, named: bool) -> bool:
    """Whether it costs money and nobody will notice; a lie is noticed only when a callback names the task."""
    if r.status not in ("wire", "run", "mute", "524", "ok") or named or _in_hand(w, r):
        return False
    return known or r.told != "lie"


def _in_hand(w: World, r: Request) -> bool:
    """Whether somebody still has the task ID and will record it."""
    noted = any(task == r.task for _, _, task in w.journal)
    return noted or any(e.task == r.task and e.plan == "record_task" for e in w.executions)


def _sets(job: Job) -> str | None:
    if job.sets != homes(job.state):
        return f"{job.state}, and in the sets {sorted(job.sets)}"
    return None


def _result(w: World, j: int, job: Job) -> str | None:
    if job.state is State.SUCCEEDED:
        own = [
            r for r in w.requests if r.task == job.result and r.job == j and r.status in ("ok", "late_ok", "too_late")
        ]
        return None if own else f"succeeded with the result {job.result or 'none'}"
    line = line_of(job, job.nonce)
    if job.state is State.FAILED and job.result == REFUND and (line is None or line.status is not Purchase.REFUNDED):
        return "failed by the verdict on another purchase"
    return None


def _nonces(w: World) -> str | None:
    sent = [(r.job, r.nonce) for r in w.requests]
    return "a nonce was POSTed twice" if len(set(sent)) < len(sent) else None


def _slots(m: Model, w: World) -> str | None:
    if len(w.server.slots) > m.slots:
        return f"{len(w.server.slots)} slots are taken, there are {m.slots}"
    for j, nonce in w.server.slots:
        job = w.server.jobs[j]
        line = line_of(job, nonce)
        if job.state not in _HOLDS_SLOT or job.nonce != nonce or line is None or line.status is not Purchase.OPEN:
            return f"a {job.state} job keeps a slot"
    return None


def _journal(m: Model, w: World) -> str | None:
    """The server must take every task ID that a journal holds, in every state."""
    for j, nonce, task in w.journal:
        outcome, _ = m.move(w.server, "record_task", j, nonce=nonce, task=task)
        if outcome not in ("ok", "booked"):
            return f"job{j}: a task ID in hand is {outcome}"
    return None


def broken_step(before: World, what: str, after: World) -> str | None:
    """Whether this step moved a finished job that nobody asked to move, or is a write of one who lost its claim."""
    if before.server is after.server or what.startswith(("POWER", "FAIL-OVER", "replay", "consent")):
        return None
    for j, (was, job) in enumerate(zip(before.server.jobs, after.server.jobs, strict=True)):
        if was.state in FINAL and job.state is not was.state and (was.state, job.state) not in _HEALED:
            return f"job{j}: {was.state}, and then {job.state}"
        if was.state is State.ARMED and job.state is State.SUBMITTING and _has_stray(was):
            return f"job{j}: sent beside a task that nobody has followed"
        if any(_dropped_unseen(before, j, line, line_of(job, line.nonce)) for line in was.book):
            return f"job{j}: a purchase's own task was named, and dropped unseen"
    for e in set(before.executions) - set(after.executions):
        was, job = before.server.jobs[e.job], after.server.jobs[e.job]
        if e.claim and e.claim != was.claim and job.state is not was.state:
            return f"job{e.job}: one who lost its claim has written"
    return None


def _has_stray(job: Job) -> bool:
    return any(line.status is Purchase.STRAY for line in job.book)


def _dropped_unseen(w: World, j: int, was: Line, line: Line | None) -> bool:
    """Whether a task that was rightly named for this purchase is named no more, and was not recorded."""
    if not was.candidate or line is None or line.candidate or line.task == was.candidate:
        return False
    return any((r.task, r.job, r.nonce) == (was.candidate, j, was.nonce) for r in w.requests)


_HEALED = {
    (State.FAILED, State.RUNNING),
    (State.FAILED, State.DELIVERING),
    (State.CANCELLED, State.CANCELLING),
}
