"""What one Lua call does, over the model's records: each function stands for the script of its name.

`apply_move` interprets the very Move objects that `move.lua` receives; `test_model_conformance.py` compares the two.
Each returns the outcome that the script answers, and the server after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from model.rules import Rule, Rules
from model.world import Job, Line, Server, homes, line_of, open_lines
from motionq.contract.states import FINAL, RESTS, Fence, Move, Purchase, State

_BY_CLAIM = (Fence.CLAIM, Fence.CLAIM_TASK)
_BY_PURCHASE = (Fence.NONCE, Fence.TASK)
_VERDICTS = ("paid", "refunded", "refunded_again", "still_running")
_NAMED_BY_NONCE = {
    ("not_sent", "refused", "refused_again", "refused_later", "unknown"): Rule.ANSWERS_NAME_THE_PURCHASE,
    ("record_task",): Rule.TASKS_NAME_THE_PURCHASE,
    _VERDICTS: Rule.VERDICTS_NAME_THE_TASK,
}
Answer = tuple[str, Server]


def with_job(server: Server, j: int, job: Job) -> Server:
    """The server with another record of this job."""
    return server._replace(jobs=(*server.jobs[:j], job, *server.jobs[j + 1 :]))


def led(rules: Rules, job: Job, state: State, **changes: Any) -> Job:
    """lib.lua's `move`: the job leaves its set and enters the one of its new state, or follows a stray."""
    job, line = job._replace(**changes), stray(job)
    if state in RESTS and line is not None and rules.hold(Rule.STRAYS_ARE_FOLLOWED):
        claim = "" if job.state in (State.UPLOADING, State.DELIVERING) else job.claim
        job = booked(job, line.nonce, status=Purchase.OPEN)
        job = job._replace(nonce=line.nonce, task=line.task, claim=claim, verdict="", result="")
        state = RESTS[state]
    armed_under = job.armed_under if state is State.ARMED else ""
    sender = job.sender if state is State.SUBMITTING else ""
    sets = (job.sets - homes(job.state)) | homes(state)
    return job._replace(state=state, sets=sets, armed_under=armed_under, sender=sender)


def stray(job: Job) -> Line | None:
    """The task of a closed purchase that nobody has followed; none beside an open or a paid one."""
    if any(line.status in (Purchase.OPEN, Purchase.PAID) for line in job.book):
        return None
    return next((line for line in reversed(job.book) if line.status is Purchase.STRAY), None)


def booked(job: Job, nonce: str, **changes: Any) -> Job:
    """The job with something changed on one purchase."""
    return job._replace(book=tuple(p._replace(**changes) if p.nonce == nonce else p for p in job.book))


# -- move.lua ---------------------------------------------------------------------------------------------------------
class Call(NamedTuple):
    """What a caller sends: the move, the job, the fences it still expects, and what else is to change.

    `changes` are set only if the job moves, `line_changes` whenever its purchase is booked.
    """

    move: Move
    job: int
    call: str = ""
    claim: str = ""
    nonce: str = ""
    task: str = ""
    changes: Mapping[str, Any] = {}
    line_changes: Mapping[str, Any] = {}


def apply_move(rules: Rules, server: Server, move: Move, j: int, **values: Any) -> Answer:
    """ok | booked (the purchase only) | fenced | bound (another purchase owns the task); `values`: see Call."""
    job = server.jobs[j]
    call = _fences(rules, job, Call(move, j, **values))
    if call.call and job.last_call == call.call:
        return "ok", server
    line = line_of(job, call.nonce) if move.fence in _BY_PURCHASE else None
    if not _claim_fits(rules, job, call) or not _line_fits(call, line):
        return "fenced", server
    target = _target(job, call, line)
    away = (move.other_server or {}).get(job.state) if target else None
    elsewhere = bool(away) and job.armed_under != server.identity and rules.hold(Rule.EXITS_ASK_FOR_THE_SERVER)
    target = away if elsewhere else target
    if target is None and not move.books_late:
        return "fenced", server
    if line is None:
        return _moved(rules, server, call, target)
    return _write_purchase(rules, server, call, line, target, elsewhere)


def _fences(rules: Rules, job: Job, call: Call) -> Call:
    """The fences of the call; without its rule, a call is about whatever is newest."""
    newest = line_of(job, job.nonce)
    for names, rule in _NAMED_BY_NONCE.items():
        if call.move.name in names and not rules.hold(rule):
            call = call._replace(nonce=job.nonce)
    if call.move.name in _VERDICTS and not rules.hold(Rule.VERDICTS_NAME_THE_TASK) and newest is not None:
        call = call._replace(task=newest.task)
    return call


def _claim_fits(rules: Rules, job: Job, call: Call) -> bool:
    fence = call.move.fence
    if fence in _BY_CLAIM and rules.hold(Rule.CLAIMS) and (not call.claim or job.claim != call.claim):
        return False
    newest = line_of(job, job.nonce)
    if call.move.newest and (newest is None or newest.status is not call.move.newest):
        return False
    return fence is not Fence.CLAIM_TASK or job.task == call.task


def _line_fits(call: Call, line: Line | None) -> bool:
    move = call.move
    if move.fence not in _BY_PURCHASE:
        return True
    if line is None or line.status not in move.books:
        return False
    if move.has_task is not None and move.has_task != bool(line.task):
        return False
    if move.fence is Fence.TASK and line.task != call.task:
        return False
    return not move.binds_task or line.task in ("", call.task)


def _target(job: Job, call: Call, line: Line | None) -> State | None:
    if line is not None and job.nonce != line.nonce:
        return None
    if line is not None and call.move.binds_task and line.status is not Purchase.OPEN:
        return None
    return call.move.to.get(job.state)


def _write_purchase(
    rules: Rules, server: Server, call: Call, line: Line, target: State | None, elsewhere: bool
) -> Answer:
    """Books the purchase, and moves the job if there is a target."""
    move, job, owner = call.move, server.jobs[call.job], (call.job, line.nonce)
    if move.binds_task:
        if {(j, nonce) for name, j, nonce in server.tasks if name == call.task} - {owner}:
            return "bound", server
        if line.task == call.task and target is None:
            return "ok", server
        server = server._replace(tasks=server.tasks | {(call.task, *owner)})
        job = booked(job, line.nonce, task=call.task)
        job = job._replace(task=call.task) if job.nonce == line.nonce else job
    status = line.status if elsewhere else move.books[line.status]
    job = booked(job, line.nonce, status=status, **call.line_changes)
    if move.frees_slot and not elsewhere:
        server = server._replace(slots=server.slots - {owner})
    if move.settles_candidate and (not call.task or line.candidate in ("", call.task)):
        job = booked(job, line.nonce, candidate="")
        server = server._replace(candidates=server.candidates - {owner})
    return _moved(rules, with_job(server, call.job, job), call, target)


def _moved(rules: Rules, server: Server, call: Call, target: State | None) -> Answer:
    job = server.jobs[call.job]._replace(last_call=call.call)
    if target is not None:
        return "ok", with_job(server, call.job, led(rules, job, target, **call.changes))
    if job.state in RESTS and stray(job) is not None and rules.hold(Rule.STRAYS_ARE_FOLLOWED):
        job = led(rules, job, job.state)
    return "booked", with_job(server, call.job, job)


# -- claim.lua, admit.lua, send.lua -----------------------------------------------------------------------------------
def claim(server: Server, j: int, step: str) -> Server:
    """The alarm of a step is claimed: the next number of its claims is the fence."""
    job = server.jobs[j]
    n = getattr(job, f"n_{step}") + 1
    return with_job(server, j, job._replace(claim=f"{step}.{n}", **{f"n_{step}": n}))


def may_arm(rules: Rules, server: Server, j: int, cap: int) -> bool:
    """Whether the gate lets this job through."""
    job = server.jobs[j]
    if job.state is not State.READY or (len(server.slots) >= cap and rules.hold(Rule.CAP)):
        return False
    return not open_lines(job) or not rules.hold(Rule.ONE_OPEN_PURCHASE)


def admit(rules: Rules, server: Server, j: int, *, salt: str, cap: int) -> Server | None:
    """The gate arms this job, if it may; `salt`: the random bits of the call."""
    if not may_arm(rules, server, j, cap):
        return None
    if not rules.hold(Rule.NEW_NONCE):
        return armed(rules, server, j, salt)
    nonce = f"{salt}:{j}:{server.jobs[j].n_purchases + 1}"
    return None if line_of(server.jobs[j], nonce) else armed(rules, server, j, nonce)


def armed(rules: Rules, server: Server, j: int, nonce: str) -> Server:
    """admit.lua's `arm`: the purchase, its slot and the server's identity, in one call."""
    job = server.jobs[j]
    book = (*job.book, Line(nonce, Purchase.OPEN))
    job = led(rules, job, State.ARMED, nonce=nonce, task="", book=book)._replace(armed_under=server.identity)
    job = job._replace(n_purchases=job.n_purchases + 1)
    return with_job(server, j, job)._replace(slots=server.slots | {(j, nonce)})


def send(rules: Rules, server: Server, j: int, *, nonce: str, token: str, durable: bool) -> Answer:
    """Asks for the right to send: mine | wait | refused | other_server | fenced."""
    job = server.jobs[j]
    same = job.sender == token or not rules.hold(Rule.SEND_KNOWS_ITS_EXECUTION)
    if job.state is State.SUBMITTING and job.nonce == nonce and same:
        return "mine", server
    line = line_of(job, nonce)
    if job.state is not State.ARMED or job.nonce != nonce or line is None or line.status is not Purchase.OPEN:
        return "fenced", server
    if job.armed_under != server.identity and rules.hold(Rule.SEND_ASKS_FOR_THE_SERVER):
        return "other_server", server
    if any(p.status is Purchase.STRAY for p in job.book) and rules.hold(Rule.SEND_LOOKS_FOR_STRAYS):
        return "refused", server
    if not durable:
        return "wait", server
    return "mine", with_job(server, j, led(rules, job, State.SUBMITTING)._replace(sender=token))


# -- follow.lua, replay.lua, candidate.lua ----------------------------------------------------------------------------
def follow(rules: Rules, server: Server, j: int, *, nonce: str, old: str) -> Answer:
    """The new purchase is not sent, and the old one is open again."""
    job = server.jobs[j]
    if job.state is State.RUNNING and job.nonce == old:
        return "ok", server
    new, earlier = line_of(job, nonce), line_of(job, old)
    at_home = job.armed_under == server.identity or not rules.hold(Rule.FOLLOW_ASKS_FOR_THE_SERVER)
    waits = job.state is State.ARMED and job.nonce == nonce and new is not None and new.status is Purchase.OPEN
    if not waits or earlier is None or earlier.status is not Purchase.REFUNDED or not at_home:
        return "fenced", server
    job = booked(booked(job, nonce, status=Purchase.NOT_SENT), old, status=Purchase.OPEN)
    job = led(rules, job, State.RUNNING, nonce=old, task=earlier.task)
    return "ok", with_job(server, j, job)._replace(slots=server.slots - {(j, nonce)})


def replay(rules: Rules, server: Server, j: int, *, call: str = "", consent: str = "") -> Answer:
    """A person wants a finished job taken up again; `consent` is the open purchase that was shown."""
    job = server.jobs[j]
    if call and job.last_call == call:
        return "ok", server
    if job.state not in FINAL or job.state is State.SUCCEEDED:
        return "refused", server
    lines = open_lines(job)
    paid = next((line for line in reversed(job.book) if line.status is Purchase.PAID), None)
    job = job._replace(last_call=call, generations=0)
    if paid is not None:
        return "ok", with_job(server, j, led(rules, job, State.DELIVERING, nonce=paid.nonce, task=paid.task))
    if lines and not consent and lines[-1].task and rules.hold(Rule.REPLAY_BY_PURCHASES):
        return "ok", with_job(server, j, led(rules, job, State.RUNNING))
    unseen = [line for line in lines if line.nonce != consent]
    asked = not consent or rules.hold(Rule.CONSENT_BY_NONCE)
    if unseen and asked and rules.hold(Rule.REPLAY_BY_PURCHASES):
        return "open", server
    for line in lines:
        job = booked(job, line.nonce, status=Purchase.WRITTEN_OFF)
    server = server._replace(slots=server.slots - {(j, line.nonce) for line in lines})
    return "ok", with_job(server, j, led(rules, job, State.QUEUED, verdict="", result=""))


def name_task(rules: Rules, server: Server, j: int, *, nonce: str, task: str) -> Answer:
    """Somebody says that this purchase has this task: stored | known | orphan."""
    job = server.jobs[j]
    line = line_of(job, nonce)
    if line is None:
        return "orphan", server
    if line.task == task and line.status in (Purchase.PAID, Purchase.STRAY):
        return "known", server
    job = booked(job, nonce, candidate=task)
    if not rules.hold(Rule.CALLBACKS_TOUCH_NO_ALARM):
        job = job._replace(sets=job.sets | {"check"})
    return "stored", with_job(server, j, job)._replace(candidates=server.candidates | {(j, nonce)})
